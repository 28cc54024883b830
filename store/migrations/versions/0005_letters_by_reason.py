"""Letters of one reason, and their count, without reading the others."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("dead_letters_reason", "dead_letters", ["status", "reason", "last_at"])


def downgrade() -> None:
    op.drop_index("dead_letters_reason", "dead_letters")
