"""Settle what events left open: ask whoever may know, and say what follows where nobody does."""

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self
from zoneinfo import ZoneInfo

from taskledger import app, inspecting, redaction
from taskledger.backends import Backend, Reading, open_backend
from taskledger.config import Settings
from taskledger.errors import BackendAway, BackendUnreadable
from taskledger.ledger import Ledger, settle
from taskledger.ledger.settle import Key
from taskledger.lives import Sign, begun_at
from taskledger.orphans import ENDS, GRACE_S, Found, Suspect, by_backend, by_inference, by_inspection
from taskledger.settlements import SettledBy, Settlement
from taskledger.states import State

log = logging.getLogger(__name__)

#: backends that keep nothing (celery/app/backends.py)
_NONE = ("", "disabled", "disabled://")
#: signs of a process that is there
_ALIVE = frozenset({Sign.NONE, Sign.IDLE, Sign.FEWER, Sign.INTERRUPTED})


class Answers(NamedTuple):
    """What the result backend keeps of tasks, and what is said of it where it keeps nothing of one."""

    found: Mapping[str, Found]
    asked: str


class Others(NamedTuple):
    """What is asked about beside the suspects: runs that were inferred of late, and tasks of which no worker told."""

    before: Sequence[Suspect] = ()
    nameless: Sequence[Key] = ()
    unheard: Sequence[Key] = ()

    @classmethod
    def found(cls, ledger: Ledger, now_at: int) -> Self:
        return cls(settle.inferred(ledger, now_at), settle.nameless(ledger, now_at), settle.unheard(ledger, now_at))


class Settling:
    """Round after round; remembers since when a run looks as if it had ended, and the backend's connections."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._backend: Backend | None = None
        #: what is said instead of an answer where there is no backend to ask
        self._unasked: str | None = None
        self._since: dict[tuple[str, str, int], int] = {}
        self._was_away = False

    def settle(self, ledger: Ledger, now_at: int, stop: threading.Event | None = None) -> int:
        """How many tasks were settled: all that can be, or as many as until `stop`.

        Raises LedgerAway when the database is away.
        """
        settled = number = self._round(ledger, now_at, Others.found(ledger, now_at))
        # A round looks at so many suspects; what it settled is out of the way of the next ones.
        while number >= settle.MOST_SUSPECTS and not (stop is not None and stop.is_set()):
            number = self._round(ledger, now_at, Others())
            settled += number
        return settled

    def _round(self, ledger: Ledger, now_at: int, others: Others) -> int:
        suspects, (before, nameless, unheard) = settle.suspects(ledger, now_at), others
        keys = [*((one.cluster, one.task_id) for one in (*suspects, *before)), *nameless, *unheard]
        answers = self._ask(settle.names(ledger, keys)) if keys else Answers({}, "")
        settle.withdraw(ledger, [one for one in before if _is_heard_again(one)])
        facts: dict[Key, list[Settlement]] = defaultdict(list)
        for one in suspects:
            self._note(facts, one, answers, now_at)
        self._inspect(facts, suspects, now_at)
        for one in before:
            _note_answer(facts, one, answers, now_at)
        for key in (*nameless, *unheard):
            _note_whole(facts, key, answers, now_at, with_state=key not in nameless)
        self._forget_others(suspects)
        if facts:
            settle.write(ledger, facts)
        return len(facts)

    def close(self) -> None:
        """Give the backend's connections back."""
        if self._backend is not None:
            self._backend.close()

    def _note(self, facts: dict[Key, list[Settlement]], one: Suspect, answers: Answers, now_at: int) -> None:
        if _note_answer(facts, one, answers, now_at):
            return
        seen_at = self._since.setdefault(_place(one), now_at)
        is_gone = one.sign in (Sign.OFFLINE, Sign.REPLACED, Sign.SILENT)
        since_at = one.life.by_our_clock(one.life.heard_at) if is_gone else seen_at
        fact = by_inference(one, now_at, since_at, answers.asked)
        if fact is not None:
            facts[one.cluster, one.task_id].append(fact)

    def _inspect(self, facts: dict[Key, list[Settlement]], suspects: Iterable[Suspect], now_at: int) -> None:
        """Ask the workers that run fewer than events left open which of these they still have."""
        doubtful: dict[str, dict[str, list[Suspect]]] = defaultdict(lambda: defaultdict(list))
        for one in suspects:
            is_due = now_at - self._since.get(_place(one), now_at) >= GRACE_S * 1e6
            if one.sign == Sign.FEWER and is_due and (one.cluster, one.task_id) not in facts:
                doubtful[one.cluster][one.run.worker or ""].append(one)
        for cluster, workers in doubtful.items():
            asked = {worker: {one.task_id for one in those} for worker, those in workers.items()}
            there = inspecting.still_there(self._settings, cluster, asked)
            for worker, those in workers.items():
                gone = [one for one in those if worker in there and one.task_id not in there[worker]]
                for one in gone:
                    facts[cluster, one.task_id].append(by_inspection(one, now_at))

    def _forget_others(self, suspects: Iterable[Suspect]) -> None:
        places = {_place(one) for one in suspects}
        self._since = {place: at for place, at in self._since.items() if place in places}

    def _ask(self, names: Mapping[str, str | None]) -> Answers:
        backend = self._opened()
        if backend is None:
            return Answers({}, self._unasked or "")
        try:
            found = backend.read(names)
        except BackendAway as error:
            self._tell_away(str(error))
            return Answers({}, "the result backend could not be asked")
        self._was_away = False
        return Answers(found, "the result backend has no end of it")

    def _opened(self) -> Backend | None:
        if self._backend is None and self._unasked is None:
            url = self._settings.result_backend
            if url is None or url in _NONE:
                self._unasked = "no result backend is known"
                return None
            try:
                self._backend = open_backend(url, self._settings.celery_app, _reading(self._settings))
            except BackendUnreadable as error:
                self._unasked = "the result backend cannot be read"
                log.warning("%s", error, extra={"action": "backend_unreadable"})
        return self._backend

    def _tell_away(self, trouble: str) -> None:
        if not self._was_away:
            log.warning("%s", trouble, extra={"action": "backend_away"})
        self._was_away = True


def _reading(settings: Settings) -> Reading:
    rules = redaction.compiled(settings.redact_keys, settings.redact_values, settings.payloads)
    zone = app.timezone_of(settings.celery_app) if settings.celery_app is not None else ZoneInfo("UTC")
    return Reading(rules, zone)


def _place(one: Suspect) -> tuple[str, str, int]:
    return (one.cluster, one.task_id, begun_at(one.run))


def _is_heard_again(one: Suspect) -> bool:
    """Whether a process that counted as gone has given a sign since; its run may go on."""
    if one.run.state == State.LOST:
        return one.sign in _ALIVE
    return one.run.state == State.CANCELLED and one.sign == Sign.NONE


def _note_answer(facts: dict[Key, list[Settlement]], one: Suspect, answers: Answers, now_at: int) -> bool:
    found = answers.found.get(one.task_id)
    fact = by_backend(one, found, now_at) if found is not None else None
    if fact is None:
        return False
    facts[one.cluster, one.task_id].append(fact)
    return True


def _note_whole(
    facts: dict[Key, list[Settlement]], key: Key, answers: Answers, now_at: int, *, with_state: bool
) -> None:
    """What is known of a task of which no worker told: its name and arguments, and how it ended."""
    found = answers.found.get(key[1])
    state = ENDS.get(found.status) if found is not None and with_state else None
    if found is None or (state is None and found.name is None):
        return
    at = found.done_at or now_at
    fact = Settlement(
        found.worker, None, SettledBy.BACKEND, now_at, state, at, False, found.name, found.args, found.kwargs,
        found.result, found.exception, found.traceback, found.note,
    )  # fmt: skip
    facts[key].append(fact)
