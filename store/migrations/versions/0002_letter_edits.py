"""Dead letters that people change, and messages without an id that die again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.tables import Id, Moment

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_NAMELESS = sa.text("message_id IS NULL")


def upgrade() -> None:
    op.create_index(
        "dead_letters_nameless",
        "dead_letters",
        ["body_digest"],
        postgresql_where=_NAMELESS,
        sqlite_where=_NAMELESS,
    )
    op.create_table(
        "letter_edits",
        sa.Column(
            "letter_id",
            Id,
            sa.ForeignKey("dead_letters.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("redrive_count", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", Moment, nullable=False),
        sa.Column("who", sa.Text(), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("diff", sa.Text(), nullable=False),
        sa.Column("body_before", sa.LargeBinary(), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("letter_edits")
    op.drop_index("dead_letters_nameless", "dead_letters")
