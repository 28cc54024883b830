"""A TCP proxy on loopback that can be told to misbehave as networks do."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterable
from enum import Enum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

from worker.sandbox.ports import free_port

_HOST = "127.0.0.1"
_CHUNK_BYTES = 64 * 1024


class Direction(Enum):
    """Which way bytes travel through the proxy."""

    TO_SERVICE = "to_service"
    TO_CLIENT = "to_client"


BOTH = frozenset(Direction)


class _Link:
    """One client's connection and the one made for it, with a pump each way."""

    def __init__(self, writers: dict[Direction, asyncio.StreamWriter]) -> None:
        self.writers = writers
        self.pumps: asyncio.Future[list[None]] | None = None
        self._ended: set[Direction] = set()

    async def write(self, direction: Direction, chunk: bytes) -> None:
        """Pass a chunk on; what comes behind the end of a stream has nowhere to go."""
        if direction not in self._ended:
            self.writers[direction].write(chunk)
            await self.writers[direction].drain()

    def end(self, direction: Direction) -> None:
        """End the stream in one direction (a FIN)."""
        self._ended.add(direction)
        writer = self.writers[direction]
        if not writer.is_closing():
            writer.write_eof()

    def abort(self) -> None:
        """Reset both connections."""
        for writer in self.writers.values():
            _reset(writer)
        if self.pumps is not None:
            self.pumps.cancel()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with an RST: to linger for no time is how the socket interface spells it."""
    connection = writer.get_extra_info("socket")
    if connection is not None and connection.fileno() >= 0:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Proxy:
    """Stand between clients and a service: `async with Proxy(host, port) as proxy`.

    Clients connect to `proxy.host` and `proxy.port`, or to what `proxy.address(url)` says.
    Faults hold for open and for new connections until `heal`.
    """

    def __init__(self, target_host: str, target_port: int) -> None:
        self.host = _HOST
        self.port = free_port()
        self._target = (target_host, target_port)
        self._server: asyncio.Server | None = None
        self._links: set[_Link] = set()
        self._gates = {direction: asyncio.Event() for direction in Direction}
        self._latency = 0.0

    @classmethod
    def before(cls, url: str) -> Self:
        """Make a proxy for the service at an address such as `amqp://user:word@host:5672/`."""
        parts = urlsplit(url)
        if parts.hostname is None or parts.port is None:
            raise ValueError("proxy: the address needs a host and a port")
        return cls(parts.hostname, parts.port)

    def address(self, url: str) -> str:
        """Return an address of the service, led through this proxy."""
        parts = urlsplit(url)
        credentials, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{credentials}{at}{self.host}:{self.port}"))

    @property
    def connections(self) -> int:
        """How many connections it carries right now."""
        return len(self._links)

    async def __aenter__(self) -> Self:
        await self.heal()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.refuse()

    async def heal(self) -> None:
        """Forward again, without delay, and accept connections. What was held back goes out."""
        self._latency = 0.0
        for gate in self._gates.values():
            gate.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._accept, self.host, self.port)

    def cut(self) -> None:
        """Reset every open connection; new ones are carried."""
        for link in tuple(self._links):
            link.abort()

    def refuse(self) -> None:
        """Reset every open connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def stall(self, directions: Iterable[Direction] = BOTH) -> None:
        """Stop forwarding, keep the sockets open: a network that swallows packets."""
        for direction in directions:
            self._gates[direction].clear()

    def half_close(self, direction: Direction) -> None:
        """End the stream in one direction (a FIN); the other goes on."""
        for link in self._links:
            link.end(direction)

    def latency(self, seconds: float) -> None:
        """Hold each chunk back for so many seconds, in both directions."""
        self._latency = seconds

    async def _accept(
        self, client_reader: asyncio.StreamReader, client_writer: asyncio.StreamWriter
    ) -> None:
        try:
            service_reader, service_writer = await asyncio.open_connection(*self._target)
        except OSError:
            _reset(client_writer)
            return
        writers = {Direction.TO_SERVICE: service_writer, Direction.TO_CLIENT: client_writer}
        readers = {Direction.TO_SERVICE: client_reader, Direction.TO_CLIENT: service_reader}
        await self._carry(_Link(writers), readers)

    async def _carry(self, link: _Link, readers: dict[Direction, asyncio.StreamReader]) -> None:
        self._links.add(link)
        pumps = [self._pump(readers[way], link, way) for way in Direction]
        pumping = link.pumps = asyncio.gather(*pumps)
        try:
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await pumping
        finally:
            link.abort()
            self._links.discard(link)

    async def _pump(self, reader: asyncio.StreamReader, link: _Link, direction: Direction) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            if self._latency:
                await asyncio.sleep(self._latency)
            await self._gates[direction].wait()
            await link.write(direction, chunk)
        await self._gates[direction].wait()
        link.end(direction)
