"""Moving dead letters: ``export`` and ``import``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from itertools import islice
from typing import Annotated, BinaryIO

import typer

from schemas.dead_letters import DeadLetter
from schemas.errors import MalformedError
from store.dead_letters import LetterFilter
from worker.broker.connection import Connection
from worker.broker.errors import QueueMissingError
from worker.broker.topology import Layout, Topology
from worker.cli.faults import Failure
from worker.cli.letter_choice import filter_flags
from worker.cli.options import BROKER, STORE, Json, JsonLines, settings_flags, source_of
from worker.cli.output import json_line, text
from worker.cli.reading import opened
from worker.cli.root import PROGRAM
from worker.clock import new_id, now
from worker.dead_letters.takeover import InUseError, Takeover
from worker.dead_letters.transfer import BATCH, exported, imported, parsed
from worker.exits import ExitCode
from worker.settings import Settings
from worker.terminal import line

app = typer.Typer()

Most = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")]


@app.command()
@settings_flags(*STORE)
@filter_flags()
def export(*, wanted: LetterFilter, limit: Most = None, settings: Settings) -> None:
    """Write dead letters out whole, one JSON object a line, the latest death first.

    Bodies are as they came, secrets included.

    Example:  meerkat-worker dead-letters export --status any > letters.jsonl
    """
    asyncio.run(_export(settings, wanted, limit))


@app.command("import")
@settings_flags(*STORE, *BROKER)
def import_(
    file: JsonLines = None,
    *,
    queue: Annotated[
        str | None,
        typer.Option("--queue", help="Take over this dead-letter queue of the broker instead."),
    ] = None,
    limit: Most = None,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Read exported dead letters, or empty a dead-letter queue of the broker into the table.

    A letter that is here already is not there twice. A message is acked once it is committed.

    Example:  meerkat-worker dead-letters import letters.jsonl

    Example:  meerkat-worker dead-letters import --queue legacy.dead
    """
    if queue is None:
        tally = asyncio.run(_import(settings, source_of(file), limit))
    else:
        tally = asyncio.run(_take_over(settings, queue, limit)), 0
    if as_json:
        json_line({"imported": tally[0], "failed": tally[1]})
    else:
        text(f"{tally[0]} imported" + (f", {tally[1]} not" if tally[1] else ""))
    if tally[1]:
        raise typer.Exit(ExitCode.WRONG)


async def _export(settings: Settings, wanted: LetterFilter, limit: int | None) -> None:
    async with opened(settings) as store:
        async for each in exported(store, wanted, limit=limit):
            json_line(each)


async def _import(settings: Settings, source: BinaryIO, limit: int | None) -> tuple[int, int]:
    """Import lines, naming each bad one; tells how many were taken and how many not."""
    bad: list[int] = []
    letters = islice(_letters(source, bad), limit)
    done = tried = 0
    async with opened(settings) as store:
        while batch := list(islice(letters, BATCH)):
            done += await imported(store, batch)
            tried += len(batch)
    return done, tried - done + len(bad)


def _letters(source: BinaryIO, bad: list[int]) -> Iterator[DeadLetter]:
    for number, content in enumerate(source, start=1):
        if not content.strip():
            continue
        try:
            yield parsed(content)
        except MalformedError as fault:
            bad.append(number)
            sys.stderr.write(line(f"line {number}: {fault}") + "\n")


async def _take_over(settings: Settings, queue: str, limit: int | None) -> int:
    topology = Topology(settings.namespace, Layout.parse(settings.layout))
    connection = await Connection.open(settings.amqp_url, PROGRAM)
    try:
        async with opened(settings) as store:
            takeover = Takeover(store, topology, now, new_id, lambda _: None)
            return await takeover.run(connection, queue, limit=limit)
    except InUseError as fault:
        raise Failure(ExitCode.UNUSABLE, f"--queue: {fault}") from fault
    except QueueMissingError as fault:
        raise Failure(ExitCode.NOT_FOUND, str(fault)) from fault
    finally:
        await connection.close()
