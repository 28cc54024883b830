"""``run`` and ``executor`` as processes: what is wrong is said at once; SIGTERM ends them well."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.commands import finish, meerkat, start
from tests.support.eventually import eventually

_SECRET = "hunter2"


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def free() -> int:
    """A port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


@pytest.fixture
def variables(amqp_url: str, namespace: str, tmp_path: Path) -> dict[str, str]:
    return {
        "MEERKAT_AMQP_URL": amqp_url,
        "MEERKAT_NAMESPACE": namespace,
        "MEERKAT_DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/meerkat.db",
        "MEERKAT_BLOBS": str(tmp_path / "blobs"),
        "MEERKAT_HEALTH_PORT": "0",
    }


async def test_a_worker_is_ready_then_drains_at_sigterm(
    variables: dict[str, str], free: int
) -> None:
    """From an empty place to ready in one command; SIGTERM is exit code 0."""
    process = await start("run", "--migrate", "--health-port", str(free), **variables)

    async def ready() -> bool:
        assert process.returncode is None, (await finish(process)).err
        try:
            async with httpx.AsyncClient() as browser:
                return (await browser.get(f"http://127.0.0.1:{free}/ready")).is_success
        except httpx.TransportError:
            return False

    await eventually(ready, deadline=30, promise="a worker that is ready")
    process.terminate()
    ended = await finish(process)
    assert ended.code == 0, ended.err


async def test_a_database_without_a_schema_is_one_sentence(variables: dict[str, str]) -> None:
    """The worker does not start on a database that is not migrated; it says what to do."""
    ended = await meerkat("run", **variables)
    assert ended.code == 2
    assert "meerkat-worker migrate" in ended.err
    assert "Traceback" not in ended.err


async def test_a_missing_broker_is_one_sentence(variables: dict[str, str]) -> None:
    """Where it was looked for, without the password; exit code 2."""
    variables["MEERKAT_AMQP_URL"] = f"amqp://u:{_SECRET}@127.0.0.1:1/"
    ended = await meerkat("run", "--migrate", **variables)
    assert ended.code == 2
    assert "127.0.0.1:1" in ended.err.splitlines()[-1]
    assert ended.err.count("Connection refused") == 3, "a warning a connection, and the sentence"
    assert _SECRET not in ended.err
    assert "Traceback" not in ended.err


async def test_a_taken_health_port_is_one_sentence(variables: dict[str, str], taken: int) -> None:
    """The address, the reason, and the setting to change."""
    ended = await meerkat("run", "--migrate", "--health-port", str(taken), **variables)
    assert ended.code == 2
    assert f"cannot listen on 127.0.0.1:{taken}" in ended.err
    assert "MEERKAT_HEALTH_PORT" in ended.err


@pytest.mark.parametrize(
    ("flag", "value", "sentence"),
    [
        ("--layout", "round", "--layout: expected per-runtime"),
        ("--executor", "nowhere:agent", "nowhere"),
        ("--policy-file", "/nowhere.toml", "/nowhere.toml"),
        ("--blobs", "/dev/null/blobs", "/dev/null/blobs"),
        ("--amqp-url", "amqp://127.0.0.1:port/", "broker address: expected amqp://host:port/"),
        ("--amqp-url", "amqp://127.0.0.1:99999/", "with a port from 1 to 65535"),
        ("--database-url", "postgresql+asyncpg://h:port/x", "expected a database address"),
        ("--database-url", "postgresql+asyncpg://h:99999/x", "expected a port"),
        (
            "--database-url",
            "postgresql+asyncpg://h/x?foo=1",
            "no option of PostgreSQL's driver: foo",
        ),
    ],
)
async def test_a_setting_that_cannot_be_used_is_one_sentence(
    variables: dict[str, str], flag: str, value: str, sentence: str
) -> None:
    """The worker does not start half-configured."""
    ended = await meerkat("run", "--migrate", flag, value, **variables)
    assert ended.code == 2, ended.err
    assert sentence in ended.err
    assert "Traceback" not in ended.err


async def test_an_executor_that_is_not_there_is_one_sentence(variables: dict[str, str]) -> None:
    """A wrong module or name is named."""
    ended = await meerkat("executor", "worker.echo:nothing", **variables)
    assert ended.code == 2
    assert "nothing" in ended.err
    assert ended.err.count("\n") == 1


async def test_an_executor_ends_well_at_sigterm(variables: dict[str, str]) -> None:
    """It takes no more and is gone with exit code 0."""
    process = await start("executor", "worker.echo:executor", **variables)
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while b"broker.connected" not in await process.stderr.readline():
            assert process.returncode is None
    process.terminate()
    assert (await finish(process)).code == 0
