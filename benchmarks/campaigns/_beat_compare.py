"""Hold what the ledger says of each due time against what beat's log says; the ledger is never asked what is true."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.campaigns import _beat_truth as truth
from benchmarks.campaigns._beat_crew import Script, Span
from benchmarks.campaigns._beat_truth import Attempt, Due, Rule
from taskledger.crontabs import SECOND
from taskledger.ledger.answers import ScheduleRow, TickRow

MISFIT = "takes 0 positional arguments but 1 was given"
#: by how many seconds a due time, or a send, may be told wrong: a worker's word comes after a wait in the queue
NEAR_S = {"probe": 0.5, "task-sent": 2.0, "worker": 2.0}
#: from when to when nothing is said yet, or nothing was promised
SILENT = ("pending", "overdue", "disabled")
#: seconds at the ends of a play that are not looked at
MARGIN_S = 7.0
MINUTE_S = 60.0


@dataclass(slots=True)
class Tally:
    """What verdicts came to: right; unknown; "coarse": not sent, as was said, but that it was tried is not known."""

    counts: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Play:
    """What was played on one crew, and what is known of it: all times in seconds."""

    script: Script
    spans: Sequence[Span]
    rules: Mapping[str, Sequence[Rule]]
    #: when nobody listened
    unheard: Sequence[tuple[float, float]]
    #: when beat was away after it had been killed
    downs: Sequence[tuple[float, float]]
    #: kinds of findings that were there at some time
    found: Collection[str]
    rows: Mapping[str, ScheduleRow]
    attempts: Sequence[Attempt]
    from_s: float
    to_s: float
    #: whether what is not final counts as well: a beat that was killed might have news for a minute
    is_brief: bool = False

    @property
    def evidence(self) -> str:
        return self.script.evidence

    @property
    def near_s(self) -> float:
        return NEAR_S[self.evidence]

    def of(self, entry: str, beat: str | None = None) -> list[Attempt]:
        return [one for one in self.attempts if one.entry == entry and beat in (None, one.beat)]

    def scene_at(self, at: float) -> str:
        return next((span.scene for span in reversed(self.spans) if span.from_s <= at), "start")

    def is_doubled(self, at: float) -> bool:
        """Whether another beat sent at about that time: whose due time it is cannot be said then."""
        return any(
            span.from_s - MARGIN_S <= at < span.to_s + MARGIN_S for span in self.spans if span.scene == "two-beats"
        ) and any(one.beat == "second" for one in self.attempts)

    def slack_s(self, at: float) -> float:
        """How long after beat began to send it is known to be sent: longer, while the broker is away or a worker waits."""
        is_away = any(
            span.from_s - MARGIN_S <= at < span.to_s for span in self.spans if span.scene in ("outage", "unheard")
        )
        return self.near_s + (15.0 if is_away else 0.0)

    def is_unheard(self, from_s: float, to_s: float) -> bool:
        return any(start_s < to_s and from_s < end_s for start_s, end_s in self.unheard)


def compared(play: Play) -> dict[str, Tally]:
    """By scene what became of all verdicts on due times within the play."""
    tallies: dict[str, Tally] = {}
    for name, row in play.rows.items():
        for at, kind, words in _entry(play, name, row):
            scene = "misfit" if name == "wrong" else play.scene_at(at)
            tally = tallies.setdefault(scene, Tally())
            tally.counts[kind] += 1
            if kind in ("wrong", "open"):
                tally.wrong.append(f"{name} {words}")
            else:
                tally.said[words] += 1
    return tallies


def _entry(play: Play, name: str, row: ScheduleRow) -> Iterator[tuple[float, str, str]]:
    """(when, "right", "unknown", "coarse" or "wrong", the verdict in a word, or what is wrong with it)."""
    rules = play.rules[name]
    due = truth.dues(rules, play.of(name, "beat"), play.from_s - 30, play.to_s + 30)
    ticks = [tick for tick in row.ticks if play.from_s <= tick.due_at / SECOND < play.to_s]
    for tick in ticks:
        at = tick.due_at / SECOND
        if tick.fire in ("pending", "overdue") or not (tick.is_final or play.is_brief):
            yield at, "open", _told(tick) + ": should have been final by now"
            continue
        kind, words = _verdict(play, name, tick, due)
        word = f"{tick.fire} inferred" if "inferred" in tick.flags else tick.fire
        yield at, kind, word if kind != "wrong" else f"{_told(tick)}: {words}"
    yield from _left_out(play, name, rules, due, ticks)


def _verdict(play: Play, name: str, tick: TickRow, due: Sequence[Due]) -> tuple[str, str]:
    match tick.fire:
        case "unknown":
            return _unknown(play, name, tick)
        case "disabled":
            return _disabled(play, name, tick)
        case "on_time" | "late":
            return _sent(play, name, tick, due)
        case "failed_to_send":
            return _failed(play, name, tick)
        case "missed":
            return _missed(play, name, tick, due)
    return "wrong", "a verdict that nothing here calls for"


def _unknown(play: Play, name: str, tick: TickRow) -> tuple[str, str]:
    """It must say why; with the probe only what nobody listened to may be unknown."""
    if not tick.note:
        return "wrong", "unknown without a reason"
    at = tick.due_at / SECOND
    every = play.rules[name][0].every or MINUTE_S
    # RedBeat reads its keys with each tick: of a change there only the next look knows.
    is_changed = play.script.scheduler == "redbeat" and "changed around then" in tick.note
    if play.evidence == "probe" and not is_changed and not play.is_unheard(at - 2 * every, at + 2 * every):
        return "wrong", "unknown, though the probe told all"
    return "unknown", ""


def _disabled(play: Play, name: str, tick: TickRow) -> tuple[str, str]:
    at = tick.due_at / SECOND
    is_so = any(not rule.enabled and rule.from_s - play.near_s <= at for rule in play.rules[name])
    return ("right", "") if is_so else ("wrong", "it was enabled")


def _sent(play: Play, name: str, tick: TickRow, due: Sequence[Due]) -> tuple[str, str]:
    """The send must be one of this entry's, at its time, and late or not by what beat's log says was due."""
    at, mine = (tick.fired_at or 0) / SECOND, play.of(name)
    if "inferred" in tick.flags:
        found = [one for one in mine if abs(one.at - at) < play.near_s and one.error is None]
    elif name.startswith("twin") and play.evidence != "probe":
        return _twin(tick, mine)
    else:
        found = [one for one in mine if one.task_id is not None and one.task_id == tick.task_id]
    if not found:
        return "wrong", "no such send in beat's log"
    if not -play.near_s <= at - found[0].at <= play.slack_s(found[0].at):
        return "wrong", f"it was sent at {found[0].at:.3f}"
    return _lateness(play, tick, found[0], due)


def _twin(tick: TickRow, mine: Sequence[Attempt]) -> tuple[str, str]:
    """Whose of the twins' sends it was nobody can say, as its note does; that one was its own is what is claimed."""
    at, every = tick.due_at / SECOND, 6.0
    is_sent = any(one.task_id and -every / 4 <= one.at - at <= _grace(every) for one in mine)
    return ("right", "") if is_sent and "sends the same" in (tick.note or "") else ("wrong", "it did not send then")


def _lateness(play: Play, tick: TickRow, attempt: Attempt, due: Sequence[Due]) -> tuple[str, str]:
    its = next((one for one in due if one.attempt == attempt), None)
    if play.is_doubled(attempt.at):
        return _doubled(play, tick, attempt)
    if "anchor" in tick.flags or (its is None and attempt == next(iter(play.of(attempt.entry)))):
        return "right", ""
    if its is None:
        return "wrong", "nothing was due then"
    wrong_s = abs(tick.due_at / SECOND - its.at)
    late_s, grace_s = attempt.at - its.at, _grace(its.every)
    is_late = tick.fire == "late"
    is_right = wrong_s <= play.near_s and (is_late == (late_s > grace_s) or abs(late_s - grace_s) <= play.near_s)
    if is_right or not (its.is_sure or is_late):
        return "right", ""
    if play.evidence != "probe" and _is_after_failure(play, attempt):
        return "coarse", ""
    return "wrong", f"it was due at {its.at:.3f} and sent {late_s:.3f} s later"


def _doubled(play: Play, tick: TickRow, attempt: Attempt) -> tuple[str, str]:
    """Two beats: each minute is sent twice, and told so; whose interval is whose is not asked."""
    if play.rules[attempt.entry][0].every is not None:
        return "right", ""
    minute = [one for one in play.of(attempt.entry) if 0 <= one.at - tick.due_at / SECOND + 0.5 < 30 and one.task_id]
    if len({one.beat for one in minute}) < 2:
        return "right", ""
    # A worker may have received together what was sent at any time.
    wanted = set() if play.evidence == "worker" else {"duplicate", "two_beats"}
    missing = wanted - set(tick.flags)
    return ("wrong", f"two beats sent it, and it is not called {missing}") if missing else ("right", "")


def _failed(play: Play, name: str, tick: TickRow) -> tuple[str, str]:
    at, every = (tick.fired_at or tick.due_at) / SECOND, play.rules[name][0].every or MINUTE_S
    is_told = play.evidence == "probe"
    near_s = play.near_s if is_told else every
    found = [one for one in play.of(name) if one.error is not None and abs(one.at - at) <= near_s]
    if not found:
        return "wrong", "beat's log has no failure then"
    if is_told and MISFIT in (found[0].error or "") and MISFIT not in (tick.error or ""):
        return "wrong", f"it failed for {found[0].error}"
    return "right", ""


def _missed(play: Play, name: str, tick: TickRow, due: Sequence[Due]) -> tuple[str, str]:
    """It must have been due by a rule that was surely in force, and not sent while it was due."""
    why_not = _why_not_missed(play, name, tick)
    if why_not is not None:
        return "wrong", why_not
    at, rules = tick.due_at / SECOND, play.rules[name]
    near = [one for one in due if abs(one.at - at) <= max(play.near_s, 0.5)]
    if any(one.attempt is None for one in near) or any(rule.from_s <= at < rule.begun_s for rule in rules[1:]):
        # A beat that is down while it is deployed misses what was promised before.
        return "right", ""
    if play.evidence != "probe" and all(one.task_id is None for one in play.of(name)):
        # Never sent: since when it is counted nobody knows; that nothing was sent for so long is what is claimed.
        return "coarse", ""
    tried = [one for one in play.of(name) if one.error is not None and abs(one.at - at) <= (rules[0].every or MINUTE_S)]
    if tried:
        return ("wrong", f"it failed: {tried[0].error}") if play.evidence == "probe" else ("coarse", "")
    return "wrong", f"nothing was due then; near it was {[(one.at, one.attempt) for one in near]}"


def _why_not_missed(play: Play, name: str, tick: TickRow) -> str | None:
    at, rules = tick.due_at / SECOND, play.rules[name]
    options = [rule for rule in rules if max(rule.from_s, rule.begun_s) <= at]
    if options and not options[-1].enabled:
        return "it was switched off by then"
    if len(options) > 1 and at < options[-1].sure_s:
        return "it had been changed by then"
    sent = [one for one in play.of(name) if one.task_id and at - 0.5 <= one.at <= at + _grace(rules[0].every)]
    return f"it was sent at {sent[0].at:.3f}" if sent and not play.is_doubled(at) else None


def _left_out(
    play: Play, name: str, rules: Sequence[Rule], due: Sequence[Due], ticks: Sequence[TickRow]
) -> Iterator[tuple[float, str, str]]:
    """Due times of which the ledger says nothing."""
    known = [tick.due_at / SECOND for tick in ticks]
    tasks = {tick.task_id for tick in ticks}
    for one in due:
        every = rules[0].every or MINUTE_S
        if not play.from_s + every < one.at < play.to_s - every or not one.is_sure or play.is_doubled(one.at):
            continue
        if one.attempt is not None and one.attempt.task_id in tasks and one.attempt.task_id:
            continue
        near_s = every * 0.75 if play.evidence != "probe" or play.is_unheard(one.at - every, one.at + every) else 0.5
        if any(abs(at - one.at) <= near_s for at in known):
            continue
        if play.evidence != "probe" and all(attempt.task_id is None for attempt in play.of(name)):
            # Never sent, and nobody knows since when it is counted: its page says that it never fired.
            yield one.at, "unknown", "not told"
        else:
            yield one.at, "wrong", f"due at {one.at:.3f} ({one.attempt}): nothing is said of it"


def _is_after_failure(play: Play, attempt: Attempt) -> bool:
    before = [one for one in play.of(attempt.entry) if one.at < attempt.at]
    return bool(before) and before[-1].task_id is None


def _grace(every: float | None) -> float:
    return MINUTE_S if every is None else max(2.0, min(MINUTE_S, every / 2))


def _told(tick: TickRow) -> str:
    fired = "" if tick.fired_at is None else f", sent at {tick.fired_at / SECOND:.3f}"
    return f"due at {tick.due_at / SECOND:.3f} {tick.fire}{fired} {' '.join(tick.flags)} ({tick.evidence}; {tick.note})"
