"""Leases: one holder at a time, and another when it dies."""

import subprocess
import sys
import threading

import pytest

from taskledger.ledger import leases, open_ledger

S = 1_000_000


def test_one_holder_at_a_time(ledger):
    """While one holds it, nobody else gets it, and the holder gets it again."""
    assert leases.take(ledger, "jobs", "a", 100 * S, 30)
    assert not leases.take(ledger, "jobs", "b", 110 * S, 30)
    assert leases.take(ledger, "jobs", "a", 120 * S, 30)
    assert not leases.take(ledger, "jobs", "b", 140 * S, 30)


def test_a_dead_holder_loses_it(ledger):
    """When the time is up without renewal, the next to ask has it, and the old holder does not."""
    leases.take(ledger, "jobs", "a", 100 * S, 30)

    assert leases.take(ledger, "jobs", "b", 131 * S, 30)
    assert not leases.take(ledger, "jobs", "a", 132 * S, 30)


def test_what_is_given_up_is_free(ledger):
    """A holder that ends frees it at once; nobody can give up what another holds."""
    leases.take(ledger, "jobs", "a", 100 * S, 30)
    leases.give_up(ledger, "jobs", "b")
    assert not leases.take(ledger, "jobs", "b", 101 * S, 30)

    leases.give_up(ledger, "jobs", "a")
    assert leases.take(ledger, "jobs", "b", 102 * S, 30)


def test_leases_of_different_names_are_apart(ledger):
    """Holding one is not holding another."""
    leases.take(ledger, "jobs", "a", 100 * S, 30)

    assert leases.take(ledger, "other", "b", 100 * S, 30)


def test_of_many_that_ask_at_once_one_gets_it(database_url):
    """Six recorders that ask at the same moment: exactly one holds it."""
    got, begin = [], threading.Barrier(6)

    def ask(holder):
        with open_ledger(database_url) as opened:
            begin.wait()
            got.append(leases.take(opened, "jobs", holder, 100 * S, 30))

    threads = [threading.Thread(target=ask, args=(f"r{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(got) == [False] * 5 + [True]


#: a process that takes the lease, in its own name, and ends without a word
TAKES = """
import os, sys
from taskledger.ledger import leases, open_ledger
with open_ledger(sys.argv[1]) as ledger:
    assert leases.take(ledger, "jobs", leases.holder_of("there"), 100_000_000, 30)
    os._exit(0)
"""


def test_a_holder_that_died_here_is_inherited_at_once(ledger, database_url):
    """Of a process of this machine it is known that it is gone: its lease is free before its time."""
    subprocess.run([sys.executable, "-c", TAKES, database_url], check=True)

    assert leases.take(ledger, "jobs", leases.holder_of("here"), 101 * S, 30)
    assert not leases.take(ledger, "jobs", leases.holder_of("here too"), 102 * S, 30)


@pytest.mark.parametrize("where", ["elsewhere:999999:0123456789abcdef-01234567", "odd", "odd:x:y", ""])
def test_of_a_holder_elsewhere_it_is_not_known_that_it_died(ledger, where):
    """Process numbers of another machine or container say nothing here: its time must be up."""
    leases.take(ledger, "jobs", where, 100 * S, 30)

    assert not leases.take(ledger, "jobs", leases.holder_of("here"), 101 * S, 30)
    assert leases.take(ledger, "jobs", leases.holder_of("here"), 131 * S, 30)
