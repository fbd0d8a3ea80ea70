"""Inside Celery's beat: a probe that tells what beat itself knows, as events among Celery's other events.

Celery's beat announces nothing of its own: not what it is about to send, not that it failed to send it, not that it
lives. Off unless asked for, by a setting of the app (`taskledger_beat = True`), by the variable TASKLEDGER_BEAT=1 where
beat runs, or by one line in the app's module:

    import taskledger.integrations.beat
    taskledger.integrations.beat.install(app)

The setting and the variable are seen by every beat that is started as `celery …` and has taskledger installed, because
Celery's command line imports ours; elsewhere also say `imports = ("taskledger.integrations.beat",)`. TASKLEDGER_BEAT=0
keeps the probe out, whatever else is said.

Three methods of the one scheduler object that runs are wrapped (celery/beat.py, Scheduler: apply_async, tick, close),
no class is changed. What they do, return and raise stays what it was; what goes wrong here is logged and goes no
further. Events leave through a thread and a connection of their own: see docs/beat-probe.md.
"""

import logging
import os
from typing import Any

from celery import signals

log = logging.getLogger(__name__)

#: setting of the Celery app, and the variable that has the last word
SETTING, VARIABLE = "taskledger_beat", "TASKLEDGER_BEAT"
#: what the variable may say
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
#: attribute of an app that was installed, and of a scheduler that is being told of
_INSTALLED, _PROBE = "taskledger_beat_installed", "taskledger_probe"


def install(app: Any) -> None:
    """From now on each beat of this app that starts is told of. May be called at any time, and more than once."""
    setattr(app, _INSTALLED, True)


def is_wanted(app: Any) -> bool:
    """Whether the probe was asked for: the variable, or else the line or the setting."""
    said = os.environ.get(VARIABLE, "").strip().lower()
    if said in _WORDS:
        return _WORDS[said]
    if said:
        log.warning("%s must be 0 or 1, not %r: beat is not told of", VARIABLE, said)
        return False
    return bool(getattr(app, _INSTALLED, False) or app.conf.get(SETTING))


def attach(scheduler: Any) -> None:
    """Tell of what this scheduler does from now on; once, however often it is called."""
    if getattr(scheduler, _PROBE, None) is not None:
        return
    # Only in a beat that is told of: nobody else pays for these.
    from taskledger.integrations.beat_probe import Probe  # noqa: PLC0415

    setattr(scheduler, _PROBE, Probe(scheduler))


def _on_beat_init(sender: Any, **_: Any) -> None:
    """Celery sends this when beat starts, in a process of its own, in a thread, and in `worker -B`."""
    try:
        if is_wanted(sender.app):
            attach(sender.scheduler)
    except Exception:
        log.exception("beat goes on without taskledger's probe")


signals.beat_init.connect(_on_beat_init)
signals.beat_embedded_init.connect(_on_beat_init)
