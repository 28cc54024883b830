"""Diagnosis: everything that a worker needs, looked at one by one, with what to do about it."""

from __future__ import annotations

import contextlib
import difflib
import enum
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
from aiormq import Channel
from pamqp.commands import Basic

from schemas.content import blob
from store.blobs import open_blobs
from store.checkup import Facts, facts
from store.errors import BlobMissingError, SchemaError, StoreError
from store.open import open_store
from store.ports import WorkerPresence
from worker.broker.connection import Connection, close_channel
from worker.broker.errors import BrokerError, TopologyClashError, translated
from worker.broker.inspect import QueueFacts, queue_facts
from worker.broker.topology import Layout, Topology, require_version
from worker.settings import PREFIX, Settings, catalogue

OTHER_VARIABLES: Final = frozenset({"MEERKAT_RABBITMQ_HOME"})
"""Variables of ours that are not settings of a worker; those for tests begin MEERKAT_TEST_."""


class Standing(enum.StrEnum):
    """What a finding means."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at: what was found, and what to do if it is not as it should be."""

    part: str
    standing: Standing
    found: str
    remedy: str = ""


def ok(part: str, found: str) -> Finding:
    """Find a thing as it should be."""
    return Finding(part, Standing.OK, found)


def note(part: str, found: str, remedy: str = "") -> Finding:
    """Find a thing that need not be wrong, but that a person would like to know."""
    return Finding(part, Standing.NOTE, found, remedy)


def wrong(part: str, found: str | Exception, remedy: str) -> Finding:
    """Find a thing that keeps a worker from its work."""
    return Finding(part, Standing.WRONG, str(found), remedy)


def settings_findings(environ: Mapping[str, str]) -> list[Finding]:
    """Look for variables that nobody reads: most often a setting with a slip of the pen."""
    known = {setting.variable for setting in catalogue().values()}
    strange = [
        name
        for name in sorted(environ)
        if name.startswith(PREFIX)
        and not name.startswith("MEERKAT_TEST_")
        and name not in known | OTHER_VARIABLES
    ]
    return [_strange(name, known) for name in strange] or [ok("settings", "all are known")]


def _strange(name: str, known: set[str]) -> Finding:
    near = difflib.get_close_matches(name, sorted(known), n=1)
    meant = f"did you mean {near[0]}?" if near else "see docs/configuration.md"
    return note("settings", f"{name} is set and is not a setting", meant)


# --- the broker ----------------------------------------------------------------------------------


async def broker_findings(settings: Settings) -> list[Finding]:
    """Look at the broker: reachable, new enough, quorum queues, permissions, our layout."""
    try:
        connection = await Connection.open(settings.amqp_url, "meerkat-worker doctor")
    except BrokerError as error:
        remedy = "start RabbitMQ, or set MEERKAT_AMQP_URL to where it is"
        return [wrong("broker", error, remedy)]
    try:
        return [
            _version(connection),
            await _permissions(connection, settings),
            await _layout(connection, settings),
            await _executors(connection, settings),
        ]
    finally:
        await connection.close()


def _version(connection: Connection) -> Finding:
    try:
        require_version(connection.version)
    except BrokerError as error:
        return wrong("broker", error, "upgrade RabbitMQ")
    version = ".".join(str(number) for number in connection.version)
    return ok("broker", f"RabbitMQ {version} at {connection.address}")


async def _permissions(connection: Connection, settings: Settings) -> Finding:
    """Do once what a worker does all day: declare a quorum queue, publish, read, delete."""
    queue = f"{settings.namespace}.doctor.{secrets.token_hex(8)}"
    part = "broker permissions"
    try:
        async with _channel(connection, confirms=True) as channel:
            with translated(f"cannot use a quorum queue named {queue}"):
                await _exercise(channel, queue)
    except BrokerError as error:
        remedy = f'allow this user to configure, write and read "^{settings.namespace}\\."'
        return wrong(part, error, remedy)
    return ok(part, "a quorum queue was declared, published to, read and deleted")


async def _exercise(channel: Channel, queue: str) -> None:
    await channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
    try:
        await channel.basic_publish(
            b"{}", routing_key=queue, mandatory=True, properties=Basic.Properties(delivery_mode=2)
        )
        await channel.basic_get(queue, no_ack=True)
    finally:
        await channel.queue_delete(queue)


async def _layout(connection: Connection, settings: Settings) -> Finding:
    """Declare what is shared, if a worker has done so before: another layout is a clash."""
    topology = Topology(settings.namespace, Layout.parse(settings.layout))
    part = "broker layout"
    try:
        if await queue_facts(connection, topology.registrations) is None:
            return note(part, f"namespace {settings.namespace} is not laid out; run does it")
        async with _channel(connection) as channel:
            await topology.declare_shared(channel)
    except TopologyClashError as error:
        return wrong(part, error, "set MEERKAT_LAYOUT to what it was, or take another namespace")
    except BrokerError as error:
        return wrong(part, error, "look at the broker's log")
    return ok(part, f"namespace {settings.namespace} is laid out {settings.layout}")


async def _executors(connection: Connection, settings: Settings) -> Finding:
    topology = Topology(settings.namespace, Layout.parse(settings.layout))
    part = f"pool {settings.pool}"
    try:
        found = await queue_facts(connection, topology.pool_queue(settings.pool))
    except BrokerError as error:
        return wrong(part, error, "look at the broker's log")
    seen = found or QueueFacts(ready=0, consumers=0)
    if seen.consumers:
        return ok(part, f"{seen.consumers} consumers, {seen.ready} run requests waiting")
    remedy = "start one: meerkat-worker executor MODULE:NAME"
    return note(part, f"no executor, {seen.ready} run requests waiting", remedy)


@contextlib.asynccontextmanager
async def _channel(connection: Connection, *, confirms: bool = False) -> AsyncIterator[Channel]:
    """Open a channel for one question: a refusal closes it, and only it."""
    channel = await connection.channel(confirms=confirms)
    try:
        yield channel
    finally:
        await close_channel(channel)


# --- the blobs -----------------------------------------------------------------------------------


async def blob_findings(settings: Settings) -> list[Finding]:
    """Look at the blob store: put a blob, read it back, delete it."""
    remedy = "set MEERKAT_BLOBS to a directory or bucket that this user may write"
    probe = blob("text/plain", "bWVlcmthdA==")
    try:
        blobs = open_blobs(settings.blobs)
        try:
            await blobs.prepare()
            await blobs.put(probe)
            if (await blobs.get(probe.blob_id)).data != probe.data:
                return [wrong("blobs", "what was read is not what was put", remedy)]
            await blobs.delete(probe.blob_id)
        finally:
            await blobs.close()
    except BlobMissingError:
        return [wrong("blobs", "what was put could not be read back", remedy)]
    except StoreError as error:
        return [wrong("blobs", error, remedy)]
    return [ok("blobs", "a blob was put, read and deleted")]


# --- the database --------------------------------------------------------------------------------


async def database_findings(settings: Settings) -> list[Finding]:
    """Look at the database: reachable, migrated, durable; and at the workers that share it."""
    part = "database"
    try:
        store = await open_store(settings.database_url)
    except SchemaError as error:
        return [wrong(part, error, "meerkat-worker migrate")]
    except StoreError as error:
        return [wrong(part, error, "start it, or set MEERKAT_DATABASE_URL to where it is")]
    try:
        found = await facts(store.database)
        return [_durability(found), _workers(await store.workers(), settings)]
    except StoreError as error:
        return [wrong(part, error, "let this user read and write it")]
    finally:
        await store.close()


def _durability(found: Facts) -> Finding:
    settings = ", ".join(f"{name}={value}" for name, value in found.settings.items())
    what = f"{found.product} {found.version}, schema up to date, {settings}"
    if found.durable:
        return ok("database", what)
    return wrong("database", what, "make commits durable: an ack may outlive its commit otherwise")


def _workers(workers: Sequence[WorkerPresence], settings: Settings) -> Finding:
    horizon = datetime.now(UTC) - timedelta(seconds=settings.worker_ttl)
    alive = [worker.worker_id for worker in workers if worker.heartbeat_at >= horizon]
    if alive:
        return ok("workers", f"{len(alive)} alive: {', '.join(sorted(alive))}")
    return note("workers", "none alive", "start one: meerkat-worker run")
