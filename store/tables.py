"""Tables: what is durable, as SQLAlchemy Core metadata. ``store/migrations`` makes them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    false,
    literal_column,
    text,
)
from sqlalchemy.dialects import postgresql

metadata: Final = MetaData()

# UUIDs and moments are native where the database has them, and readable text where it has not.
# Values are converted by the engine's dialect and not by SQLAlchemy's types: a damaged value must
# spoil its own row only, not the whole answer.
Id: Final = String(36).with_variant(postgresql.UUID(as_uuid=True), "postgresql")
Moment: Final = String(32).with_variant(postgresql.TIMESTAMP(timezone=True), "postgresql")

# Compared byte by byte: faster, and the same order on every server.
Name: Final = Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

# JSON is kept as text: PostgreSQL's own JSON types refuse the escape of NUL, and we never ask the
# database to look inside.
Json: Final = Text()

# SQLite counts in its row ids, and those are INTEGER.
Counter: Final = BigInteger().with_variant(Integer, "sqlite")

runtimes: Final = Table(
    "runtimes",
    metadata,
    Column("runtime_id", Name, primary_key=True),
    Column("state", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("owner", Text),
    Column("resting_state", Text),
    Column("current_run_id", Id),
    Column("next_sequence", BigInteger, nullable=False),
    Column("woken", Boolean, nullable=False),
    Column("silent_intents", Json, nullable=False),
    Column("retry", Json),
    Column("paused", Boolean, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    # Only of a destroyed runtime: whether its inbox queue has been deleted.
    Column("queue_gone", Boolean, nullable=False, server_default=false()),
)
is_condemned: Final[ColumnElement[Any]] = literal_column("state = 'destroyed' AND NOT queue_gone")
_CONDEMNED: Final = text("state = 'destroyed' AND NOT queue_gone")
Index(
    "runtimes_condemned",
    runtimes.c.runtime_id,
    postgresql_where=_CONDEMNED,
    sqlite_where=_CONDEMNED,
)

# No foreign keys: the fence reads the runtime's row in the transaction that writes its children,
# and a check per row would cost a tenth of the commit. ``store/verify.py`` looks for strays.
inputs: Final = Table(
    "inputs",
    metadata,
    Column("runtime_id", Name, primary_key=True),
    Column("input_id", Id, primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("durability", Text, nullable=False),
    Column("state", Text, nullable=False),
    # Whether the state is not terminal. The indexes below look at this and not at the state, so
    # that PostgreSQL can update a row in place as long as it stays active.
    Column("active", Boolean, nullable=False),
    Column("lane", Text),
    Column("payload_digest", Text, nullable=False),
    Column("idempotency_key", Name),
    Column("supersession_key", Text),
    Column("last_run_id", Id),
    Column("last_boundary_sequence", Integer),
    Column("attempt_count", Integer, nullable=False),
    Column("recovery_count", Integer, nullable=False),
    Column("traceparent", Text),
    Column("created_at", Moment, nullable=False),
    Column("updated_at", Moment, nullable=False),
    Column("policy", Json),
    Column("outcome", Json),
    Column("reply", Json),
    Column("history", Json, nullable=False),
    # Last, so that SQLite reads the columns before it without walking a large payload.
    Column("payload", LargeBinary),
    postgresql_with={"fillfactor": "80"},
)
# As text, so that a query says it in the very words of the index: only then is the index used.
is_active: Final[ColumnElement[Any]] = literal_column("active")
# Two indexes in admission order and none over all: given the choice, SQLite takes the larger one.
_ACTIVE: Final = text("active")
_ENDED: Final = text("NOT active")
_KEYED: Final = text("idempotency_key IS NOT NULL")
Index(
    "inputs_active",
    inputs.c.runtime_id,
    inputs.c.sequence,
    postgresql_where=_ACTIVE,
    sqlite_where=_ACTIVE,
)
Index("inputs_ended", inputs.c.updated_at, postgresql_where=_ENDED, sqlite_where=_ENDED)
Index(
    "inputs_past",
    inputs.c.runtime_id,
    inputs.c.sequence,
    postgresql_where=_ENDED,
    sqlite_where=_ENDED,
)
Index(
    "inputs_key",
    inputs.c.runtime_id,
    inputs.c.idempotency_key,
    unique=True,
    postgresql_where=_KEYED,
    sqlite_where=_KEYED,
)

# Which blobs are needed, so that those of a commit that never came can be swept. The holder is an
# input of the runtime or a dead letter; the runtime is empty where a letter names none.
blob_references: Final = Table(
    "blob_references",
    metadata,
    Column("blob_id", Name, primary_key=True),
    Column("runtime_id", Name, primary_key=True),
    Column("holder_id", Id, primary_key=True),
)
Index("blob_references_holder", blob_references.c.runtime_id, blob_references.c.holder_id)

runs: Final = Table(
    "runs",
    metadata,
    Column("runtime_id", Name, primary_key=True),
    Column("run_id", Id, primary_key=True),
    Column("state", Text, nullable=False),
    Column("boundary", Text, nullable=False),
    Column("batch", Json, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("requested_at", Moment, nullable=False),
    Column("next_boundary", Integer, nullable=False),
    Column("lease_until", Moment),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("error", Text),
    Column("recoverable", Boolean),
)
is_requested: Final[ColumnElement[Any]] = literal_column("state = 'requested'")
_REQUESTED: Final = text("state = 'requested'")
Index(
    "runs_requested",
    runs.c.requested_at,
    postgresql_where=_REQUESTED,
    sqlite_where=_REQUESTED,
)
Index("runs_in_order", runs.c.runtime_id, runs.c.requested_at)
Index("runs_ended", runs.c.ended_at)

receipts: Final = Table(
    "receipts",
    metadata,
    Column("runtime_id", Name, primary_key=True),
    Column("run_id", Id, primary_key=True),
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("boundary", Text, nullable=False),
    Column("contributing_input_ids", Json, nullable=False),
    Column("conversation_digest", Text),
    Column("message_count", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("committed_at", Moment, nullable=False),
)
Index("receipts_committed", receipts.c.committed_at)

snapshots: Final = Table(
    "snapshots",
    metadata,
    Column("runtime_id", Name, primary_key=True),
    Column("run_id", Id, nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("blob_id", Text),
    Column("digest", Text),
    Column("data", LargeBinary),
)

Index("snapshots_blob", snapshots.c.blob_id)

commands: Final = Table(
    "commands",
    metadata,
    Column("runtime_id", Name, primary_key=True),
    Column("command_id", Id, primary_key=True),
    Column("command", Text, nullable=False),
    Column("outcome", Json, nullable=False),
    Column("at", Moment, nullable=False),
)
Index("commands_at", commands.c.at)

outbox: Final = Table(
    "outbox",
    metadata,
    # The order in which rows were committed; ids are made by many clocks and say nothing of it.
    Column("position", Counter, primary_key=True, autoincrement=True),
    Column("id", Id, nullable=False),
    Column("runtime_id", Name),
    Column("exchange", Text, nullable=False),
    Column("routing_key", Text, nullable=False),
    Column("properties", Json, nullable=False),
    Column("created_at", Moment, nullable=False),
    Column("body", LargeBinary, nullable=False),
    sqlite_autoincrement=True,
)
Index("outbox_id", outbox.c.id, unique=True)

timers: Final = Table(
    "timers",
    metadata,
    Column("runtime_id", Name, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("due_at", Moment, nullable=False),
    Column("run_id", Id),
    # Due, or pushed back by whoever claimed it last.
    Column("fires_at", Moment, nullable=False),
)
Index("timers_fires_at", timers.c.fires_at)

dead_letters: Final = Table(
    "dead_letters",
    metadata,
    Column("id", Id, primary_key=True),
    Column("runtime_id", Name),
    Column("source_queue", Text, nullable=False),
    Column("message_id", Name),
    Column("type", Text),
    Column("reason", Text, nullable=False),
    Column("fingerprint", Name, nullable=False),
    Column("status", Text, nullable=False),
    Column("first_at", Moment, nullable=False),
    Column("last_at", Moment, nullable=False),
    Column("deaths", Integer, nullable=False),
    Column("redrive_count", Integer, nullable=False),
    Column("note", Text),
    Column("who", Text),
    Column("acted_at", Moment),
    Column("body_digest", Text, nullable=False),
    Column("body_size", Integer, nullable=False),
    Column("detail", Text, nullable=False),
    Column("properties", Json, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
# People ask for the open ones: an index that begins with the status serves them, and SQLite, which
# has no statistics, takes any such index before one that begins with anything else.
Index(
    "dead_letters_status_group",
    dead_letters.c.status,
    dead_letters.c.fingerprint,
    dead_letters.c.last_at,
    dead_letters.c.first_at,
)
Index("dead_letters_status", dead_letters.c.status, dead_letters.c.last_at, dead_letters.c.id)
Index("dead_letters_reason", dead_letters.c.status, dead_letters.c.reason, dead_letters.c.last_at)
Index(
    "dead_letters_group",
    dead_letters.c.fingerprint,
    dead_letters.c.last_at,
    dead_letters.c.first_at,
)
Index("dead_letters_last_at", dead_letters.c.last_at, dead_letters.c.id)
Index("dead_letters_runtime", dead_letters.c.runtime_id, dead_letters.c.last_at)
Index("dead_letters_message", dead_letters.c.message_id)
# Messages without an id are told by their bytes.
is_nameless: Final = dead_letters.c.message_id.is_(None)
Index(
    "dead_letters_nameless",
    dead_letters.c.body_digest,
    postgresql_where=is_nameless,
    sqlite_where=is_nameless,
)

# What people changed of a letter's body before they had it published again.
letter_edits: Final = Table(
    "letter_edits",
    metadata,
    Column(
        "letter_id",
        Id,
        ForeignKey("dead_letters.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    # The redrive that published the changed body.
    Column("redrive_count", Integer, primary_key=True, autoincrement=False),
    Column("at", Moment, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
    Column("diff", Text, nullable=False),
    Column("body_before", LargeBinary, nullable=False),
)

workers: Final = Table(
    "workers",
    metadata,
    Column("worker_id", Name, primary_key=True),
    Column("host", Text, nullable=False),
    Column("started_at", Moment, nullable=False),
    Column("heartbeat_at", Moment, nullable=False),
    Column("queues", Json, nullable=False),
)
