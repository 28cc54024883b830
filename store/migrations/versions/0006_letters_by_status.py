"""Find dead letters of one status without reading the rest."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_GROUP = "dead_letters_group"


def upgrade() -> None:
    op.create_index(
        "dead_letters_status_group",
        "dead_letters",
        ["status", "fingerprint", "last_at", "first_at"],
    )
    op.create_index("dead_letters_status", "dead_letters", ["status", "last_at", "id"])
    op.drop_index(_GROUP, "dead_letters")
    op.create_index(_GROUP, "dead_letters", ["fingerprint", "last_at", "first_at"])


def downgrade() -> None:
    op.drop_index(_GROUP, "dead_letters")
    op.create_index(_GROUP, "dead_letters", ["fingerprint", "status", "last_at", "first_at"])
    op.drop_index("dead_letters_status", "dead_letters")
    op.drop_index("dead_letters_status_group", "dead_letters")
