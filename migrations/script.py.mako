"""${message}

Revision ID: ${up_revision}
Revises: ${down_revision | comma,n}

Rules: a released migration is never edited; a step must run on SQLite, PostgreSQL and MariaDB/MySQL; test it with
data in the tables (tests/ledger/test_migrations.py); a long step on a big table needs a note in the CHANGELOG; say how
to go back.
"""

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}

revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}


def upgrade() -> None:
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    ${downgrades if downgrades else "pass"}
