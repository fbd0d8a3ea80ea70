"""Find the runs that events left open although something speaks against them, and write what is settled of them."""

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, case, delete, exists, func, or_, select

from taskledger.errors import LedgerConflict
from taskledger.ledger import dialects, fold, schema, settled
from taskledger.ledger.answers import Span
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.query.listening import coverage
from taskledger.ledger.sessions import session_of
from taskledger.lives import SLACK, Sign, begun_at, life_of, sign_of
from taskledger.orphans import Suspect
from taskledger.runs import Run
from taskledger.settlements import SettledBy, Settlement
from taskledger.states import State
from taskledger.workers import Session, lost_after_s

#: runs that one round looks at, the newest first
MOST_SUSPECTS = 2_000
#: tasks without a name, or without any run, that one round asks about
MOST_NAMELESS = 500
#: tasks that one transaction settles
TASKS_A_STEP = 100
#: how often a step that met another writer is tried again
TRIES = 8
#: microseconds for which what was inferred is looked at again
SECOND_THOUGHTS = 900_000_000
#: microseconds for which a task without a name is asked about, and one that was sent and never heard of again
NAMELESS_FOR, UNHEARD_FOR = 600_000_000, 86_400_000_000

#: microseconds for which somebody must have been listening before silence says anything
JUST_NOW = 60_000_000

#: a task, in which cluster
Key = tuple[str, str]
Place = tuple[int, int]

T, R, L, S = schema.task.c, schema.run.c, schema.left_open.c, schema.settlement.c
_OPEN = (int(State.RECEIVED), int(State.STARTED))
#: states of a task whose last run, or the one before, may be open
_GOING_ON = (*_OPEN, int(State.CANCELLED), int(State.RETRY))
_SAME = and_(R.task_id == T.id, R.cluster_id == T.cluster_id)
_BEGUN = func.coalesce(R.started_at, R.received_at)


class _Host(NamedTuple):
    """A worker with open runs: how many of them had begun, and since when the oldest is open."""

    begun: int
    oldest_at: int
    sessions: Sequence[Session]


def suspects(ledger: Ledger, now_at: int) -> list[Suspect]:
    """The open runs that their workers, by all that is known of these, may not have any more."""
    with ledger.read() as connection:
        hosts = _hosts(connection)
        doubtful = {place: host for place, host in hosts.items() if _is_doubtful(host, now_at)}
        rows = [row for question in _questions(doubtful) for row in connection.execute(question)] if doubtful else []
        runs = _runs_of(connection, ledger, rows)
    return _judged(ledger, rows, runs, doubtful, now_at)


def inferred(ledger: Ledger, now_at: int) -> list[Suspect]:
    """The runs that were settled by inference a short while ago, as they were before: somebody may know better now."""
    newer = select(S.task_id, S.cluster_id, S.begun_at, S.host_id).where(S.known_at > now_at - SECOND_THOUGHTS)
    question = newer.where(S.settled_by == int(SettledBy.INFERRED)).order_by(S.known_at.desc()).limit(MOST_SUSPECTS)
    with ledger.read() as connection:
        facts = {(row.task_id, row.cluster_id, row.begun_at, row.host_id) for row in connection.execute(question)}
        ids = sorted({fact[0] for fact in facts})
        rows = [row for part in dialects.chunks(ids) for row in connection.execute(_open_runs(R.task_id.in_(part)))]
        mine = [
            row
            for row in rows
            if row.settled_by == int(SettledBy.INFERRED)
            and {(row.task_id, row.cluster_id, at, row.worker_id) for at in (row.started_at, row.received_at)} & facts
        ]
        runs = _runs_of(connection, ledger, mine)
        places = {(row.worker_id, row.cluster_id) for row in mine}
        sessions = _sessions(connection, places)
    hosts = {place: _Host(0, 0, sessions[place]) for place in places}
    return _judged(ledger, mine, runs, hosts, now_at, keep_all=True)


def nameless(ledger: Ledger, now_at: int) -> list[Key]:
    """Tasks that were revoked before any worker received them: no event says what they are called."""
    mine = and_(T.state == int(State.REVOKED), T.name_id.is_(None), T.settled_by.is_(None))
    return _keys(ledger, mine, now_at - NAMELESS_FOR)


def unheard(ledger: Ledger, now_at: int) -> list[Key]:
    """Tasks that were sent before a time that nobody recorded, and of which nothing was heard since."""
    found: list[Key] = []
    with ledger.read() as connection:
        waiting = select(T.cluster_id).where(T.state == int(State.PENDING), T.first_at > now_at - UNHEARD_FOR)
        clusters = sorted(connection.scalars(waiting.distinct()))
    for cluster_id in clusters:
        name = ledger.labels.value(cluster_id) or ""
        holes = coverage(ledger, Span(now_at - UNHEARD_FOR, now_at), now_at, cluster=name).holes
        last_at = max((hole.to_at for hole in holes if hole.cause != "before the first recording"), default=0)
        due = or_(T.eta_at.is_(None), T.eta_at < now_at)
        mine = and_(T.state == int(State.PENDING), T.cluster_id == cluster_id, T.first_at < last_at, due)
        found += _keys(ledger, mine, now_at - UNHEARD_FOR)
    return found


def names(ledger: Ledger, keys: Iterable[Key]) -> dict[str, str | None]:
    """Task id -> what it is called, as far as that is known, of each of these."""
    found: dict[str, str | None] = {task_id: None for _, task_id in keys}
    with ledger.read() as connection:
        for chunk in dialects.chunks(sorted(found)):
            for row in connection.execute(select(T.id, T.name_id).where(T.id.in_(chunk))):
                found[row.id] = found[row.id] or ledger.labels.value(row.name_id)
    return found


def write(ledger: Ledger, facts: Mapping[Key, Sequence[Settlement]]) -> None:
    """Keep these facts of (cluster, task) and project the tasks again; what events tell is left as it is."""
    ledger.labels.intern(settled.names([fact for those in facts.values() for fact in those]))
    for cluster, ids in _by_cluster(ledger, facts).items():
        for part in dialects.chunks(ids, TASKS_A_STEP):
            mine = {task_id: facts[ledger.labels.value(cluster) or "", task_id] for task_id in part}
            _step(ledger, cluster, mine)


def withdraw(ledger: Ledger, suspects: Iterable[Suspect]) -> None:
    """Forget what was inferred of these runs: their workers were heard again."""
    gone: dict[Key, list[tuple[str, int]]] = defaultdict(list)
    for one in suspects:
        moments = [at for at in (one.run.started_at, one.run.received_at) if at is not None]
        gone[one.cluster, one.task_id] += [(one.run.worker or "", at) for at in moments]
    for cluster, ids in _by_cluster(ledger, gone).items():
        for part in dialects.chunks(ids, TASKS_A_STEP):
            _step(ledger, cluster, dict.fromkeys(part, ()), but_not=gone)


def _hosts(connection: Connection) -> dict[Place, _Host]:
    """(worker, cluster) -> what is open on it."""
    begun = func.sum(case((R.state == int(State.STARTED), 1), else_=0)).label("begun")
    columns = (R.worker_id, R.cluster_id, begun, func.min(_BEGUN).label("oldest_at"))
    is_open = and_(R.state.in_(_OPEN), R.worker_id.is_not(None))
    going_on = select(*columns).select_from(schema.task.join(schema.run, _SAME)).where(T.state.in_(_GOING_ON), is_open)
    beside = select(*columns).select_from(_left_open()).where(is_open)
    found: dict[Place, list[Any]] = defaultdict(list)
    for question in (going_on, beside):
        for row in connection.execute(question.group_by(R.worker_id, R.cluster_id)):
            found[row.worker_id, row.cluster_id].append(row)
    sessions = _sessions(connection, found)
    return {
        place: _Host(sum(int(row.begun) for row in rows), min(row.oldest_at for row in rows), sessions[place])
        for place, rows in found.items()
    }


def _left_open() -> Any:
    return schema.left_open.join(schema.run, and_(R.task_id == L.task_id, R.cluster_id == L.cluster_id))


def _sessions(connection: Connection, places: Iterable[Place]) -> dict[Place, list[Session]]:
    """The sessions of each worker, those that new events can still belong to."""
    table, found = schema.worker_session, defaultdict(list)
    for chunk in dialects.chunks(sorted({host_id for host_id, _ in places})):
        question = select(table).where(table.c.host_id.in_(chunk)).order_by(table.c.first_at)
        for row in connection.execute(question):
            found[row.host_id, row.cluster_id].append(session_of(row))
    return found


def _is_doubtful(host: _Host, now_at: int) -> bool:
    """Whether any open run of a worker can be a suspect, so that they are worth reading."""
    if not host.sessions:
        return False
    last = host.sessions[-1]
    if last.first_at > host.oldest_at + SLACK or last.active is None or last.active < host.begun:
        return True
    silent_s = (now_at - (last.lag_ms or 0) * 1000 - last.last_at) / 1e6
    return last.offline_at is not None or silent_s > lost_after_s(last.freq_s)


def _questions(hosts: Mapping[Place, _Host]) -> Iterable[Select[Any]]:
    """The open runs on these workers: of tasks that go on, and of those that went on without them."""
    mine = and_(R.state.in_(_OPEN), R.worker_id.in_({host_id for host_id, _ in hosts}))
    order = (_BEGUN.desc(), R.task_id)
    yield _open_runs(mine, T.state.in_(_GOING_ON)).order_by(*order).limit(MOST_SUSPECTS)
    yield select(schema.run).select_from(_left_open()).where(mine).order_by(*order).limit(MOST_SUSPECTS)


def _open_runs(*conditions: Any) -> Select[Any]:
    return select(schema.run).select_from(schema.task.join(schema.run, _SAME)).where(*conditions)


def _runs_of(connection: Connection, ledger: Ledger, rows: Sequence[Any]) -> dict[tuple[int, str], list[Run]]:
    """All runs of the tasks of these."""
    found: dict[tuple[int, str], list[Run]] = defaultdict(list)
    for chunk in dialects.chunks(sorted({row.task_id for row in rows})):
        question = select(schema.run).where(R.task_id.in_(chunk)).order_by(R.number)
        for row in connection.execute(question):
            found[row.cluster_id, row.task_id].append(_run_of(ledger, row))
    return found


def _run_of(ledger: Ledger, row: Any) -> Run:
    return Run(
        row.number, State(row.state), ledger.labels.value(row.worker_id), row.pid, row.retries, row.sent_at,
        row.received_at, row.started_at, row.ended_at, row.runtime_s, row.exception, row.traceback, None, row.note,
        row.settled_by,
    )  # fmt: skip


def _judged(
    ledger: Ledger,
    rows: Sequence[Any],
    runs: Mapping[tuple[int, str], Sequence[Run]],
    hosts: Mapping[Place, _Host],
    now_at: int,
    *,
    keep_all: bool = False,
) -> list[Suspect]:
    """The suspects among these rows; with `keep_all` also those against which nothing speaks."""
    found = []
    for row in {(row.cluster_id, row.task_id, row.number): row for row in rows}.values():
        run, host = _run_of(ledger, row), hosts.get((row.worker_id, row.cluster_id))
        life = life_of(host.sessions, run) if host else None
        if host is None or life is None:
            continue
        sign = sign_of(run, life, now_at, host.begun)
        if sign != Sign.NONE or keep_all:
            found.append((row.cluster_id, row.task_id, run, life, sign))
    heard = _Heard(
        ledger, now_at, [(cluster_id, life.by_our_clock(begun_at(run))) for cluster_id, _, run, life, _ in found]
    )
    return [
        Suspect(
            ledger.labels.value(cluster_id) or "", task_id, run, runs[cluster_id, task_id], life, sign,
            heard.is_whole(cluster_id, life.by_our_clock(begun_at(run)), now_at),
            heard.is_whole(cluster_id, max(life.by_our_clock(life.heard_at), now_at - JUST_NOW), now_at),
        )
        for cluster_id, task_id, run, life, sign in found
    ]  # fmt: skip


class _Heard:
    """When nobody was listening, asked once for each cluster."""

    def __init__(self, ledger: Ledger, now_at: int, begins: Iterable[tuple[int, int]]) -> None:
        oldest: dict[int, int] = {}
        for cluster_id, at in begins:
            oldest[cluster_id] = min(at, oldest.get(cluster_id, at))
        self._holes = {
            cluster_id: coverage(ledger, Span(at, now_at), now_at, cluster=ledger.labels.value(cluster_id)).holes
            for cluster_id, at in oldest.items()
        }

    def is_whole(self, cluster_id: int, from_at: int, to_at: int) -> bool:
        return not any(hole.from_at < to_at and hole.to_at > from_at for hole in self._holes[cluster_id])


def _keys(ledger: Ledger, mine: Any, since_at: int) -> list[Key]:
    question = select(T.cluster_id, T.id).where(mine, T.first_at > since_at).order_by(T.first_at.desc())
    with ledger.read() as connection:
        rows = connection.execute(question.limit(MOST_NAMELESS)).all()
    return [(ledger.labels.value(row.cluster_id) or "", row.id) for row in rows]


def _by_cluster(ledger: Ledger, keys: Iterable[Key]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    for cluster, task_id in keys:
        found[ledger.labels.number(Kind.CLUSTER, cluster)].append(task_id)
    return found


def _step(
    ledger: Ledger,
    cluster_id: int,
    facts: Mapping[str, Sequence[Settlement]],
    *,
    but_not: Mapping[Key, Sequence[tuple[str, int]]] | None = None,
) -> None:
    """One transaction, tried again when it met another writer."""
    for attempt in range(TRIES):
        try:
            with ledger.write() as connection:
                held = fold.hold(connection, cluster_id, facts)
                settled.keep(connection, ledger.labels, cluster_id, {key: facts[key] for key in held})
                if but_not:
                    _forget(connection, ledger, cluster_id, held, but_not)
                fold.again(connection, ledger, cluster_id, sorted(held))
                _close(connection, cluster_id, sorted(held))
        except LedgerConflict:
            if attempt == TRIES - 1:
                raise
            time.sleep(0.01 * 2**attempt)
        else:
            return


def _forget(
    connection: Connection,
    ledger: Ledger,
    cluster_id: int,
    held: Iterable[str],
    gone: Mapping[Key, Sequence[tuple[str, int]]],
) -> None:
    cluster = ledger.labels.value(cluster_id) or ""
    for task_id in held:
        moments = [at for _, at in gone[cluster, task_id]]
        mine = and_(S.task_id == task_id, S.cluster_id == cluster_id, S.begun_at.in_(moments))
        connection.execute(delete(schema.settlement).where(mine, S.settled_by == int(SettledBy.INFERRED)))


def _close(connection: Connection, cluster_id: int, ids: Sequence[str]) -> None:
    """Nobody need look any more for open runs of tasks that have none."""
    is_left = exists().where(R.task_id == L.task_id, R.cluster_id == L.cluster_id, R.state.in_(_OPEN))
    mine = and_(L.task_id.in_(ids), L.cluster_id == cluster_id)
    connection.execute(delete(schema.left_open).where(mine, ~is_left))
