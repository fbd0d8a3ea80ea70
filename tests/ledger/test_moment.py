"""The state as of any moment, from the ledger alone, on every database: the scripted incident of tests/incident.py."""

import incident
import pytest
from incident import NAMES, RAN, at

from taskledger.ledger.query import running_at

NOW = at(incident.END_S - 1)


@pytest.fixture
def happened(ledger):
    incident.tell(ledger)
    return ledger


def names(tasks):
    return sorted(NAMES[task.id] for task in tasks)


def running(ledger, second, **which):
    found = running_at(ledger, at(second), NOW, **which)
    return names(found.tasks), names(found.unknown), names(found.lost)


def test_what_was_running_on_a_worker_at_a_moment(happened):
    """Which tasks were running on worker X at a moment: right for every worker, from the first second to the last."""
    asked = (50, 99.9, 100, 105, 110, 200, 305, 400, 495, 600, 702, 759, 1000, 1505, 3001.5, 3999.9, 4000)
    for worker, ran in RAN.items():
        for second in asked:
            truth = sorted({name for name, begin, end in ran if begin <= second < end})
            assert (worker, second, running(happened, second, worker=f"{worker}@vm")[0]) == (worker, second, truth)
