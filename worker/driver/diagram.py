"""Diagrams: the driver's tables as Mermaid and as grids, drawn out of the tables themselves.

Text only; ``python -m worker.diagrams`` puts it into ``docs/driver.md``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, assert_never

from schemas.inputs import HandlingMode, InputKind
from schemas.lifecycle import InputState, RuntimeState
from worker.driver.input_table import INPUT_TABLE, InputEvent
from worker.driver.policy import DEFAULT_POLICY, PolicyRow
from worker.driver.rules import Ignore, Move, Refuse, Return, Rule
from worker.driver.runtime_table import NEEDS_NO_RUN, RUNTIME_TABLE, ControlEvent

Table: TypeAlias = Mapping[tuple[Any, Any], Rule[Any]]
Lines: TypeAlias = Iterator[str]

_RETURNS_TO: Final = (RuntimeState.IDLE, RuntimeState.ATTACHED, RuntimeState.RETIRED)
_COLUMNS: Final = (
    "decides",
    "apply",
    "wake",
    "queue",
    "consume",
    "interrupt",
    "drain",
    "route",
    "shown",
)


def drawings() -> dict[str, str]:
    """Draw everything: the name of each drawing in the page, and its text."""
    return {
        "input diagram": _text(_diagram(INPUT_TABLE, InputState.ACCEPTED)),
        "input grid": _text(_grid(INPUT_TABLE, InputState, InputEvent)),
        "runtime diagram": _text(_diagram(RUNTIME_TABLE, RuntimeState.INITIALIZING)),
        "runtime grid": _text(_grid(RUNTIME_TABLE, RuntimeState, ControlEvent)),
        "policy table": _text(_policy()),
    }


def redrawn(page: str) -> str:
    """Put the drawings between their markers in a page.

    Raises:
        ValueError: The page lacks the markers of a drawing.
    """
    for name, text in drawings().items():
        begin, end = f"<!-- drawn: {name} -->", "<!-- end -->"
        before, marked, rest = page.partition(begin)
        _, closed, after = rest.partition(end)
        if not marked or not closed:
            raise ValueError(f"expected {begin} and {end} in the page")
        page = f"{before}{begin}\n\n{text}\n\n{end}{after}"
    return page


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines)


# --- state tables --------------------------------------------------------------------------------


def _diagram(table: Table, first: str) -> Lines:
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {first}"
    edges = _edges(table)
    for (state, target), events in edges.items():
        yield f"    {state} --> {target}: {', '.join(events)}"
    left = {state for state, _ in edges}
    for state in dict.fromkeys(target for _, target in edges if target not in left):
        yield f"    {state} --> [*]"
    yield "```"


def _edges(table: Table) -> dict[tuple[str, str], list[str]]:
    edges: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (state, event), rule in table.items():
        for target in _targets(rule):
            if target != state:
                edges[state, target].append(event)
    return edges


def _targets(rule: Rule[Any]) -> Sequence[str]:
    match rule:
        case Move(target=target):
            return (target,)
        case Return():
            return _RETURNS_TO
        case Ignore() | Refuse():
            return ()
        case _:
            assert_never(rule)


def _grid(table: Table, states: Iterable[str], events: Iterable[str]) -> Lines:
    columns = tuple(states)
    yield from _head(("event", *columns))
    for event in events:
        mark = " †" if event in NEEDS_NO_RUN else ""
        cells = (_cell(table[state, event]) for state in columns)
        yield _row((f"{event}{mark}", *cells))


def _cell(rule: Rule[Any]) -> str:
    match rule:
        case Move(target=target):
            return f"→ {target}"
        case Return():
            return "↩"
        case Ignore():
            return "="
        case Refuse():
            return "·"
        case _:
            assert_never(rule)


# --- the policy table ----------------------------------------------------------------------------


def _policy() -> Lines:
    yield from _head(_COLUMNS)
    for hint in HandlingMode:
        yield _row(_policy_cells(f"hint {hint}", DEFAULT_POLICY.hints[hint]))
    for kind in InputKind:
        yield _row(_policy_cells(kind, DEFAULT_POLICY.kinds[kind]))


def _policy_cells(name: str, row: PolicyRow) -> tuple[str, ...]:
    return (
        name,
        row.apply_mode,
        _idle_and_busy(row.wake_idle, row.wake_busy),
        row.queue_mode,
        row.consume_point,
        _idle_and_busy(row.interrupt_idle, row.interrupt_busy),
        row.drain_policy,
        row.routing_disposition,
        "yes" if row.transcript else "no",
    )


def _idle_and_busy(idle: str, busy: str) -> str:
    return idle if idle == busy else f"{idle} / {busy}"


# --- grids ---------------------------------------------------------------------------------------


def _head(columns: Sequence[str]) -> Lines:
    yield _row(columns)
    yield _row(["---"] * len(columns))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
