"""Which blobs are needed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.tables import Id, Name

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "blob_references",
        sa.Column("blob_id", Name, primary_key=True),
        sa.Column("runtime_id", Name, primary_key=True),
        sa.Column("holder_id", Id, primary_key=True),
    )
    op.create_index("blob_references_holder", "blob_references", ["runtime_id", "holder_id"])
    op.create_index("snapshots_blob", "snapshots", ["blob_id"])


def downgrade() -> None:
    op.drop_index("snapshots_blob", "snapshots")
    op.drop_table("blob_references")
