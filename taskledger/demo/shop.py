"""What the demo's tasks call: a pretend payment gateway, mail server and warehouse, which fail for known customers."""

# ruff: noqa: N818  Exceptions are named as an application would name them; the names are seen on the pages.

import random
from decimal import Decimal
from threading import Event

#: Set while the demo shuts down, so that nothing that takes long holds it up.
closing = Event()

#: Customers whose card the gateway declines.
DECLINED = frozenset({1007, 1021})
#: Customers whose mail server lets a first and a second attempt wait.
GREYLISTED = frozenset({1013})
#: A warehouse whose stock system never answers.
UNREACHABLE = "rotterdam"


class CardDeclined(Exception):
    """The gateway refused to charge a card."""


class MailServerBusy(ConnectionError):
    """The mail server asks to come again later."""


class WarehouseUnreachable(TimeoutError):
    """A warehouse did not answer in time."""


def work(seconds: float) -> bool:
    """Take about that long; False when the demo closed meanwhile."""
    return not closing.wait(seconds * random.uniform(0.6, 1.4))  # noqa: S311 - variety, not secrecy


def capture(customer: int, amount: Decimal) -> str:
    """Charge a customer through the gateway and return its reference."""
    authorisation = _authorise(customer, amount)
    return f"capture-{authorisation}"


def _authorise(customer: int, amount: Decimal) -> int:
    work(0.15)
    _check_funds(customer, amount)
    return customer * 31 + int(amount * 100)


def _check_funds(customer: int, amount: Decimal) -> None:
    if customer in DECLINED:
        raise CardDeclined(f"card of customer {customer} declined for {amount} EUR: insufficient funds")


def deliver(customer: int, template: str, attempt: int) -> str:
    """Hand a mail over; a greylisting server takes it at the third attempt (`attempt` counts from 0)."""
    work(0.1)
    if customer in GREYLISTED and attempt < 2:
        raise MailServerBusy("451 4.7.1 Greylisted, please try again later")
    return f"{template} queued as {customer:x}{attempt}"


def count_stock(warehouse: str) -> int:
    """The number of items a warehouse reports."""
    work(0.3)
    if warehouse == UNREACHABLE:
        raise WarehouseUnreachable(f"stock API of {warehouse} did not answer within 5 s")
    return 1200 + 37 * len(warehouse)


def render_invoice(order: dict[str, str]) -> str:
    """An invoice as text; orders from the old shop lack the VAT rate."""
    work(0.2)
    net = Decimal(order["net"])
    return f"{order['number']}: {net * (1 + Decimal(order['vat_rate'])):.2f} EUR"


def share(part: int, total: int) -> float:
    """How much of a total a part is, in percent."""
    return round(100 * part / total, 1)
