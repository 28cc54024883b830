"""The names of the topology, and what it refuses."""

import zlib

import pytest

from schemas.ids import RuntimeId
from worker.broker.errors import BrokerUnsupportedError
from worker.broker.topology import MAX_SHARDS, Layout, Topology, require_version


@pytest.mark.parametrize(
    "text", ["per-runtime", "sharded:1", "sharded:64", f"sharded:{MAX_SHARDS}"]
)
def test_layout_reads_what_it_writes(text: str) -> None:
    """A layout's text is read back as the same layout."""
    assert str(Layout.parse(text)) == text


@pytest.mark.parametrize(
    "text", ["", "sharded", "sharded:", "sharded:0", "sharded:-1", "sharded:4097", "sharded:1\n"]
)
def test_layout_refuses_anything_else(text: str) -> None:
    """What is no layout is refused with the two forms that are."""
    with pytest.raises(ValueError, match="expected per-runtime or sharded:N"):
        Layout.parse(text)


@pytest.mark.parametrize("namespace", ["", ".a", "a b", "ä", "a" * 65, "a/b", "a\n"])
def test_namespace_is_safe_in_a_name(namespace: str) -> None:
    """A namespace that does not fit into queue names is refused."""
    with pytest.raises(ValueError, match=r"namespace: expected"):
        Topology(namespace)


def test_pool_is_safe_in_a_name() -> None:
    """A pool that does not fit into queue names is refused."""
    with pytest.raises(ValueError, match=r"pool: expected"):
        Topology().pool_queue("a b")


def test_names_of_the_wire_contract() -> None:
    """The names are those of the wire contract; a change breaks publishers in other languages."""
    topology = Topology()
    assert topology.inbox == "meerkat.inbox"
    assert topology.queue_of(RuntimeId("r-1")) == "meerkat.inbox.r-1"
    assert topology.unrouted == "meerkat.unrouted"
    assert topology.registrations == "meerkat.registrations"
    assert topology.runs == "meerkat.runs"
    assert topology.pool_queue("default") == "meerkat.runs.default"
    assert topology.signals == "meerkat.signals"
    assert topology.events == "meerkat.events"
    assert topology.dead == "meerkat.dead"


def test_shard_is_crc32_of_the_id() -> None:
    """The shard is CRC-32 modulo the number of shards, which every language has."""
    topology = Topology("ns", Layout.parse("sharded:7"))
    number = zlib.crc32(b"agent-1") % 7
    assert topology.queue_of(RuntimeId("agent-1")) == f"ns.inbox.shard.{number}"
    assert len(topology.shards) == len(set(topology.shards)) == 7


def test_broker_that_is_too_old_is_refused() -> None:
    """A broker without at-least-once dead-lettering is refused by its version."""
    require_version((3, 10, 0))
    require_version((4, 1, 2))
    with pytest.raises(
        BrokerUnsupportedError, match=r"expected RabbitMQ 3.10 or later, found 3.9.29"
    ):
        require_version((3, 9, 29))
