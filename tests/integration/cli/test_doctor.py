"""The doctor finds what keeps a worker from its work, and says what to do, on real services."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.support.commands import Ended, meerkat
from tests.support.migrated import migrated_file
from worker.broker.connection import Connection
from worker.broker.topology import Layout, Topology

_SECRET = "hunter2"


@pytest.fixture
def variables(amqp_url: str, namespace: str, tmp_path: Path) -> dict[str, str]:
    return {
        "MEERKAT_AMQP_URL": amqp_url,
        "MEERKAT_NAMESPACE": namespace,
        "MEERKAT_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/meerkat.db",
        "MEERKAT_BLOBS": str(tmp_path / "blobs"),
    }


def _standings(ended: Ended) -> dict[str, str]:
    return {str(line["part"]): str(line["standing"]) for line in ended.lines}


async def test_a_healthy_place_is_exit_code_0_and_is_left_as_it_was(
    variables: dict[str, str], tmp_path: Path
) -> None:
    """Broker, database and blobs work; that nobody works there yet is worth a note.

    What the doctor puts into the blob store it takes away.
    """
    migrated = await meerkat("migrate", **variables)
    assert (migrated.code, migrated.err) == (0, "")
    ended = await meerkat("doctor", "--json", **variables)
    assert ended.code == 0, ended.out
    assert _standings(ended) == {
        "settings": "ok",
        "broker": "ok",
        "broker permissions": "ok",
        "broker layout": "note",
        "pool default": "note",
        "database": "ok",
        "workers": "note",
        "blobs": "ok",
    }
    assert "RabbitMQ" in (await meerkat("doctor", **variables)).out
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]


async def test_a_database_without_a_schema_is_told_to_be_migrated(
    variables: dict[str, str],
) -> None:
    """The remedy is the command to run; migrate --check says the same and changes nothing."""
    ended = await meerkat("doctor", "--json", **variables)
    assert ended.code == 1
    [found] = [line for line in ended.lines if line["part"] == "database"]
    assert found["standing"] == "wrong"
    assert found["remedy"] == "meerkat-worker migrate"
    checked = await meerkat("migrate", "--check", **variables)
    assert checked.code == 1
    assert "meerkat-worker migrate" in checked.err
    assert (await meerkat("migrate", **variables)).code == 0
    assert (await meerkat("migrate", "--check", **variables)).code == 0


async def test_services_that_are_away_are_all_named_at_once() -> None:
    """One look shows everything that is wrong, and no password."""
    ended = await meerkat(
        "doctor",
        "--json",
        MEERKAT_AMQP_URL=f"amqp://u:{_SECRET}@127.0.0.1:1/",
        MEERKAT_DATABASE_URL=f"postgresql+asyncpg://u:{_SECRET}@127.0.0.1:1/db",
        MEERKAT_BLOBS=f"s3://KEY:{_SECRET}@127.0.0.1:1/bucket?secure=false",
        MEERKAT_PREFETHC="10",
    )
    assert ended.code == 1
    assert _standings(ended) == {
        "settings": "note",
        "broker": "wrong",
        "database": "wrong",
        "blobs": "wrong",
    }
    [slip] = [line for line in ended.lines if line["part"] == "settings"]
    assert slip["remedy"] == "did you mean MEERKAT_PREFETCH?"
    assert _SECRET not in ended.out + ended.err
    assert all(line["remedy"] for line in ended.lines)


async def test_another_layout_is_found_before_a_worker_stumbles_over_it(
    variables: dict[str, str], amqp_url: str, namespace: str, tmp_path: Path
) -> None:
    """A namespace that is laid out in shards is not to be used per runtime."""
    connection = await Connection.open(amqp_url, "test")
    await Topology(namespace, Layout(4)).declare_shared(await connection.channel())
    await connection.close()
    await asyncio.to_thread(migrated_file, tmp_path / "meerkat.db")
    ended = await meerkat("doctor", "--json", **variables)
    assert ended.code == 1
    [found] = [line for line in ended.lines if line["part"] == "broker layout"]
    assert found["standing"] == "wrong"
    assert "sharded:4" in str(found["found"])
    sharded = await meerkat("doctor", "--json", "--layout", "sharded:4", **variables)
    assert _standings(sharded)["broker layout"] == "ok"
