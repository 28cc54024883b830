"""A runtime takes a message for a culprit only when the store itself says so."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from schemas.envelope import Envelope
from schemas.ids import RuntimeId
from schemas.records import OutboxMessage
from store.blobs.memory import MemoryBlobStore
from store.errors import StoreUnavailableError
from store.memory import MemoryStore
from store.ports import Commit, CommitResult
from tests.support.eventually import eventually
from tests.support.store import NOW, new_id
from worker.assembly import Assembler
from worker.batch import Item
from worker.broker.delivery import Delivery, Settlement
from worker.broker.errors import BrokerError
from worker.broker.topology import Layout, Topology
from worker.client import Prompt
from worker.committer import Committer
from worker.driver.options import DriverOptions
from worker.outbox import Outbox
from worker.runtime import MAX_FAILURES, Runtime, Surroundings

ADA = RuntimeId("ada")
_COUNT = "x-delivery-count"


class Unobserved:
    """Nobody looks."""

    def committed(
        self, parts: Sequence[Commit], results: Sequence[CommitResult], seconds: float
    ) -> None:
        """Look away."""

    def database(self, *, away: bool) -> None:
        """Look away."""

    def settled(self, runtime_id: RuntimeId, items: Sequence[Item]) -> None:
        """Look away."""

    def activated(self, runtime_id: RuntimeId, seconds: float) -> None:
        """Look away."""

    def published(self, confirmed: int, failures: Sequence[BrokerError]) -> None:
        """Look away."""


class Nowhere:
    """Takes messages, and they are gone."""

    async def publish_many(
        self, messages: Sequence[OutboxMessage], *, mandatory: bool = True
    ) -> Sequence[BrokerError | None]:
        """Take all."""
        del mandatory
        return [None for _ in messages]


class Forgetful(MemoryStore):
    """Its first answer to a commit gets lost: the connection dies in between."""

    def __init__(self) -> None:
        super().__init__()
        self.answers_lost = 0

    async def commit(self, parts: Sequence[Commit]) -> list[CommitResult]:
        results = await super().commit(parts)
        if any(part.changes.inserted for part in parts) and not self.answers_lost:
            self.answers_lost += 1
            raise StoreUnavailableError("connection was closed in the middle of operation")
        return results


class Stubborn(MemoryStore):
    """Refuses whatever brings an input."""

    async def commit(self, parts: Sequence[Commit]) -> list[CommitResult]:
        if any(part.changes.inserted for part in parts):
            return [CommitResult.FAILED for _ in parts]
        return await super().commit(parts)


def a_runtime(store: MemoryStore) -> Runtime:
    """A runtime on a store, with nobody around."""
    topology = Topology("meerkat", Layout.parse("per-runtime"))
    committer = Committer(store, grace=5.0, max_rows=100, observer=Unobserved())
    assembler = Assembler(
        reads=committer,
        blobs=MemoryBlobStore(),
        topology=topology,
        pool="default",
        lease_seconds=60.0,
        inline_snapshot_bytes=1000,
        durable_events=False,
        new_id=new_id,
    )

    async def repair() -> None:
        """Nothing is missing."""

    outbox = Outbox(
        Nowhere(),
        committer,
        must_arrive=lambda _: False,
        repair=repair,
        observer=Unobserved(),
    )
    around = Surroundings(
        committer=committer,
        assembler=assembler,
        outbox=outbox,
        announce=lambda _: None,
        observer=Unobserved(),
        options=DriverOptions(),
        worker_id="worker-1",
        max_message_bytes=1_000_000,
        max_deliveries=10,
        adopt_live_runs=True,
        clock=lambda: NOW,
        new_id=new_id,
        jitter=lambda: 0.5,
    )
    return Runtime(ADA, around)


def a_delivery(prompt: Prompt, *, count: int) -> Delivery:
    """A prompt that has come back to its queue so many times."""
    envelope = Envelope(
        routing_key=ADA,
        body=msgspec.json.encode(prompt.to_input()),
        message_id=str(prompt.id),
        type="input",
        headers={_COUNT: count},
    )
    return Delivery(
        envelope,
        tag=1,
        redelivered=count > 0,
        queue="meerkat.inbox.ada",
        received=0.0,
        on_settled=lambda _: None,
    )


async def settled(store: MemoryStore, delivery: Delivery) -> Settlement:
    runtime = a_runtime(store)
    runtime.deliver(delivery)
    await eventually(lambda: runtime.is_idle)
    if store.dead_letters:
        assert not runtime.is_active, "a driver that is ahead of the store stayed"
    return delivery.settlement


async def test_a_commit_whose_answer_was_lost_makes_no_culprit_of_its_message() -> None:
    """Outages have brought it back before; it is stored, so it is acked and is no dead letter."""
    store, prompt = Forgetful(), Prompt("hello")
    settlement = await settled(store, a_delivery(prompt, count=MAX_FAILURES))
    assert store.answers_lost == 1
    assert settlement is Settlement.ACKED
    assert list(store.shelves[ADA].inputs) == [prompt.id]
    assert store.dead_letters == {}


async def test_what_the_store_refuses_again_and_again_becomes_a_dead_letter() -> None:
    store, prompt = Stubborn(), Prompt("hello")
    settlements = [
        await settled(store, a_delivery(prompt, count=count)) for count in range(MAX_FAILURES)
    ]
    assert settlements == [Settlement.RETURNED] * (MAX_FAILURES - 1) + [Settlement.ACKED]
    [letter] = store.dead_letters.values()
    assert letter.message_id == str(prompt.id)
