"""The named questions: each takes an open ledger and answers with frozen values; no SQL leaves this package."""

from taskledger.ledger.query.beats import beat_verdict, beats, findings, schedule_history
from taskledger.ledger.query.certainty import LOST_TOLD
from taskledger.ledger.query.clock_changes import clock_changes
from taskledger.ledger.query.completeness import completeness, gaps
from taskledger.ledger.query.due_times import due_times, kept_from
from taskledger.ledger.query.failures import failure_group, failure_groups
from taskledger.ledger.query.health import event_counts, quarantine_count, quarantined, stats
from taskledger.ledger.query.listening import clusters, coverage, recorders, recorders_at, status, stretches
from taskledger.ledger.query.moment import heard_at, running_at
from taskledger.ledger.query.queues import queues_at
from taskledger.ledger.query.schedules import schedule, schedules, schedules_and_findings
from taskledger.ledger.query.tallies import MOST_AHEAD, due_ahead, tallies
from taskledger.ledger.query.tasks import count_tasks, facets, histogram, task, tasks, tasks_like
from taskledger.ledger.query.workers import worker, workers, workers_at
from taskledger.ledger.schedule_findings import of_rows as findings_of

__all__ = [
    "LOST_TOLD",
    "MOST_AHEAD",
    "beat_verdict",
    "beats",
    "clock_changes",
    "clusters",
    "completeness",
    "count_tasks",
    "coverage",
    "due_ahead",
    "due_times",
    "event_counts",
    "facets",
    "failure_group",
    "failure_groups",
    "findings",
    "findings_of",
    "gaps",
    "heard_at",
    "histogram",
    "kept_from",
    "quarantine_count",
    "quarantined",
    "queues_at",
    "recorders",
    "recorders_at",
    "running_at",
    "schedule",
    "schedule_history",
    "schedules",
    "schedules_and_findings",
    "stats",
    "status",
    "stretches",
    "tallies",
    "task",
    "tasks",
    "tasks_like",
    "worker",
    "workers",
    "workers_at",
]
