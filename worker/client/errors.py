"""What can go wrong at a client, besides what the broker says (``worker.broker.errors``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.ids import InputId, RuntimeId
from worker.broker.errors import BrokerError


class ClientError(Exception):
    """Anything that a client raises on purpose."""


class NoReplyError(ClientError, TimeoutError):
    """No answer within the time given.

    What was asked for is on the broker and takes its course. Asking again with the same object is
    safe: nothing is done twice, and what has ended by then is answered at once.
    """


@dataclass(frozen=True, slots=True)
class Failure:
    """One input that the broker did not confirm, and why."""

    runtime_id: RuntimeId
    input_id: InputId
    error: BrokerError


class PublishManyError(ClientError):
    """Some of many inputs were not confirmed; the others were.

    Attributes:
        failures: What was not confirmed, in the order of publishing. It may have arrived:
            publish the same drafts again.
    """

    def __init__(self, failures: Sequence[Failure], of: int) -> None:
        super().__init__(f"{len(failures)} of {of} inputs not confirmed: {failures[0].error}")
        self.failures = tuple(failures)
