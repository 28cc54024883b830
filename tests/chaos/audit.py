"""Audit: a log that the database itself keeps of every change, by triggers of the campaign's own.

Tables show how things ended; the log shows how they came to be so: who wrote, under which owner of
the runtime, and in which order. It commits and rolls back with the transaction it is about. Each
worker has a database role of its own, named like its worker id, so that the log knows the writer
from the connection and not from what it says of itself.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

FLEET: Final = "chaos_fleet"
PASSWORD: Final = "chaos"

_LOG: Final = """
CREATE TABLE audit (
    position bigserial PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    transaction bigint NOT NULL DEFAULT txid_current(),
    writer text NOT NULL DEFAULT session_user,
    owner text,
    epoch bigint,
    runtime_id text,
    what text NOT NULL,
    change text NOT NULL,
    subject text,
    before text,
    after text
)
"""

_TRIGGER: Final = """
CREATE FUNCTION audit_{table}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    row {table}%ROWTYPE;
    runtime runtimes%ROWTYPE;
BEGIN
    IF TG_OP = 'DELETE' THEN row := OLD; ELSE row := NEW; END IF;
    IF TG_OP = 'UPDATE' AND to_jsonb(OLD) <> to_jsonb(NEW)
        AND to_jsonb(OLD) - 'queue_gone' = to_jsonb(NEW) - 'queue_gone' THEN
        RETURN NULL;  -- a note of the upkeep's about a queue, which any worker may write
    END IF;
    SELECT * INTO runtime FROM runtimes WHERE runtime_id = row.runtime_id;
    INSERT INTO audit (owner, epoch, runtime_id, what, change, subject, before, after)
    VALUES (
        runtime.owner, runtime.epoch, row.runtime_id, '{table}', TG_OP, {subject},
        CASE WHEN TG_OP = 'INSERT' THEN NULL ELSE (to_jsonb(OLD) ->> '{shown}') END,
        CASE WHEN TG_OP = 'DELETE' THEN NULL ELSE (to_jsonb(NEW) ->> '{shown}') END
    );
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON {table}
    FOR EACH ROW EXECUTE FUNCTION audit_{table}();
"""

_AUDITED: Final = {
    "runtimes": ("row.runtime_id", "epoch"),
    "inputs": ("row.input_id::text", "state"),
    "runs": ("row.run_id::text", "state"),
    "receipts": ("row.run_id || ' ' || row.sequence", "epoch"),
    "snapshots": ("row.run_id || ' ' || row.sequence", "sequence"),
    "commands": ("row.command_id::text", "command"),
    "dead_letters": ("row.message_id", "reason"),
}
"""The tables that are watched: what names a row, and the column that is shown before and after."""


def plain(url: str) -> str:
    """Return a database address without SQLAlchemy's driver name."""
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql"))


def address_for(url: str, role: str) -> str:
    """Return a database address for a role."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{role}:{PASSWORD}@{host}"))


async def install(url: str, roles: list[str]) -> None:
    """Begin to watch a migrated database, and make the roles of its workers to be."""
    connection = await asyncpg.connect(plain(url))
    try:
        await connection.execute(_LOG)
        for table, (subject, shown) in _AUDITED.items():
            await connection.execute(_TRIGGER.format(table=table, subject=subject, shown=shown))
        await connection.execute(
            f"CREATE ROLE {FLEET};"
            f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {FLEET};"
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {FLEET};"
            f"REVOKE ALL ON audit FROM {FLEET}"
        )
        for role in roles:
            await connection.execute(
                f"CREATE ROLE \"{role}\" LOGIN PASSWORD '{PASSWORD}' IN ROLE {FLEET}"
            )
    finally:
        await connection.close()
