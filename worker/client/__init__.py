"""The client SDK: ``async with Client(url) as client: await client.publish(id, Prompt("hi"))``.

Inputs are written as drafts, commands as they are; outcomes are those of ``schemas.outcomes``.
"""

from schemas.errors import MalformedError
from worker.broker.errors import (
    BrokerError,
    BrokerUnavailableError,
    PublishFailedError,
    UnroutableError,
)
from worker.client.client import Client, Item
from worker.client.commands import (
    AbandonPending,
    Attach,
    CancelInput,
    CancelRun,
    Destroy,
    Detach,
    Recover,
    Recycle,
    Reset,
    Resume,
    Retire,
    SetSilentIntents,
    Stop,
    Wake,
)
from worker.client.drafts import (
    Continuation,
    Draft,
    ExternalEvent,
    FlowStep,
    Operation,
    PeerMessage,
    PeerProgress,
    PeerRequest,
    PeerResponse,
    Prompt,
)
from worker.client.errors import ClientError, Failure, NoReplyError, PublishManyError

__all__ = [
    "AbandonPending",
    "Attach",
    "BrokerError",
    "BrokerUnavailableError",
    "CancelInput",
    "CancelRun",
    "Client",
    "ClientError",
    "Continuation",
    "Destroy",
    "Detach",
    "Draft",
    "ExternalEvent",
    "Failure",
    "FlowStep",
    "Item",
    "MalformedError",
    "NoReplyError",
    "Operation",
    "PeerMessage",
    "PeerProgress",
    "PeerRequest",
    "PeerResponse",
    "Prompt",
    "PublishFailedError",
    "PublishManyError",
    "Recover",
    "Recycle",
    "Reset",
    "Resume",
    "Retire",
    "SetSilentIntents",
    "Stop",
    "UnroutableError",
    "Wake",
]
