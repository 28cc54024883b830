"""Output: tables for people, JSON lines for programs; what came from elsewhere is made inert."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final
from uuid import UUID

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from worker.terminal import inert, line

_PLAIN_WIDTH: Final = 200
"""Wide enough for a row of ids when the output goes to a file or a pipe."""


def console(*, stderr: bool = False) -> Console:
    """Make a console; when nobody watches it does not break rows at 80 columns."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PLAIN_WIDTH
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False)


def json_line(value: object) -> None:
    """Write one value as one line of JSON."""
    sys.stdout.write(as_json(value) + "\n")


def json_lines(values: Iterable[object]) -> None:
    """Write each value as one line of JSON."""
    for value in values:
        json_line(value)


def as_json(value: object) -> str:
    """Encode a value; characters that steer a terminal become JSON escapes, so it stays JSON."""
    return inert(msgspec.json.encode(value).decode())


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Show rows to a person; says so when there are none."""
    grid = Table(*columns, title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        grid.add_row(*(cell(value) for value in row))
    console().print(grid if grid.row_count else Text(f"{title}: none"))


def facts(title: str, pairs: Mapping[str, object]) -> None:
    """Show named facts about one thing, one a line; those that are None are left out."""
    grid = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    for name, value in pairs.items():
        if value is not None:
            grid.add_row(Text(name, style="dim"), cell(value))
    console().print(grid)


def text(content: str) -> None:
    """Show text to a person, as it is, inert."""
    console().print(Text(inert(content)), soft_wrap=True)


def cell(value: object) -> Text:
    """Show one value in little room."""
    return Text(line(_words(value)), overflow="fold")


def _words(value: object) -> str:
    match value:
        case None | bool():
            return {None: "", True: "yes", False: "no"}[value]
        case Enum():
            return str(value.value)
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
        case UUID() | str() | int() | float():
            return str(value)
        case _:
            return msgspec.json.encode(value).decode()


def fields(record: msgspec.Struct, *names: str) -> dict[str, Any]:
    """Pick named fields of a record, in this order."""
    return {name: getattr(record, name) for name in names}
