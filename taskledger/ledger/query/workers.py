"""Questions about workers: who is up, who fell silent, and what they run."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, select, true

from taskledger.ledger import schema
from taskledger.ledger.answers import RelatedTask, SessionRow, Span, WorkerRow
from taskledger.ledger.engine import Ledger
from taskledger.ledger.labels import Kind
from taskledger.ledger.momentary import Running, RunningTask, Workers
from taskledger.ledger.query.listening import coverage
from taskledger.ledger.query.lives import Beat, beats, lives
from taskledger.ledger.query.moment import listening_at, running_at
from taskledger.standing import Moment, standing
from taskledger.states import State
from taskledger.workers import Session, lost_after_s

MINUTE = 60_000_000
#: sessions of a worker that are listed
MAX_SESSIONS = 50
#: running tasks that are listed
MAX_RUNNING = 1_000


def workers(ledger: Ledger, now_at: int) -> tuple[WorkerRow, ...]:
    """Every worker node ever heard of: the lost first, then the online, the unknown and the offline, by name."""
    return tuple(sorted(_workers(ledger, now_at, true()), key=_urgency))


def worker(ledger: Ledger, name: str, now_at: int) -> WorkerRow | None:
    """One worker node, or None if the ledger never heard of it."""
    host_id = ledger.labels.find(Kind.HOST, name)
    if host_id is None:
        return None
    return next(iter(_workers(ledger, now_at, schema.worker.c.host_id == host_id)), None)


def workers_at(ledger: Ledger, at: int, now_at: int, *, name: str | None = None) -> Workers:
    """The worker nodes that had been heard of by a moment, as they stood then, with what they ran; or the one named."""
    running = running_at(ledger, at, now_at, worker=name)
    table = schema.worker.c
    host_id = None if name is None else ledger.labels.find(Kind.HOST, name)
    which = true() if name is None else table.host_id == (host_id or 0)
    with ledger.read() as connection:
        nodes = connection.execute(select(schema.worker).where(which, table.first_at <= at)).all()
        found = lives(connection, at, None if host_id is None else [host_id])
        told = beats(connection, ledger.labels, at, found)
    on_node = _on_nodes(running)
    every = listening_at(ledger, at, now_at).every
    rows = []
    for node in nodes:
        key, cluster = (node.host_id, node.cluster_id), ledger.labels.value(node.cluster_id) or ""
        row = _worker_at(node, found.get(key, ()), told.get(key), every[cluster][1])
        row = replace(row, name=ledger.labels.value(node.host_id) or "", cluster=cluster)
        rows.append(replace(row, running=tuple(on_node[row.name, cluster])))
    return Workers(at, running.heard, tuple(sorted(rows, key=_urgency)))


def _urgency(row: WorkerRow) -> tuple[int, str]:
    return {"lost": 0, "online": 1, "unknown": 2, "offline": 3}[row.status], row.name


def _on_nodes(running: Running) -> dict[tuple[str | None, str], list[RunningTask]]:
    found: dict[tuple[str | None, str], list[RunningTask]] = defaultdict(list)
    for task in (*running.tasks, *running.unknown, *running.lost):
        found[task.worker, task.cluster].append(task)
    return found


def _worker_at(node: Any, sessions: Sequence[Session], beat: Beat | None, moment: Moment) -> WorkerRow:
    """A node as it stood, but for its names and what it ran."""
    stood = standing(sessions, moment)
    of = stood.session
    heartbeat_at = beat.at if beat else of.heartbeat_at if of else None
    return WorkerRow(
        name="",
        cluster="",
        status=stood.status,
        since_at=stood.since_at,
        last_heartbeat_at=heartbeat_at if heartbeat_at is not None and heartbeat_at <= moment.at else None,
        pid=of.pid or None if of else None,
        active=beat.active if beat else None,
        processed=beat.processed if beat else None,
        loadavg=_loads(beat.loadavg if beat else None),
        freq_s=of.freq_s if of else None,
        software=of.software if of else None,
        running=(),
        sends_task_events=_sends_task_events(node, of),
        sessions=tuple(_sessions_at(sessions, moment.at)),
    )


def _sessions_at(sessions: Sequence[Session], at: int) -> Iterable[SessionRow]:
    """The sessions that had begun, the newest first, none longer than until then."""
    for one in sorted(sessions, key=lambda one: one.first_at, reverse=True)[:MAX_SESSIONS]:
        is_over = one.last_at <= at
        yield SessionRow(
            pid=one.pid or None,
            online_at=one.online_at,
            first_at=one.first_at,
            last_at=min(one.last_at, at),
            offline_at=one.offline_at if is_over else None,
            software=one.software,
            processed=one.processed if is_over else None,
        )


def _loads(text: str | None) -> tuple[float, ...]:
    return tuple(float(part) for part in (text or "").split())


def _workers(ledger: Ledger, now_at: int, which: ColumnElement[bool]) -> list[WorkerRow]:
    table, lives = schema.worker, schema.worker_session
    with ledger.read() as connection:
        nodes = connection.execute(select(table).where(which)).all()
        on_them = lives.c.host_id.in_([node.host_id for node in nodes])
        sessions = connection.execute(select(lives).where(on_them).order_by(lives.c.first_at.desc())).all()
        columns = schema.task.c
        query = select(schema.task).where(columns.state == State.STARTED).order_by(columns.first_at).limit(MAX_RUNNING)
        running = connection.execute(query).all()
    of_node: dict[Any, list[Any]] = defaultdict(list)
    for session in sessions:
        of_node[session.host_id, session.cluster_id].append(session)
    on_node: dict[Any, list[RelatedTask]] = defaultdict(list)
    for row in running:
        related = RelatedTask(row.id, ledger.labels.value(row.name_id), State(row.state), row.first_at, row.parent_id)
        on_node[row.worker_id, row.cluster_id].append(related)
    keys = [(node, (node.host_id, node.cluster_id)) for node in nodes]
    return [_worker(ledger, now_at, node, of_node[key][:MAX_SESSIONS], on_node[key]) for node, key in keys]


def _worker(
    ledger: Ledger, now_at: int, node: Any, sessions: Sequence[Any], running: Sequence[RelatedTask]
) -> WorkerRow:
    last = sessions[0] if sessions else None
    cluster = ledger.labels.value(node.cluster_id) or ""
    status, since_at = _status(ledger, now_at, last, cluster)
    return WorkerRow(
        name=ledger.labels.value(node.host_id) or "",
        cluster=cluster,
        status=status,
        since_at=since_at,
        last_heartbeat_at=last.heartbeat_at if last else None,
        pid=last.pid or None if last else None,
        active=last.active if last else None,
        processed=last.processed if last else None,
        loadavg=_loads(last.loadavg if last else None),
        freq_s=last.freq_s if last else None,
        software=last.software if last else None,
        running=tuple(running),
        sends_task_events=_sends_task_events(node, last),
        sessions=tuple(_session(session) for session in sessions),
    )


def _status(ledger: Ledger, now_at: int, last: Any, cluster: str) -> tuple[str, int | None]:
    """The status of a node by its last session, and since when; silence counts only where a recorder was listening.

    The last sign is moved to our clock by the least lag of the session's events: a worker whose clock is slow is not
    silent.
    """
    if last is None:
        return "unknown", None
    if last.offline_at is not None and last.offline_at >= last.last_at:
        return "offline", last.offline_at
    sign_at = last.last_at + (last.lag_ms or 0) * 1000
    if now_at - sign_at <= lost_after_s(last.freq_s) * 1_000_000:
        return "online", last.online_at or last.first_at
    is_heard = coverage(ledger, Span(sign_at, now_at), now_at, cluster=cluster).is_whole
    return ("lost" if is_heard else "unknown"), last.last_at


def _sends_task_events(node: Any, last: Any) -> bool | None:
    # That is noted to the minute. What an earlier process of this name told says nothing of this one.
    if node.task_event_at is not None and (last is None or node.task_event_at > last.first_at - MINUTE):
        return True
    # `processed` counts since the worker started: only its rise since we listen says that tasks ran untold.
    rose = last is not None and last.processed is not None and last.processed > (last.processed_from or 0)
    return False if rose and last.processed_from is not None else None


def _session(row: Any) -> SessionRow:
    return SessionRow(
        pid=row.pid or None,
        online_at=row.online_at,
        first_at=row.first_at,
        last_at=row.last_at,
        offline_at=row.offline_at,
        software=row.software,
        processed=row.processed,
    )
