"""settlements

Revision ID: 0003
Revises: 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


# Types as they were at this revision: a migration must not change when the program does.
TASK_ID = sa.LargeBinary().with_variant(mysql.VARBINARY(1024), "mysql", "mariadb")
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
MYSQL: dict[str, Any] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin"}


def upgrade() -> None:
    # A column without a default at the end is no rewrite on any of the databases.
    op.add_column("task", sa.Column("settled_by", sa.SmallInteger(), nullable=True))
    op.add_column("run", sa.Column("settled_by", sa.SmallInteger(), nullable=True))
    op.create_table(
        "left_open",
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.PrimaryKeyConstraint("task_id", "cluster_id", name=op.f("pk_left_open")),
        **MYSQL,
    )
    op.create_table(
        "settlement",
        sa.Column("begun_at", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("known_at", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=True),
        sa.Column("cluster_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("host_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name_id", sa.Integer(), nullable=True),
        sa.Column("settled_by", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("state", sa.SmallInteger(), nullable=True),
        sa.Column("is_exact", sa.Boolean(), nullable=False),
        sa.Column("task_id", TASK_ID, nullable=False),
        sa.Column("args", LONG_TEXT, nullable=True),
        sa.Column("kwargs", LONG_TEXT, nullable=True),
        sa.Column("result", LONG_TEXT, nullable=True),
        sa.Column("exception", LONG_TEXT, nullable=True),
        sa.Column("traceback", LONG_TEXT, nullable=True),
        sa.Column("note", sa.String(length=255), nullable=True),
        sa.PrimaryKeyConstraint(
            "task_id", "cluster_id", "begun_at", "host_id", "settled_by", name=op.f("pk_settlement")
        ),
        **MYSQL,
    )
    op.create_index("ix_settlement_known_at", "settlement", ["known_at"], unique=False)


def downgrade() -> None:
    op.drop_table("settlement")
    op.drop_table("left_open")
    # What was settled is forgotten, and what it settled is again as events left it.
    for table in ("run", "task"):
        op.execute(f"UPDATE {table} SET state = 30, ended_at = NULL WHERE state IN (55, 65)")
        op.execute(f"ALTER TABLE {table} DROP COLUMN settled_by")
