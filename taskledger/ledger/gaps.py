"""Compare what workers say they did with what was recorded of it, and keep what is missing as gaps.

One recorder at a time does it (see leases). It goes only as far as every recorder of a cluster has written what it
heard, and it forgets nothing: what comes late, after a recorder died with it in hand, is taken out of its gap again.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select, update

from taskledger.ledger import dialects, schema
from taskledger.ledger.answers import Span
from taskledger.ledger.counted import Told, compared_at, compared_mark, told
from taskledger.ledger.engine import Ledger
from taskledger.ledger.presence import SILENCE
from taskledger.ledger.proofs import LOST, UNANNOUNCED
from taskledger.ledger.query.listening import coverage
from taskledger.losses import Counted, Missing, begin, begins_anew, count, lives
from taskledger.workers import DEFAULT_FREQ_S, lost_after_s

NO_TASK_EVENTS = "the worker does not send task events: start it with -E"
NOT_ANNOUNCED = "the worker did not announce them: not started with -E, send_events=False, or ended by Ignore or Reject"
#: microseconds that are compared in one go, at most; and how long a worker may be away and be counted on
WINDOW, AWAY = 30_000_000, 900_000_000
#: microseconds behind what is recorded: batches of one worker come by several ways
SETTLE = 3_000_000
#: microseconds for which a gap is looked at again for what came late
LATE = 3_600_000_000
#: microseconds by which clocks and ways differ, at most, beside what is known of a worker's lag; by which coverage may
#: end before the last that was heard; and around a gap in which holes are looked for
SLACK, BEHIND, AROUND = 1_000_000, 5_000_000, 60_000_000
#: microseconds for which a silent worker's session is remembered here, and by which its clock may be wrong, at most
RECENT, FAR_OFF = 86_400_000_000, 3_600_000_000
#: heartbeats between two signs from which on a worker counts as cut off for a while
CUT_OFF_BEATS = 2.5

G, W = schema.gap.c, schema.worker_count.c


class _Node(NamedTuple):
    """How far one worker is compared."""

    host_id: int
    counted: Counted
    is_over: bool


class _Said(NamedTuple):
    """What a worker's session says: seconds between its heartbeats, and microseconds from its clock to ours."""

    freq_s: float = DEFAULT_FREQ_S
    lag: int = 0
    #: whether it ever told of a task
    announces: bool = True


class _Found(NamedTuple):
    """What became of one worker in a window."""

    node: _Node
    missing: tuple[tuple[Missing, Told], ...] = ()


def compare(ledger: Ledger, now_at: int, stop: threading.Event | None = None) -> int:
    """Compare up to what is recorded now, or as much of it as until `stop`; how many gaps were found or changed."""
    changed, stop = 0, stop or threading.Event()
    for cluster_id, horizon_at in _horizons(ledger, now_at).items():
        changed += _look_again(ledger, cluster_id, horizon_at)
        # After a long absence there are days to compare.
        while not stop.is_set() and (found := _window(ledger, cluster_id, horizon_at)) is not None:
            changed += found
    return changed


def _horizons(ledger: Ledger, now_at: int) -> dict[int, int]:
    """Cluster -> up to where all that its recorders heard is written."""
    table, recorder = schema.coverage.c, schema.recorder.c
    joined = schema.coverage.join(schema.recorder, recorder.id == table.recorder_id)
    live = table.cause.is_(None) & recorder.stopped_at.is_(None) & (recorder.seen_at > now_at - SILENCE)
    by_cluster = select(table.cluster_id, func.min(table.until_at)).select_from(joined).where(live)
    newest = select(table.cluster_id, func.max(table.until_at)).group_by(table.cluster_id)
    with ledger.read() as connection:
        rows = [*connection.execute(newest), *connection.execute(by_cluster.group_by(table.cluster_id))]
    reached: dict[int, int] = {cluster_id: at for cluster_id, at in rows}  # noqa: C416 - rows are no pairs to mypy
    return {cluster_id: at - SETTLE for cluster_id, at in reached.items()}


def _window(ledger: Ledger, cluster_id: int, horizon_at: int) -> int | None:
    """Compare one more stretch; how many gaps it had, None when there is nothing left to compare."""
    with ledger.read() as connection:
        done_at = _done_at(connection, cluster_id) or horizon_at
        if done_at >= horizon_at:
            return None
        nodes, said = _nodes(connection, cluster_id), _sessions(connection, cluster_id, done_at)
        to_at = min(horizon_at, done_at + WINDOW)
        lags = [one.lag for one in said.values()]
        open_at = [node.counted.at for node in nodes.values() if not node.is_over]
        from_at, until_at = min([done_at - max(lags, default=0), *open_at]), to_at - min(lags, default=0)
        tales = told(connection, ledger.labels, cluster_id, from_at, until_at)
        tales |= _returning(connection, ledger, cluster_id, nodes, tales, until_at)
    made = [
        _compared(host_id, nodes.get(host_id), tales.get(host_id, Told()), to_at, said.get(host_id, _Said()))
        for host_id in sorted(nodes.keys() | tales.keys())
    ]
    return _keep(ledger, cluster_id, to_at, [one for one in made if one is not None], said)


def _done_at(connection: Connection, cluster_id: int) -> int | None:
    """Up to where it is compared: by our clock; at first from where anybody listened on."""
    listening = schema.coverage.c
    done_at = compared_at(connection, cluster_id)
    if done_at is None:
        first = select(func.min(listening.from_at)).where(listening.cluster_id == cluster_id)
        done_at = connection.scalar(first)
    return done_at


def _nodes(connection: Connection, cluster_id: int) -> dict[int, _Node]:
    rows = connection.execute(select(schema.worker_count).where(W.cluster_id == cluster_id))
    return {
        row.host_id: _Node(
            row.host_id,
            Counted(row.counted_at, row.pid, row.processed, row.ended, row.starts_missing, row.ends_missing),
            row.is_over,
        )
        for row in rows
    }


def _returning(
    connection: Connection, ledger: Ledger, cluster_id: int, nodes: dict[int, _Node], tales: dict[int, Told], to_at: int
) -> dict[int, Told]:
    """Workers that were given up and go on after all: what was recorded of them since then."""
    back = [node for host_id, node in nodes.items() if node.is_over and host_id in tales and tales[host_id].signs]
    return {
        node.host_id: told(connection, ledger.labels, cluster_id, node.counted.at, to_at, node.host_id)[node.host_id]
        for node in back
        if not begins_anew(node.counted, tales[node.host_id].signs[0])
        and tales[node.host_id].signs[0].at - node.counted.at < AWAY
    }


def _sessions(connection: Connection, cluster_id: int, since_at: int) -> dict[int, _Said]:
    """Host -> what its latest session says; without those whose clock is too far off to be compared."""
    table, worker = schema.worker_session.c, schema.worker
    same = (worker.c.host_id == table.host_id) & (worker.c.cluster_id == table.cluster_id)
    mine = (table.cluster_id == cluster_id) & (table.last_at > since_at - RECENT)
    columns = select(table.host_id, table.freq_s, table.lag_ms, worker.c.task_event_at)
    query = columns.outerjoin_from(schema.worker_session, worker, same).where(mine).order_by(table.first_at)
    said = {
        row.host_id: _Said(row.freq_s or DEFAULT_FREQ_S, (row.lag_ms or 0) * 1000, row.task_event_at is not None)
        for row in connection.execute(query)
    }
    return {host_id: one for host_id, one in said.items() if abs(one.lag) < FAR_OFF}


def _compared(host_id: int, node: _Node | None, tale: Told, to_at: int, said: _Said) -> _Found | None:
    """Count a worker's lives on, up to a moment of our clock; None where it told nothing that counts."""
    after_at, until_at = 0 if node is None else node.counted.at, to_at - said.lag
    signs = [sign for sign in tale.signs if after_at < sign.at <= until_at]
    is_away = node is not None and signs and node.is_over and signs[0].at - node.counted.at >= AWAY
    counted = None if node is None or is_away else node.counted
    missing: list[tuple[Missing, Told]] = []
    last_at = signs[-1].at if signs else after_at
    is_silent = (until_at - last_at) / 1e6 > lost_after_s(said.freq_s)
    stories = lives(signs)
    for life in stories:
        if counted is None or begins_anew(counted, life[0]):
            counted = begin(life[0])
        rest = [sign for sign in life if sign.at > counted.at]
        step = count(counted, rest, tale.starts, tale.ends, is_over=is_silent or life is not stories[-1])
        counted = step.counted
        missing += [(one, tale) for one in step.missing]
    return None if counted is None else _Found(_Node(host_id, counted, is_silent), tuple(missing))


def _keep(ledger: Ledger, cluster_id: int, to_at: int, found: Sequence[_Found], said: Mapping[int, _Said]) -> int:
    """Write how far it went, and what was missing."""
    gaps = [(one.node.host_id, missing, tale) for one in found for missing, tale in one.missing]
    told_why = [_why(ledger, cluster_id, said.get(host_id, _Said()), missing) for host_id, missing, _ in gaps]
    rows = [{"host_id": one.node.host_id, "cluster_id": cluster_id, **_row_of(one.node)} for one in found]
    with ledger.write() as connection:
        connection.execute(
            dialects.upsert(connection, schema.mark), [{"name": compared_mark(cluster_id), "value": to_at}]
        )
        if rows:
            connection.execute(dialects.upsert(connection, schema.worker_count), rows)
        for (host_id, missing, tale), (kind, cause) in zip(gaps, told_why, strict=True):
            _write(connection, cluster_id, host_id, missing, tale, kind, cause)
    return len(gaps)


def _row_of(node: _Node) -> dict[str, Any]:
    values = node.counted._asdict()
    return {"counted_at": values.pop("at"), "is_over": node.is_over, **values}


def _why(ledger: Ledger, cluster_id: int, said: _Said, missing: Missing) -> tuple[str, str]:
    """The kind of a gap, and its cause in words: an event is only lost where something was interrupted."""
    if not said.announces:
        return UNANNOUNCED, NO_TASK_EVENTS
    from_at, to_at = missing.from_at + said.lag, missing.to_at + said.lag
    around = Span(from_at - AROUND, to_at + AROUND)
    known = coverage(ledger, around, around.to_at, cluster=ledger.labels.value(cluster_id)).holes
    # Both signs were heard: what kept the events between them from being so lies between them.
    holes = [hole for hole in known if from_at - BEHIND <= hole.from_at and hole.to_at <= to_at + SLACK]
    if holes:
        return LOST, "; ".join(dict.fromkeys(hole.cause for hole in holes))
    away_s = (missing.to_at - missing.from_at) / 1e6
    if away_s > CUT_OFF_BEATS * said.freq_s:
        return LOST, f"the worker was not heard of for {away_s:.0f} s: it had lost its broker, or was too busy"
    return UNANNOUNCED, NOT_ANNOUNCED


def _write(
    connection: Connection, cluster_id: int, host_id: int, missing: Missing, tale: Told, kind: str, cause: str
) -> None:
    """A gap of its own, or the last one made longer; a negative number is taken from the latest gaps."""
    if missing.starts < 0 or missing.ends < 0:
        _take_back(connection, cluster_id, host_id, -min(missing.starts, 0), -min(missing.ends, 0))
    if missing.starts <= 0 and missing.ends <= 0:
        return
    more = {
        "starts": max(missing.starts, 0),
        "ends": max(missing.ends, 0),
        "starts_heard": _within(tale.starts, missing),
        "ends_heard": _within(tale.ends, missing),
    }
    mine = (G.cluster_id == cluster_id) & (G.host_id == host_id)
    last = connection.execute(select(schema.gap).where(mine).order_by(G.to_at.desc()).limit(1)).one_or_none()
    if last is not None and (last.to_at, last.kind, last.cause) == (missing.from_at, kind, cause):
        values = {key: getattr(last, key) + number for key, number in more.items()}
        connection.execute(update(schema.gap).where(G.id == last.id).values(to_at=missing.to_at, **values))
        return
    pid = connection.scalar(select(W.pid).where(W.host_id == host_id, W.cluster_id == cluster_id)) or 0
    span = {"from_at": missing.from_at, "to_at": missing.to_at, "pid": pid}
    row = {"cluster_id": cluster_id, "host_id": host_id, "kind": kind, "cause": cause, **span, **more}
    connection.execute(schema.gap.insert(), row)


def _within(moments: Iterable[int], missing: Any) -> int:
    """How many of them lie in something missing, or in a gap: after its `from_at`, up to its `to_at`."""
    return sum([missing.from_at < at <= missing.to_at for at in moments])


def _take_back(connection: Connection, cluster_id: int, host_id: int, starts: int, ends: int) -> None:
    """So many are not missing any more: out of the latest gaps of that worker."""
    mine = (G.cluster_id == cluster_id) & (G.host_id == host_id)
    for row in connection.execute(select(schema.gap).where(mine).order_by(G.to_at.desc()).limit(100)).all():
        begun, ended = min(starts, row.starts), min(ends, row.ends)
        starts, ends = starts - begun, ends - ended
        _change(connection, row.id, row.starts - begun, row.ends - ended)
        if not starts and not ends:
            return


def _change(connection: Connection, gap_id: int, starts: int, ends: int, **heard: int) -> None:
    if starts or ends:
        connection.execute(update(schema.gap).where(G.id == gap_id).values(starts=starts, ends=ends, **heard))
    else:
        connection.execute(delete(schema.gap).where(G.id == gap_id))


def _look_again(ledger: Ledger, cluster_id: int, horizon_at: int) -> int:
    """Take out of recent gaps what came late: a broker hands on again what a dead recorder had in hand."""
    recent = select(schema.gap).where(G.cluster_id == cluster_id, G.to_at > horizon_at - LATE)
    changed = 0
    with ledger.read() as connection:
        gaps = connection.execute(recent).all()
    for gap in gaps:
        with ledger.read() as connection:
            tale = told(connection, ledger.labels, cluster_id, gap.from_at, gap.to_at, gap.host_id)[gap.host_id]
        # Events are read by the millisecond: one of a moment after the gap is none of its.
        late = _within(tale.starts, gap) - gap.starts_heard, _within(tale.ends, gap) - gap.ends_heard
        if any(late):
            _found_late(ledger, gap, *late)
            changed += 1
    return changed


def _found_late(ledger: Ledger, gap: Any, starts: int, ends: int) -> None:
    begun, ended = min(starts, gap.starts), min(ends, gap.ends)
    mine = (W.host_id == gap.host_id) & (W.cluster_id == gap.cluster_id) & (W.pid == gap.pid)
    less = {"starts_missing": W.starts_missing - begun, "ends_missing": W.ends_missing - ended}
    with ledger.write() as connection:
        heard = {"starts_heard": gap.starts_heard + starts, "ends_heard": gap.ends_heard + ends}
        _change(connection, gap.id, gap.starts - begun, gap.ends - ended, **heard)
        connection.execute(update(schema.worker_count).where(mine).values(less))
