"""The proxy does to a connection what a network may do, when it is told to."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.eventually import eventually
from worker.sandbox import Direction, Proxy


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(1024):
        writer.write(chunk)
        await writer.drain()
    writer.write(b"bye")
    writer.close()
    await writer.wait_closed()


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy before a server that echoes, and says bye at the end of its input."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, Proxy("127.0.0.1", port) as proxy:
        yield proxy


class Client:
    """One connection through the proxy."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def ask(self, words: bytes, deadline: float = 5.0) -> bytes:
        self.say(words)
        return await self.hear(deadline)

    def say(self, words: bytes) -> None:
        self._writer.write(words)

    async def hear(self, deadline: float = 5.0) -> bytes:
        return await asyncio.wait_for(self._reader.read(1024), deadline)

    async def close(self) -> None:
        self._writer.transport.abort()
        await asyncio.gather(self._writer.wait_closed(), return_exceptions=True)


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    """A client that is connected through the proxy."""
    client = Client(*await asyncio.open_connection(proxy.host, proxy.port))
    assert await client.ask(b"hello") == b"hello"
    yield client
    await client.close()


async def test_cut_resets_what_is_open_and_carries_what_is_new(
    proxy: Proxy, client: Client
) -> None:
    """After a cut the old connection is dead and the next one works."""
    proxy.cut()
    with pytest.raises(ConnectionError):
        await client.hear()
    await eventually(lambda: proxy.connections == 0)
    another = Client(*await asyncio.open_connection(proxy.host, proxy.port))
    assert await another.ask(b"again") == b"again"
    await another.close()


async def test_refuse_turns_new_connections_away_until_heal(proxy: Proxy, client: Client) -> None:
    """While it refuses, nobody connects; after heal on the same port, everybody."""
    proxy.refuse()
    with pytest.raises(ConnectionError):
        await client.hear()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection(proxy.host, proxy.port)
    await proxy.heal()
    another = Client(*await asyncio.open_connection(proxy.host, proxy.port))
    assert await another.ask(b"back") == b"back"
    await another.close()


@pytest.mark.parametrize(
    "directions", [set(Direction), {Direction.TO_SERVICE}, {Direction.TO_CLIENT}]
)
async def test_stall_keeps_bytes_back_until_heal(
    proxy: Proxy, client: Client, directions: set[Direction]
) -> None:
    """A stalled connection stays open and silent; heal delivers what was held back."""
    proxy.stall(directions)
    with pytest.raises(TimeoutError):
        await client.ask(b"late", 0.2)
    assert proxy.connections == 1
    await proxy.heal()
    assert await client.hear() == b"late"


async def test_half_close_ends_one_direction_only(proxy: Proxy, client: Client) -> None:
    """The service sees the end of its input and can still answer."""
    proxy.half_close(Direction.TO_SERVICE)
    assert await client.hear() == b"bye"


async def test_what_comes_behind_the_end_of_a_stream_goes_nowhere(
    proxy: Proxy, client: Client
) -> None:
    """A client that goes on speaking is not heard, and not reset for it."""
    proxy.half_close(Direction.TO_SERVICE)
    client.say(b"too late")
    assert await client.hear() == b"bye"
    client.say(b"still there?")
    assert await client.hear() == b""


async def test_latency_holds_each_chunk_back(proxy: Proxy, client: Client) -> None:
    """An answer takes the latency of both ways."""
    proxy.latency(0.1)
    clock = asyncio.get_running_loop().time
    asked_at = clock()
    assert await client.ask(b"slow") == b"slow"
    assert clock() - asked_at >= 0.2


async def test_an_absent_service_resets_the_client() -> None:
    """A client of a proxy without a service behind it is not left waiting."""
    async with Proxy("127.0.0.1", 1) as proxy:
        client = Client(*await asyncio.open_connection(proxy.host, proxy.port))
        with pytest.raises(ConnectionError):
            await client.hear()
        await client.close()


def test_an_address_is_led_through_the_proxy() -> None:
    """Host and port are replaced; credentials and path stay."""
    proxy = Proxy.before("amqp://user:word@broker:5672/vhost?heartbeat=5")
    expected = f"amqp://user:word@127.0.0.1:{proxy.port}/vhost?heartbeat=5"
    assert proxy.address("amqp://user:word@broker:5672/vhost?heartbeat=5") == expected
