"""Queues go to the workers that are alive, evenly, each to one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from store.ports import WorkerPresence
from worker import assignment
from worker.assignment import Membership, assigned

QUEUES = [f"meerkat.inbox.agent-{n}" for n in range(3000)]
AT = datetime(2026, 1, 1, tzinfo=UTC)


def test_every_queue_has_exactly_one_owner_and_the_spread_is_even() -> None:
    workers = ["a", "b", "c"]
    shares = {one: assigned(QUEUES, workers, one) for one in workers}
    owners = Counter(queue for share in shares.values() for queue in share)
    assert owners == Counter(QUEUES)
    assert all(800 < len(share) < 1200 for share in shares.values())


def test_when_a_worker_leaves_only_its_own_queues_move() -> None:
    before = {one: assigned(QUEUES, ["a", "b", "c"], one) for one in "abc"}
    after = {one: assigned(QUEUES, ["a", "b"], one) for one in "ab"}
    assert before["a"] <= after["a"]
    assert before["b"] <= after["b"]
    assert (after["a"] - before["a"]) | (after["b"] - before["b"]) == before["c"]


def test_a_worker_alone_takes_all_even_if_it_is_not_listed() -> None:
    assert assigned(QUEUES, [], "me") == frozenset(QUEUES)


class Broker:
    """Knows who is connected, and counts how often it is asked."""

    def __init__(self, *connected: str) -> None:
        self.connected = set(connected)
        self.asked: list[str] = []

    async def __call__(self, worker_id: str) -> bool:
        self.asked.append(worker_id)
        return worker_id in self.connected


class Watch:
    """A monotonic clock that the test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def presence(worker_id: str, beat: int) -> WorkerPresence:
    return WorkerPresence(worker_id, "host", AT, AT + timedelta(seconds=beat))


async def test_a_worker_whose_heartbeat_moves_is_alive_and_the_broker_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch, broker = _set_up(monkeypatch, Broker("b"))
    members = Membership("a", late=1.5, ttl=5, is_connected=broker)
    await members.alive([presence("b", 0)])
    broker.asked.clear()
    for beat in range(1, 10):
        watch.now += 1
        assert await members.alive([presence("b", beat)]) == {"a", "b"}
    assert broker.asked == []


async def test_a_late_worker_is_dead_as_soon_as_the_broker_says_that_it_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch, broker = _set_up(monkeypatch, Broker("b"))
    members = Membership("a", late=1.5, ttl=5, is_connected=broker)
    await members.alive([presence("b", 0)])
    await members.alive([presence("b", 1)])
    broker.connected.clear()
    watch.now += 1
    assert await members.alive([presence("b", 1)]) == {"a", "b"}
    watch.now += 1
    assert await members.alive([presence("b", 1)]) == {"a"}


async def test_a_worker_that_the_broker_still_sees_is_dead_after_the_ttl(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch, broker = _set_up(monkeypatch, Broker("b"))
    members = Membership("a", late=1.5, ttl=5, is_connected=broker)
    await members.alive([presence("b", 0)])
    await members.alive([presence("b", 1)])
    watch.now += 4
    assert await members.alive([presence("b", 1)]) == {"a", "b"}
    watch.now += 2
    assert await members.alive([presence("b", 1)]) == {"a"}


async def test_a_row_left_by_a_worker_that_died_long_ago_is_not_taken_for_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _set_up(monkeypatch, broker := Broker())
    members = Membership("a", late=1.5, ttl=5, is_connected=broker)
    assert await members.alive([presence("a", 0), presence("b", 0)]) == {"a"}
    assert broker.asked == ["b"]


def _set_up(monkeypatch: pytest.MonkeyPatch, broker: Broker) -> tuple[Watch, Broker]:
    watch = Watch()
    monkeypatch.setattr(assignment, "monotonic", watch)
    return watch, broker
