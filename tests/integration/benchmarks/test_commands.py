"""Benchmarks run: each command does its work in a tiny size, and finds that it was done."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest

from benchmarks import workers
from benchmarks.__main__ import ON_SERVICES
from benchmarks.peers import contest
from benchmarks.peers.peer import Peer
from benchmarks.services import Services, services
from benchmarks.sizes import TINY

pytestmark = [pytest.mark.rabbitmq, pytest.mark.postgres, pytest.mark.slow]

PLAIN = "tests.support.plain_peer"


@pytest.fixture(scope="module")
def ready() -> Iterator[Services]:
    """A broker, and a database server that dates commits."""
    with services() as started:
        yield started


@pytest.mark.long
@pytest.mark.parametrize("name", ON_SERVICES)
def test_a_benchmark_runs_and_checks_that_the_work_was_done(name: str, ready: Services) -> None:
    found = ON_SERVICES[name](ready, TINY)
    assert found.name == name
    assert all(row.keys() == found.rows[0].keys() for row in found.rows)


def test_two_processes_of_a_peer_share_a_full_queue(ready: Services) -> None:
    command = (sys.executable, "-m", PLAIN)
    peer = Peer("plain", PLAIN, (), "", (command, command), gates=2, connections=4)
    assert asyncio.run(contest.rate(peer, ready, 500)) > 0


def test_a_rate_of_workers_that_did_not_all_take_part_is_no_rate(
    ready: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def only_one(_: object) -> int:
        return 1

    monkeypatch.setattr(workers, "_owners", only_one)
    with pytest.raises(AssertionError, match="not all workers took part"):
        asyncio.run(workers.rate(ready, TINY, 2))
