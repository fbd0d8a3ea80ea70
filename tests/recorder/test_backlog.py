"""What waits for the database: its order, its way through the spool, and what coverage may be claimed for it."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from taskledger.events import Event, Malformed, decode
from taskledger.recorder.backlog import HANGS_S, Backlog
from taskledger.recorder.batch import Gathered
from taskledger.recorder.segment import Damage
from taskledger.recorder.source import Opened, Promise, Tag
from taskledger.recorder.spool import open_spool
from taskledger.recorder.spooled import SAME_ARRIVAL, Continuing, Work, records, replay
from taskledger.recorder.waiting import Halted, Interrupted, Listening, Reached

#: a moment
AT = 1_700_000_000_000_000
KILLED = "the recorder was killed or lost its machine"


def gathered(*ids: str, at: int = AT, cluster: str = "default", tag: Tag | None = None, pad: int = 0) -> Gathered:
    """A batch of one event an id, received and covered up to `at`."""
    documents = [{"type": "task-sent", "uuid": each, "timestamp": at / 1e6, "pad": "x" * pad} for each in ids]
    events = tuple(item for item in decode(json.dumps(documents).encode()) if isinstance(item, Event))
    return Gathered(cluster, events, (), tag, at, at, at, 0 if tag else len(ids))


def listening(from_at: int = AT, promise: Promise = Promise.COUNTED_LOSS, **more: Any) -> Listening:
    return Listening(more.pop("cluster", "default"), Opened(more.pop("resumed", False), promise), from_at)


@contextmanager
def backlog(folder: Path, batch_size: int = 100, **more: Any) -> Iterator[Backlog]:
    spool = open_spool(folder, "me", 10**8, more.pop("segment_bytes", 10**6))
    waiting = Backlog(spool, batch_size, patience_s=0, **more)
    waiting.is_stuck = True
    try:
        yield waiting
    finally:
        spool.close()


def written(waiting: Backlog) -> list[Work]:
    """Everything in order, written as it comes."""
    works = []
    while (work := waiting.take(0)) is not None:
        works.append(work)
        waiting.written()
    return works


def spelled(work: Work | Continuing | Damage) -> str:
    """All of it as text, since NaN is not equal to itself; the order of fields means nothing."""
    if not isinstance(work, Gathered):
        return repr(work)
    events = [repr((event, sorted(event.fields.items()))) for event in work.events]
    return repr((work._replace(events=(), unkept=0), events))


def ids(works: list[Work]) -> list[str | None]:
    return [event.task_id for work in works if isinstance(work, Gathered) for event in work.events]


class TestRecords:
    @pytest.mark.parametrize(
        "body",
        [
            b'{"type":"task-sent","uuid":"a","timestamp":1,"clock":5,"pid":7,"hostname":"h"}',
            b'{"type":"task-sent","uuid":"\\ud800","timestamp":1,"hostname":"\\udfff"}',
            b'{"type":"x","timestamp":1.5,"n":NaN,"big":123456789012345678901234567890}',
            b'{"type":"x","timestamp":1,"nul":"\\u0000","newline":"\\n"}',
            b'[{"type":"x","timestamp":1},7,{"type":"x"}]',
            b"\x00\xff no json \n at all",
        ],
    )
    def test_there_and_back(self, body: bytes) -> None:
        """Events and malformed input come back from the spool as they went in, with their identity."""
        items = decode(body)
        events = tuple(item for item in items if isinstance(item, Event))
        malformed = tuple(item for item in items if isinstance(item, Malformed))
        before = Gathered("eu", events, malformed, None, AT, AT, AT + 5)
        (after,) = replay(records(before), 100)

        assert spelled(after) == spelled(before)

    @pytest.mark.parametrize(
        "work",
        [
            listening(resumed=True, promise=Promise.DURABLE_QUEUE),
            Interrupted("default", "broker lost: “x”", AT),
            Reached("default", AT),
            Continuing("default", Promise.COUNTED_LOSS, AT),
        ],
    )
    def test_marks(self, work: Any) -> None:
        """What is said of the coverage comes back as it went in."""
        assert list(replay(records(work), 100)) == [work]

    def test_stopped(self) -> None:
        """That a reader halted is kept as the end of its coverage."""
        assert list(replay(records(Halted("default")), 100)) == [Interrupted("default", "stopped")]

    def test_names_that_are_no_unicode(self) -> None:
        """A name with a lone surrogate in it, as JSON can spell one, comes back as it was."""
        document = {"type": "task-sent\ud800", "uuid": "a\udfff", "hostname": "w\ud834@vm", "timestamp": AT / 1e6}
        events = tuple(item for item in decode(json.dumps(document).encode()) if isinstance(item, Event))
        before = gathered()._replace(events=events)

        assert len(events) == 1
        assert list(map(spelled, replay(records(before), 100))) == [spelled(before)]

    def test_redacted_events_keep_their_identity(self) -> None:
        """The identity in the spool is that of the original, not of the content that is left."""
        batch = gathered("a")
        event = batch.events[0].with_body(b'{"redacted":true}')
        (after,) = replay(records(batch._replace(events=(event,))), 100)

        assert isinstance(after, Gathered)
        assert after.events == (event,)

    def test_batches_are_put_together(self) -> None:
        """Small batches come back as larger ones, but not across clusters, times of arrival or the size."""
        batches = [
            gathered("a"), gathered("b"), gathered("c", cluster="eu"), gathered("d", at=AT + SAME_ARRIVAL),
            gathered("e", at=AT + 2 * SAME_ARRIVAL + 1), *(gathered(str(number), at=AT + 10**9) for number in range(7)),
        ]  # fmt: skip
        works = list(replay((record for batch in batches for record in records(batch)), 5))

        assert [len(ids([work])) for work in works if isinstance(work, Gathered)] == [2, 1, 1, 1, 5, 2]

    def test_of_another_version(self) -> None:
        """Records that are whole but mean nothing to this program are counted as damage."""
        unknown = [b'{"kind":"hologram","cluster":"a"}\n', b'{"kind":"event","cluster":"a"}\n{}', b"\xff"]

        assert list(replay(unknown, 100)) == [Damage(1, len(record)) for record in unknown]


class TestOrder:
    def test_memory_alone(self, tmp_path: Path) -> None:
        """Without an outage nothing touches the disk, and small batches are written as one."""
        with backlog(tmp_path) as waiting:
            for work in (listening(), gathered("a"), gathered("b"), Reached("default", AT), gathered("c")):
                waiting.put(work)
            works = written(waiting)

            assert ids(works) == ["a", "b", "c"]
            assert [type(work) for work in works] == [Listening, Gathered, Reached, Gathered]
            assert waiting.spooled_bytes == 0

    def test_spool_comes_first(self, tmp_path: Path) -> None:
        """What was spooled is written before what came later, in the order in which it came."""
        with backlog(tmp_path, batch_size=1, segment_bytes=1) as waiting:
            waiting.put(listening())
            for number in range(0, 20, 2):
                waiting.put(gathered(str(number)))
                spilled = waiting.spill()
                waiting.put(gathered(str(number + 1)))

                assert ids(spilled)[-1] == str(number)
            works = written(waiting)

            assert ids(works) == [str(number) for number in range(20)]
            assert (waiting.spooled_bytes, waiting.events) == (0, 0)

    def test_in_hand(self, tmp_path: Path) -> None:
        """What the writer has in hand is spooled with the rest; written then, it comes once more."""
        with backlog(tmp_path) as waiting:
            waiting.put(gathered("a", tag=Tag(1, 1)))
            waiting.take(0)
            waiting.put(gathered("b", tag=Tag(1, 2)))
            spilled = waiting.spill()
            waiting.written()

            assert [work.tag for work in spilled if isinstance(work, Gathered)] == [Tag(1, 1), Tag(1, 2)]
            assert ids(written(waiting)) == ["a", "b"]

    def test_patience(self, tmp_path: Path) -> None:
        """Nothing is spooled before it has waited long enough, or memory is half full."""
        with backlog(tmp_path) as waiting:
            patient = Backlog(waiting.spool, 100, patience_s=60, max_bytes=20_000)
            patient.put(gathered("a"))
            before = patient.spill()
            patient.put(gathered("b", pad=10_000))

            assert (before, ids(patient.spill())) == ([], ["a", "b"])

    def test_slow_database(self, tmp_path: Path) -> None:
        """With a database that is only slow, what a broker keeps is not spooled, and what none keeps is."""
        with backlog(tmp_path) as waiting:
            waiting.is_stuck = False
            waiting.put(gathered("a", tag=Tag(1, 1)))
            kept = waiting.spill()
            waiting.put(gathered("b"))

            assert (kept, ids(waiting.spill())) == ([], ["a", "b"])

    @pytest.mark.parametrize("is_in_hand", [True, False])
    def test_hanging_database(self, is_in_hand: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """While the writer does not come back, be it with a batch or without, what comes goes into the spool."""
        now_s = time.monotonic()
        monkeypatch.setattr(time, "monotonic", lambda: now_s)
        with backlog(tmp_path) as waiting:
            waiting.is_stuck = False
            waiting.put(gathered("a", tag=Tag(0, 1)))
            waiting.take(0)
            if not is_in_hand:
                waiting.written()
            waiting.put(gathered("b", tag=Tag(0, 2)))
            assert waiting.spill() == []

            now_s += HANGS_S
            assert [work.tag for work in waiting.spill()][-1] == Tag(0, 2)

    def test_room(self, tmp_path: Path) -> None:
        """Memory is full at its size, and has room again when half of it is free."""
        waiting = Backlog(None, 100, max_bytes=5_000)
        room = []
        for number in range(5):
            waiting.put(gathered(str(number), at=AT + number * 2 * SAME_ARRIVAL, pad=1000))
            room.append(waiting.has_room())
        for _ in range(4):
            waiting.take(0)
            waiting.written()
            room.append(waiting.has_room())

        assert room == [True, True, False, False, False, False, False, False, True]

    def test_discard(self, tmp_path: Path) -> None:
        """Of a cluster whose broker delivers again, batches and ticks are forgotten, and what was said stays."""
        with backlog(tmp_path) as waiting:
            end = Interrupted("default", "paused")
            for work in (listening(), gathered("a"), Reached("default", AT), gathered("b", cluster="eu"), end):
                waiting.put(work)
            waiting.discard("default")

            assert [type(work) for work in written(waiting)] == [Listening, Gathered, Interrupted]


class TestCoverageAfterTheSpool:
    def test_same_process(self, tmp_path: Path) -> None:
        """In the process that spooled it, the work is what it was: coverage goes on."""
        works = [listening(), gathered("a"), Interrupted("default", "lost"), listening(AT + 9), gathered("b")]
        with backlog(tmp_path) as waiting:
            waiting.put(works[0])
            before = written(waiting)
            for work in works[1:]:
                waiting.put(work)
            waiting.spill()

            after = written(waiting)

        assert list(map(spelled, before + after)) == list(map(spelled, works))

    def test_killed_on_pubsub(self, tmp_path: Path) -> None:
        """After a kill, coverage of its own begins where the writer had got to, and ends with the last record."""
        with backlog(tmp_path) as waiting:
            for work in (listening(AT - 9), gathered("a", at=AT)):
                waiting.put(work)
            written(waiting)
            waiting.put(gathered("b", at=AT + 5))
            waiting.spill()
        with backlog(tmp_path) as waiting:
            waiting.put(listening(AT + 50))
            begun, batch, ended, later = written(waiting)

        assert begun == listening(AT)
        assert (ids([batch]), batch.until_at) == (["b"], AT + 5)
        assert (ended, later) == (Interrupted("default", KILLED), listening(AT + 50))

    def test_killed_on_a_durable_queue(self, tmp_path: Path) -> None:
        """There, nothing is claimed before the broker has delivered again what was not acknowledged."""
        resumed = listening(AT + 50, Promise.DURABLE_QUEUE, resumed=True)
        with backlog(tmp_path) as waiting:
            waiting.put(listening(promise=Promise.DURABLE_QUEUE))
            waiting.put(gathered("a", tag=Tag(1, 1)))
            waiting.spill()
        with backlog(tmp_path) as waiting:
            waiting.put(resumed)
            works = written(waiting)

        assert [type(work) for work in works] == [Gathered, Listening]
        assert works[-1] == resumed

    def test_segments_stand_alone(self, tmp_path: Path) -> None:
        """Killed in the middle of draining, the next process knows where each cluster stood at that place."""
        with backlog(tmp_path, segment_bytes=1) as waiting:
            waiting.put(listening())
            for number in range(3):
                waiting.put(gathered(str(number), at=AT + number))
                waiting.spill()
            while ids([waiting.take(0)]) != ["1"]:  # type: ignore[list-item]
                waiting.written()
        with backlog(tmp_path) as waiting:
            works = written(waiting)

        assert works[0] == listening(AT)
        assert ids(works) == ["1", "2"]
        assert works[-1] == Interrupted("default", KILLED)

    @pytest.mark.parametrize("is_killed", [False, True])
    def test_damage(self, tmp_path: Path, is_killed: bool) -> None:
        """No coverage reaches over records that were lost."""
        with backlog(tmp_path) as waiting:
            waiting.put(listening())
            for number in range(3):
                waiting.put(gathered(str(number), at=AT + number * 2 * SAME_ARRIVAL))
            waiting.spill()
            (path,) = tmp_path.rglob("*.spool")
            content = bytearray(path.read_bytes())
            content[content.index(b'"uuid":"1"') + 8] ^= 1
            path.write_bytes(content)
            if not is_killed:
                works = written(waiting)
        if is_killed:
            with backlog(tmp_path) as waiting:
                works = written(waiting)
                assert works.pop() == Interrupted("default", KILLED)

        assert ids(works) == ["0", "2"]
        assert works[2:-1] == [
            Interrupted("default", "the spool was damaged: 1 records lost"),
            listening(AT + 4 * SAME_ARRIVAL),
        ]
        assert waiting.damaged == 1


class TestUpcoming:
    """What can be prepared while the writer has something else in hand."""

    @pytest.mark.parametrize(
        ("waits", "is_sure"),
        [
            ([], False),
            ([("a",)], False),
            ([("a", "b", "c")], True),
            ([("a",), ("b", "c")], True),
            ([("a", "b"), ("c", "d")], True),
            ([("a",), None], True),
            ([None], False),
        ],
        ids=["nothing", "a part", "a batch", "parts of one", "more than one", "the last", "no batch"],
    )
    def test_it_is_what_comes_next(self, tmp_path: Path, waits: list[tuple[str, ...] | None], is_sure: bool) -> None:
        """What is said to come next does so, whatever comes meanwhile; where that is not sure, nothing is said."""
        with backlog(tmp_path, batch_size=3) as waiting:
            waiting.put(gathered("x", "y", "z"))
            waiting.take(0)
            for one in waits:
                waiting.put(Interrupted("default", "away") if one is None else gathered(*one))
            foreseen = waiting.upcoming()
            waiting.put(gathered("late"))
            waiting.written()

            assert (foreseen is not None) == is_sure
            assert foreseen is None or foreseen == waiting.take(0)

    def test_from_the_spool(self, tmp_path: Path) -> None:
        """What is read from the spool is not foreseen, nor is anything while that is written."""
        with backlog(tmp_path, batch_size=3) as waiting:
            waiting.put(gathered("x", "y", "z"))
            waiting.spill()
            waiting.take(0)
            waiting.put(gathered("a", "b", "c"))

            assert waiting.upcoming() is None
