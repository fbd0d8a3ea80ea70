"""The tables. Times are microseconds since the epoch, UTC; names are numbers of `label`; see docs/schema.md.

Those of schedules are made in schedule_schema.py, and are here as well.
"""

from sqlalchemy import Boolean, Column, Index, Integer, PrimaryKeyConstraint, String, UniqueConstraint

from taskledger.ledger.schedule_schema import (
    beat_process,
    beat_schedule,
    explicit_due,
    extra_fire,
    fire,
    run_counter,
    schedule_entry,
    schedule_setting,
    schedule_version,
    send_failure,
    tick,
    tick_count,
    tick_note,
)
from taskledger.ledger.tables import metadata, sparse, table
from taskledger.ledger.types import Blob, Code, Digest, Key, LongText, Moment, Seconds, TaskId

#: what is made elsewhere and belongs here
__all__ = (
    "beat_process",
    "beat_schedule",
    "explicit_due",
    "extra_fire",
    "fire",
    "metadata",
    "run_counter",
    "schedule_entry",
    "schedule_setting",
    "schedule_version",
    "send_failure",
    "tick",
    "tick_count",
    "tick_note",
)

#: every name that repeats (clusters, event types, hosts, task names, queues, routing keys), found by kind and digest
label = table(
    "label",
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", Code, nullable=False),
    Column("digest", Digest, nullable=False),
    Column("value", LongText, nullable=False),
    UniqueConstraint("kind", "digest"),
)

# Columns stand in the order of their size, the long first: PostgreSQL aligns each, and the gaps cost an event 30 bytes.

#: what Celery announced, append-only; `body` is the original, whole, as `codec` says; `lag_ms` is arrival minus `at`
event = table(
    "event",
    Column("at", Moment, nullable=False),
    Column("cluster_id", Integer, nullable=False),
    Column("type_id", Integer, nullable=False),
    Column("host_id", Integer),
    Column("lag_ms", Integer, nullable=False),
    Column("codec", Code, nullable=False),
    Column("id", Digest, primary_key=True),
    Column("task_id", TaskId),
    Column("body", Blob, nullable=False),
    sparse("ix_event_task_id", "task_id"),
)

#: one row a task id: the projection of its events
task = table(
    "task",
    Column("first_at", Moment, nullable=False),
    Column("sent_at", Moment),
    Column("received_at", Moment),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("eta_at", Moment),
    Column("expires_at", Moment),
    Column("wait_s", Seconds),
    Column("runtime_s", Seconds),
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("name_id", Integer),
    Column("worker_id", Integer),
    Column("client_id", Integer),
    Column("queue_id", Integer),
    Column("routing_key_id", Integer),
    Column("retries", Integer),
    Column("events", Integer, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("state", Code, nullable=False),
    Column("settled_by", Code),
    Column("id", TaskId, primary_key=True),
    Column("root_id", TaskId),
    Column("parent_id", TaskId),
    Column("args", LongText),
    Column("kwargs", LongText),
    Column("result", LongText),
    Column("exception", LongText),
    PrimaryKeyConstraint("id", "cluster_id"),
    Index("ix_task_first_at", "first_at"),
    Index("ix_task_state_first_at", "state", "first_at"),
    Index("ix_task_name_id_first_at", "name_id", "first_at"),
    sparse("ix_task_root_id", "root_id"),
)

#: one row a delivery of a task to a worker
run = table(
    "run",
    Column("sent_at", Moment),
    Column("received_at", Moment),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("runtime_s", Seconds),
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("worker_id", Integer),
    Column("pid", Integer),
    Column("retries", Integer),
    Column("state", Code, nullable=False),
    Column("settled_by", Code),
    Column("task_id", TaskId, primary_key=True),
    Column("fingerprint", Digest),
    Column("exception", LongText),
    Column("traceback", LongText),
    Column("note", String(255)),
    PrimaryKeyConstraint("task_id", "cluster_id", "number"),
    sparse("ix_run_fingerprint_ended_at", "fingerprint", "ended_at"),
)

#: facts about runs that did not come as events; begun_at is 0 in those about a task as a whole, host_id where there is
#: no worker
settlement = table(
    "settlement",
    Column("begun_at", Moment, primary_key=True, autoincrement=False),
    Column("known_at", Moment, nullable=False),
    Column("at", Moment),
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("name_id", Integer),
    Column("settled_by", Code, primary_key=True, autoincrement=False),
    Column("state", Code),
    Column("is_exact", Boolean, nullable=False),
    Column("task_id", TaskId, primary_key=True),
    Column("args", LongText),
    Column("kwargs", LongText),
    Column("result", LongText),
    Column("exception", LongText),
    Column("traceback", LongText),
    Column("note", String(255)),
    PrimaryKeyConstraint("task_id", "cluster_id", "begun_at", "host_id", "settled_by"),
    Index("ix_settlement_known_at", "known_at"),
)

#: tasks that have a run which events left open beside a later one: where to look for these
left_open = table(
    "left_open",
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("task_id", TaskId, primary_key=True),
    PrimaryKeyConstraint("task_id", "cluster_id"),
)

#: ways in which runs fail
failure_group = table(
    "failure_group",
    Column("fingerprint", Digest, primary_key=True),
    Column("rule", Code, nullable=False),
    Column("name_id", Integer),
    Column("title", LongText, nullable=False),
    Column("frame", String(255)),
)

#: one row a worker node; task_event_at is when it last told of a task (a worker without -E never does)
worker = table(
    "worker",
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("first_at", Moment, nullable=False),
    Column("task_event_at", Moment),
)

#: one row a life of a worker's process, begun by worker-online or by the first sign of it
worker_session = table(
    "worker_session",
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("pid", Moment, primary_key=True, autoincrement=False),
    Column("first_at", Moment, primary_key=True, autoincrement=False),
    Column("last_at", Moment, nullable=False),
    Column("online_at", Moment),
    Column("offline_at", Moment),
    Column("heartbeat_at", Moment),
    Column("freq_s", Seconds),
    Column("active", Moment),
    Column("processed_from", Moment),
    Column("processed", Moment),
    Column("loadavg", String(100)),
    Column("software", String(255)),
    Column("lag_ms", Integer),
)

#: how many new events came of each type in each hour of their own time
event_count = table(
    "event_count",
    Column("hour_at", Moment, primary_key=True, autoincrement=False),
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("type_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Moment, nullable=False),
)

#: input that could not be used, with the start of its bytes; `seen` counts how often the same bytes came
quarantine = table(
    "quarantine",
    Column("id", Digest, primary_key=True),
    Column("cluster_id", Integer, nullable=False),
    Column("received_at", Moment, nullable=False),
    Column("reason", String(32), nullable=False),
    Column("detail", LongText, nullable=False),
    Column("size", Moment, nullable=False),
    Column("body", Blob, nullable=False),
    Index("ix_quarantine_received_at", "received_at"),
)

#: one row a life of a recorder's process
recorder = table(
    "recorder",
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("name", String(255), nullable=False),
    Column("version", String(32), nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("seen_at", Moment, nullable=False),
    Column("stopped_at", Moment),
    Column("lag_s", Seconds),
    Column("recorded", Moment, nullable=False),
)

#: when a recorder was listening to a cluster; `cause` says why it ended
coverage = table(
    "coverage",
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("recorder_id", Moment, nullable=False),
    Column("cluster_id", Integer, nullable=False),
    Column("promise", String(32), nullable=False),
    Column("from_at", Moment, nullable=False),
    Column("until_at", Moment, nullable=False),
    Column("cause", LongText),
    Index("ix_coverage_until_at", "until_at"),
)

#: how far a worker's own counts are compared with what was recorded of it; the life of its process that counts now
worker_count = table(
    "worker_count",
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("pid", Moment, nullable=False),
    Column("counted_at", Moment, nullable=False),
    Column("processed", Moment, nullable=False),
    Column("ended", Moment, nullable=False),
    Column("starts_missing", Moment, nullable=False),
    Column("ends_missing", Moment, nullable=False),
    Column("is_over", Boolean, nullable=False),
)

#: starts and ends of tasks that a worker counted between two of its signs and that nobody recorded
gap = table(
    "gap",
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("from_at", Moment, nullable=False),
    Column("to_at", Moment, nullable=False),
    Column("pid", Moment, nullable=False),
    Column("cluster_id", Integer, nullable=False),
    Column("host_id", Integer, nullable=False),
    Column("starts", Integer, nullable=False),
    Column("ends", Integer, nullable=False),
    Column("starts_heard", Integer, nullable=False),
    Column("ends_heard", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("cause", LongText, nullable=False),
    Index("ix_gap_to_at", "to_at"),
)

#: searches that somebody kept
saved_view = table(
    "saved_view",
    Column("slug", String(80), primary_key=True),
    Column("name", LongText, nullable=False),
    Column("query", LongText, nullable=False),
    Column("created_at", Moment, nullable=False),
)

#: remarks on tasks
note = table(
    "note",
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("task_id", TaskId, nullable=False),
    Column("text", LongText, nullable=False),
    Column("author", String(255), nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_note_task_id", "task_id"),
)

#: positions of the ledger itself, such as the moment before which it was pruned
mark = table(
    "mark",
    Column("name", String(64), primary_key=True),
    Column("value", Moment, nullable=False),
)

#: what only one recorder does at a time: who does it, and until when it need not be asked again
lease = table(
    "lease",
    Column("name", String(64), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("until_at", Moment, nullable=False),
)
