"""Leases: one holder at a time, and another when it dies."""

import threading

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
