"""Claims: what a message says of the dead letter that it comes from, and whether that is true."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from schemas.envelope import Envelope
from schemas.ids import DeadLetterId
from schemas.records import Known, Redriven

REDRIVE: Final = "redrive"
"""The header that counts how often a letter was redriven."""

REDRIVEN_FROM: Final = "redriven_from"
"""The header that names the letter."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a redriven message says: its letter, and which redrive of it this is."""

    letter_id: DeadLetterId
    redrive_count: int

    @property
    def headers(self) -> dict[str, Any]:
        """The headers that say it."""
        return {REDRIVE: self.redrive_count, REDRIVEN_FROM: str(self.letter_id)}


def claim_of(envelope: Envelope) -> Claim | None:
    """Read what a message claims; None for one that was not redriven, or says so in no sense."""
    letter_id = envelope.headers.get(REDRIVEN_FROM)
    count = envelope.headers.get(REDRIVE)
    if not isinstance(letter_id, str) or not isinstance(count, int):
        return None
    try:
        return Claim(UUID(letter_id), count)
    except ValueError:
        return None


def granted(envelope: Envelope, known: Known) -> DeadLetterId | None:
    """Tell which letter a message is the redrive of; None if the store knows nothing of it.

    Anybody can write headers. What counts is that an operator had these very bytes published, and
    that their letter still waits for them.
    """
    claim = claim_of(envelope)
    if claim is None or claim.letter_id not in known.redriven:
        return None
    digest = hashlib.sha256(envelope.body).hexdigest()
    said = Redriven(envelope.message_id, claim.redrive_count, digest)
    return claim.letter_id if said == known.redriven[claim.letter_id] else None
