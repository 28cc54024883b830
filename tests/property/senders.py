"""Senders: they turn intentions into messages, by what they know at that moment."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import msgspec

from schemas import commands, inputs, runs
from schemas.commands import Command
from schemas.envelope import CommandMessage, InputMessage, Message, RunEventMessage
from schemas.ids import InputId, RunId, RuntimeId
from schemas.inputs import Durability, HandlingMode, Header, Input, InputKind
from schemas.lifecycle import InputState, RunState
from schemas.records import ReplyTo, RunRecord, StoredRuntime
from schemas.runs import Receipt
from tests.property.traffic import (
    Change,
    Flaw,
    Happen,
    Happening,
    Order,
    Publish,
    Reorder,
    Republish,
    Sent,
)

RUNTIME = RuntimeId("agent-1")
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Mail:
    """A message, and who wants to know."""

    message: Message
    reply: ReplyTo | None = None

    def __repr__(self) -> str:
        return f"{told(self.message)}{' for ' + self.reply.queue if self.reply else ''}"


_NAMESPACES = {1: "input", 2: "run", 3: "command", 4: "event"}


def named(namespace: int, number: int) -> UUID:
    """Make an id that a reader can tell: ``name`` gives ``input-3``."""
    return UUID(int=namespace << 64 | number)


def name(value: UUID) -> str:
    """Name an id that ``named`` made."""
    return f"{_NAMESPACES[value.int >> 64]}-{value.int & 0xFFFF}"


def told(message: Message) -> str:
    """Tell a message in few words."""
    match message:
        case InputMessage(input=item):
            extras = [f"{name_}={value}" for name_, value in _interesting(item)]
            return f"{inputs.kind_of(item)} {name(item.header.id)} {' '.join(extras)}".strip()
        case RunEventMessage(event=event):
            return f"{event.__struct_config__.tag} {_event_told(event)}"
        case CommandMessage(command=command):
            fields = {f: getattr(command, f) for f in command.__struct_fields__[1:]}
            shown = {f: name(v) if isinstance(v, UUID) else v for f, v in fields.items()}
            return f"{command.__struct_config__.tag} {name(command.command_id)} {shown or ''}"


def _interesting(item: Input) -> list[tuple[str, object]]:
    header = item.header
    all_ = [
        ("hint", inputs.handling_hint(item)),
        ("durability", None if header.durability is Durability.DURABLE else header.durability),
        ("key", header.idempotency_key),
        ("scope", header.supersession_key),
        ("intent", getattr(getattr(item, "convention", None), "intent", None)),
    ]
    return [(name_, value) for name_, value in all_ if value is not None]


def _event_told(event: runs.RunEvent) -> str:
    match event:
        case runs.BoundaryApplied(receipt=receipt):
            ids = ", ".join(map(name, receipt.contributing_input_ids))
            return f"{name(event.run_id)} #{receipt.sequence} [{ids}]"
        case runs.RunCompleted(consumed_input_ids=ids):
            return f"{name(event.run_id)} [{', '.join(map(name, ids))}]"
        case runs.RunFailed(recoverable=recoverable, lease_until=until):
            seconds = "" if until is None else f" lease over at {(until - START).total_seconds()}"
            return f"{name(event.run_id)} {'recoverable' if recoverable else 'fatal'}{seconds}"
        case _:
            return name(event.run_id)


@dataclass
class Senders:
    """Publishers, executors and operators: what they sent, and what they know of the runs."""

    published: list[Mail] = field(default_factory=list)
    ordered: list[Mail] = field(default_factory=list)
    runs: list[RunRecord] = field(default_factory=list)
    staged: frozenset[InputId] = frozenset()
    leases: dict[RunId, datetime] = field(default_factory=dict)
    numbers: int = 0

    def number(self) -> int:
        """Count on."""
        self.numbers += 1
        return self.numbers

    def observe(self, stored: StoredRuntime) -> None:
        """See the current run as it stands: executors know theirs, timers its first lease."""
        run = stored.run
        if run is None:
            return
        staged = (it.input_id for it in stored.inputs if it.state is InputState.STAGED)
        self.staged = frozenset(staged)
        if self.runs and self.runs[-1].run_id == run.run_id:
            self.runs.pop()
        self.runs.append(run)
        if run.lease_until is not None:
            self.leases.setdefault(run.run_id, run.lease_until)

    def send(self, sent: Sent) -> Mail | None:
        """Make the message; None where there is nothing yet to refer to."""
        match sent:
            case Publish():
                number = self.number()
                reply = ReplyTo(f"asker-{number}") if sent.reply else None
                self.published.append(Mail(InputMessage(RUNTIME, _input(sent, number)), reply))
                return self.published[-1]
            case Republish():
                return self._again(sent)
            case Happen():
                event = _event(sent, self)
                if event is None:
                    return None
                return Mail(RunEventMessage(RUNTIME, named(4, self.number()), event))
            case Order():
                self.ordered.append(Mail(CommandMessage(RUNTIME, self._command(sent))))
                return self.ordered[-1]
            case Reorder():
                return self.ordered[sent.which % len(self.ordered)] if self.ordered else None

    def input_ids(self) -> list[InputId]:
        """Name all inputs that were published, in order."""
        return [_input_of(mail).header.id for mail in self.published]

    def _again(self, sent: Republish) -> Mail | None:
        if not self.published:
            return None
        first = self.published[-1 - sent.which % len(self.published)]
        item = _input_of(first)
        match sent.change:
            case Change.NOTHING:
                return first
            case Change.REPLY:
                return Mail(first.message, ReplyTo(f"asker-{self.number()}"))
            case Change.STAMP:
                header = msgspec.structs.replace(item.header, timestamp=START + timedelta(days=1))
            case _:
                header = msgspec.structs.replace(item.header, correlation_id="changed")
        changed = msgspec.structs.replace(item, header=header)
        return Mail(InputMessage(RUNTIME, changed), first.reply)

    def _command(self, sent: Order) -> Command:
        command_id = named(3, self.number())
        if sent.command is commands.CancelInput:
            return commands.CancelInput(command_id, self._input_id(sent.which))
        if sent.command is commands.CancelRun:
            run_id = self.runs[-1].run_id if self.runs and sent.which % 2 else None
            return commands.CancelRun(command_id, run_id)
        if sent.command is commands.AbandonPending:
            return commands.AbandonPending(command_id, sent.reason)
        if sent.command is commands.SetSilentIntents:
            return commands.SetSilentIntents(command_id, sent.intents)
        return sent.command(command_id)  # type: ignore[call-arg]

    def _input_id(self, which: int) -> InputId:
        if not self.published:
            return named(1, 0)
        return self.input_ids()[-1 - which % len(self.published)]


def _input_of(mail: Mail) -> Input:
    assert isinstance(mail.message, InputMessage)
    return mail.message.input


def _input(sent: Publish, number: int) -> Input:
    header = Header(
        named(1, number), _SOURCES[sent.source], START, sent.durability,
        idempotency_key=sent.key, supersession_key=sent.scope,
    )  # fmt: skip
    metadata = inputs.TurnMetadata(handling_mode=sent.hint) if sent.hint else None
    hint = sent.hint or HandlingMode.QUEUE
    peer = _CONVENTIONS.get(sent.kind, inputs.PeerRequest("q", sent.intent))
    match sent.kind:
        case InputKind.PROMPT:
            item: Input = inputs.Prompt(header, "text", turn_metadata=metadata)
        case InputKind.FLOW_STEP:
            item = inputs.FlowStep(header, "step", "do", turn_metadata=metadata)
        case InputKind.EXTERNAL_EVENT:
            item = inputs.ExternalEvent(header, "tick", {"body": "tock"}, handling_mode=hint)
        case InputKind.CONTINUATION:
            item = inputs.Continuation(header, "more", hint)
        case InputKind.OPERATION:
            item = inputs.Operation(header, "op", inputs.OperationCancelled("op"))
        case _:
            item = inputs.Peer(header, "body", peer)
    return item


_SOURCES: dict[str, inputs.Source] = {
    "system": inputs.SystemSource(),
    "operator": inputs.OperatorSource(),
    "peer": inputs.PeerSource("peer-1"),
    "flow": inputs.FlowSource("flow-1", 0),
    "external": inputs.ExternalSource("sensor"),
}
_CONVENTIONS: dict[InputKind, inputs.Convention | None] = {
    InputKind.PEER_MESSAGE: None,
    InputKind.PEER_RESPONSE_PROGRESS: inputs.PeerResponseProgress(
        "q", inputs.ProgressPhase.IN_PROGRESS
    ),
    InputKind.PEER_RESPONSE_TERMINAL: inputs.PeerResponseTerminal(
        "q", inputs.ResponseStatus.COMPLETED
    ),
}


def _event(sent: Happen, senders: Senders) -> runs.RunEvent | None:
    if sent.ago >= len(senders.runs):
        return None
    run = senders.runs[-1 - sent.ago] if sent.ago >= 0 else _NEVER
    match sent.what:
        case Happening.BOUNDARY:
            return _boundary(run, sent.flaw, senders)
        case Happening.COMPLETED:
            return _completed(run, sent.flaw)
        case Happening.LEASE_EXPIRED:
            return _lease_expired(run, senders.leases.get(run.run_id))
        case _:
            return _PLAIN_EVENTS[sent.what](run.run_id)


_NEVER = RunRecord(named(2, 0), RunState.REQUESTED, runs.Boundary.RUN_START, (), 1, START)
_PLAIN_EVENTS: dict[Happening, Callable[[RunId], runs.RunEvent]] = {
    Happening.STARTED: runs.RunStarted,
    Happening.HEARTBEAT: runs.RunHeartbeat,
    Happening.CANCELLED: runs.RunCancelled,
    Happening.FAILED: partial(runs.RunFailed, error="out of luck", recoverable=True),
    Happening.FATAL: partial(runs.RunFailed, error="out of question", recoverable=False),
}


def _lease_expired(run: RunRecord, until: datetime | None) -> runs.RunFailed | None:
    if until is None:
        return None
    return runs.RunFailed(run.run_id, "lease expired", recoverable=True, lease_until=until)


def _completed(run: RunRecord, flaw: Flaw) -> runs.RunCompleted:
    ids = run.batch
    if flaw is Flaw.PARTIAL:
        ids = ids[1:]
    elif flaw is Flaw.FOREIGN:
        ids = (*ids, named(1, 0))
    return runs.RunCompleted(run.run_id, ids, {"said": "done"})


def _boundary(run: RunRecord, flaw: Flaw, senders: Senders) -> runs.BoundaryApplied | None:
    sequence = run.next_boundary + {Flaw.GAP: 1, Flaw.REPEATED: -1}.get(flaw, 0)
    if sequence < 0:
        return None
    snapshot = f"{name(run.run_id)} at {sequence}".encode()
    receipt = Receipt(
        named(2, 0) if flaw is Flaw.OTHER_RUN else run.run_id,
        runs.Boundary.IMMEDIATE if flaw is Flaw.OTHER_BOUNDARY else run.boundary,
        _contributors(run, flaw, senders),
        1,
        sequence,
        hashlib.sha256(b"else" if flaw is Flaw.OTHER_DIGEST else snapshot).hexdigest(),
    )
    return runs.BoundaryApplied(run.run_id, receipt, base64.b64encode(snapshot).decode())


def _contributors(run: RunRecord, flaw: Flaw, senders: Senders) -> tuple[InputId, ...]:
    staged = tuple(input_id for input_id in run.batch if input_id in senders.staged)
    match flaw:
        case Flaw.PARTIAL:
            return staged[:1]
        case Flaw.AGAIN | Flaw.REPEATED:
            return run.batch
        case Flaw.TWICE:
            return (*staged, *staged[:1])
        case Flaw.FOREIGN:
            others = [it for it in senders.input_ids() if it not in run.batch]
            return (*staged, *(others or [named(1, 0)])[:1])
        case _:
            return staged
