"""The three wrapped methods of a scheduler: what beat did is put down at once, and told by another thread."""

import logging
import os
import time
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

import celery

from taskledger.integrations import beat_dues as dues
from taskledger.integrations.beat_entries import reader_of, snapshot
from taskledger.integrations.beat_wire import Fields, Wire

log = logging.getLogger(__name__)

#: seconds after which the definitions are looked at again
RESCAN_S = 30.0
#: promises that are shorter follow upon one another in less time than anybody can tell: one in a while is told
SHORT_S = 5.0
#: a pause from which on beat has time for others; it wakes 10 ms early and then looks again and again
REST_S = 0.05
#: seconds that the end of beat may take longer, for what is still to be told
FLUSH_S = 2.0
#: characters of what an exception says
MOST_TEXT = 2_000


class Probe:
    """What tells of one scheduler, from its start to its end."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler, self._app = scheduler, scheduler.app
        self._pid = os.getpid()
        self._reads_itself = reader_of(scheduler)
        self._wire = Wire(scheduler.app, self._reads_itself, RESCAN_S)
        self._is_online = self._is_offline = False
        self._reason = "stopped"
        self._complained: set[str] = set()
        #: the heap whose entries are known; this object itself stands for none
        self._heap: Any = self
        self._scanned_s = self._ticked_s = float("-inf")
        #: when the present tick began
        self._tick_at = 0.0
        for name, around in (("apply_async", self._apply_async), ("tick", self._tick), ("close", self._close)):
            _wrap(scheduler, name, around)

    def _apply_async(self, inner: Callable[..., Any], entry: Any, *args: Any, **options: Any) -> Any:
        """Every scheduler sends through here, with the entry as it was before (celery/beat.py, apply_entry)."""
        at, began_s = time.time(), time.perf_counter()
        due = self._guarded(self._explicit, dues.due_of_entry, entry)
        self._guarded(self._look, [entry])
        try:
            result = inner(entry, *args, **options)
        except Exception as error:
            self._guarded(self._failed, entry, at, due, error)
            raise
        self._guarded(self._sent, entry, at, due, result, time.perf_counter() - began_s)
        return result

    def _failed(self, entry: Any, at: float, due: float | None, error: Exception) -> None:
        self._put("beat-failed", partial(_of_entry, self._app, entry, at, due, _of_error(error)))

    def _sent(self, entry: Any, at: float, due: float | None, result: Any, publish_s: float) -> None:
        told = {"uuid": getattr(result, "id", None), "publish_ms": round(publish_s * 1000, 3)}
        told["next_due"] = self._explicit(dues.next_after, entry, at)
        self._put("beat-sent", partial(_of_send, self._app, entry, at, due, told))

    def _explicit(self, when: Callable[..., float | None], entry: Any, *args: Any) -> float | None:
        """Where only an entry's schedule can tell it is asked at once; all others when beat rests."""
        return None if dues.is_reckoned(entry.schedule) else when(entry, *args, self._app)

    def _tick(self, inner: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Not before its first tick does a scheduler run: a second RedBeat waits for its lock in beat_init."""
        self._guarded(self._begin)
        self._tick_at = time.time()
        try:
            next_in = inner(*args, **options)
        except Exception as error:
            self._guarded(self._ended_by, error)
            raise
        self._guarded(self._ticked, next_in)
        return next_in

    def _ended_by(self, error: Exception) -> None:
        self._reason = _said(error)

    def _begin(self) -> None:
        self._wire.is_resting = False
        if self._is_online:
            return
        self._is_online = True
        self._wire.start()
        self._put("beat-online", _of_scheduler(self._scheduler))

    def _ticked(self, next_in: float) -> None:
        next_in, now_s = max(float(next_in or 0.0), 0.0), time.monotonic()
        self._look([])
        if now_s - self._scanned_s >= RESCAN_S:
            self._scan([], is_anew=False)
        if next_in > REST_S and (next_in >= SHORT_S or now_s - self._ticked_s >= SHORT_S):
            self._ticked_s = now_s
            self._put("beat-tick", {"next_in": round(next_in, 3)})
        self._wire.is_resting = next_in > REST_S

    def _look(self, taken: list[Any]) -> None:
        """Have the definitions looked at where beat made its heap anew; without what it has `taken` out, it is not all.

        Schedulers with a store of their own (RedBeat) have no heap. A heap is made anew as a tick begins, before beat
        looks at what is due: since then it goes by the new definitions.
        """
        heap = getattr(self._scheduler, "_heap", None)
        if heap is not self._heap:
            self._heap = heap
            self._scan(taken, is_anew=True)

    def _scan(self, taken: list[Any], *, is_anew: bool) -> None:
        self._scanned_s = time.monotonic()
        # Without a heap beat reads its store with each tick: what stands there is in force.
        self._wire.has_heap = self._heap is not None
        snapshots = None if self._reads_itself else snapshot(self._scheduler, taken)
        self._wire.look(self._tick_at if is_anew else time.time(), snapshots, is_in_force=is_anew)

    def _close(self, inner: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Celery closes a scheduler twice where a signal ended it: in the handler, and after the loop."""
        try:
            return inner(*args, **options)
        finally:
            self._guarded(self._end)

    def _end(self) -> None:
        if not self._is_online or self._is_offline or self._pid != os.getpid():
            return
        self._is_offline = True
        self._put("beat-offline", {"reason": self._reason})
        self._wire.stop(FLUSH_S)

    def _put(self, kind: str, fields: Fields) -> None:
        if self._pid == os.getpid():
            self._wire.put(kind, fields)

    def _guarded(self, function: Callable[..., Any], *args: Any) -> Any:
        """What the function returns; None when it fails, which is said once, because beat must go on."""
        try:
            return function(*args)
        except Exception:
            level = logging.DEBUG if function.__name__ in self._complained else logging.WARNING
            log.log(level, "beat goes on, but is not told of completely", exc_info=True)
            self._complained.add(function.__name__)
            return None


def _wrap(scheduler: Any, name: str, around: Callable[..., Any]) -> None:
    inner = getattr(scheduler, name)

    @wraps(inner)
    def wrapped(*args: Any, **options: Any) -> Any:
        return around(inner, *args, **options)

    setattr(scheduler, name, wrapped)


def _of_send(app: Any, entry: Any, at: float, due: float | None, told: dict[str, Any]) -> dict[str, Any]:
    made = _of_entry(app, entry, at, due, told) | {"prev_run": dues.last_run_of(entry)}
    if dues.is_reckoned(entry.schedule):
        made["next_due"] = dues.next_after(entry, at, app)
    return made


def _of_entry(app: Any, entry: Any, at: float, due: float | None, told: dict[str, Any]) -> dict[str, Any]:
    """What is told of a send and of a failure, and what is `told` of either. `at` is when beat began to send."""
    return {
        "entry": str(entry.name),
        "task": str(entry.task),
        "at": at,
        "due": dues.due_of_entry(entry, app) if dues.is_reckoned(entry.schedule) else due,
        "run_count": int(entry.total_run_count or 0) + 1,
        **told,
    }


def _of_error(error: Exception) -> dict[str, Any]:
    cause = error.__cause__ or error.__context__
    return {
        "exception": type(error).__name__,
        "message": str(error)[:MOST_TEXT],
        "cause": None if cause is None else _said(cause),
    }


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MOST_TEXT]


def _of_scheduler(scheduler: Any) -> dict[str, Any]:
    conf, kind = scheduler.app.conf, type(scheduler)
    return {
        "sw_ver": celery.__version__,
        "scheduler": f"{kind.__module__}.{kind.__qualname__}",
        "max_interval": float(scheduler.max_interval),
        "timezone": dues.zone_name(scheduler.app.timezone),
        "enable_utc": bool(conf.enable_utc),
        "beat_cron_starting_deadline": conf.beat_cron_starting_deadline,
    }
