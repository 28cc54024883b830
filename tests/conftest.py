"""Fixtures: real services, shared by the run; a namespace and a database fresh for each test."""

import secrets
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support import services
from tests.support.migrated import migrated_database
from worker.sandbox import (
    PostgreSQL,
    RabbitMQ,
    S3Address,
    create_database,
    drop_database,
    start_object_store,
    start_postgresql,
    start_rabbitmq,
)
from worker.sandbox.object_store import ObjectStore

_DESK = pytest.StashKey[services.Desk]()
_DESK_PATH = "services_desk"


def pytest_configure(config: pytest.Config) -> None:
    """Open the desk for shared services in the process that controls the run."""
    if not hasattr(config, "workerinput"):
        config.stash[_DESK] = services.Desk()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the shared services with the run."""
    desk = config.stash.get(_DESK, None)
    if desk is not None:
        desk.close()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001 -- xdist's
    """Tell a process of pytest-xdist where the desk is."""
    node.workerinput[_DESK_PATH] = node.config.stash[_DESK].path


@pytest.fixture(scope="session")
def desk(pytestconfig: pytest.Config) -> str:
    """Where to ask for shared services."""
    workerinput: dict[str, str] | None = getattr(pytestconfig, "workerinput", None)
    return pytestconfig.stash[_DESK].path if workerinput is None else workerinput[_DESK_PATH]


@pytest.fixture(scope="session")
def amqp_url(desk: str) -> str:
    """The broker of this run: share it, use `namespace`, never kill it."""
    return str(services.ask(desk, services.Shared.RABBITMQ)["url"])


@pytest.fixture
def namespace() -> str:
    """A namespace that no other test uses, so that tests can share a broker."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture(scope="session")
def postgres_server_url(desk: str) -> str:
    """The database server of this run: share it, never kill it."""
    return str(services.ask(desk, services.Shared.POSTGRESQL)["url"])


@pytest.fixture(scope="session")
def postgres_template_url(postgres_server_url: str) -> Iterator[str]:
    """A database with the schema, to be copied: one a process, since a copy wants it left alone."""
    with migrated_database(postgres_server_url) as url:
        yield url


@pytest.fixture
async def postgres_url(postgres_server_url: str) -> AsyncIterator[str]:
    """An empty database of its own, as SQLAlchemy takes it; dropped afterwards."""
    url = await create_database(postgres_server_url)
    yield url
    await drop_database(postgres_server_url, url)


@pytest.fixture(scope="session")
def object_store(desk: str) -> S3Address:
    """The S3 server of this run: share it, use `bucket`, never kill it."""
    return services.object_store_address(services.ask(desk, services.Shared.OBJECT_STORE))


@pytest.fixture
def bucket() -> str:
    """A bucket name that no other test uses; the bucket itself is the test's to make."""
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
def private_rabbitmq() -> Iterator[RabbitMQ]:
    """A broker of the test's own, to kill, restart and pause (through asyncio.to_thread).

    Let a quorum queue settle for a second after its declaration before killing its broker:
    RabbitMQ loses a younger one.
    """
    with start_rabbitmq(private=True) as broker:
        yield broker


@pytest.fixture
def private_postgres() -> Iterator[PostgreSQL]:
    """A database server of the test's own, to kill, restart and pause."""
    with start_postgresql(private=True) as server:
        yield server


@pytest.fixture
async def private_postgres_url(private_postgres: PostgreSQL) -> str:
    """An empty database on the test's own server, as SQLAlchemy takes it."""
    return await private_postgres.create_database()


@pytest.fixture
def private_object_store() -> Iterator[ObjectStore]:
    """An S3 server of the test's own, to kill, restart and pause."""
    with start_object_store(private=True) as server:
        yield server
