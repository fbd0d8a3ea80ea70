"""The spool: what is on the disk after every kind of end, and what comes back from it."""

import errno
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskledger.recorder import lock
from taskledger.recorder.segment import MAGIC, Damage, frames, scan, torn
from taskledger.recorder.spool import Spool, SpoolFull, open_spool

SEED = 0x5EED
RECORDS = [b"record %03d " % number + bytes(number) for number in range(40)]


@contextmanager
def opened(root: Path, name: str = "me", max_bytes: int = 10**6, segment_bytes: int = 10**6) -> Iterator[Spool]:
    spool = open_spool(root, name, max_bytes, segment_bytes)
    try:
        yield spool
    finally:
        spool.close()


def drained(spool: Spool) -> list[bytes | Damage]:
    """Everything in it, in order; afterwards it is empty."""
    found: list[bytes | Damage] = []
    while (segment := spool.oldest()) is not None:
        found += segment.read()
        spool.drop(segment)
    return found


def fill(spool: Spool, size: int, taken: list[bytes] | None = None) -> None:
    """Append until it is refused."""
    for number in range(10_000):
        record = b"%05d" % number + bytes(size)
        spool.append([record])
        if taken is not None:
            taken.append(record)


def only_file(root: Path) -> Path:
    (path,) = root.rglob("*.spool")
    return path


class TestFrames:
    def test_whole(self) -> None:
        """What was framed comes back as it was."""
        assert list(scan(frames(RECORDS, 0, SEED), SEED)) == RECORDS

    def test_every_truncation_of_the_last_record(self) -> None:
        """Cut anywhere in the last record, all others come back, and the torn end is counted."""
        content = frames(RECORDS, 0, SEED)
        start = len(frames(RECORDS[:-1], 0, SEED))
        for end in range(start + 1, len(content)):
            assert list(scan(content[:end], SEED)) == [*RECORDS[:-1], Damage(1, end - start)]
            assert torn(content[:end], SEED) == end - start

        assert list(scan(content[:start], SEED)) == RECORDS[:-1]

    def test_bit_flips(self) -> None:
        """One flipped bit anywhere costs the record that it is in, and that one is counted."""
        chance = random.Random(20261122)
        content = frames(RECORDS, 0, SEED)
        for _ in range(100):
            bit = chance.randrange(len(content) * 8)
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            found = list(scan(bytes(damaged), SEED))
            kept = [item for item in found if isinstance(item, bytes)]

            assert len(kept) == len(RECORDS) - 1
            assert [record for record in RECORDS if record in kept] == kept
            assert sum(item.records for item in found if isinstance(item, Damage)) == 1

    def test_damage_over_several_records(self) -> None:
        """Of records that are wiped out in a row the exact number is known."""
        content = bytearray(frames(RECORDS, 0, SEED))
        start, end = len(frames(RECORDS[:5], 0, SEED)), len(frames(RECORDS[:9], 0, SEED))
        content[start:end] = bytes(end - start)

        assert list(scan(bytes(content), SEED)) == [*RECORDS[:5], Damage(4, end - start), *RECORDS[9:]]

    def test_forged_records(self) -> None:
        """Bytes that look like a frame, inside of a record that was damaged, are not taken for one."""
        forged = frames([b"forged"], 1, 0)
        content = bytearray(frames([b"first", b"x" + forged, b"last"], 0, SEED))
        content[content.index(b"x" + MAGIC)] ^= 1
        found = list(scan(bytes(content), SEED))

        assert [item for item in found if isinstance(item, bytes)] == [b"first", b"last"]


class TestSpool:
    def test_in_order_over_segments(self, tmp_path: Path) -> None:
        """Records come out in the order in which they went in, over many files, and the files go."""
        with opened(tmp_path, segment_bytes=200) as spool:
            for record in RECORDS:
                spool.append([record])
            files = len(list(tmp_path.rglob("*.spool")))
            found = drained(spool)

            assert (found, spool.is_empty, spool.used_bytes) == (RECORDS, True, 0)

        assert files > 5
        assert list(tmp_path.rglob("*.spool")) == []

    def test_first_records_of_a_segment(self, tmp_path: Path) -> None:
        """Each segment begins with what was asked for."""
        with opened(tmp_path, segment_bytes=150) as spool:
            for number in range(4):
                spool.append([bytes(80)], lambda number=number: [b"first %d" % number])
            found = drained(spool)

        assert [item for item in found if item != bytes(80)] == [b"first 0", b"first 2"]

    def test_the_next_process_goes_on(self, tmp_path: Path) -> None:
        """What one process left the next one finds, marked as inherited, before what it appends itself."""
        with opened(tmp_path) as spool:
            spool.append([b"old"])
        with opened(tmp_path) as spool:
            spool.append([b"new"])
            first = spool.oldest()

            assert first is not None
            assert first.inherited
            assert drained(spool) == [b"old", b"new"]

    def test_torn_tail_at_the_start(self, tmp_path: Path) -> None:
        """Half a record at the end is cut off when the spool is opened, and counted."""
        with opened(tmp_path) as spool:
            spool.append(RECORDS)
        path = only_file(tmp_path)
        os.truncate(path, path.stat().st_size - 3)
        with opened(tmp_path) as spool:
            assert spool.cut.segments == 1
            assert spool.cut.size > len(RECORDS[-1])
            assert drained(spool) == RECORDS[:-1]

    def test_a_file_that_is_gone(self, tmp_path: Path) -> None:
        """A segment that somebody deleted is damage, and what follows is read."""
        with opened(tmp_path, segment_bytes=1) as spool:
            spool.append([b"first"])
            spool.append([b"second"])
            min(tmp_path.rglob("*.spool")).unlink()
            found = drained(spool)

        assert [type(found[0]), *found[1:]] == [Damage, b"second"]

    def test_full(self, tmp_path: Path) -> None:
        """Nothing of what does not fit is in it; once enough is drained it takes more."""
        with opened(tmp_path, max_bytes=1000, segment_bytes=300) as spool:
            with pytest.raises(SpoolFull, match="1,000 bytes"):
                fill(spool, 100)
            full = spool.used_bytes

            assert 800 < full <= 1000
            assert not spool.may_append()

            first = spool.oldest()
            assert first is not None
            spool.drop(first)
            spool.append([b"again"])

            assert drained(spool)[-1] == b"again"

    def test_a_disk_that_refuses(self, tmp_path: Path) -> None:
        """A write that breaks off in the middle leaves nothing behind, and later ones are whole."""
        script = f"""
import resource, signal, sys
from pathlib import Path
from taskledger.recorder.spool import SpoolFull, open_spool
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
spool = open_spool(Path({str(tmp_path)!r}), "me", 10**6)
spool.append([b"before"])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
try:
    spool.append([bytes(600), bytes(600)])
except SpoolFull as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
spool.append([b"after"])
"""
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        with opened(tmp_path) as spool:
            assert (drained(spool), spool.cut.size) == ([b"before", b"after"], 0)

        assert os.strerror(errno.EFBIG) in done.stdout
        assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY

    def test_not_ours(self, tmp_path: Path) -> None:
        """Files of other names are left alone."""
        with opened(tmp_path) as spool:
            (spool.folder / "notes.txt").write_text("keep")
        with opened(tmp_path) as spool:
            assert spool.is_empty
            assert (spool.folder / "notes.txt").read_text() == "keep"


class TestFolders:
    def test_two_at_once(self, tmp_path: Path) -> None:
        """Two recorders of one name never share a folder."""
        with opened(tmp_path) as first, opened(tmp_path) as second:
            first.append([b"first"])
            second.append([b"second"])

            assert first.folder != second.folder
            assert (drained(first), drained(second)) == ([b"first"], [b"second"])

    def test_taking_over(self, tmp_path: Path) -> None:
        """What two recorders left, one that starts alone writes all; one that still runs keeps its own."""
        with opened(tmp_path) as first, opened(tmp_path) as second:
            first.append([b"first"])
            second.append([b"second"])
        with opened(tmp_path) as alone:
            assert list(tmp_path.iterdir()) == [alone.folder]
            assert drained(alone) == [b"first", b"second"]

            alone.append([b"still running"])
            with opened(tmp_path) as other:
                assert other.is_empty

    def test_leaves_nothing_behind(self, tmp_path: Path) -> None:
        """An empty spool that is closed leaves no folder; one with records in it does."""
        with opened(tmp_path):
            pass
        empty = list(tmp_path.iterdir())
        with opened(tmp_path) as spool:
            spool.append([b"record"])

        assert (empty, list(tmp_path.iterdir())) == ([], [spool.folder])

    def test_one_after_the_other(self, tmp_path: Path) -> None:
        """However many open and close it at the same moment, no two ever have the same folder."""
        inside: set[Path] = set()
        trouble = []

        def come_and_go() -> None:
            for _ in range(100):
                with opened(tmp_path) as spool:
                    if spool.folder in inside:
                        trouble.append(spool.folder)
                    inside.add(spool.folder)
                    inside.discard(spool.folder)

        threads = [threading.Thread(target=come_and_go) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert trouble == []

    def test_names(self, tmp_path: Path) -> None:
        """Recorders of other names have folders of their own, whatever is in the names."""
        names = ["me", "me+2", "me.2", "../me", "a/b", "ü" * 300, "~"]
        for name in names:
            with opened(tmp_path, name) as spool:
                spool.append([name.encode()])
        folders = len(list(tmp_path.iterdir()))
        found = []
        for name in names:
            with opened(tmp_path, name) as spool:
                found.append(drained(spool))

        assert found == [[name.encode()] for name in names]
        assert folders == len(names)

    def test_nowhere(self, tmp_path: Path) -> None:
        """A folder that cannot be made is an error, and not waited for."""
        (tmp_path / "link").symlink_to(tmp_path / "nothing")
        with pytest.raises(OSError, match="No such file"):
            open_spool(tmp_path / "link", "me", 1)

    def test_killed(self, tmp_path: Path) -> None:
        """The lock of a process that was killed is free."""
        script = f"""
from pathlib import Path
from taskledger.recorder import lock
print(lock.take(Path({str(tmp_path)!r})) is not None, flush=True)
input()
"""
        with subprocess.Popen(
            [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "True\n"
            assert lock.take(tmp_path) is None
            other.kill()
        taken = lock.take(tmp_path)

        assert taken is not None
        lock.release(taken)


def test_disk_full(small_disk: Path) -> None:
    """A full disk loses nothing that was taken, and as soon as there is space more is taken."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(3_600_000))
    taken: list[bytes] = []
    with opened(small_disk, max_bytes=10**8) as spool:
        with pytest.raises(SpoolFull, match=os.strerror(errno.ENOSPC)):
            fill(spool, 3000, taken)
        ballast.unlink()
        spool.append([b"after"])
    with opened(small_disk, max_bytes=10**8) as spool:
        assert drained(spool) == [*taken, b"after"]

    assert len(taken) > 50


@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_sync_that_fails(tmp_path: Path, number: int) -> None:
    """What the disk did not confirm does not count as taken, and all that counts as taken is there."""
    strace = shutil.which("strace") or pytest.skip("without strace no system call can be made to fail")
    script = f"""
from pathlib import Path
from taskledger.recorder.spool import SpoolFull, open_spool
spool = open_spool(Path({str(tmp_path)!r}), "me", 10**6, 200)
for number in range(20):
    try:
        spool.append([b"%03d" % number])
        print(number)
    except SpoolFull:
        pass
"""
    inject = f"inject=fsync:error=EIO:when={number}"
    command = [strace, "-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", inject, sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "ptrace" in done.stderr:
        pytest.skip(f"no process may be traced here: {done.stderr.strip()}")
    taken = [b"%03d" % int(line) for line in done.stdout.split()]
    with opened(tmp_path) as spool:
        found = drained(spool)

    assert len(taken) == 19
    assert [item for item in found if isinstance(item, bytes)] == taken
