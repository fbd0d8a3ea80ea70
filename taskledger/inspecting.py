"""Ask workers which of their tasks they still have: Celery's `query_task`, over the broker."""

import logging
from collections.abc import Collection, Mapping
from typing import Any

from celery import Celery

from taskledger.config import Settings

log = logging.getLogger(__name__)

#: seconds that workers get to answer
TIMEOUT_S = 1.5
#: tasks that one worker is asked about at once
MOST_TASKS = 200


def still_there(settings: Settings, cluster: str, asked: Mapping[str, Collection[str]]) -> dict[str, set[str]]:
    """Worker -> which of these tasks it may still have: all, if it does not answer; {} when nobody can be asked.

    Of what they answer only the ids are looked at: the rest holds arguments as they are, whatever `argsrepr` hides
    (celery/worker/control.py, `query_task`).
    """
    url = dict(settings.brokers).get(cluster)
    if url is None:
        return {}
    app = Celery("taskledger", broker=url, set_as_current=False)
    if settings.celery_app is not None:
        options = settings.celery_app.conf.get("broker_transport_options")
        app.conf.update(broker_transport_options=options or {}, broker_use_ssl=settings.celery_app.conf.broker_use_ssl)
    try:
        return {worker: _ask(app, worker, ids) for worker, ids in asked.items()}
    except Exception as error:  # noqa: BLE001 - Whatever a broker's driver raises: then nobody was asked, and that is no fault.
        log.debug("workers could not be asked: %s", error, extra={"action": "inspect_failed"})
        return {}
    finally:
        app.close()


def _ask(app: Any, worker: str, ids: Collection[str]) -> set[str]:
    asked = sorted(ids)[:MOST_TASKS]
    answers = app.control.inspect(destination=[worker], timeout=TIMEOUT_S).query_task(*asked) or {}
    known = answers.get(worker)
    # Who does not answer may have them all, and what was not asked about may be there.
    return (set(ids) - set(asked)) | set(known) if isinstance(known, dict) else set(ids)
