"""Sessions of a worker: one a life of its process."""

from stories import NOON, decoded, raw

from taskledger.workers import fold, lost_after_s

NOON_AT = round(NOON * 1e6)


def told(*events):
    sessions = ()
    for event in decoded(*events):
        sessions = fold(sessions, event)
    return sessions


def heartbeat(at_s, **fields):
    return raw(
        "worker-heartbeat",
        at_s,
        freq=2.0,
        active=1,
        processed=5,
        loadavg=[0.1, 0.2, 0.3],
        sw_ident="py-celery",
        sw_ver="5.7.0",
        sw_sys="Linux",
        **fields,
    )


def test_a_life_from_online_to_offline():
    """Online, heartbeats, offline: one session with what the last heartbeat said."""
    (session,) = told(
        raw("worker-online", NOON),
        heartbeat(NOON + 2),
        heartbeat(NOON + 4) | {"processed": 9},
        raw("worker-offline", NOON + 5),
    )

    assert (session.pid, session.online_at, session.offline_at) == (100, NOON_AT, NOON_AT + 5_000_000)
    assert (session.processed, session.active, session.loadavg) == (9, 1, "0.10 0.20 0.30")
    assert session.software == "py-celery 5.7.0 Linux"


def test_another_pid_is_another_session():
    """A restarted worker with another pid begins a new session."""
    assert [session.pid for session in told(heartbeat(NOON), heartbeat(NOON + 60, pid=101))] == [100, 101]


def test_a_second_online_under_the_same_pid_is_another_session():
    """In containers a restarted worker has the pid it had before: its announcement begins a new session."""
    sessions = told(
        raw("worker-online", NOON), heartbeat(NOON + 2), raw("worker-online", NOON + 60), heartbeat(NOON + 62)
    )

    assert [(session.online_at, session.last_at) for session in sessions] == [
        (NOON_AT, NOON_AT + 2_000_000),
        (NOON_AT + 60_000_000, NOON_AT + 62_000_000),
    ]


def test_the_same_events_again_change_nothing():
    """Folding every event twice gives the sessions of folding it once."""
    events = [
        raw("worker-online", NOON),
        heartbeat(NOON + 2),
        raw("worker-offline", NOON + 5),
        raw("worker-online", NOON + 60),
        heartbeat(NOON + 62),
    ]

    assert told(*events, *events) == told(*events)


def test_an_old_heartbeat_does_not_overwrite_a_new_one():
    """A heartbeat that arrives late changes nothing but the beginning."""
    (session,) = told(heartbeat(NOON + 4, clock=9) | {"processed": 9}, heartbeat(NOON + 2))

    assert (session.processed, session.first_at, session.heartbeat_at) == (9, NOON_AT + 2_000_000, NOON_AT + 4_000_000)


def test_odd_values_are_unknown_not_fatal():
    """Heartbeats with values of the wrong type still say that the worker lives."""
    (session,) = told(
        raw("worker-heartbeat", NOON, freq="x", active=None, processed=2**70, loadavg="high", sw_ver=None)
    )

    assert (session.freq_s, session.active, session.processed, session.loadavg, session.software) == (None,) * 5


def test_lost_after_three_heartbeats_missed():
    """A worker that promises a heartbeat every 10 s is lost after 30 s; without a promise, after 6."""
    assert (lost_after_s(10.0), lost_after_s(None)) == (30.0, 6.0)
