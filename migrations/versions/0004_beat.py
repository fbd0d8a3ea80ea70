"""beat

Revision ID: 0004
Revises: 0003
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


# Types as they were at this revision: a migration must not change when the program does.
TASK_ID = sa.LargeBinary().with_variant(mysql.VARBINARY(1024), "mysql", "mariadb")
DIGEST = sa.LargeBinary(16).with_variant(mysql.BINARY(16), "mysql", "mariadb")
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
BLOB = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}
#: columns that old tables gain; without a default at the end they are no rewrite on any of the databases
GAINED: dict[str, tuple[tuple[str, Any], ...]] = {
    "schedule_entry": (("one_off", sa.Boolean()),),
    "schedule_version": (("source", sa.String(length=255)), ("sure_until_at", sa.BigInteger())),
    "fire": (
        ("due_at", sa.BigInteger()),
        ("prev_run_at", sa.BigInteger()),
        ("next_due_at", sa.BigInteger()),
        ("run_count", sa.BigInteger()),
        ("process_id", sa.Integer()),
    ),
    "tick": (("evidence", sa.String(length=32)),),
}
DAY = 86_400_000_000


def upgrade() -> None:
    for table, columns in GAINED.items():
        for name, kind in columns:
            op.add_column(table, sa.Column(name, kind, nullable=True))
    present = sa.text("process_id IS NOT NULL")
    op.create_index(
        "ix_fire_process_id_fired_at", "fire", ["process_id", "fired_at"],
        postgresql_where=present, sqlite_where=present,
    )  # fmt: skip
    _create_beat()
    _create_of_entries()
    op.create_table(
        "tick_count",
        _number("entry_id", sa.Integer()),
        _number("day_at", sa.BigInteger()),
        sa.Column("fire", sa.String(length=16), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", "day_at", "fire", name=op.f("pk_tick_count")),
        **MYSQL,
    )
    # % because // of a dialect may mean something else; due times are never negative.
    op.execute(
        sa.text(
            "INSERT INTO tick_count (entry_id, day_at, fire, number)"
            f" SELECT entry_id, due_at - due_at % {DAY}, fire, COUNT(*) FROM tick"
            f" GROUP BY entry_id, due_at - due_at % {DAY}, fire"
        )
    )


def _number(name: str, kind: Any) -> sa.Column[Any]:
    """A number of a primary key."""
    return sa.Column(name, kind, autoincrement=False, nullable=False)


def _create_beat() -> None:
    op.create_table(
        "beat_process",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("cluster_id", sa.Integer(), nullable=False),
        sa.Column("host_id", sa.Integer(), nullable=True),
        sa.Column("beat_id", sa.String(length=64), nullable=False),
        sa.Column("pid", sa.BigInteger(), nullable=True),
        sa.Column("scheduler", sa.String(length=255), nullable=True),
        sa.Column("version", sa.String(length=64), nullable=True),
        sa.Column("timezone", sa.String(length=64), nullable=True),
        sa.Column("max_interval_s", sa.Double(), nullable=True),
        sa.Column("starting_deadline_s", sa.Double(), nullable=True),
        sa.Column("first_at", sa.BigInteger(), nullable=False),
        sa.Column("last_seen_at", sa.BigInteger(), nullable=False),
        sa.Column("online_at", sa.BigInteger(), nullable=True),
        sa.Column("offline_at", sa.BigInteger(), nullable=True),
        sa.Column("tick_at", sa.BigInteger(), nullable=True),
        sa.Column("promised_at", sa.BigInteger(), nullable=True),
        sa.Column("dropped", sa.BigInteger(), nullable=False),
        sa.Column("reason", LONG_TEXT, nullable=True),
        sa.Column("seen", LONG_TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_beat_process")),
        sa.UniqueConstraint("cluster_id", "beat_id", name=op.f("uq_beat_process_cluster_id_beat_id")),
        **MYSQL,
    )
    op.create_index("ix_beat_process_last_seen_at", "beat_process", ["last_seen_at"], unique=False)
    op.create_table(
        "beat_schedule",
        _number("process_id", sa.Integer()),
        _number("seq", sa.BigInteger()),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("codec", sa.SmallInteger(), nullable=False),
        sa.Column("hash", DIGEST, nullable=False),
        sa.Column("entries", BLOB, nullable=False),
        sa.PrimaryKeyConstraint("process_id", "seq", name=op.f("pk_beat_schedule")),
        **MYSQL,
    )


def _create_of_entries() -> None:
    op.create_table(
        "send_failure",
        _number("entry_id", sa.Integer()),
        _number("at", sa.BigInteger()),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("run_count", sa.BigInteger(), nullable=True),
        sa.Column("process_id", sa.Integer(), nullable=True),
        sa.Column("evidence", sa.String(length=32), nullable=False),
        sa.Column("exception", sa.String(length=255), nullable=True),
        sa.Column("message", LONG_TEXT, nullable=True),
        sa.PrimaryKeyConstraint("entry_id", "at", name=op.f("pk_send_failure")),
        **MYSQL,
    )
    op.create_table(
        "explicit_due",
        _number("entry_id", sa.Integer()),
        _number("due_at", sa.BigInteger()),
        sa.PrimaryKeyConstraint("entry_id", "due_at", name=op.f("pk_explicit_due")),
        **MYSQL,
    )
    op.create_table(
        "run_counter",
        _number("entry_id", sa.Integer()),
        _number("read_at", sa.BigInteger()),
        sa.Column("last_run_at", sa.BigInteger(), nullable=True),
        sa.Column("run_count", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", "read_at", name=op.f("pk_run_counter")),
        **MYSQL,
    )
    op.create_table(
        "schedule_setting",
        _number("entry_id", sa.Integer()),
        sa.Column("grace_s", sa.Double(), nullable=True),
        sa.Column("receive_within_s", sa.Double(), nullable=True),
        sa.Column("max_runtime_s", sa.Double(), nullable=True),
        sa.Column("muted_until_at", sa.BigInteger(), nullable=True),
        sa.Column("changed_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_schedule_setting")),
        **MYSQL,
    )
    op.create_table(
        "extra_fire",
        _number("entry_id", sa.Integer()),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("reason", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("entry_id", "task_id", name=op.f("pk_extra_fire")),
        **MYSQL,
    )
    op.create_index("ix_extra_fire_at", "extra_fire", ["at"], unique=False)


def downgrade() -> None:
    for table in (
        "extra_fire",
        "schedule_setting",
        "run_counter",
        "explicit_due",
        "send_failure",
        "beat_schedule",
        "beat_process",
        "tick_count",
    ):
        op.drop_table(table)
    op.drop_index("ix_fire_process_id_fired_at", table_name="fire")
    # Only the probe told these, and what is polled has a history of its own.
    op.execute("DELETE FROM schedule_version WHERE source = 'probe'")
    for table, columns in GAINED.items():
        for name, _ in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {name}")
