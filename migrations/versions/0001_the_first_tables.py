"""the first tables

Revision ID: 0001
Revises: nothing

Rules: a released migration is never edited; a step must run on SQLite, PostgreSQL and MariaDB/MySQL; test it with
data in the tables (tests/ledger/test_migrations.py); a long step on a big table needs a note in the CHANGELOG; say how
to go back.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


# Types as they were at this revision: a migration must not change when the program does.
DIGEST = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")
TASK_ID = sa.LargeBinary().with_variant(mysql.VARBINARY(1024), "mysql", "mariadb")
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
BLOB = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    op.create_table(
        "coverage",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("recorder_id", sa.BigInteger(), nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("promise", sa.String(length=32), nullable=False),
        sa.Column("from_at", sa.BigInteger(), nullable=False),
        sa.Column("until_at", sa.BigInteger(), nullable=False),
        sa.Column("cause", LONG_TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_coverage")),
        **MYSQL,
    )
    op.create_index("ix_coverage_until_at", "coverage", ["until_at"], unique=False)

    op.create_table(
        "event",
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("type_id", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=True),
        sa.Column("lag_ms", sa.Integer(), nullable=False),
        sa.Column("codec", sa.SmallInteger(), nullable=False),
        sa.Column("id", DIGEST, nullable=False),
        sa.Column("task_id", TASK_ID, nullable=True),
        sa.Column("body", BLOB, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event")),
        **MYSQL,
    )
    op.create_index(
        "ix_event_task_id",
        "event",
        ["task_id"],
        unique=False,
        postgresql_where=sa.text("task_id IS NOT NULL"),
        sqlite_where=sa.text("task_id IS NOT NULL"),
    )

    op.create_table(
        "event_count",
        sa.Column("hour_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("type_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("hour_at", "cluster_id", "type_id", name=op.f("pk_event_count")),
        **MYSQL,
    )
    op.create_table(
        "failure_group",
        sa.Column("fingerprint", DIGEST, nullable=False),
        sa.Column("rule", sa.SmallInteger(), nullable=False),
        sa.Column("name_id", sa.Integer(), nullable=True),
        sa.Column("title", LONG_TEXT, nullable=False),
        sa.Column("frame", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("fingerprint", name=op.f("pk_failure_group")),
        **MYSQL,
    )
    op.create_table(
        "fire",
        sa.Column("entry_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("fired_at", sa.BigInteger(), nullable=False),
        sa.Column("evidence", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", "task_id", name=op.f("pk_fire")),
        **MYSQL,
    )
    op.create_index("ix_fire_entry_id_fired_at", "fire", ["entry_id", "fired_at"], unique=False)

    op.create_table(
        "label",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("kind", sa.SmallInteger(), nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("value", LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
        sa.UniqueConstraint("kind", "digest", name=op.f("uq_label_kind_digest")),
        **MYSQL,
    )
    op.create_table(
        "lease",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("holder", sa.String(length=255), nullable=False),
        sa.Column("until_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_lease")),
        **MYSQL,
    )
    op.create_table(
        "mark",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_mark")),
        **MYSQL,
    )
    op.create_table(
        "note",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("text", LONG_TEXT, nullable=False),
        sa.Column("author", sa.String(length=255), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_note")),
        **MYSQL,
    )
    op.create_index("ix_note_task_id", "note", ["task_id"], unique=False)

    op.create_table(
        "quarantine",
        sa.Column("id", DIGEST, nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.Column("detail", LONG_TEXT, nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("body", BLOB, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        **MYSQL,
    )
    op.create_index("ix_quarantine_received_at", "quarantine", ["received_at"], unique=False)

    op.create_table(
        "recorder",
        sa.Column("id", KEY, autoincrement=True, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("version", sa.String(length=32), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("seen_at", sa.BigInteger(), nullable=False),
        sa.Column("stopped_at", sa.BigInteger(), nullable=True),
        sa.Column("lag_s", sa.Double(), nullable=True),
        sa.Column("recorded", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recorder")),
        **MYSQL,
    )
    op.create_table(
        "run",
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("runtime_s", sa.Double(), nullable=True),
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("worker_id", sa.Integer(), nullable=True),
        sa.Column("pid", sa.Integer(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=True),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("fingerprint", DIGEST, nullable=True),
        sa.Column("exception", LONG_TEXT, nullable=True),
        sa.Column("traceback", LONG_TEXT, nullable=True),
        sa.Column("note", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint("task_id", "cluster_id", "number", name=op.f("pk_run")),
        **MYSQL,
    )
    op.create_index(
        "ix_run_fingerprint_ended_at",
        "run",
        ["fingerprint", "ended_at"],
        unique=False,
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
        sqlite_where=sa.text("fingerprint IS NOT NULL"),
    )

    op.create_table(
        "saved_view",
        sa.Column("slug", sa.String(length=80), nullable=False),
        sa.Column("name", LONG_TEXT, nullable=False),
        sa.Column("query", LONG_TEXT, nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("slug", name=op.f("pk_saved_view")),
        **MYSQL,
    )
    op.create_table(
        "schedule_entry",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("digest", DIGEST, nullable=False),
        sa.Column("name", LONG_TEXT, nullable=False),
        sa.Column("source", LONG_TEXT, nullable=False),
        sa.Column("read_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule_entry")),
        sa.UniqueConstraint("cluster_id", "digest", name=op.f("uq_schedule_entry_cluster_id_digest")),
        **MYSQL,
    )
    op.create_table(
        "schedule_version",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("entry_id", sa.Integer(), nullable=False),
        sa.Column("valid_from_at", sa.BigInteger(), nullable=False),
        sa.Column("valid_to_at", sa.BigInteger(), nullable=True),
        sa.Column("definition_hash", DIGEST, nullable=False),
        sa.Column("definition", LONG_TEXT, nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_schedule_version")),
        **MYSQL,
    )
    op.create_index("ix_schedule_version_entry_id", "schedule_version", ["entry_id", "valid_from_at"], unique=False)

    op.create_table(
        "task",
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("ended_at", sa.BigInteger(), nullable=True),
        sa.Column("eta_at", sa.BigInteger(), nullable=True),
        sa.Column("expires_at", sa.BigInteger(), nullable=True),
        sa.Column("wait_s", sa.Double(), nullable=True),
        sa.Column("runtime_s", sa.Double(), nullable=True),
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name_id", sa.Integer(), nullable=True),
        sa.Column("worker_id", sa.Integer(), nullable=True),
        sa.Column("client_id", sa.Integer(), nullable=True),
        sa.Column("queue_id", sa.Integer(), nullable=True),
        sa.Column("routing_key_id", sa.Integer(), nullable=True),
        sa.Column("retries", sa.Integer(), nullable=True),
        sa.Column("events", sa.Integer(), nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=False),
        sa.Column("id", TASK_ID, nullable=False),
        sa.Column("root_id", TASK_ID, nullable=True),
        sa.Column("parent_id", TASK_ID, nullable=True),
        sa.Column("args", LONG_TEXT, nullable=True),
        sa.Column("kwargs", LONG_TEXT, nullable=True),
        sa.Column("result", LONG_TEXT, nullable=True),
        sa.Column("exception", LONG_TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", "cluster_id", name=op.f("pk_task")),
        **MYSQL,
    )
    op.create_index("ix_task_first_at", "task", ["first_at"], unique=False)
    op.create_index("ix_task_name_id_first_at", "task", ["name_id", "first_at"], unique=False)
    op.create_index(
        "ix_task_root_id",
        "task",
        ["root_id"],
        unique=False,
        postgresql_where=sa.text("root_id IS NOT NULL"),
        sqlite_where=sa.text("root_id IS NOT NULL"),
    )
    op.create_index("ix_task_state_first_at", "task", ["state", "first_at"], unique=False)

    op.create_table(
        "tick",
        sa.Column("entry_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("due_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("fire", sa.String(length=16), nullable=False),
        sa.Column("flags", sa.String(length=160), nullable=True),
        sa.Column("fired_at", sa.BigInteger(), nullable=True),
        sa.Column("task_id", TASK_ID, nullable=True),
        sa.Column("note", LONG_TEXT, nullable=True),
        sa.PrimaryKeyConstraint("entry_id", "due_at", name=op.f("pk_tick")),
        **MYSQL,
    )
    op.create_table(
        "worker",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("task_event_at", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("host_id", "cluster_id", name=op.f("pk_worker")),
        **MYSQL,
    )
    op.create_table(
        "worker_session",
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("pid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False),
        sa.Column("online_at", sa.BigInteger(), nullable=True),
        sa.Column("offline_at", sa.BigInteger(), nullable=True),
        sa.Column("heartbeat_at", sa.BigInteger(), nullable=True),
        sa.Column("freq_s", sa.Double(), nullable=True),
        sa.Column("active", sa.BigInteger(), nullable=True),
        sa.Column("processed_from", sa.BigInteger(), nullable=True),
        sa.Column("processed", sa.BigInteger(), nullable=True),
        sa.Column("loadavg", sa.String(length=100), nullable=True),
        sa.Column("software", sa.String(length=255), nullable=True),
        sa.Column("lag_ms", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("host_id", "cluster_id", "pid", "first_at", name=op.f("pk_worker_session")),
        **MYSQL,
    )


def downgrade() -> None:
    op.drop_table("worker_session")
    op.drop_table("worker")
    op.drop_table("tick")
    op.drop_index("ix_task_state_first_at", "task")
    op.drop_index(
        "ix_task_root_id",
        "task",
        postgresql_where=sa.text("root_id IS NOT NULL"),
        sqlite_where=sa.text("root_id IS NOT NULL"),
    )
    op.drop_index("ix_task_name_id_first_at", "task")
    op.drop_index("ix_task_first_at", "task")

    op.drop_table("task")
    op.drop_index("ix_schedule_version_entry_id", "schedule_version")

    op.drop_table("schedule_version")
    op.drop_table("schedule_entry")
    op.drop_table("saved_view")
    op.drop_index(
        "ix_run_fingerprint_ended_at",
        "run",
        postgresql_where=sa.text("fingerprint IS NOT NULL"),
        sqlite_where=sa.text("fingerprint IS NOT NULL"),
    )

    op.drop_table("run")
    op.drop_table("recorder")
    op.drop_index("ix_quarantine_received_at", "quarantine")

    op.drop_table("quarantine")
    op.drop_index("ix_note_task_id", "note")

    op.drop_table("note")
    op.drop_table("mark")
    op.drop_table("lease")
    op.drop_table("label")
    op.drop_index("ix_fire_entry_id_fired_at", "fire")

    op.drop_table("fire")
    op.drop_table("failure_group")
    op.drop_table("event_count")
    op.drop_index(
        "ix_event_task_id",
        "event",
        postgresql_where=sa.text("task_id IS NOT NULL"),
        sqlite_where=sa.text("task_id IS NOT NULL"),
    )

    op.drop_table("event")
    op.drop_index("ix_coverage_until_at", "coverage")

    op.drop_table("coverage")
