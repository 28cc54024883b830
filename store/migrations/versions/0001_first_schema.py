"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from store.tables import Counter, Id, Moment, Name

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    _runtimes()
    _inputs()
    _runs()
    _receipts()
    _snapshots()
    _commands()
    _outbox()
    _timers()
    _dead_letters()
    _workers()


def _runtimes() -> None:
    op.create_table(
        "runtimes",
        sa.Column("runtime_id", Name, primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("owner", sa.Text()),
        sa.Column("resting_state", sa.Text()),
        sa.Column("current_run_id", Id),
        sa.Column("next_sequence", sa.BigInteger(), nullable=False),
        sa.Column("woken", sa.Boolean(), nullable=False),
        sa.Column("silent_intents", sa.Text(), nullable=False),
        sa.Column("retry", sa.Text()),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
    )


def _inputs() -> None:
    op.create_table(
        "inputs",
        sa.Column("runtime_id", Name, primary_key=True),
        sa.Column("input_id", Id, primary_key=True),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("durability", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("lane", sa.Text()),
        sa.Column("payload_digest", sa.Text(), nullable=False),
        sa.Column("idempotency_key", Name),
        sa.Column("supersession_key", sa.Text()),
        sa.Column("last_run_id", Id),
        sa.Column("last_boundary_sequence", sa.Integer()),
        sa.Column("attempt_count", sa.Integer(), nullable=False),
        sa.Column("recovery_count", sa.Integer(), nullable=False),
        sa.Column("traceparent", sa.Text()),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("updated_at", Moment, nullable=False),
        sa.Column("policy", sa.Text()),
        sa.Column("outcome", sa.Text()),
        sa.Column("reply", sa.Text()),
        sa.Column("history", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary()),
        postgresql_with={"fillfactor": "80"},
    )
    op.create_index(
        "inputs_active",
        "inputs",
        ["runtime_id", "sequence"],
        postgresql_where=sa.text("active"),
        sqlite_where=sa.text("active"),
    )
    op.create_index(
        "inputs_ended",
        "inputs",
        ["updated_at"],
        postgresql_where=sa.text("NOT active"),
        sqlite_where=sa.text("NOT active"),
    )
    op.create_index(
        "inputs_past",
        "inputs",
        ["runtime_id", "sequence"],
        postgresql_where=sa.text("NOT active"),
        sqlite_where=sa.text("NOT active"),
    )
    op.create_index(
        "inputs_key",
        "inputs",
        ["runtime_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
        sqlite_where=sa.text("idempotency_key IS NOT NULL"),
    )


def _runs() -> None:
    op.create_table(
        "runs",
        sa.Column("runtime_id", Name, primary_key=True),
        sa.Column("run_id", Id, primary_key=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("boundary", sa.Text(), nullable=False),
        sa.Column("batch", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("requested_at", Moment, nullable=False),
        sa.Column("next_boundary", sa.Integer(), nullable=False),
        sa.Column("lease_until", Moment),
        sa.Column("started_at", Moment),
        sa.Column("ended_at", Moment),
        sa.Column("error", sa.Text()),
        sa.Column("recoverable", sa.Boolean()),
    )
    op.create_index("runs_ended", "runs", ["ended_at"])
    op.create_index("runs_in_order", "runs", ["runtime_id", "requested_at"])


def _receipts() -> None:
    op.create_table(
        "receipts",
        sa.Column("runtime_id", Name, primary_key=True),
        sa.Column("run_id", Id, primary_key=True),
        sa.Column("sequence", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("boundary", sa.Text(), nullable=False),
        sa.Column("contributing_input_ids", sa.Text(), nullable=False),
        sa.Column("conversation_digest", sa.Text()),
        sa.Column("message_count", sa.Integer(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("committed_at", Moment, nullable=False),
    )
    op.create_index("receipts_committed", "receipts", ["committed_at"])


def _snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("runtime_id", Name, primary_key=True),
        sa.Column("run_id", Id, nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("blob_id", sa.Text()),
        sa.Column("digest", sa.Text()),
        sa.Column("data", sa.LargeBinary()),
    )


def _commands() -> None:
    op.create_table(
        "commands",
        sa.Column("runtime_id", Name, primary_key=True),
        sa.Column("command_id", Id, primary_key=True),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("at", Moment, nullable=False),
    )
    op.create_index("commands_at", "commands", ["at"])


def _outbox() -> None:
    op.create_table(
        "outbox",
        sa.Column("position", Counter, primary_key=True, autoincrement=True),
        sa.Column("id", Id, nullable=False),
        sa.Column("runtime_id", Name),
        sa.Column("exchange", sa.Text(), nullable=False),
        sa.Column("routing_key", sa.Text(), nullable=False),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("created_at", Moment, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("outbox_id", "outbox", ["id"], unique=True)


def _timers() -> None:
    op.create_table(
        "timers",
        sa.Column("runtime_id", Name, primary_key=True),
        sa.Column("kind", sa.Text(), primary_key=True),
        sa.Column("due_at", Moment, nullable=False),
        sa.Column("run_id", Id),
        sa.Column("fires_at", Moment, nullable=False),
    )
    op.create_index("timers_fires_at", "timers", ["fires_at"])


def _dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("id", Id, primary_key=True),
        sa.Column("runtime_id", Name),
        sa.Column("source_queue", sa.Text(), nullable=False),
        sa.Column("message_id", Name),
        sa.Column("type", sa.Text()),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("fingerprint", Name, nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("first_at", Moment, nullable=False),
        sa.Column("last_at", Moment, nullable=False),
        sa.Column("deaths", sa.Integer(), nullable=False),
        sa.Column("redrive_count", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("who", sa.Text()),
        sa.Column("acted_at", Moment),
        sa.Column("body_digest", sa.Text(), nullable=False),
        sa.Column("body_size", sa.Integer(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("properties", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )
    op.create_index(
        "dead_letters_group", "dead_letters", ["fingerprint", "status", "last_at", "first_at"]
    )
    op.create_index("dead_letters_last_at", "dead_letters", ["last_at", "id"])
    op.create_index("dead_letters_message", "dead_letters", ["message_id"])
    op.create_index("dead_letters_runtime", "dead_letters", ["runtime_id", "last_at"])


def _workers() -> None:
    op.create_table(
        "workers",
        sa.Column("worker_id", Name, primary_key=True),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("started_at", Moment, nullable=False),
        sa.Column("heartbeat_at", Moment, nullable=False),
        sa.Column("queues", sa.Text(), nullable=False),
    )


def downgrade() -> None:
    for table in (
        "runtimes",
        "inputs",
        "runs",
        "receipts",
        "snapshots",
        "commands",
        "outbox",
        "timers",
        "dead_letters",
        "workers",
    ):
        op.drop_table(table)
