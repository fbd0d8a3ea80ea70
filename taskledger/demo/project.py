"""The Celery project that the demo runs: a small web shop with tasks of every fate, and the schedule of its beat."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any, cast

from celery import Celery
from celery.schedules import crontab

from taskledger.demo import shop

#: What the running worker consumes.
QUEUES = ("shop", "mail", "batch")

app = Celery("shop", broker="memory://", backend="cache+memory://", set_as_current=False)
app.conf.update(
    task_default_queue="shop",
    task_routes={"mail.*": {"queue": "mail"}, "etl.*": {"queue": "batch"}, "reports.*": {"queue": "batch"}},
    # Without these two Celery is silent about tasks, and nothing can be recorded.
    worker_send_task_events=True,
    task_send_sent_event=True,
    # And with these beat tells what it sends, what it cannot send, and when it will be back.
    taskledger_beat=True,
    imports=("taskledger.integrations.beat",),
    # Python's own polling stands in for a broker that would push.
    broker_transport_options={"polling_interval": 0.05},
    worker_prefetch_multiplier=2,
    worker_hijack_root_logger=False,
    beat_schedule={
        "ops-heartbeat": {"task": "ops.heartbeat", "schedule": 10.0},
        "sales-roll-up": {"task": "stats.roll_up", "schedule": crontab(), "args": ("sales",)},
        # daily_cleanup() takes no argument: beat fails to send it, each time.
        "daily-cleanup": {"task": "maintenance.daily_cleanup", "schedule": 15.0, "args": (30,)},
    },
)

#: Entries that came with a later deployment. Whoever reads the configuration sees them. A beat that was not restarted
#: goes on without them, for it reads `beat_schedule` only when it starts (celery/beat.py, setup_schedule).
DEPLOYED_LATER: dict[str, dict[str, object]] = {
    "refresh-search-index": {"task": "search.refresh", "schedule": 15.0, "args": ("products",)},
}


def task(name: str, **options: Any) -> Callable[[Callable[..., object]], Any]:
    """`app.task` with a type: Celery publishes none."""
    return cast("Callable[[Callable[..., object]], Any]", app.task(name=name, **options))


@task("orders.validate")
def validate(order: str, customer: int, amount: str) -> dict[str, str | int]:
    shop.work(0.05)
    return {"order": order, "customer": customer, "amount": amount}


@task("billing.charge")
def charge(order: dict[str, Any]) -> dict[str, Any]:
    return order | {"reference": shop.capture(order["customer"], Decimal(order["amount"]))}


@task("mail.send_receipt")
def send_receipt(order: dict[str, Any]) -> str:
    return shop.deliver(order["customer"], "receipt", 0)


@task("mail.send", bind=True, max_retries=3)
def send_mail(self: Any, customer: int, template: str) -> str:
    try:
        return shop.deliver(customer, template, self.request.retries)
    except shop.MailServerBusy as busy:
        raise self.retry(exc=busy, countdown=2) from busy


@task("billing.invoice")
def invoice(order: dict[str, str]) -> str:
    return shop.render_invoice(order)


@task("orders.cancel")
def cancel(order: str, capture_id: str) -> str:
    """Revoke what was scheduled for an order."""
    app.control.revoke(capture_id)
    return f"{order} cancelled"


@task("pricing.quote")
def quote(sku: str) -> str:
    return f"{sku}: 19.90 EUR"


@task("etl.sync_inventory", bind=True, max_retries=3)
def sync_inventory(self: Any, warehouse: str) -> int:
    try:
        return shop.count_stock(warehouse)
    except shop.WarehouseUnreachable as unreachable:
        raise self.retry(exc=unreachable, countdown=2) from unreachable


@task("etl.extract_sales")
def extract_sales(country: str) -> list[Any]:
    shop.work(0.4)
    return [country, 400 + 11 * len(country)]


@task("reports.build")
def build_report(sales: list[list[Any]], day: str) -> dict[str, Any]:
    total = sum(number for _, number in sales)
    return {"day": day} | {country: shop.share(number, total) for country, number in sales}


@task("reports.returns")
def report_returns(returned: int, sold: int) -> float:
    return shop.share(returned, sold)


@task("reports.export_year")
def export_year(year: int, seconds: float) -> str:
    """Takes about that long, so that something is always running."""
    done = shop.work(seconds)
    return f"{year}: complete" if done else f"{year}: stopped half-way, the worker is shutting down"


@task("ops.heartbeat")
def heartbeat() -> str:
    return "alive"


@task("stats.roll_up")
def roll_up(what: str) -> str:
    shop.work(0.2)
    return f"{what} rolled up"


@task("maintenance.daily_cleanup")
def daily_cleanup() -> None:
    """Has no parameter; the schedule gives it one."""


@task("search.refresh")
def refresh_search(index: str) -> str:
    return f"{index} refreshed"
