"""The ledger of Celery's events: recorded in SQL, append-only, folded into tasks, runs, workers and schedules."""

__version__ = "0.1.0"
