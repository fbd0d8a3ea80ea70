"""What is wrong with a schedule or a beat beyond a single due time, in a sentence for whoever is called at night."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise

from taskledger.crontabs import SECOND, Crontab
from taskledger.defects import crontab_defect
from taskledger.schedules import Definition, Interval
from taskledger.ticks import Fire, Spans, is_covered
from taskledger.verdicts import Verdict

#: surplus fires that make a storm, and microseconds between two of them at most
STORM_LEAST = 10
STORM_GAP = 60 * SECOND
#: surplus fires for each due time from which on it is no second beat any more
STORM_A_TICK = 3
#: seconds after the promised next tick before a beat counts as dead: its news takes its time
PROMISE_GRACE_S = 30.0
#: starts of beat within the time an interval takes before they are held to be what resets its timer
RESTARTS_LEAST = 2
#: names that a sentence spells out
MOST_NAMES = 3
_LOCK_WORDS = ("locknotowned", "lockerror", "no longer owned", "redlock", "redbeat lock")


@dataclass(frozen=True, slots=True)
class Finding:
    """`number` counts what the kind is about: fires, due times, processes. `severity`: "critical" or "warning".

    to_at None: it goes on, as far as is known. The sentence tells what happened, by what it is known, and what to do.
    """

    kind: str
    entry: str | None
    from_at: int
    to_at: int | None
    number: int
    sentence: str
    severity: str = "critical"


@dataclass(frozen=True, slots=True)
class Process:
    """A beat process as its probe told of it; `promised_at`: when its next tick was to come, by the last one."""

    beat_id: str
    #: for people: host and pid
    name: str
    online_at: int
    #: the newest of its events of any kind
    last_seen_at: int
    promised_at: int | None = None
    offline_at: int | None = None
    reason: str | None = None
    #: of Celery
    version: str | None = None

    @property
    def over_at(self) -> int:
        return self.last_seen_at if self.offline_at is None else self.offline_at


def refire_storms(
    entry: str,
    definition: Definition,
    verdicts: Sequence[Verdict],
    fires: Iterable[Fire],
    processes: Iterable[Process] = (),
) -> list[Finding]:
    """Many fires that nothing was due for, in a short time: one finding for all of them."""
    used = {verdict.fired_at for verdict in verdicts}
    surplus = sorted(fire.at for fire in set(fires) if fire.error is None and fire.at not in used)
    started = {process.beat_id: process for process in processes}
    beats = {fire.at: started.get(fire.beat_id or "") for fire in fires}
    found = []
    for storm in _clusters(surplus):
        due = sum(storm[0] - STORM_GAP <= verdict.due_at <= storm[-1] for verdict in verdicts)
        if len(storm) >= STORM_LEAST and len(storm) > STORM_A_TICK * due:
            found.append(_storm(entry, definition, storm, beats[storm[0]]))
    return found


def two_beats(
    judged: Iterable[tuple[str, Sequence[Verdict], Sequence[Fire]]], names: Mapping[str, str] | None = None
) -> Finding | None:
    """Entries that several beats sent for one due time; each is (entry, its verdicts, its fires).

    `names`: beat_id -> host and pid, where they are known; without the probe a beat_id is the client's name itself.
    """
    doubles = [
        (verdict, entry, fires)
        for entry, verdicts, fires in judged
        for verdict in verdicts
        if "two_beats" in verdict.flags
    ]
    if not doubles:
        return None
    moments = [verdict.fired_at or verdict.due_at for verdict, _, _ in doubles]
    entries = sorted({entry for _, entry, _ in doubles})
    beats = sorted({_named(beat, names) for verdict, _, fires in doubles for beat in _senders(verdict, fires)})
    were = "was" if len(doubles) == 1 else "were"
    sentence = (
        f"{_counted(len(doubles), 'due time')} of {_listed(entries)} {were} sent more than once between "
        f"{_clock(min(moments))} and {_clock(max(moments))}, by {_listed(beats)}. Only one beat may run for a "
        "schedule: stop all but one (a second container, a worker with -B, an old deployment that still runs)."
    )
    return Finding("two_beats", None, min(moments), max(moments), len(doubles), sentence)


def broken_promises(
    processes: Sequence[Process], now_at: int, coverage: Spans, grace_s: float = PROMISE_GRACE_S
) -> list[Finding]:
    """Beats whose promised next tick did not come: "beat_dead", or "beat_wedged" if they still give other news.

    Says nothing of a beat that said goodbye, nor of promises that were due while nobody listened.
    """
    grace, found = round(grace_s * SECOND), []
    for process in processes:
        due_at = process.promised_at
        if due_at is None or process.offline_at is not None or due_at + grace >= now_at:
            continue
        if is_covered(coverage, min(due_at, process.last_seen_at), due_at + grace):
            is_alive = process.last_seen_at > due_at + grace
            found.append(_wedged(process, due_at) if is_alive else _dead(process, due_at, processes, grace))
    return found


def stuck(
    processes: Iterable[Process], unsent: Sequence[tuple[str, int]], fired_at: int | None, now_at: int
) -> list[Finding]:
    """Beats that give every tick they promise, but sent none of what was due since: "beat_wedged".

    `unsent`: entry and due time of each overdue or missed tick; `fired_at`: the newest send of any entry.
    """
    living = [one for one in processes if one.offline_at is None and one.promised_at and one.promised_at >= now_at]
    if len(living) != 1:
        return []
    process = living[0]
    since_at = max(process.online_at, fired_at or 0)
    silent = sorted((due_at, entry) for entry, due_at in unsent if since_at < due_at < process.last_seen_at)
    if not silent:
        return []
    entries = sorted({entry for _, entry in silent})
    sentence = (
        f"beat {process.name} is running and awake (last heard at {_clock(process.last_seen_at)}), but has sent "
        f"nothing since {_clock(since_at)}: {_counted(len(silent), 'due time')} of {_listed(entries)} passed. An "
        "entry at the top of its queue may block the others (celery#7649, before 5.7). Restart beat; what was due "
        "meanwhile is sent once."
    )
    return [Finding("beat_wedged", None, silent[0][0], None, len(silent), sentence)]


def locks_lost(processes: Iterable[Process]) -> Finding | None:
    """Beats that ended because RedBeat's lock was not theirs any more; one finding for all, restarts included."""
    lost = sorted((one.over_at, one) for one in processes if _is_lock(one.reason)) if processes else []
    if not lost:
        return None
    (first_at, _), (last_at, last) = lost[0], lost[-1]
    often = f"{len(lost)} times, last at" if len(lost) > 1 else "at"
    sentence = (
        f"beat lost RedBeat's lock and stopped {often} {_clock(last_at)} ({last.name}: {last.reason}). While no beat "
        "holds the lock nothing is sent. See whether another beat took it, whether Redis evicted or lost keys, and "
        "whether beat was held up for longer than redbeat_lock_timeout; raise that to 5 times beat_max_loop_interval "
        "at least."
    )
    return Finding("lock_lost", None, first_at, last_at, len(lost), sentence)


def never_fired(entry: str, since_at: int, verdicts: Sequence[Verdict], has_run: bool | None = None) -> Finding | None:
    """An entry that was due since it is known, and never sent.

    `verdicts`: all of them since since_at. `has_run`: what beat's own counter says of it, None where nobody reads one.
    A due time that nobody can tell about stands in the way, unless the counter says that it never ran.
    """
    due = [verdict for verdict in verdicts if verdict.fire in ("missed", "overdue", "failed_to_send")]
    vague = any(verdict.fire == "unknown" for verdict in verdicts) and has_run is not False
    if not due or vague or has_run or any(verdict.fire in ("on_time", "late") for verdict in verdicts):
        return None
    tried = [verdict for verdict in due if verdict.fire == "failed_to_send"]
    error = next((verdict.error for verdict in reversed(tried) if verdict.error), None)
    why = "See whether beat has loaded this entry (its log at start, the scheduler it runs with, its time zone)."
    if tried:
        named = f": {error}" if error else ""
        why = f"beat tried {_counted(len(tried), 'time')} and could not send it{named}. Put the entry right."
    sentence = (
        f"'{entry}' has never been sent since {_clock(since_at)}, though it was due {_counted(len(due), 'time')}. {why}"
    )
    return Finding("never_fired", entry, due[0].due_at, None, len(due), sentence)


def timer_reset(
    entry: str, interval: Interval, processes: Iterable[Process], fired_at: int | None, now_at: int
) -> Finding | None:
    """An interval longer than beat ever lives, whose timer begins anew with each start: it is never sent.

    `fired_at`: its newest fire; `processes`: all of that schedule's beats since then.
    """
    every = round(interval.every_s * SECOND)
    lives = sorted((one.online_at, one) for one in processes if one.online_at > (fired_at or 0))
    starts = [at for at, _ in lives]
    longest = max((until - since for since, until in pairwise([*starts, now_at])), default=0)
    if len(starts) <= RESTARTS_LEAST or longest >= every or now_at - starts[0] < every:
        return None
    sentence = (
        f"'{entry}' is due every {_lasting(every)}, but beat was started {len(starts)} times since "
        f"{_clock(starts[0])} and never ran longer than {_lasting(longest)}: its timer begins anew with each start. "
        "Keep beat's memory over restarts (celerybeat-schedule on a volume, a database scheduler, RedBeat), or make "
        "it a crontab; and see why beat is restarted."
    )
    return Finding("timer_reset_by_restart", entry, starts[0], None, len(starts), sentence)


def _clusters(moments: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for at in moments:
        if found and at - found[-1][-1] <= STORM_GAP:
            found[-1].append(at)
        else:
            found.append([at])
    return found


def _storm(entry: str, definition: Definition, storm: Sequence[int], process: Process | None) -> Finding:
    defect = None
    if isinstance(definition, Crontab):
        started_at, version = (None, None) if process is None else (process.online_at, process.version)
        defect = crontab_defect(definition, "off_schedule", storm[0], started_at=started_at, version=version)
    cause = "Stop beat; look for a time zone that is not the app's (celery#9715), or code that resets the last run."
    if defect:
        cause = f'{defect.sentence} ({defect.source}). Stop beat until it is over; timezone = "UTC" avoids it for good.'
    sentence = (
        f"'{entry}' was sent {len(storm)} times more than it was due between {_clock(storm[0])} and "
        f"{_clock(storm[-1])}. {cause} The tasks sent are in the queue: purge or revoke those that must not run again."
    )
    return Finding("refire_storm", entry, storm[0], storm[-1], len(storm), sentence)


def _dead(process: Process, due_at: int, processes: Iterable[Process], grace: int) -> Finding:
    heirs = [one.online_at for one in processes if one.beat_id != process.beat_id and one.over_at > due_at + grace]
    heir_at = max(min(heirs), due_at) if heirs else None
    last = _clock(process.last_seen_at)
    said = f"beat {process.name} promised to wake by {_clock(due_at)} and did not; last heard at {last}"
    if heir_at is not None:
        sentence = f"{said}, without a goodbye: it was killed or crashed. Another beat has run since {_clock(heir_at)}."
        return Finding("beat_dead", None, due_at, heir_at, 1, sentence, "warning")
    sentence = (
        f"{said}. No other beat is known: nothing is sent. Start beat; see why it ended (its log, the kernel's "
        "out-of-memory killer, its host)."
    )
    return Finding("beat_dead", None, due_at, None, 1, sentence)


def _wedged(process: Process, due_at: int) -> Finding:
    sentence = (
        f"beat {process.name} is alive (last heard at {_clock(process.last_seen_at)}) but its loop stands still: it "
        f"promised to wake by {_clock(due_at)}. Nothing is sent. It may wait for a broker or a database without a "
        "time limit: look at its stack (py-spy dump), then restart it."
    )
    return Finding("beat_wedged", None, due_at, None, 1, sentence)


def _is_lock(reason: str | None) -> bool:
    return reason is not None and any(word in reason.lower() for word in _LOCK_WORDS)


def _senders(verdict: Verdict, fires: Iterable[Fire]) -> set[str]:
    ids = {verdict.task_id, *verdict.duplicates}
    return {fire.beat_id for fire in fires if fire.beat_id and fire.task_id in ids}


def _named(beat_id: str, names: Mapping[str, str] | None) -> str:
    return (names or {}).get(beat_id, beat_id)


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} and {len(names) - MOST_NAMES} more"


def _lasting(micros: int) -> str:
    minutes = micros // (60 * SECOND)
    if minutes < 1:
        return f"{micros / SECOND:.3g} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours and minutes else f"{hours} h" if hours else f"{minutes} min"


def _clock(at: int) -> str:
    return f"{datetime.fromtimestamp(at // SECOND, UTC):%Y-%m-%d %H:%M:%S} UTC"
