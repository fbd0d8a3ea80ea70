"""What the next changes of the clock will do to the entries of the schedule."""

from taskledger.forecasts import LOOK_AHEAD_DAYS, Forecast, forecast
from taskledger.ledger.engine import Ledger
from taskledger.ledger.schedule_known import known


def clock_changes(
    ledger: Ledger, now_at: int, *, days: int = LOOK_AHEAD_DAYS, entry: str | None = None
) -> tuple[Forecast, ...]:
    """Of every entry that a source has now, or of the one named, earliest first; empty where no clock changes."""
    with ledger.read() as connection:
        there = [one.latest.entry for one in known(connection, now_at) if one.latest.to_at is None]
    return tuple(forecast([one for one in there if entry is None or one.name == entry], now_at, days))
