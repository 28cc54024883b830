"""Migrations: what they make is what the tables say; a wrong schema ends in a sentence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from store import migrations
from store.engine import database
from store.errors import SchemaError, StoreAddressError, StoreUnavailableError
from store.open import open_store
from store.tables import metadata
from tests.support.store import DATABASES, an_empty_database


@pytest.fixture(params=DATABASES)
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    """The address of an empty database."""
    async with an_empty_database(request, tmp_path) as address:
        yield address


def _differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


async def test_the_migrations_make_what_the_tables_say(url: str) -> None:
    await migrations.migrate(url)
    opened = database(url)
    async with opened.reading() as connection:
        assert await connection.run_sync(_differences) == []
    await opened.close()


def test_the_files_names_say_what_alembic_reads_in_them() -> None:
    """The check at every start goes by the names, without Alembic."""
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    oldest_first = reversed([script.revision for script in scripts.walk_revisions()])
    assert migrations.revisions() == list(oldest_first)


async def test_migrating_again_and_by_many_at_once_is_harmless(url: str) -> None:
    await asyncio.gather(*(migrations.migrate(url) for _ in range(3)))
    await migrations.migrate(url)
    await (await open_store(url)).close()


async def test_a_database_without_a_schema_names_the_command_that_makes_it(url: str) -> None:
    with pytest.raises(SchemaError, match="run `meerkat-worker migrate`"):
        await open_store(url)
    with pytest.raises(SchemaError, match="run `meerkat-worker migrate`"):
        await asyncio.to_thread(migrations.check, url)


@pytest.mark.parametrize(
    ("revision", "sentence"),
    [("0001", "is 0001, this version needs .* run `meerkat-worker migrate`"), ("9999", "newer")],
)
async def test_an_older_or_newer_schema_says_what_to_do(
    url: str, revision: str, sentence: str
) -> None:
    await asyncio.to_thread(migrations.upgrade, url)
    await asyncio.to_thread(migrations.check, url)
    opened = database(url)
    async with opened.writing() as connection:
        changed = text("UPDATE alembic_version SET version_num = :revision")
        await connection.execute(changed, {"revision": revision})
    await opened.close()
    with pytest.raises(SchemaError, match=sentence):
        await open_store(url)


async def test_opening_makes_no_file(tmp_path: Path) -> None:
    file = tmp_path / "missing" / "store.db"
    with pytest.raises(SchemaError, match=r"no database at .*store\.db"):
        await open_store(f"sqlite+aiosqlite:///{file}")
    assert not file.parent.exists()


async def test_a_server_that_is_not_there_is_told_without_the_password() -> None:
    with pytest.raises(StoreUnavailableError, match="cannot be reached") as caught:
        await open_store("postgresql+asyncpg://user:hunter2@127.0.0.1:9/store")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "store.db",
        "mysql://host/name",
        "sqlite:///store.db",
        "sqlite+aiosqlite://",
        "postgresql://h/n",
    ],
)
def test_another_address_is_refused_without_being_quoted(address: str) -> None:
    with pytest.raises(StoreAddressError, match="expected a"):
        database(address)
