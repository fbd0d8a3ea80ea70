"""Asking the ledger: opened once, at the first question; each question is timed for the `Server-Timing` header."""

from collections.abc import Callable
from threading import Lock
from time import perf_counter
from typing import Concatenate, ParamSpec, TypeVar
from weakref import finalize

from flask import Flask, current_app, g

from taskledger.config import Settings
from taskledger.ledger import Ledger, open_ledger

P = ParamSpec("P")
R = TypeVar("R")
_KEY = "taskledger"


class Opening:
    """The site's ledger: nothing is opened before somebody asks, and then only once."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._lock = Lock()
        self._ledger: Ledger | None = None

    def ledger(self) -> Ledger:
        """The open ledger. Raises SettingsError for a URL that cannot be meant, LedgerAway on the first use."""
        with self._lock:
            if self._ledger is None:
                self._ledger = open_ledger(self.settings.database_url)
            return self._ledger

    def close(self) -> None:
        """Give its connections back; the next question opens it again."""
        with self._lock:
            ledger, self._ledger = self._ledger, None
        if ledger is not None:
            ledger.close()


def init_app(app: Flask, settings: Settings) -> None:
    """Tell the app which ledger it shows."""
    held = app.extensions[_KEY] = Opening(settings)
    # An app that nobody has any more, and a program that ends, leave no connection to be closed by chance.
    finalize(app, held.close)


def opening(app: Flask | None = None) -> Opening:
    """The ledger of an app, the current one unless it is named."""
    found: Opening = (app or current_app).extensions[_KEY]
    return found


def ask(question: Callable[Concatenate[Ledger, P], R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The answer to a named question of `taskledger.ledger.query`; how long it took goes into the response's header."""
    ledger = opening().ledger()
    began = perf_counter()
    try:
        return question(ledger, *args, **kwargs)
    finally:
        g.setdefault("timings", []).append((question.__name__, (perf_counter() - began) * 1000))
