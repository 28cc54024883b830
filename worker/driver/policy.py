"""The policy table: what becomes of an input, by its kind and its publisher's hint.

Version 1 is that of meerkat-runtime 0.5.0. A deployment overrides rows in a TOML file::

    version = 2

    [kind.external_event]
    queue_mode = "supersede"

    [hint.steer]
    wake_busy = "none"

A handling-mode hint decides before the kind. For kinds whose handling mode is ``queue`` unless the
publisher says otherwise (external events, continuations), ``queue`` is no hint once the deployment
has written a row for the kind: otherwise such a row could never apply.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from schemas.inputs import HandlingMode, InputKind
from schemas.policy import (
    ApplyMode,
    ConsumePoint,
    DrainPolicy,
    InterruptPolicy,
    PolicyDecision,
    QueueMode,
    RoutingDisposition,
    WakeMode,
)

BUILTIN_VERSION: Final = 1
QUEUE_BY_DEFAULT: Final = frozenset({InputKind.EXTERNAL_EVENT, InputKind.CONTINUATION})
"""Kinds whose handling mode is queue unless their publisher says otherwise."""


class PolicyError(ValueError):
    """A policy file that cannot be used. The message names the row and the field."""


class PolicyRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the table. ``idle`` and ``busy`` are the runtime's."""

    apply_mode: ApplyMode
    wake_idle: WakeMode
    wake_busy: WakeMode
    queue_mode: QueueMode
    consume_point: ConsumePoint
    interrupt_idle: InterruptPolicy
    interrupt_busy: InterruptPolicy
    drain_policy: DrainPolicy
    routing_disposition: RoutingDisposition
    transcript: bool


FIELDS: Final = tuple(item.name for item in msgspec.structs.fields(PolicyRow))

# --- version 1 -----------------------------------------------------------------------------------

_QUEUED: Final = PolicyRow(
    apply_mode=ApplyMode.STAGE_RUN_START,
    wake_idle=WakeMode.WAKE_IF_IDLE,
    wake_busy=WakeMode.NONE,
    queue_mode=QueueMode.FIFO,
    consume_point=ConsumePoint.ON_RUN_COMPLETE,
    interrupt_idle=InterruptPolicy.NONE,
    interrupt_busy=InterruptPolicy.NONE,
    drain_policy=DrainPolicy.QUEUE_NEXT_TURN,
    routing_disposition=RoutingDisposition.QUEUE,
    transcript=True,
)
_STEERED: Final = msgspec.structs.replace(
    _QUEUED,
    apply_mode=ApplyMode.STAGE_RUN_BOUNDARY,
    wake_busy=WakeMode.INTERRUPT_YIELDING,
    interrupt_idle=InterruptPolicy.INTERRUPT_YIELDING,
    interrupt_busy=InterruptPolicy.INTERRUPT_YIELDING,
    drain_policy=DrainPolicy.STEER_BATCH,
    routing_disposition=RoutingDisposition.STEER,
)
_ACTIONABLE: Final = msgspec.structs.replace(
    _QUEUED,
    wake_busy=WakeMode.INTERRUPT_YIELDING,
    interrupt_busy=InterruptPolicy.INTERRUPT_YIELDING,
)
_PROGRESS: Final = msgspec.structs.replace(
    _QUEUED,
    apply_mode=ApplyMode.STAGE_RUN_BOUNDARY,
    wake_idle=WakeMode.NONE,
    queue_mode=QueueMode.COALESCE,
    drain_policy=DrainPolicy.STEER_BATCH,
    routing_disposition=RoutingDisposition.STEER,
)
_RECORDED: Final = msgspec.structs.replace(
    _QUEUED,
    apply_mode=ApplyMode.IGNORE,
    wake_idle=WakeMode.NONE,
    queue_mode=QueueMode.PRIORITY,
    consume_point=ConsumePoint.ON_ACCEPT,
    drain_policy=DrainPolicy.IGNORE,
    routing_disposition=RoutingDisposition.DROP,
    transcript=False,
)

HINT_ROWS: Final[Mapping[HandlingMode, PolicyRow]] = {
    HandlingMode.QUEUE: _QUEUED,
    HandlingMode.STEER: _STEERED,
}
KIND_ROWS: Final[Mapping[InputKind, PolicyRow]] = {
    InputKind.PROMPT: _QUEUED,
    InputKind.PEER_MESSAGE: _ACTIONABLE,
    InputKind.PEER_REQUEST: _ACTIONABLE,
    InputKind.PEER_RESPONSE_PROGRESS: _PROGRESS,
    InputKind.PEER_RESPONSE_TERMINAL: _QUEUED,
    InputKind.FLOW_STEP: _QUEUED,
    InputKind.EXTERNAL_EVENT: _QUEUED,
    InputKind.CONTINUATION: msgspec.structs.replace(_STEERED, transcript=False),
    InputKind.OPERATION: _RECORDED,
    InputKind.UNKNOWN: msgspec.structs.replace(_QUEUED, wake_idle=WakeMode.NONE),
}

# --- the table -----------------------------------------------------------------------------------

Cell = tuple[InputKind, HandlingMode | None]


@dataclass(frozen=True, slots=True)
class PolicyTable:
    """Every decision there can be, made once: a lookup answers, and waiting inputs share it.

    Attributes:
        version: Recorded with each decision.
        hints: The row of each handling mode.
        kinds: The row of each kind.
        overridden: The kinds whose row the deployment wrote.
    """

    version: int = BUILTIN_VERSION
    hints: Mapping[HandlingMode, PolicyRow] = field(default_factory=lambda: HINT_ROWS)
    kinds: Mapping[InputKind, PolicyRow] = field(default_factory=lambda: KIND_ROWS)
    overridden: frozenset[InputKind] = frozenset()
    _idle: Mapping[Cell, PolicyDecision] = field(init=False, repr=False, compare=False)
    _busy: Mapping[Cell, PolicyDecision] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_idle", self._decisions(idle=True))
        object.__setattr__(self, "_busy", self._decisions(idle=False))

    def resolve(
        self, kind: InputKind, hint: HandlingMode | None = None, *, idle: bool
    ) -> PolicyDecision:
        """Decide about an input. ``idle`` means that the runtime is idle or attached."""
        return (self._idle if idle else self._busy)[kind, hint]

    def row(self, kind: InputKind, hint: HandlingMode | None) -> PolicyRow:
        """Find the row that decides."""
        if hint is None or self._is_no_hint(kind, hint):
            return self.kinds[kind]
        return self.hints[hint]

    def _is_no_hint(self, kind: InputKind, hint: HandlingMode) -> bool:
        said_nothing = hint is HandlingMode.QUEUE and kind in QUEUE_BY_DEFAULT
        return said_nothing and kind in self.overridden

    def _decisions(self, *, idle: bool) -> dict[Cell, PolicyDecision]:
        return {
            (kind, hint): self._decision(kind, hint, idle=idle)
            for kind in InputKind
            for hint in (None, *HandlingMode)
        }

    def _decision(
        self, kind: InputKind, hint: HandlingMode | None, *, idle: bool
    ) -> PolicyDecision:
        row = self.row(kind, hint)
        # A continuation is the runtime talking to itself: no hint brings it into the transcript.
        by_hint = row is not self.kinds[kind]
        shown = row.transcript and not (by_hint and kind is InputKind.CONTINUATION)
        return PolicyDecision(
            apply_mode=row.apply_mode,
            wake_mode=row.wake_idle if idle else row.wake_busy,
            queue_mode=row.queue_mode,
            consume_point=row.consume_point,
            interrupt_policy=row.interrupt_idle if idle else row.interrupt_busy,
            drain_policy=row.drain_policy,
            routing_disposition=row.routing_disposition,
            record_transcript=shown,
            emit_operator_content=shown,
            policy_version=self.version,
        )


DEFAULT_POLICY: Final = PolicyTable()


def silenced(decision: PolicyDecision) -> PolicyDecision:
    """Make an input wait as context that wakes nobody: its intent is a silent one."""
    return msgspec.structs.replace(
        decision, apply_mode=ApplyMode.STAGE_RUN_START, wake_mode=WakeMode.NONE
    )


# --- policy files --------------------------------------------------------------------------------

_APPLY: Final = (ApplyMode.STAGE_RUN_START, ApplyMode.STAGE_RUN_BOUNDARY, ApplyMode.IGNORE)
_CONSUME: Final = (ConsumePoint.ON_RUN_COMPLETE, ConsumePoint.ON_ACCEPT)
_ROUTE: Final = (RoutingDisposition.QUEUE, RoutingDisposition.STEER, RoutingDisposition.DROP)


def load_policy(toml_text: str) -> PolicyTable:
    """Read a policy file: version 1 with the file's rows laid over it.

    Raises:
        PolicyError: Naming the row and the field that is wrong, and what was expected.
    """
    document = _document(toml_text)
    _only(document, ("version", "kind", "hint"), "the file")
    version = document.get("version")
    if type(version) is not int or version <= BUILTIN_VERSION:
        raise PolicyError(f"version: expected an integer above {BUILTIN_VERSION}")
    kinds = _section(document, "kind")
    hints = _section(document, "hint")
    return PolicyTable(
        version=version,
        hints=_overlaid(HINT_ROWS, hints, HandlingMode, "hint"),
        kinds=_overlaid(KIND_ROWS, kinds, InputKind, "kind"),
        overridden=frozenset(InputKind(name) for name in kinds),
    )


def _document(toml_text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(toml_text)
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(f"the file: expected TOML: {error}") from error


def _only(given: Mapping[str, object], allowed: tuple[str, ...], where: str) -> None:
    unknown = sorted(given.keys() - set(allowed))
    if unknown:
        raise PolicyError(f"{where}: {unknown[0]} is not one of {', '.join(allowed)}")


def _section(document: Mapping[str, Any], name: Literal["kind", "hint"]) -> dict[str, Any]:
    section = document.get(name, {})
    if not isinstance(section, dict):
        raise PolicyError(f"{name}: expected tables such as [{name}.{_EXAMPLE[name]}]")
    return section


_EXAMPLE: Final = {"kind": "prompt", "hint": "steer"}

_K = InputKind | HandlingMode


def _overlaid(
    rows: Mapping[Any, PolicyRow], section: Mapping[str, Any], names: type[_K], label: str
) -> dict[Any, PolicyRow]:
    _only(section, tuple(names), label)
    return {
        name: _merged(row, section.get(name, {}), f"{label}.{name}") for name, row in rows.items()
    }


def _merged(row: PolicyRow, override: object, where: str) -> PolicyRow:
    if not isinstance(override, dict):
        raise PolicyError(f"{where}: expected a table of fields")
    _only(override, FIELDS, where)
    try:
        merged = msgspec.convert(msgspec.to_builtins(row) | override, PolicyRow)
    except msgspec.ValidationError as error:
        raise PolicyError(f"{where}: {_field_fault(override, error)}") from error
    _check_workable(merged, where)
    return merged


def _field_fault(override: Mapping[str, object], error: msgspec.ValidationError) -> str:
    """Name the field and what it may be: the decoder says where, the annotation says what."""
    name = str(error).rpartition("$.")[2].rstrip("`")
    kind = PolicyRow.__annotations__[name]
    known = msgspec.structs.fields(PolicyRow)
    expected = next(item.type for item in known if item.name == name)
    allowed = "true or false" if kind in ("bool", bool) else f"one of {', '.join(expected)}"
    return f"{name}: expected {allowed}, got {type(override[name]).__name__}"


def _check_workable(row: PolicyRow, where: str) -> None:
    """Refuse what the driver does not do, and halves of what belongs together."""
    _check_among(row.apply_mode, _APPLY, f"{where}: apply_mode")
    _check_among(row.consume_point, _CONSUME, f"{where}: consume_point")
    _check_among(row.routing_disposition, _ROUTE, f"{where}: routing_disposition")
    dropped = (
        row.apply_mode is ApplyMode.IGNORE,
        row.consume_point is ConsumePoint.ON_ACCEPT,
        row.routing_disposition is RoutingDisposition.DROP,
    )
    if any(dropped) and not all(dropped):
        raise PolicyError(
            f"{where}: apply_mode ignore, consume_point on_accept and routing_disposition drop "
            "go together: all of them, or none"
        )


def _check_among(value: Any, allowed: tuple[Any, ...], where: str) -> None:  # noqa: ANN401
    if value not in allowed:
        raise PolicyError(f"{where}: expected one of {', '.join(allowed)}, got {value}")
