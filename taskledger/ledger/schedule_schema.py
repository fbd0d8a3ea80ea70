"""The tables of schedules: what beat promised, what it did, and what was made of it; see docs/schema.md."""

from sqlalchemy import Boolean, Column, Index, Integer, String, UniqueConstraint

from taskledger.ledger.tables import sparse, table
from taskledger.ledger.types import Blob, Code, Digest, Key, LongText, Moment, Seconds, TaskId

#: what beat promised: one row a name
schedule_entry = table(
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
schedule_version = table(
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
fire = table(
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
    sparse("ix_fire_process_id_fired_at", "process_id", "fired_at"),
)

#: one send that beat tried and that failed
send_failure = table(
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
explicit_due = table(
    "explicit_due",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("due_at", Moment, primary_key=True, autoincrement=False),
)

#: an entry's own count of its runs, as it was read: a row when it differs from the one before
run_counter = table(
    "run_counter",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("read_at", Moment, primary_key=True, autoincrement=False),
    Column("last_run_at", Moment),
    Column("run_count", Moment, nullable=False),
)

#: what somebody set for one entry; null is the default
schedule_setting = table(
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
beat_process = table(
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
beat_schedule = table(
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
tick = table(
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
tick_count = table(
    "tick_count",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("day_at", Moment, primary_key=True, autoincrement=False),
    Column("fire", String(16), primary_key=True),
    Column("number", Integer, nullable=False),
)

#: sends that no due time explains, where that is final; "off_schedule" or "while_disabled"
extra_fire = table(
    "extra_fire",
    Column("entry_id", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("task_id", TaskId, primary_key=True),
    Column("reason", String(32), nullable=False),
    Index("ix_extra_fire_at", "at"),
)

#: remarks on due times; `acknowledges`: whether what went wrong is known from then on (false: taken back; null: a note)
tick_note = table(
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
