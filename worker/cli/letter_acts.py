"""Acts on dead letters: ``redrive``, ``edit``, ``discard``, ``reopen``."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import reduce
from operator import add
from pathlib import Path
from typing import Annotated
from uuid import UUID

import click
import msgspec
import typer
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from schemas.ids import DeadLetterId
from store.dead_letters import Letter, LetterFilter
from store.letter_acts import Act, Edit
from store.sql import SqlStore
from worker.broker.connection import Connection
from worker.broker.link import Link
from worker.broker.publisher import Publisher
from worker.broker.topology import Layout, Topology
from worker.cli.faults import Failure
from worker.cli.letter_choice import (
    Choice,
    LetterArgument,
    LetterArguments,
    Who,
    Yes,
    choice_flags,
    chosen,
    confirm,
    name_of,
)
from worker.cli.options import BROKER, STORE, Json, settings_flags
from worker.cli.output import console, json_line, text
from worker.cli.reading import opened, the_letter
from worker.cli.root import PROGRAM
from worker.clock import new_id, now
from worker.dead_letters.discard import discard_all
from worker.dead_letters.edit import EditError, edited
from worker.dead_letters.redrive import Progress, Redriver
from worker.dead_letters.words import counts, told
from worker.exits import ExitCode
from worker.settings import Settings

app = typer.Typer()

Note = Annotated[str | None, typer.Option("--note", help="Why; it is kept with the letters.")]
Why = Annotated[str, typer.Option("--note", help="Why; it is kept.")]
Most = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many, oldest first.")]
Rate = Annotated[float | None, typer.Option("--rate", min=0.1, help="At most so many a second.")]


@app.command()
@settings_flags(*STORE, *BROKER)
@choice_flags
def redrive(  # noqa: PLR0913  # each is a flag
    letters: LetterArguments = None,
    *,
    wanted: LetterFilter | None,
    limit: Most = None,
    rate: Rate = None,
    note: Note = None,
    who: Who = None,
    yes: Yes = False,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Publish dead letters again, with their own ids, after the cause is gone.

    Each stays redriven until its message is processed, and is open again if it dies again. To go on
    after Ctrl-C, give the same command again: what was redriven is not redriven twice.

    Example:  meerkat-worker dead-letters redrive 01890a5d-ac96-774b-bcce-b302099a8057

    Example:  meerkat-worker dead-letters redrive --group 0f1e2d3c4b5a6978 --rate 100
    """
    choice = chosen(letters, wanted)
    work = _Redrive(choice, name_of(who), note, limit, rate, yes)
    _tell(asyncio.run(work.done(settings)), as_json=as_json)


@app.command()
@settings_flags(*STORE, *BROKER, "max_message_bytes")
def edit(  # each is a flag
    letter: LetterArgument,
    *,
    note: Why,
    body_file: Annotated[
        Path | None,
        typer.Option("--body-file", help="The new body; else $EDITOR opens the present one."),
    ] = None,
    who: Who = None,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Publish a dead letter again with another body, under the same id.

    What was changed is kept with who did it and why; the old body too.

    Example:  meerkat-worker dead-letters edit 01890a5d-ac96-774b-bcce-b302099a8057
    --body-file fixed.json --note "the sender wrote a number for a text"
    """
    found = asyncio.run(_read(settings, letter))
    body = _from_editor(found[1]) if body_file is None else body_file.read_bytes()
    try:
        change = edited(*found, body, now=now(), max_message_bytes=settings.max_message_bytes)
    except EditError as fault:
        raise Failure(ExitCode.UNUSABLE, f"the new body is not taken: {fault}") from fault
    if not as_json:
        text(change.diff)
    progress = asyncio.run(_edit(settings, letter, change, name_of(who), note))
    _tell(progress, as_json=as_json)


@app.command()
@settings_flags(*STORE)
@choice_flags
def discard(  # noqa: PLR0913  # each is a flag
    letters: LetterArguments = None,
    *,
    wanted: LetterFilter | None,
    note: Why,
    who: Who = None,
    yes: Yes = False,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Give dead letters up, saying why. Their bytes are kept until retention deletes them.

    Example:  meerkat-worker dead-letters discard --group 0f1e2d3c4b5a6978 --note "a load test"
    """
    choice = chosen(letters, wanted)
    done, left = asyncio.run(_discard(settings, choice, name_of(who), note, yes=yes))
    _told({"discarded": done, "not_open": left}, as_json=as_json)


@app.command()
@settings_flags(*STORE)
def reopen(
    letters: Annotated[list[UUID], typer.Argument(metavar="LETTER", show_default=False)],
    *,
    note: Why,
    who: Who = None,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Open dead letters again: discarded ones, or redriven ones whose messages were lost.

    Example:  meerkat-worker dead-letters reopen 01890a5d-ac96-774b-bcce-b302099a8057
    --note "the queue was purged"
    """
    act = Act(name_of(who), now(), note)
    opened_again = asyncio.run(_reopen(settings, letters, act))
    left = len(letters) - opened_again
    _told({"reopened": opened_again, "missing_or_open": left}, as_json=as_json)


# --- redrive -------------------------------------------------------------------------------------


class _Redrive(msgspec.Struct, frozen=True):
    """One redrive, as it was asked for."""

    choice: Choice
    who: str
    note: str | None
    limit: int | None
    rate: float | None
    yes: bool

    async def done(self, settings: Settings) -> Progress:
        """Do it; tells how far it came."""
        async with opened(settings) as store:
            count = await self._count(store)
            confirm("redrive", count, yes=self.yes)
            async with redriving(settings, store) as redriver:
                with _bar(count) as moved:
                    total = Progress()
                    async for total in self._progress(redriver):
                        moved(total.done)
                    return total

    async def _count(self, store: SqlStore) -> int:
        found = len(self.choice.ids) or await store.dead_letters.count(self.choice.wanted)
        return found if self.limit is None else min(found, self.limit)

    async def _progress(self, redriver: Redriver) -> AsyncIterator[Progress]:
        if self.choice.ids:
            yield await _one_by_one(redriver, self.choice.ids[: self.limit], self.who, self.note)
            return
        async for progress in redriver.redrive_all(
            self.choice.wanted, who=self.who, note=self.note, limit=self.limit, rate=self.rate
        ):
            yield progress


async def _one_by_one(
    redriver: Redriver, ids: Iterable[DeadLetterId], who: str, note: str | None
) -> Progress:
    """Redrive letters that were named: few, and perhaps large."""
    return reduce(add, [await redriver.redrive([one], who=who, note=note) for one in ids])


@asynccontextmanager
async def redriving(settings: Settings, store: SqlStore) -> AsyncIterator[Redriver]:
    """Connect to the broker, to redrive; a broker that is away is told before anything is done."""
    await (await Connection.open(settings.amqp_url, PROGRAM)).close()
    topology = Topology(settings.namespace, Layout.parse(settings.layout))
    async with Link(settings.amqp_url, PROGRAM) as link, Publisher(link) as publisher:
        yield Redriver(store, publisher, topology, now, new_id)


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int], None]]:
    """Show a person how far it is; programs see nothing of it."""
    bar = Bar(
        TextColumn("redriven"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda done: bar.update(task, completed=done)


def _tell(progress: Progress, *, as_json: bool) -> None:
    """Say what was done, and end with a code that says whether it was all of it."""
    _told(counts(progress), as_json=as_json)
    if progress.waiting:
        raise Failure(
            ExitCode.NO_ANSWER,
            f"the broker has not confirmed {progress.waiting} messages: they are in the outbox, "
            "and a worker publishes them",
        )
    if progress.refused or progress.unroutable:
        raise typer.Exit(ExitCode.WRONG)


def _told(counted: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        json_line(counted)
    else:
        text(told(counted) or "nothing was done")


# --- edit ----------------------------------------------------------------------------------------


async def _read(settings: Settings, letter_id: DeadLetterId) -> tuple[Letter, bytes]:
    async with opened(settings) as store:
        return await the_letter(store, letter_id)


async def _edit(
    settings: Settings, letter_id: DeadLetterId, change: Edit, who: str, why: str
) -> Progress:
    async with opened(settings) as store, redriving(settings, store) as redriver:
        return await redriver.redrive([letter_id], who=who, note=why, edit=change)


def _from_editor(body: bytes) -> bytes:
    """Let a person change a body: JSON over several lines, its secrets as they are."""
    try:
        content = body.decode()
    except UnicodeDecodeError as error:
        raise Failure(
            ExitCode.UNUSABLE, "the body is no text: take --raw of `show`, and --body-file"
        ) from error
    with contextlib.suppress(msgspec.DecodeError):
        content = msgspec.json.format(content, indent=2)
    try:
        changed = click.edit(content, extension=".json")
    except click.ClickException as error:
        raise Failure(ExitCode.UNUSABLE, f"$EDITOR: {error.format_message()}") from error
    if changed is None:
        raise Failure(ExitCode.WRONG, "nothing was changed, nothing was done")
    return changed.encode()


# --- discard and reopen --------------------------------------------------------------------------


async def _discard(
    settings: Settings, choice: Choice, who: str, note: str, *, yes: bool
) -> tuple[int, int]:
    """Give letters up; tells how many, and how many were not open."""
    async with opened(settings) as store:
        count = len(choice.ids) or await store.dead_letters.count(choice.wanted)
        confirm("discard", count, yes=yes)
        act = Act(who, now(), note)
        if choice.ids:
            done = len(await store.letter_acts.discard(choice.ids, act))
            return done, len(choice.ids) - done
        steps = [done async for done in discard_all(store, choice.wanted, act)]
        return max(steps, default=0), 0


async def _reopen(settings: Settings, letter_ids: list[DeadLetterId], act: Act) -> int:
    async with opened(settings) as store:
        return len(await store.letter_acts.reopen(letter_ids, act))
