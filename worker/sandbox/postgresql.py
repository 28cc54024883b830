"""A PostgreSQL server: given, contained, or a private cluster of an installed release."""

import os
import secrets
import socket
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGQUIT
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from worker.sandbox.account import unprivileged
from worker.sandbox.carriers import Carrier, Elsewhere, ProcessCarrier
from worker.sandbox.containers import Image, contained, engine_answers
from worker.sandbox.enclosure import Enclosure, Program, clean_environment
from worker.sandbox.install import Software, ensure
from worker.sandbox.node import Node
from worker.sandbox.ports import free_port
from worker.sandbox.unavailable import ServiceUnavailable

ADDRESS = "MEERKAT_TEST_POSTGRES_URL"
IMAGE = "postgres:17"
_GIVEN_SECONDS = 10.0
_INITDB_SECONDS = 60.0
_USER = "meerkat"
_PROTOCOL_3 = 196608


class PostgreSQL(Node):
    """A running server and the address of its `postgres` database."""

    def __init__(self, url: str, carrier: Carrier) -> None:
        super().__init__("PostgreSQL", carrier, lambda: answers(url))
        self.url = url

    async def create_database(self) -> str:
        """Create an empty database with a new name and return its address."""
        return await create_database(self.url)


async def create_database(url: str, *, like: str | None = None) -> str:
    """Create a database on the server at `url` and return its address for SQLAlchemy.

    Args:
        url: the server.
        like: a database of that server to copy, to which nobody is connected; else it is empty.
    """
    name = f"t_{secrets.token_hex(8)}"
    template = "template1" if like is None else _name(like)
    await _execute(url, f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    return urlunsplit(urlsplit(_plain(url))._replace(scheme="postgresql+asyncpg", path=f"/{name}"))


async def drop_database(url: str, database_url: str) -> None:
    """Drop a database that `create_database` made on the server at `url`, with its connections."""
    name = _name(database_url)
    await _execute(url, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@contextmanager
def start_postgresql(*, private: bool = False) -> Iterator[PostgreSQL]:
    """Give a server that answers; see the package for where it comes from.

    Args:
        private: a server of its own even where an address is given, to be killed and paused.

    Raises:
        ServiceUnavailable: there is none to be had; the text says how to get one.
    """
    url = os.environ.get(ADDRESS)
    if url and not private:
        server = PostgreSQL(url, Elsewhere("PostgreSQL"))
        server.wait_ready(_GIVEN_SECONDS)
        yield server
    elif engine_answers():
        with _in_container() as server:
            yield server
    else:
        with _installed() as server:
            yield server


def answers(url: str) -> bool:
    """Say whether a server at the address asks a new client for its password, or lets it in.

    While it starts or recovers it answers with an error instead.
    """
    parts = urlsplit(_plain(url))
    words = b"".join(
        word.encode() + b"\0" for word in ("user", parts.username or "", "database", "postgres", "")
    )
    startup = struct.pack("!ii", 8 + len(words), _PROTOCOL_3) + words
    try:
        address = (parts.hostname or "localhost", parts.port or 5432)
        with socket.create_connection(address, timeout=1) as connection:
            connection.sendall(startup)
            return connection.recv(1) == b"R"
    except OSError:
        return False


@contextmanager
def _in_container() -> Iterator[PostgreSQL]:
    password = secrets.token_hex(16)
    image = Image(
        name=IMAGE,
        port=5432,
        environment={"POSTGRES_USER": _USER, "POSTGRES_PASSWORD": password},
    )
    with contained(image) as carrier:
        server = PostgreSQL(_url(password, carrier.host, carrier.port), carrier)
        server.wait_ready()
        yield server


@contextmanager
def _installed() -> Iterator[PostgreSQL]:
    programs = ensure(Software.POSTGRESQL)
    with Enclosure("postgresql", unprivileged()) as enclosure:
        password = secrets.token_hex(16)
        _initialise(enclosure, programs, password)
        port = free_port()
        carrier = ProcessCarrier(enclosure, _program(enclosure, programs, port))
        server = PostgreSQL(_url(password, "127.0.0.1", port), carrier)
        server.start()
        server.wait_ready()
        yield server


def _initialise(enclosure: Enclosure, programs: Path, password: str) -> None:
    data = enclosure.folder("data")
    secret = enclosure.write("password", password)
    command = (
        str(programs / "initdb"),
        f"--pgdata={data}",
        f"--username={_USER}",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--locale=C",
        "--no-sync",  # an empty cluster is worth no flush; the server flushes what it is given
    )
    process = enclosure.spawn(
        Program(command=command, environment=clean_environment(), log="initdb.log")
    )
    try:
        code = process.wait(_INITDB_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise ServiceUnavailable(f"initdb did not end in {_INITDB_SECONDS:g} s") from error
    enclosure.forget(process)
    if code != 0:
        log = (enclosure.directory / "initdb.log").read_text(encoding="utf-8", errors="replace")
        raise ServiceUnavailable(f"initdb ended with code {code}:\n{log}")


def _program(enclosure: Enclosure, programs: Path, port: int) -> Program:
    settings = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": "",
        "max_connections": "200",
    }
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return Program(
        command=(str(programs / "postgres"), "-D", str(enclosure.directory / "data"), *options),
        environment=clean_environment(),
        log="postgresql.log",
        last_signal=SIGQUIT,  # ends its backends too, at once
    )


async def _execute(url: str, statement: str) -> None:
    try:
        connection = await asyncpg.connect(_plain(url), database="postgres", timeout=_GIVEN_SECONDS)
    except (TimeoutError, OSError, asyncpg.PostgresError) as error:
        raise ServiceUnavailable(f"PostgreSQL refused a connection: {error}") from error
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _name(database_url: str) -> str:
    return urlsplit(database_url).path.lstrip("/")


def _plain(url: str) -> str:
    """Return an address without SQLAlchemy's driver name."""
    return urlunsplit(urlsplit(url)._replace(scheme="postgresql"))


def _url(password: str, host: str, port: int) -> str:
    return f"postgresql://{_USER}:{password}@{host}:{port}/postgres"
