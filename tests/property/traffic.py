"""Traffic: what publishers, executors and operators may send, right and wrong, drawn at random.

What is drawn are intentions (``Publish``, ``Happen``, ...). They become messages when they are
sent, by what the sender would know at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import get_args

from hypothesis import strategies as st

from schemas import commands
from schemas.commands import Command
from schemas.inputs import Durability, HandlingMode, InputKind
from schemas.lifecycle import AbandonReason

INTENTS = ("gossip", "question")


class Flaw(Enum):
    """How a run event is wrong."""

    NONE = auto()
    GAP = auto()
    REPEATED = auto()
    FOREIGN = auto()
    PARTIAL = auto()
    TWICE = auto()
    AGAIN = auto()
    OTHER_BOUNDARY = auto()
    OTHER_RUN = auto()
    OTHER_DIGEST = auto()


class Happening(Enum):
    """What a run event tells."""

    STARTED = auto()
    HEARTBEAT = auto()
    BOUNDARY = auto()
    COMPLETED = auto()
    FAILED = auto()
    FATAL = auto()
    LEASE_EXPIRED = auto()
    CANCELLED = auto()


class Change(Enum):
    """How a publisher's second message differs from its first."""

    NOTHING = auto()
    BODY = auto()
    REPLY = auto()
    STAMP = auto()


@dataclass(frozen=True)
class Publish:
    """A new input."""

    kind: InputKind = InputKind.PROMPT
    hint: HandlingMode | None = None
    durability: Durability = Durability.DURABLE
    source: str = "system"
    key: str | None = None
    scope: str | None = None
    intent: str = "question"
    reply: bool = False


@dataclass(frozen=True)
class Republish:
    """An input that was published before, again."""

    which: int = 0
    change: Change = Change.NOTHING


@dataclass(frozen=True)
class Happen:
    """A run event: of the newest run, or one ``ago`` before; -1 is a run that never was."""

    what: Happening
    ago: int = 0
    flaw: Flaw = Flaw.NONE


@dataclass(frozen=True)
class Order:
    """A command; ``which`` names an input or a run where it needs one."""

    command: type[Command]
    which: int = 0
    reason: AbandonReason = AbandonReason.CANCELLED
    intents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Reorder:
    """A command that was sent before, again."""

    which: int = 0


@dataclass(frozen=True)
class Start:
    """The shell looks whether a run is to be begun."""

    forced: bool = False


Sent = Publish | Republish | Happen | Order | Reorder
Step = Sent | Start


# --- what is drawn -------------------------------------------------------------------------------

_KINDS = [kind for kind in InputKind if kind is not InputKind.UNKNOWN]
_OFTEN = st.sampled_from([None, None, None, "a", "b"])

publishes = st.builds(
    Publish,
    st.sampled_from(_KINDS),
    st.sampled_from([None, None, HandlingMode.QUEUE, HandlingMode.STEER]),
    st.sampled_from([Durability.DURABLE] * 6 + [Durability.EPHEMERAL, Durability.DERIVED]),
    st.sampled_from(["system", "system", "flow", "operator", "peer", "external"]),
    _OFTEN,
    _OFTEN,
    st.sampled_from(INTENTS),
    st.booleans(),
)
republishes = st.builds(Republish, st.integers(0, 5), st.sampled_from(Change))
successes = st.builds(
    Happen, st.sampled_from([Happening.STARTED, Happening.BOUNDARY, Happening.COMPLETED])
)
happenings = st.builds(
    Happen,
    st.sampled_from(Happening),
    st.sampled_from([0, 0, 0, 0, 1, 2, -1]),
    st.sampled_from([Flaw.NONE] * 8 + list(Flaw)),
)
reports = st.builds(Happen, st.sampled_from(Happening))
misreports = st.builds(
    Happen,
    st.sampled_from([Happening.BOUNDARY, Happening.BOUNDARY, Happening.COMPLETED]),
    st.just(0),
    st.sampled_from(Flaw),
)
_ENDINGS: list[type[Command]] = [commands.Stop, commands.Destroy]
_CALM: list[type[Command]] = [command for command in get_args(Command) if command not in _ENDINGS]
orders = st.builds(
    Order,
    st.sampled_from([*_CALM * 3, *_ENDINGS, commands.Attach, commands.Detach]),
    st.integers(0, 5),
    st.sampled_from(AbandonReason),
    st.sampled_from([(), INTENTS[:1], INTENTS]),
)
reorders = st.builds(Reorder, st.integers(0, 5))
starts = st.sampled_from([Start()] * 8 + [Start(forced=True)])
steps: st.SearchStrategy[Step] = st.one_of(
    publishes, publishes, republishes, successes, successes, happenings, happenings, orders,
    reorders, starts, starts,
)  # fmt: skip
