"""The tables. Times are microseconds since the epoch, UTC; names are numbers of `label`; see docs/schema.md."""

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)

from taskledger.ledger.types import Blob, Code, Digest, Key, LongText, Moment, Seconds, TaskId

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _table(name: str, *items: Column[Any] | Index | UniqueConstraint | PrimaryKeyConstraint) -> Table:
    return Table(name, metadata, *items, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")


def _sparse(name: str, column: str, *more: str) -> Index:
    """An index over the rows that have a value, where the database can leave the others out."""
    present = text(f"{column} IS NOT NULL")
    return Index(name, column, *more, postgresql_where=present, sqlite_where=present)


#: every name that repeats (clusters, event types, hosts, task names, queues, routing keys), found by kind and digest
label = _table(
    "label",
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("kind", Code, nullable=False),
    Column("digest", Digest, nullable=False),
    Column("value", LongText, nullable=False),
    UniqueConstraint("kind", "digest"),
)

# Columns stand in the order of their size, the long first: PostgreSQL aligns each, and the gaps cost an event 30 bytes.

#: what Celery announced, append-only; `body` is the original, whole, as `codec` says; `lag_ms` is arrival minus `at`
event = _table(
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
    _sparse("ix_event_task_id", "task_id"),
)

#: one row a task id: the projection of its events
task = _table(
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
    _sparse("ix_task_root_id", "root_id"),
)

#: one row a delivery of a task to a worker
run = _table(
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
    _sparse("ix_run_fingerprint_ended_at", "fingerprint", "ended_at"),
)

#: facts about runs that did not come as events; begun_at is 0 in those about a task as a whole, host_id where there is
#: no worker
settlement = _table(
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
left_open = _table(
    "left_open",
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("task_id", TaskId, primary_key=True),
    PrimaryKeyConstraint("task_id", "cluster_id"),
)

#: ways in which runs fail
failure_group = _table(
    "failure_group",
    Column("fingerprint", Digest, primary_key=True),
    Column("rule", Code, nullable=False),
    Column("name_id", Integer),
    Column("title", LongText, nullable=False),
    Column("frame", String(255)),
)

#: one row a worker node; task_event_at is when it last told of a task (a worker without -E never does)
worker = _table(
    "worker",
    Column("host_id", Integer, primary_key=True, autoincrement=False),
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("first_at", Moment, nullable=False),
    Column("task_event_at", Moment),
)

#: one row a life of a worker's process, begun by worker-online or by the first sign of it
worker_session = _table(
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
event_count = _table(
    "event_count",
    Column("hour_at", Moment, primary_key=True, autoincrement=False),
    Column("cluster_id", Integer, primary_key=True, autoincrement=False),
    Column("type_id", Integer, primary_key=True, autoincrement=False),
    Column("number", Moment, nullable=False),
)

#: input that could not be used, with the start of its bytes; `seen` counts how often the same bytes came
quarantine = _table(
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
recorder = _table(
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
coverage = _table(
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
worker_count = _table(
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
gap = _table(
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

#: what beat promised: one row a name
schedule_entry = _table(
    "schedule_entry",
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("cluster_id", Integer, nullable=False),
    Column("digest", Digest, nullable=False),
    Column("name", LongText, nullable=False),
    Column("source", LongText, nullable=False),
    Column("read_at", Moment, nullable=False),
    Column("one_off", Boolean),
    UniqueConstraint("cluster_id", "digest"),
)

#: the definition of an entry from one moment to another; valid_to_at is null for the one in force. It was read last at
#: sure_until_at before it was found changed or gone: somewhere in between it ended (null: it ended when it says).
#: Those of the probe
#: (source "probe") are a history of their own beside that of what is polled: which holds is decided when it is asked
schedule_version = _table(
    "schedule_version",
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("entry_id", Integer, nullable=False),
    Column("valid_from_at", Moment, nullable=False),
    Column("valid_to_at", Moment),
    Column("definition_hash", Digest, nullable=False),
    Column("definition", LongText, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("source", String(255)),
    Column("sure_until_at", Moment),
    Index("ix_schedule_version_entry_id", "entry_id", "valid_from_at"),
)

#: one actual send of an entry, as far as it is known; what beat itself said of it where its probe told
fire = _table(
    "fire",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("task_id", TaskId, primary_key=True),
    Column("fired_at", Moment, nullable=False),
    Column("evidence", String(32), nullable=False),
    Column("due_at", Moment),
    Column("prev_run_at", Moment),
    Column("next_due_at", Moment),
    Column("run_count", Moment),
    Column("process_id", Integer),
    Index("ix_fire_entry_id_fired_at", "entry_id", "fired_at"),
    _sparse("ix_fire_process_id_fired_at", "process_id", "fired_at"),
)

#: one send that beat tried and that failed
send_failure = _table(
    "send_failure",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, primary_key=True, autoincrement=False),
    Column("due_at", Moment),
    Column("run_count", Moment),
    Column("process_id", Integer),
    Column("evidence", String(32), nullable=False),
    Column("exception", String(255)),
    Column("message", LongText),
)

#: due times that beat announced when it told its schedule, of entries whose due times only their own code knows
explicit_due = _table(
    "explicit_due",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("due_at", Moment, primary_key=True, autoincrement=False),
)

#: an entry's own count of its runs, as it was read: a row when it differs from the one before
run_counter = _table(
    "run_counter",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("read_at", Moment, primary_key=True, autoincrement=False),
    Column("last_run_at", Moment),
    Column("run_count", Moment, nullable=False),
)

#: what somebody set for one entry; null is the default
schedule_setting = _table(
    "schedule_setting",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("grace_s", Seconds),
    Column("receive_within_s", Seconds),
    Column("max_runtime_s", Seconds),
    Column("muted_until_at", Moment),
    Column("changed_at", Moment, nullable=False),
)

#: one row a life of a beat process, as its probe told; promised_at is until when its next sign was promised at tick_at;
#: `seen` is which of its events came: runs of numbers, each with the moments of its ends, as JSON
beat_process = _table(
    "beat_process",
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("cluster_id", Integer, nullable=False),
    Column("host_id", Integer),
    Column("beat_id", String(64), nullable=False),
    Column("pid", Moment),
    Column("scheduler", String(255)),
    Column("version", String(64)),
    Column("timezone", String(64)),
    Column("max_interval_s", Seconds),
    Column("starting_deadline_s", Seconds),
    Column("first_at", Moment, nullable=False),
    Column("last_seen_at", Moment, nullable=False),
    Column("online_at", Moment),
    Column("offline_at", Moment),
    Column("tick_at", Moment),
    Column("promised_at", Moment),
    Column("dropped", Moment, nullable=False),
    Column("reason", LongText),
    Column("seen", LongText, nullable=False),
    UniqueConstraint("cluster_id", "beat_id"),
    Index("ix_beat_process_last_seen_at", "last_seen_at"),
)

#: a part of a schedule that a beat process told: `parts` of them in a row are one; `entries` as `codec` says
beat_schedule = _table(
    "beat_schedule",
    Column("process_id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Moment, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("part", Integer, nullable=False),
    Column("parts", Integer, nullable=False),
    Column("codec", Code, nullable=False),
    Column("hash", Digest, nullable=False),
    Column("entries", Blob, nullable=False),
)

#: one due time of an entry and its verdict; only final verdicts are kept
tick = _table(
    "tick",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("due_at", Moment, primary_key=True, autoincrement=False),
    Column("version_id", Integer, nullable=False),
    Column("fire", String(16), nullable=False),
    Column("flags", String(160)),
    Column("fired_at", Moment),
    Column("task_id", TaskId),
    Column("note", LongText),
    Column("evidence", String(32)),
)

#: how many final ticks of each kind an entry has on each day, UTC: counted in the transaction that writes them
tick_count = _table(
    "tick_count",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("day_at", Moment, primary_key=True, autoincrement=False),
    Column("fire", String(16), primary_key=True),
    Column("number", Integer, nullable=False),
)

#: sends that no due time explains, where that is final; "off_schedule" or "while_disabled"
extra_fire = _table(
    "extra_fire",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("task_id", TaskId, primary_key=True),
    Column("reason", String(32), nullable=False),
    Index("ix_extra_fire_at", "at"),
)

#: searches that somebody kept
saved_view = _table(
    "saved_view",
    Column("slug", String(80), primary_key=True),
    Column("name", LongText, nullable=False),
    Column("query", LongText, nullable=False),
    Column("created_at", Moment, nullable=False),
)

#: remarks on tasks
note = _table(
    "note",
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("task_id", TaskId, nullable=False),
    Column("text", LongText, nullable=False),
    Column("author", String(255), nullable=False),
    Column("created_at", Moment, nullable=False),
    Index("ix_note_task_id", "task_id"),
)

#: remarks on due times; `acknowledges`: whether what went wrong is known from then on (false: taken back; null: a note)
tick_note = _table(
    "tick_note",
    Column("id", Key, primary_key=True, autoincrement=True),
    Column("entry_id", Integer, nullable=False),
    Column("due_at", Moment, nullable=False),
    Column("text", LongText, nullable=False),
    Column("author", String(255), nullable=False),
    Column("acknowledges", Boolean),
    Column("created_at", Moment, nullable=False),
    Index("ix_tick_note_entry_id_due_at", "entry_id", "due_at"),
)

#: positions of the ledger itself, such as the moment before which it was pruned
mark = _table(
    "mark",
    Column("name", String(64), primary_key=True),
    Column("value", Moment, nullable=False),
)

#: what only one recorder does at a time: who does it, and until when it need not be asked again
lease = _table(
    "lease",
    Column("name", String(64), primary_key=True),
    Column("holder", String(255), nullable=False),
    Column("until_at", Moment, nullable=False),
)
