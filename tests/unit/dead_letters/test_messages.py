"""A redriven message is the same message, and says whose letter it is."""

from __future__ import annotations

from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest

from schemas.dead_letters import DeadLetterStatus
from schemas.envelope import Envelope
from schemas.ids import RuntimeId
from schemas.records import Known, OutboxMessage, Redriven
from store.dead_letters import Letter
from tests.support.store import NOW, a_letter, replace
from worker.broker.topology import Topology
from worker.dead_letters.claims import Claim, claim_of, granted
from worker.dead_letters.message import again, destination, envelope_of

PROPERTIES = {
    "routing_key": "alpha",
    "message_id": "m-1",
    "type": "input",
    "reply_to": "asker",
    "headers": {"schema": 1, "x-death": [{"reason": "rejected"}], "redrive": 4, "x-mine": "kept"},
}


def a_stored_letter(**changed: Any) -> Letter:  # noqa: ANN401
    """A letter as it is read, about to be redriven for the fifth time."""
    written = a_letter(properties=PROPERTIES, message_id="m-1")
    known = {name: getattr(written, name) for name in written.__struct_fields__ if name in _SHARED}
    letter = Letter(
        **known,
        fingerprint=written.fingerprint,
        status=DeadLetterStatus.OPEN,
        first_at=NOW,
        last_at=NOW,
        deaths=1,
        redrive_count=5,
        note=None,
        who=None,
        acted_at=None,
        body_size=2,
    )
    return replace(letter, **changed)


_SHARED = set(Letter.__struct_fields__)


def made(letter: Letter, body: bytes = b"{}") -> OutboxMessage | None:
    return again(letter, body, Topology(), row_id=UUID(int=9), now=NOW)


def test_it_goes_to_its_runtime_with_its_own_ids_and_begins_anew() -> None:
    letter = a_stored_letter()
    message = made(letter)
    assert message is not None
    assert (message.exchange, message.routing_key) == ("meerkat.inbox", "alpha")
    assert message.runtime_id == "alpha"
    assert message.properties == {
        "message_id": "m-1",
        "type": "input",
        "reply_to": "asker",
        "headers": {
            "schema": 1,
            "x-mine": "kept",
            "redrive": 5,
            "redriven_from": str(letter.id),
        },
    }


@pytest.mark.parametrize(
    ("queue", "to"),
    [
        ("meerkat.registrations", "meerkat.registrations"),
        ("meerkat.runs.default", "meerkat.runs.default"),
        ("legacy", "legacy"),
        ("meerkat.inbox.shard.1", None),
        ("meerkat.unrouted", None),
        ("meerkat.dead", None),
        ("", None),
    ],
)
def test_without_a_runtime_it_goes_back_to_its_queue_or_nowhere(queue: str, to: str | None) -> None:
    letter = a_stored_letter(runtime_id=None, source_queue=queue)
    found = destination(letter, Topology())
    assert (None if found is None else found.routing_key) == to
    assert found is None or found.exchange == ""
    assert (made(letter) is None) == (to is None)


def test_what_is_tried_dry_is_what_would_be_published() -> None:
    envelope = envelope_of(a_stored_letter(), b"body")
    assert (envelope.routing_key, envelope.message_id, envelope.body) == ("alpha", "m-1", b"body")
    assert dict(envelope.headers) == {"schema": 1, "redrive": 4, "x-mine": "kept"}


# --- claims --------------------------------------------------------------------------------------

LETTER = UUID(int=7)


def claiming(body: bytes = b"{}", **headers: Any) -> Envelope:  # noqa: ANN401
    headers = {**Claim(LETTER, 5).headers, **headers}
    return Envelope("alpha", body, message_id="m-1", headers=headers)


def known(**changed: Any) -> Known:  # noqa: ANN401
    letter = Redriven("m-1", 5, sha256(b"{}").hexdigest())
    return Known(redriven={LETTER: replace(letter, **changed)})


def test_a_claim_that_the_store_bears_out_is_granted() -> None:
    assert granted(claiming(), known()) == LETTER


@pytest.mark.parametrize(
    ("envelope", "store"),
    [
        (claiming(), Known()),
        (claiming(b"other"), known()),
        (claiming(redrive=4), known()),
        (claiming(redriven_from=str(UUID(int=8))), known()),
        (claiming(), known(message_id="m-2")),
        (Envelope("alpha", b"{}", message_id="m-1"), known()),
    ],
)
def test_any_other_claim_is_not(envelope: Envelope, store: Known) -> None:
    assert granted(envelope, store) is None


@pytest.mark.parametrize(
    "headers",
    [{"redriven_from": "no uuid"}, {"redriven_from": 7}, {"redrive": "five"}, {"redrive": None}],
)
def test_a_claim_in_no_sense_is_none(headers: dict[str, Any]) -> None:
    assert claim_of(claiming(**headers)) is None


def test_a_runtime_id_wins_over_the_routing_key_that_was_recorded() -> None:
    letter = a_stored_letter(runtime_id=RuntimeId("beta"))
    assert envelope_of(letter, b"").routing_key == "beta"
