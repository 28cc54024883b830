"""Death headers as RabbitMQ 3.10 and 4.0 write them, and as nobody should."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from schemas.dead_letters import DeadLetterReason
from schemas.envelope import Envelope
from tests.support.store import NOW
from worker.broker.topology import Layout, Topology
from worker.dead_letters.collect import collected
from worker.dead_letters.deaths import Death, death_of, without_deaths

DEATH = {
    "count": 1,
    "exchange": "meerkat.inbox",
    "queue": "meerkat.inbox.ada",
    "reason": "delivery_limit",
    "routing-keys": ["ada"],
    "time": NOW,
}
FIRST = {
    "x-first-death-exchange": "meerkat.inbox",
    "x-first-death-queue": "meerkat.inbox.ada",
    "x-first-death-reason": "delivery_limit",
}
LAST = {name.replace("first", "last"): value for name, value in FIRST.items()}
ON_3_10 = {"x-death": [DEATH], **FIRST}
ON_4_0 = {"x-death": [DEATH], **FIRST, **LAST, "x-delivery-count": 21}


@pytest.mark.parametrize("headers", [ON_3_10, ON_4_0, {**FIRST, **LAST, "x-death": [DEATH]}])
def test_both_brokers_say_where_it_died_and_of_what(headers: dict[str, Any]) -> None:
    death = death_of(headers)
    assert (death.queue, death.exchange) == ("meerkat.inbox.ada", "meerkat.inbox")
    assert (death.routing_key, death.reason) == ("ada", DeadLetterReason.DELIVERY_LIMIT)
    assert "delivery limit" in death.detail


def test_origin_is_the_first_death_and_reason_the_latest() -> None:
    later = {
        **DEATH,
        "queue": "retry",
        "exchange": "dlx",
        "reason": "expired",
        "routing-keys": ["r"],
    }
    death = death_of({"x-death": [later, DEATH], **FIRST})
    assert (death.queue, death.routing_key) == ("meerkat.inbox.ada", "ada")
    assert death.reason is DeadLetterReason.UNROUTABLE
    assert "outlived" in death.detail


@pytest.mark.parametrize(
    ("why", "reason"),
    [
        ("rejected", DeadLetterReason.REJECTED),
        ("expired", DeadLetterReason.UNROUTABLE),
        ("maxlen", DeadLetterReason.UNROUTABLE),
        ("delivery_limit", DeadLetterReason.DELIVERY_LIMIT),
        ("something new", DeadLetterReason.UNROUTABLE),
    ],
)
def test_every_reason_of_the_broker_is_one_of_ours(why: str, reason: DeadLetterReason) -> None:
    assert death_of({**FIRST, "x-first-death-reason": why}).reason is reason


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-death": "no list"},
        {"x-death": [], "x-first-death-queue": 7},
        {"x-death": ["no table", None], "x-first-death-reason": ""},
    ],
)
def test_headers_that_make_no_sense_are_no_death(headers: dict[str, Any]) -> None:
    death = death_of(headers)
    assert death == Death(None, None, None, DeadLetterReason.UNROUTABLE, death.detail)


def test_the_brokers_marks_are_taken_out_and_all_else_stays() -> None:
    assert without_deaths({**ON_4_0, "schema": 1, "x-mine": 2}) == {"schema": 1, "x-mine": 2}


@pytest.mark.parametrize(
    ("queue", "layout", "owner"),
    [
        ("meerkat.inbox.ada", "per-runtime", "ada"),
        ("meerkat.inbox.shard.3", "sharded:8", "ada"),
        ("meerkat.unrouted", "per-runtime", "ada"),
        ("meerkat.runs.default", "per-runtime", None),
        ("meerkat.inboxes", "per-runtime", None),
        ("other.inbox.ada", "per-runtime", None),
    ],
)
def test_a_routing_key_names_a_runtime_in_our_inboxes_only(
    queue: str, layout: str, owner: str | None
) -> None:
    headers = {**FIRST, "x-first-death-queue": queue, "x-death": [{**DEATH, "queue": queue}]}
    kept = _collected(headers, Topology(layout=Layout.parse(layout)))
    assert (kept.runtime_id, kept.source_queue) == (owner, queue)
    assert kept.properties["routing_key"] == "ada"
    assert kept.properties["exchange"] == "meerkat.inbox"


def test_a_routing_key_that_cannot_name_a_runtime_names_none() -> None:
    odd = {**ON_3_10, "x-death": [{**DEATH, "routing-keys": ["no such name!"]}]}
    assert _collected(odd, Topology()).runtime_id is None


def test_alike_deaths_of_different_runtimes_are_one_group() -> None:
    other = {"queue": "meerkat.inbox.grace", "routing-keys": ["grace"]}
    headers = {
        **FIRST,
        "x-first-death-queue": "meerkat.inbox.grace",
        "x-death": [{**DEATH, **other}],
    }
    prints = {_collected(one, Topology()).fingerprint for one in (headers, ON_3_10, ON_4_0)}
    assert len(prints) == 1


def _collected(headers: dict[str, Any], topology: Topology) -> Any:  # noqa: ANN401
    envelope = Envelope("dead", b"{}", message_id="m-1", headers=headers)
    return collected(envelope, topology, letter_id=UUID(int=1), source_queue=topology.dead, at=NOW)
