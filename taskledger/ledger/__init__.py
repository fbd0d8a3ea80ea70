"""Where all of it is kept: the only package that speaks SQL."""

from taskledger.ledger.engine import Ledger, open_ledger

__all__ = ["Ledger", "open_ledger"]
