"""What a span can vouch for, in words: every count and every "none" says when nobody was listening."""

from collections.abc import Sequence
from dataclasses import dataclass

from taskledger.ledger.answers import Coverage, Hole, RecorderStatus
from taskledger.ledger.momentary import HeardAt
from taskledger_web import times
from taskledger_web.times import MICROS
from taskledger_web.view import View

#: holes named one by one; more are counted
_NAMED = 2


#: how a recorder reads, in the words it leaves with its coverage -> what can be missing because of it
PROMISES = {
    "durable queue": "nothing is lost: the broker keeps every event until the ledger has it",
    "durable stream": "nothing is lost: Redis keeps every event in a stream until the ledger has it",
    "durable stream in part": "nothing is lost of workers that write to the stream; of others, what no recorder heard",
    "counted loss": "what is sent while no recorder listens is lost, and shown as a gap",
    "in process": "events live in this process alone, and end with it",
}


@dataclass(frozen=True, slots=True)
class Pill:
    """The header's answer to: is anything being recorded? `kind` is its colour class."""

    text: str
    kind: str
    icon: str


def pill(status: RecorderStatus | None, now_at: int) -> Pill:
    """The recorder's state as text; None is a ledger that cannot be asked."""
    if status is None:
        return Pill("ledger not reachable", "failed", "cross")
    if status.state == "recording":
        lag = f", lag {lag_words(status.lag_s)}" if status.lag_s is not None else ""
        return Pill(f"recording{lag}", "succeeded", "record")
    if status.state == "never":
        return Pill("no recorder has run", "failed", "ring")
    since = f" {times.ago(status.seen_at, now_at)}" if status.seen_at is not None else ""
    return Pill(f"recorder stopped{since}", "failed", "cross")


def promise_words(promise: str) -> str:
    """What the word that a recorder leaves means for who reads the history."""
    return PROMISES.get(promise, promise)


def lag_words(lag_s: float) -> str:
    """0.4 s: tenths are enough, and a figure that is not milliseconds one second and seconds the next."""
    if abs(lag_s) < 0.05:
        return "<0.1 s"
    return f"{lag_s:.1f} s" if 0 <= lag_s < 59.95 else times.duration(lag_s)


def clause(coverage: Coverage, seen: View) -> str:
    """What ends a sentence about a span: empty when all of it was recorded, else "; not recorded 02:10 to 02:25"."""
    if coverage.began_at is None:
        return "; nothing was ever recorded"
    if coverage.is_whole:
        return ""
    return f"; not recorded {_listed(coverage, seen)}"


def sentence(coverage: Coverage, seen: View) -> str:
    """The same as a sentence of its own, also when there is nothing to admit."""
    if coverage.began_at is None:
        return "No recorder has ever listened, so nothing is known."
    if coverage.is_whole:
        return "A recorder was listening all that time."
    return f"No recorder was listening {_listed(coverage, seen)}: nobody knows what happened then."


def unheard(clusters: Sequence[HeardAt]) -> str:
    """Which clusters nobody listened to, and why; empty when somebody listened to all."""
    deaf = [one for one in clusters if not one.is_heard]
    if not clusters or not deaf:
        return "" if clusters else "No recorder had ever listened then."
    who = f" to {', '.join(one.cluster for one in deaf)}" if len(clusters) > 1 else ""
    causes = "; ".join(dict.fromkeys(one.cause for one in deaf if one.cause))
    return f"Nobody was listening{who} then ({causes}): what is not proven by what came later is not known."


def length(coverage: Coverage) -> float:
    """Seconds of the span that nobody recorded after recording had begun."""
    began_at = coverage.began_at or 0
    return sum(hole.to_at - hole.from_at for hole in coverage.holes if hole.to_at > began_at) / MICROS


def _listed(coverage: Coverage, seen: View) -> str:
    """The longest holes in order of time; the rest is counted."""
    longest = sorted(coverage.holes, key=lambda hole: hole.from_at - hole.to_at)[:_NAMED]
    named = [_named(hole, coverage, seen) for hole in sorted(longest, key=lambda hole: hole.from_at)]
    more = len(coverage.holes) - len(named)
    if more:
        return f"{', '.join(named)} and {more} more time{'s' if more > 1 else ''}"
    return " and ".join(named)


def _named(hole: Hole, coverage: Coverage, seen: View) -> str:
    if coverage.began_at is not None and hole.to_at <= coverage.began_at:
        return f"before {times.stamp(hole.to_at, seen.zone, seen.now_at)}"
    return times.between(hole.from_at, hole.to_at, seen.zone, seen.now_at)
