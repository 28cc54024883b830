"""What must be seen to: queues of destroyed runtimes, run requests that nobody takes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "runtimes", sa.Column("queue_gone", sa.Boolean, nullable=False, server_default=sa.false())
    )
    condemned = sa.text("state = 'destroyed' AND NOT queue_gone")
    op.create_index(
        "runtimes_condemned",
        "runtimes",
        ["runtime_id"],
        postgresql_where=condemned,
        sqlite_where=condemned,
    )
    requested = sa.text("state = 'requested'")
    op.create_index(
        "runs_requested",
        "runs",
        ["requested_at"],
        postgresql_where=requested,
        sqlite_where=requested,
    )


def downgrade() -> None:
    op.drop_index("runs_requested", "runs")
    op.drop_index("runtimes_condemned", "runtimes")
    op.drop_column("runtimes", "queue_gone")
