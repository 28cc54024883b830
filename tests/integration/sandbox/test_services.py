"""The private services keep what they were given over kill -9, and can be paused."""

import asyncio
import io
import time

import aio_pika
import asyncpg
import pytest
import urllib3
from aio_pika.abc import AbstractConnection, AbstractIncomingMessage
from minio import Minio
from minio.error import S3Error

from tests.support.eventually import eventually
from worker.sandbox import ObjectStore, PostgreSQL, RabbitMQ, S3Address, ServiceUnavailable
from worker.sandbox.rabbitmq import answers

pytestmark = pytest.mark.slow

# RabbitMQ loses a quorum queue that is killed with its broker within about a second of its
# declaration.
_SETTLED_SECONDS = 1.5


async def _publish(connection: AbstractConnection, queue: str, body: bytes) -> float:
    """Declare a quorum queue and put one confirmed message in; return when it was declared."""
    channel = await connection.channel(publisher_confirms=True)
    await channel.declare_queue(
        queue, durable=True, arguments={"x-queue-type": "quorum"}, timeout=20
    )
    declared_at = time.monotonic()
    message = aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT)
    await channel.default_exchange.publish(message, routing_key=queue, timeout=20)
    return declared_at


async def _take(url: str, name: str) -> bytes:
    async with await aio_pika.connect(url, timeout=20) as connection:
        queue = await (await connection.channel()).get_queue(name, ensure=True)

        async def one() -> AbstractIncomingMessage | None:
            return await queue.get(fail=False, no_ack=True, timeout=10)

        message = await eventually(one, 20, "a message in the queue")
        return message.body


async def test_a_confirmed_message_survives_kill_of_the_broker(
    private_rabbitmq: RabbitMQ, namespace: str
) -> None:
    """What the broker confirmed is there after kill -9 and a restart at the same address."""
    async with await aio_pika.connect(private_rabbitmq.url, timeout=20) as connection:
        declared_at = await _publish(connection, namespace, b"still here")
    await asyncio.sleep(max(0.0, declared_at + _SETTLED_SECONDS - time.monotonic()))
    killed = private_rabbitmq.pid
    await asyncio.to_thread(private_rabbitmq.restart)
    assert private_rabbitmq.pid != killed
    assert await _take(private_rabbitmq.url, namespace) == b"still here"


async def test_a_paused_broker_is_silent_and_answers_again(private_rabbitmq: RabbitMQ) -> None:
    """Between pause and resume the broker accepts connections and says nothing."""
    private_rabbitmq.pause()
    assert not await asyncio.to_thread(answers, private_rabbitmq.url)
    private_rabbitmq.resume()
    await asyncio.to_thread(private_rabbitmq.wait_ready, 10)


async def test_a_stopped_broker_starts_again_on_its_data(
    private_rabbitmq: RabbitMQ, namespace: str
) -> None:
    """A stop ends the broker in order, and start finds what it left."""
    async with await aio_pika.connect(private_rabbitmq.url, timeout=20) as connection:
        await _publish(connection, namespace, b"kept")
    await asyncio.to_thread(private_rabbitmq.stop)
    assert not answers(private_rabbitmq.url)
    private_rabbitmq.start()
    await asyncio.to_thread(private_rabbitmq.wait_ready)
    assert await _take(private_rabbitmq.url, namespace) == b"kept"


async def test_the_shared_broker_confirms_a_message(amqp_url: str, namespace: str) -> None:
    """A test that shares the broker publishes and gets in its own namespace."""
    async with await aio_pika.connect(amqp_url, timeout=20) as connection:
        await _publish(connection, namespace, b"hello")
    assert await _take(amqp_url, namespace) == b"hello"


def _plain(url: str) -> str:
    return url.replace("postgresql+asyncpg://", "postgresql://")


async def test_a_committed_row_survives_kill_of_the_database(
    private_postgres: PostgreSQL, private_postgres_url: str
) -> None:
    """What PostgreSQL committed is there after kill -9 and a restart at the same address."""
    connection = await asyncpg.connect(_plain(private_postgres_url))
    await connection.execute("CREATE TABLE kept (word text)")
    await connection.execute("INSERT INTO kept VALUES ('still here')")
    await asyncio.to_thread(private_postgres.kill)
    # What the client says when its server vanishes depends on the moment.
    lost = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
    with pytest.raises(lost):
        await connection.fetchval("SELECT word FROM kept")
    connection.terminate()
    await asyncio.to_thread(private_postgres.start)
    await asyncio.to_thread(private_postgres.wait_ready)
    connection = await asyncpg.connect(_plain(private_postgres_url))
    assert await connection.fetchval("SELECT word FROM kept") == "still here"
    assert await connection.fetchval("SHOW fsync") == "on"
    await connection.close()


async def test_a_paused_database_lets_open_connections_wait(
    private_postgres: PostgreSQL, private_postgres_url: str
) -> None:
    """A pause stops the backends too, so a statement waits until resume and then succeeds."""
    connection = await asyncpg.connect(_plain(private_postgres_url))
    await asyncio.to_thread(private_postgres.pause)
    waiting = asyncio.create_task(connection.fetchval("SELECT 1"))
    done, _ = await asyncio.wait({waiting}, timeout=0.3)
    assert not done
    private_postgres.resume()
    assert await asyncio.wait_for(waiting, 10) == 1
    await connection.close()


async def test_each_test_gets_an_empty_database(postgres_url: str) -> None:
    """A fresh database holds no tables."""
    connection = await asyncpg.connect(_plain(postgres_url))
    count = await connection.fetchval(
        "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    )
    await connection.close()
    assert count == 0


def _client(address: S3Address, secret_key: str | None = None) -> Minio:
    return Minio(
        address.endpoint,
        access_key=address.access_key,
        secret_key=secret_key or address.secret_key,
        secure=address.secure,
        region=address.region,
        http_client=urllib3.PoolManager(timeout=10, retries=urllib3.Retry(5, backoff_factor=0.2)),
    )


def _read(client: Minio, bucket: str, key: str) -> bytes:
    response = client.get_object(bucket, key)
    try:
        return response.read()
    finally:
        response.close()
        response.release_conn()


async def test_an_object_survives_kill_of_the_object_store(
    private_object_store: ObjectStore, bucket: str
) -> None:
    """What was put is there after kill -9 and a restart at the same address.

    A server that has just started may ask for patience first: its parts find each other.
    """
    client = _client(private_object_store.address)
    client.make_bucket(bucket)
    client.put_object(bucket, "key", io.BytesIO(b"x" * 100_000), 100_000)
    private_object_store.restart()

    def found() -> bytes | None:
        try:
            return _read(_client(private_object_store.address), bucket, "key")
        except S3Error as error:
            if error.code == "InternalError":
                return None
            raise

    assert await eventually(found, 20, "the object is there") == b"x" * 100_000


def test_the_object_store_refuses_a_wrong_secret(object_store: S3Address) -> None:
    """A request that is signed with another key is turned away."""
    with pytest.raises(S3Error, match="SignatureDoesNotMatch"):
        _client(object_store, secret_key="wrong").list_buckets()


def test_an_address_of_a_bucket_is_read_back_as_it_was_written() -> None:
    """S3Address.parse is the inverse of url, whatever is in the keys."""
    address = S3Address(endpoint="127.0.0.1:9", access_key="A/b", secret_key="s@:c/+", secure=True)
    assert S3Address.parse(address.url("bucket")) == address


def test_an_address_without_keys_is_refused() -> None:
    """The error names the setting and the form that it wants, and repeats no secret."""
    with pytest.raises(ServiceUnavailable, match="expected s3://ACCESS:SECRET@host:port/"):
        S3Address.parse("s3://127.0.0.1:9000/")
