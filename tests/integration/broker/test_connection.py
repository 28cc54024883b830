"""The connection and the link: clear errors, prompt notice of loss, and a way back."""

import asyncio
import time

import pytest
from yarl import URL

from tests.support.eventually import eventually
from worker.broker.channel_numbers import ChannelNumbers
from worker.broker.connection import Connection
from worker.broker.errors import BrokerUnavailableError
from worker.broker.inspect import queue_facts
from worker.broker.link import Link
from worker.sandbox.ports import free_port
from worker.sandbox.proxy import Direction, Proxy

pytestmark = pytest.mark.rabbitmq


def wrong(url: str, **parts: str) -> str:
    """The address with one part of it wrong."""
    parsed = URL(url)
    for name, value in parts.items():
        parsed = getattr(parsed, f"with_{name}")(value)
    return str(parsed)


async def test_broker_says_its_version(amqp_url: str) -> None:
    """An open connection knows the version of its broker, and where it is without credentials."""
    connection = await Connection.open(amqp_url, "test")
    assert connection.version >= (3, 10)
    assert connection.address.startswith(f"{URL(amqp_url).host}:")
    assert "@" not in connection.address
    await connection.close()
    assert not connection.is_open


@pytest.mark.parametrize(
    ("part", "value", "sentence"),
    [
        ("password", "geheim", "refused the user name or password"),
        ("path", "/nowhere", "is the virtual host right"),
        ("scheme", "http", "expected amqp://"),
        ("host", "nowhere.invalid", "RabbitMQ at nowhere.invalid"),
    ],
)
async def test_wrong_address_is_told_in_a_sentence(
    amqp_url: str, part: str, value: str, sentence: str
) -> None:
    """Each part of an address that is wrong has its own clear sentence, without the password."""
    with pytest.raises(BrokerUnavailableError) as fault:
        await Connection.open(wrong(amqp_url, **{part: value}), "test")
    assert sentence in str(fault.value)
    password = URL(amqp_url).password
    assert password is None or f":{password}@" not in str(fault.value)
    assert "geheim" not in str(fault.value)


async def test_broker_that_does_not_answer_ends_at_the_deadline(amqp_url: str) -> None:
    """A broker that accepts and then says nothing does not hang us."""
    async with Proxy.before(amqp_url) as proxy:
        proxy.stall()
        with pytest.raises(BrokerUnavailableError, match="no answer in time"):
            await Connection.open(proxy.address(amqp_url), "test", deadline=0.3)


async def test_channels_come_and_go_without_end(amqp_url: str) -> None:
    """Beside channels that stay, others come and go for longer than there are numbers."""
    connection = await Connection.open(amqp_url, "test")
    most = connection._wire.connection_tune.channel_max
    connection._numbers = ChannelNumbers(most)
    connection._numbers._last = most - 10  # as after so many channels
    channels = [await connection.channel() for _ in range(5)]
    for _ in range(20):
        await channels.pop(1).close()
        channels.append(await connection.channel())
    together = await asyncio.gather(*(connection.channel() for _ in range(20)))
    numbers = {channel.number for channel in (*channels, *together)}
    assert len(numbers) == 25
    assert max(numbers) <= most
    assert connection.is_open
    await connection.close()


async def test_channels_that_the_broker_closes_cost_nothing_else(amqp_url: str) -> None:
    """Many channels closed by the broker at once, and opened at once again, keep the connection."""
    connection = await Connection.open(amqp_url, "test")

    async def ask() -> None:
        for _ in range(20):
            assert await queue_facts(connection, "nowhere") is None

    await asyncio.gather(*(ask() for _ in range(30)))
    assert connection.is_open
    await connection.close()


async def test_cut_connection_comes_back_within_a_second(amqp_url: str) -> None:
    """A connection that is reset is noticed and made anew, and observers are told of both."""
    losses: list[str] = []
    async with (
        Proxy.before(amqp_url) as proxy,
        Link(proxy.address(amqp_url), "test", lost=lambda: losses.append("lost")) as link,
    ):
        told: list[Connection | None] = []
        stop = link.observe(told.append)
        first = await link.ready(deadline=10)
        await eventually(lambda: told)
        assert first.end == ""
        began = time.monotonic()
        proxy.cut()
        await asyncio.wait_for(first.lost.wait(), 5)
        assert first.end.startswith("Server co"), first.end
        second = await link.ready(deadline=10)
        assert time.monotonic() - began < 1.5
        assert second is not first
        assert second.is_open
        assert told == [first, None, second]
        stop()
    assert told == [first, None, second]
    assert losses == ["lost"], "the close at the end is none"


async def test_link_that_cannot_come_up_says_why(amqp_url: str) -> None:
    """Whoever waits for a link is told at the deadline why there is no connection."""
    port = free_port()
    async with Link(
        wrong(amqp_url, host="127.0.0.1").replace(f":{URL(amqp_url).port}", f":{port}"), "t"
    ) as link:
        with pytest.raises(BrokerUnavailableError, match=rf"127.0.0.1:{port} .*Connection refused"):
            await link.ready(deadline=0.5)


async def test_closed_link_leaves_nobody_waiting() -> None:
    """Who waits for a link that is closed meanwhile is told so."""
    async with Link(f"amqp://127.0.0.1:{free_port()}/", "test") as link:
        waiting = asyncio.create_task(link.ready())
        await eventually(lambda: link.last_error)
    with pytest.raises(BrokerUnavailableError, match="is closed"):
        await asyncio.wait_for(waiting, 5)


@pytest.mark.slow
async def test_silent_connection_is_noticed(amqp_url: str) -> None:
    """A connection cut without a close is noticed within two heartbeats of 10 s and a second.

    Cut both ways, and towards us only: side by side, for each is a wait.
    """
    await asyncio.gather(
        _is_noticed(amqp_url, tuple(Direction)), _is_noticed(amqp_url, (Direction.TO_CLIENT,))
    )


async def _is_noticed(amqp_url: str, directions: tuple[Direction, ...]) -> None:
    async with Proxy.before(amqp_url) as proxy:
        connection = await Connection.open(proxy.address(amqp_url), "test")
        channel = await connection.channel()
        began = time.monotonic()
        proxy.stall(directions)
        await asyncio.wait_for(connection.lost.wait(), 30)
        assert time.monotonic() - began <= 21
        assert channel.is_closed
        await connection.close()
