"""A campaign that finds a promise broken fails; one that does not, does not."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.campaigns import disk_full, full_load, fuzz, interruptions, outage

OUTAGE = outage.Outcome(10, 10, 0, 0, 90.0, 190.0, 5.0, 120.0)
DISK = disk_full.Outcome(10, 8, 2, 0, 2, "ok", was_stuck=True, resumed_s=10.0, is_durable=False)
INTERRUPTED = interruptions.Outcome("kill", [5.0, 0.1], 2, 10, 3, 0)
LOAD = full_load.Outcome(5, 10, 10, 0, 0, 0, 0, 7, 100.0, 5, [])


@pytest.mark.parametrize("outcome", [OUTAGE, DISK, INTERRUPTED, LOAD])
def test_kept(outcome: Any) -> None:
    """Just within what is promised is well."""
    assert outcome.is_well


@pytest.mark.parametrize(
    "outcome",
    [
        *(replace(OUTAGE, **{key: 1}) for key in ("lost", "duplicate")),
        replace(OUTAGE, memory_peak=190.1),
        replace(OUTAGE, drained_s=120.1),
        replace(DISK, lost=3),
        replace(DISK, dropped=3),
        replace(DISK, duplicate=1),
        replace(DISK, is_durable=True),
        replace(DISK, integrity="row 7 missing from index"),
        replace(DISK, was_stuck=False),
        replace(DISK, resumed_s=10.1),
        replace(INTERRUPTED, waits_s=[5.1, 0.1]),
        replace(INTERRUPTED, gaps=1),
        replace(INTERRUPTED, covered=1),
        *(replace(LOAD, **{key: 1}) for key in ("lost", "duplicate", "miscounted", "left")),
        replace(LOAD, complaints=["recorder-0: deadlock detected"]),
    ],
    ids=str,
)
def test_broken(outcome: Any) -> None:
    """A figure beyond what is promised, whichever it is, is not well."""
    assert not outcome.is_well


def test_find_of_the_fuzzing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Fuzzing ends with 0 without a find; with one it ends with 1, and tells the message."""
    fine = fuzz.main(["--seconds", "0.2"])
    monkeypatch.setattr(fuzz, "SLOW_S", 0.0)

    assert (fine, fuzz.main(["--seconds", "0.2"])) == (0, 1)
    assert "took 0.0 s: " in capsys.readouterr().err
