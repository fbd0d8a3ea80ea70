"""The short form of the full-load campaign: recorders share one queue and one PostgreSQL, and are killed in turn."""

from pathlib import Path

import pytest

from benchmarks.campaigns import full_load


@pytest.mark.acceptance
@pytest.mark.parametrize(("transport", "recorders"), [("rabbitmq", 3), ("stream", 2)])
def test_nothing_lost_nobody_complains(transport: str, recorders: int) -> None:
    """At full load every event is one row, every task ends as its events say, and no conflict comes to the surface."""
    outcome = full_load.run(transport, kill_number=3, every_s=2, seed=7, recorders=recorders)

    assert outcome.is_well, f"{outcome}; {outcome.complaints}"
    assert outcome.sent == outcome.stored > 1000


def test_complaints_are_found(tmp_path: Path) -> None:
    """Warnings and tracebacks in a log count, but not what a kill explains, and not what is only information."""
    (tmp_path / "record.log").write_text(
        '{"level": "info", "message": "deadlock"}\n'
        '{"level": "warning", "action": "spool_cut", "message": "cut off"}\n'
        '{"level": "warning", "action": "ledger_away", "message": "another transaction was in the way"}\n'
        "Traceback (most recent call last):\n"
    )

    assert [line.partition(": ")[2][:10] for line in full_load._complaints(tmp_path)] == ['{"level": ', "Traceback "]
