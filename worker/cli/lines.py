"""Lines: many inputs from JSON lines, in order; a bad line is named and the others go on."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any, BinaryIO, Final

import msgspec
import typer
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from uuid_utils.compat import uuid7

from schemas.errors import MalformedError
from schemas.ids import RuntimeIdText
from schemas.inputs import Input, WireInput, canonical
from worker.cli.faults import Failure
from worker.cli.output import console, json_line
from worker.cli.publishing import client_of
from worker.client import Client, PublishManyError
from worker.exits import ExitCode
from worker.settings import Settings
from worker.terminal import line

CHUNK: Final = 200
"""Lines published at once: enough to keep the broker busy, few enough to report on soon."""


class Line(msgspec.Struct, frozen=True):
    """What stands on a line: an input as on the wire, and the runtime that it is for."""

    input: WireInput
    runtime_id: RuntimeIdText


class Numbered(msgspec.Struct, frozen=True):
    """A line that was read: its number from 1, and either an input or what is wrong."""

    number: int
    runtime_id: str = ""
    input: Input | None = None
    error: str = ""


class Tally:
    """What became of the lines so far; says it of each, to a person or to a program."""

    def __init__(self, *, as_json: bool) -> None:
        self.published = 0
        self.failed = 0
        self._as_json = as_json

    def good(self, each: Numbered) -> None:
        """Count a line that was published."""
        self.published += 1
        if self._as_json and each.input is not None:
            input_id = each.input.header.id
            json_line({"line": each.number, "runtime_id": each.runtime_id, "input_id": input_id})

    def bad(self, number: int, error: str) -> None:
        """Count a line that was not, and say why."""
        self.failed += 1
        if self._as_json:
            json_line({"line": number, "error": error})
        else:
            sys.stderr.write(line(f"line {number}: {error}") + "\n")


def publish(settings: Settings, source: BinaryIO, *, runtime: str | None, as_json: bool) -> None:
    """Publish every line that holds an input.

    Raises:
        Failure: Some lines were not published.
    """
    tally = Tally(as_json=as_json)
    asyncio.run(_publish(settings, source, runtime, tally))
    if tally.failed:
        done = f"{tally.published} published, {tally.failed} not"
        raise Failure(ExitCode.WRONG, done)
    if not as_json:
        typer.echo(f"{tally.published} published")


async def _publish(settings: Settings, source: BinaryIO, runtime: str | None, tally: Tally) -> None:
    lines = _read(source, runtime, settings.max_message_bytes)
    bar = Progress(
        SpinnerColumn(), TextColumn("published"), MofNCompleteColumn(), console=console(stderr=True)
    )
    bar.disable = not sys.stderr.isatty()
    async with client_of(settings) as client:
        with bar:
            task = bar.add_task("", total=None)
            while chunk := await asyncio.to_thread(lambda: list(islice(lines, CHUNK))):
                await _publish_chunk(client, chunk, tally)
                bar.update(task, completed=tally.published)


async def _publish_chunk(client: Client, chunk: Iterable[Numbered], tally: Tally) -> None:
    good = [each for each in chunk if each.input is not None]
    for each in chunk:
        if each.input is None:
            tally.bad(each.number, each.error)
    errors: dict[object, str] = {}
    try:
        await client.publish_many([(each.runtime_id, each.input) for each in good if each.input])
    except PublishManyError as error:
        errors = {failure.input_id: str(failure.error) for failure in error.failures}
    for each in good:
        wrong = errors.get(each.input and each.input.header.id)
        if wrong is None:
            tally.good(each)
        else:
            tally.bad(each.number, wrong)


def _read(source: BinaryIO, runtime: str | None, most: int) -> Iterator[Numbered]:
    for number, text in enumerate(source, start=1):
        if text.strip():
            yield _parsed(number, text, runtime, most)


def _parsed(number: int, text: bytes, runtime: str | None, most: int) -> Numbered:
    try:
        found = msgspec.convert(_completed(msgspec.json.decode(text), runtime), Line)
        item = canonical(found.input, received_at=datetime.now(UTC))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return Numbered(number, error=str(MalformedError.from_decoder(error)))
    size = len(msgspec.json.encode(item))
    if size > most:
        return Numbered(number, error=f"$.input: expected at most {most} bytes, got {size}")
    return Numbered(number, found.runtime_id, item)


def _completed(given: Any, runtime: str | None) -> Any:  # noqa: ANN401  # JSON that anybody wrote
    """Fill in what a person may leave out: the runtime, the id, and where the input comes from."""
    if not isinstance(given, dict) or not isinstance(given.get("input"), dict):
        return given
    header = given["input"].get("header", {})
    if not isinstance(header, dict):
        return given
    made = {"id": str(uuid7()), "source": {"type": "external", "source_name": "stdin"}}
    item = {**given["input"], "header": {**made, **header}}
    default = {} if runtime is None else {"runtime_id": runtime}
    return {**default, **given, "input": item}
