"""Traffic: what one publisher says to one runtime, line by line, drawn from a seed.

A line is said when the one before it is confirmed. So whatever refers to an earlier input (the same
again, its key again, its id with another body) comes behind it in the inbox.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from schemas.commands import (
    AbandonPending,
    CancelInput,
    CancelRun,
    Command,
    Destroy,
    Recover,
    Recycle,
    Reset,
    Retire,
    SetSilentIntents,
    Stop,
)
from schemas.inputs import OperationCompleted
from schemas.lifecycle import AbandonReason
from tests.chaos import agent
from tests.chaos.record import Entry, What
from worker.client import (
    Continuation,
    Draft,
    ExternalEvent,
    FlowStep,
    Operation,
    PeerMessage,
    PeerProgress,
    PeerRequest,
    Prompt,
)

LONGEST_BURST: Final = 12
REMEMBERED: Final = 60
"""Inputs of a runtime that may be referred to again."""

COMMAND_EVERY: Final = 12
"""Lines of a commanded runtime from one command to the next."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message: what it is, and what is to be published.

    ``said`` is None for what is not even an input: then there is nothing but its bytes.
    """

    what: What
    id: UUID
    body: bytes
    said: Draft | Command | None

    def entry(self, runtime_id: str, place: int) -> Entry:
        """Write it down as it is before it is sent."""
        key = self.said.key if isinstance(self.said, Draft) else None
        digest = hashlib.sha256(self.body).hexdigest()
        return Entry(runtime_id, str(self.id), self.what, place, digest, key)


Line = list[Message]
T = TypeVar("T")


@dataclass(slots=True)
class Traffic:
    """The lines of one runtime."""

    random: Random
    last: Callable[[UUID], Command] | None = None
    """What a commanded runtime is told in the end; None for one that is given no commands."""
    _said: list[Draft] = field(default_factory=list)

    def greeting(self) -> Line:
        """Say the first words, which make the runtime known."""
        return [self._input(Prompt("hello", id=self._id()))]

    def lines(self) -> Iterator[Line]:
        """Speak for ever."""
        number = 0
        while True:
            number += 1
            if self.last is None:
                yield self._one_of(_LINES)(self)
            elif number % COMMAND_EVERY:
                yield self._inputs()
            else:
                yield from self._commands()

    def farewell(self) -> Iterator[Line]:
        """Say the last words: some inputs wake nobody, and this one does."""
        yield [self._input(Prompt("goodbye", id=self._id()))]
        if self.last is not None:
            yield [self._command(self.last(self._id()))]
            yield [self._input(Prompt("too late", id=self._id()))]

    # --- inputs ----------------------------------------------------------------------------------

    def _inputs(self) -> Line:
        return [self._input(self._one_of(_DRAFTS)(self))]

    def _burst(self) -> Line:
        length = self.random.randint(2, LONGEST_BURST)
        return [self._input(self._event("tick")) for _ in range(length)]

    def _failing(self) -> Line:
        how = self.random.choice((agent.STUMBLE, agent.STUMBLE, agent.TRIP, agent.HOPELESS))
        before, after = self.random.randint(0, 4), self.random.randint(0, 4)
        words = [*["tick"] * before, how, *["tick"] * after]
        return [self._input(self._event(word)) for word in words]

    def _input(self, draft: Draft) -> Message:
        self._said.append(draft)
        del self._said[:-REMEMBERED]
        return _message(What.INPUT, draft)

    def _event(self, text: str) -> Draft:
        payload = {"body": text, "padding": "x" * self.random.randint(0, 400)}
        return ExternalEvent("tick", payload, id=self._id(), key=self._some_key())

    def _prompt(self) -> Draft:
        return Prompt("hello", id=self._id(), key=self._some_key())

    def _steer(self) -> Draft:
        return Prompt("look here", steer=True, id=self._id())

    def _step(self) -> Draft:
        return FlowStep("step", "go on", flow="flow", index=0, id=self._id())

    def _peer(self) -> Draft:
        return PeerMessage("how are you", peer="peer", id=self._id())

    def _request(self) -> Draft:
        return PeerRequest("please", peer="peer", request_id="r", intent="ask", id=self._id())

    def _progress(self) -> Draft:
        key = f"progress-{self.random.randint(0, 2)}"
        return PeerProgress(
            "so far", peer="peer", request_id="r", supersession_key=key, id=self._id()
        )

    def _operation(self) -> Draft:
        return Operation("op", OperationCompleted("op", None), id=self._id())

    def _continuation(self) -> Draft:
        return Continuation("go on", id=self._id(), steer=self.random.random() < 0.5)

    # --- what refers to earlier inputs, and what is no input -------------------------------------

    def _again(self) -> Line:
        return [_message(What.AGAIN, draft) for draft in self._earlier(4)]

    def _twin(self) -> Line:
        keyed = [draft for draft in self._said if draft.key is not None]
        if not keyed:
            return self._inputs()
        twin = dataclasses.replace(self.random.choice(keyed), id=self._id())
        return [_message(What.TWIN, twin)]

    def _conflict(self) -> Line:
        others = (Prompt(f"not what it was: {self._id()}", id=one.id) for one in self._earlier(1))
        return [_message(What.CONFLICT, other) for other in others]

    def _malformed(self) -> Line:
        body = self._one_of(_BAD)(str(self._id()))
        return [Message(What.MALFORMED, self._id(), body, None), self._input(self._event("tick"))]

    def _earlier(self, most: int) -> list[Draft]:
        count = min(len(self._said), self.random.randint(1, most))
        return self.random.sample(self._said, count)

    # --- commands --------------------------------------------------------------------------------

    def _commands(self) -> Iterator[Line]:
        """Give a command; a runtime that was retired is told too much, and then begins anew."""
        command = self._one_of(_COMMANDS)(self)
        yield [self._command(command)]
        if isinstance(command, Retire):
            yield self._inputs()
            # From now on these are refused: nobody is to send them again as if they were known.
            self._said.clear()
            yield [self._command(Reset(self._id()))]

    def _command(self, command: Command) -> Message:
        return Message(What.COMMAND, command.command_id, msgspec.json.encode(command), command)

    def _cancel_input(self) -> Command:
        earlier = self._earlier(1) or [self._prompt()]
        return CancelInput(self._id(), earlier[0].id)

    # --- chance ----------------------------------------------------------------------------------

    def _id(self) -> UUID:
        return UUID(int=self.random.getrandbits(128), version=4)

    def _some_key(self) -> str | None:
        return f"key-{self._id()}" if self.random.random() < 0.3 else None

    def _one_of(self, table: dict[T, int]) -> T:
        return self.random.choices(list(table), list(table.values()))[0]


def _message(what: What, draft: Draft) -> Message:
    return Message(what, draft.id, msgspec.json.encode(draft.to_input()), draft)


_LINES: Final[dict[Callable[[Traffic], Line], int]] = {
    Traffic._inputs: 60,
    Traffic._burst: 8,
    Traffic._failing: 4,
    Traffic._again: 10,
    Traffic._twin: 5,
    Traffic._conflict: 4,
    Traffic._malformed: 4,
}
_DRAFTS: Final[dict[Callable[[Traffic], Draft], int]] = {
    Traffic._prompt: 20,
    lambda traffic: traffic._event("tick"): 30,
    Traffic._steer: 6,
    Traffic._step: 6,
    Traffic._peer: 6,
    Traffic._request: 4,
    Traffic._progress: 8,
    Traffic._operation: 6,
    Traffic._continuation: 4,
}
_COMMANDS: Final[dict[Callable[[Traffic], Command], int]] = {
    lambda traffic: Recover(traffic._id()): 2,
    lambda traffic: Recycle(traffic._id()): 3,
    lambda traffic: CancelRun(traffic._id()): 3,
    Traffic._cancel_input: 3,
    lambda traffic: AbandonPending(traffic._id(), AbandonReason.CANCELLED): 2,
    lambda traffic: SetSilentIntents(traffic._id(), ("ask",)): 1,
    lambda traffic: Reset(traffic._id()): 3,
    lambda traffic: Retire(traffic._id()): 4,
}
LAST_WORDS: Final[tuple[Callable[[UUID], Command], ...]] = (Retire, Stop, Destroy)
"""How commanded runtimes end, in turn."""

_BAD: Final[dict[Callable[[str], bytes], int]] = {
    lambda text: b"{not JSON " + text.encode(): 2,
    lambda text: b'{"input_type":"wish","text":"' + text.encode() + b'"}': 2,
    lambda text: b"\xff\xfe" + text.encode(): 1,
    lambda text: b'{"a":' * 40 + b'"' + text.encode() + b'"' + b"}" * 40: 1,
}
