"""The customers of the demo: a steady, seeded stream of orders, mails, reports and mishaps, a few tasks a second."""

import random
from collections.abc import Callable, Iterator
from itertools import count
from threading import Event

from celery import chain, chord

from taskledger.demo import project, shop

Move = Callable[[random.Random], object]

#: Seconds between two moves, least and most.
PAUSE_S = (0.3, 0.9)
COUNTRIES = ("de", "fr", "nl", "austria")
WAREHOUSES = ("lyon", "hamburg", "antwerp")

_order_numbers = count(20_001)


def keep_sending(stop: Event, seed: int = 1) -> None:
    """Send tasks until `stop` is set."""
    rng = random.Random(seed)  # noqa: S311 - variety, not secrecy
    for move in moves(rng):
        move(rng)
        if stop.wait(rng.uniform(*PAUSE_S)):
            return


def moves(rng: random.Random) -> Iterator[Move]:
    """Rounds without end: the first in the order of ROUND, so that all is seen soon; each later one shuffled."""
    yield from ROUND
    while True:
        yield from rng.sample(ROUND, len(ROUND))


def sell(rng: random.Random) -> None:
    """Validate, charge, mail a receipt: a chain that ends early when the card is declined."""
    _sale(_customer(rng), rng)


def sell_declined(rng: random.Random) -> None:
    _sale(rng.choice(sorted(shop.DECLINED)), rng)


def newsletter(rng: random.Random) -> None:
    project.send_mail.delay(_customer(rng), template=rng.choice(("newsletter", "price-alert", "back-in-stock")))


def newsletter_greylisted(rng: random.Random) -> None:
    project.send_mail.delay(rng.choice(sorted(shop.GREYLISTED)), template="newsletter")


def sync(rng: random.Random) -> None:
    project.sync_inventory.delay(rng.choice(WAREHOUSES))


def sync_unreachable(_: random.Random) -> None:
    project.sync_inventory.delay(shop.UNREACHABLE)


def bill(rng: random.Random) -> None:
    project.invoice.delay({"number": _order(), "net": _amount(rng), "vat_rate": "0.19"})


def bill_old_order(rng: random.Random) -> None:
    """An order that lacks its VAT rate: a KeyError."""
    project.invoice.delay({"number": f"L-{rng.randrange(4000, 4999)}", "net": _amount(rng)})


def report(rng: random.Random) -> None:
    """Extract per country, then build: a chord."""
    day = f"2026-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
    chord(project.extract_sales.s(country) for country in COUNTRIES)(project.build_report.s(day=day))


def report_empty_day(rng: random.Random) -> None:
    """Nothing was sold: a ZeroDivisionError."""
    project.report_returns.delay(rng.randint(1, 9), sold=0)


def export(rng: random.Random) -> None:
    project.export_year.delay(rng.randint(2019, 2026), seconds=rng.randint(25, 35))


def remind(rng: random.Random) -> None:
    """A task with an ETA."""
    project.send_mail.apply_async((_customer(rng), "cart-reminder"), countdown=15)


def order_and_cancel(rng: random.Random) -> None:
    """Charge later, but the order is cancelled before: a revoked task."""
    order = {"order": _order(), "customer": _customer(rng), "amount": _amount(rng)}
    later = project.charge.apply_async((order,), countdown=8)
    project.cancel.apply_async((order["order"], later.id), countdown=2)


def quote_too_late(rng: random.Random) -> None:
    """A task that expires before its time comes."""
    project.quote.apply_async((f"SKU-{rng.randrange(100, 999)}",), countdown=5, expires=3)


#: One round of moves, about 15 seconds long.
ROUND: tuple[Move, ...] = (
    export,
    sell,
    newsletter_greylisted,
    sync_unreachable,
    sell_declined,
    order_and_cancel,
    quote_too_late,
    report,
    bill_old_order,
    remind,
    report_empty_day,
    export,
    *(sell,) * 6,
    *(newsletter,) * 4,
    *(sync,) * 2,
    *(bill,) * 2,
)


def _sale(customer: int, rng: random.Random) -> None:
    chain(
        project.validate.s(_order(), customer, _amount(rng)),
        project.charge.s(),
        project.send_receipt.s(),
    ).apply_async()


def _order() -> str:
    return f"A-{next(_order_numbers)}"


def _customer(rng: random.Random) -> int:
    """A customer with whom nothing goes wrong."""
    return rng.choice([number for number in range(1001, 1031) if number not in shop.DECLINED | shop.GREYLISTED])


def _amount(rng: random.Random) -> str:
    return f"{rng.randint(5, 300)}.{rng.choice(('00', '49', '90'))}"
