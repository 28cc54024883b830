"""``dead-letters``: what could not be processed, and why."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Any

import msgspec
import typer

from schemas.ids import DeadLetterId
from store.dead_letters import Letter, LetterEdit, LetterFilter, LetterGroup
from worker.body import pretty
from worker.cli import letter_acts, letter_rehearsal, letter_transfer
from worker.cli.letter_choice import LetterArgument, filter_flags
from worker.cli.options import DEFAULT_LIMIT, STORE, Json, Limit, settings_flags
from worker.cli.output import as_json as encoded
from worker.cli.output import facts, fields, json_line, json_lines, table, text
from worker.cli.reading import Listing, listed, opened, the_letter
from worker.cli.root import noun
from worker.masking import masked_fields
from worker.settings import Settings
from worker.terminal import inert

app = noun("dead-letters")

_COLUMNS = ("letter", "last death", "reason", "runtime", "type", "deaths", "status", "detail")
_EDIT = ("redrive_count", "at", "who", "why")
_GROUP_COLUMNS = ("group", "letters", "reason", "first death", "last death", "example", "detail")


@app.command("list")
@settings_flags(*STORE)
@filter_flags()
def list_(
    *, wanted: LetterFilter, limit: Limit = DEFAULT_LIMIT, as_json: Json = False, settings: Settings
) -> None:
    """List dead letters, the latest death first.

    Example:  meerkat-worker dead-letters list --reason malformed --since 2h
    """
    found = asyncio.run(_list(settings, wanted, limit))
    if as_json:
        json_lines(found.items)
    else:
        table("dead letters", _COLUMNS, (_row(each) for each in found.items))
    found.warn()


@app.command()
@settings_flags(*STORE)
@filter_flags(group=False)
def groups(
    *, wanted: LetterFilter, limit: Limit = DEFAULT_LIMIT, as_json: Json = False, settings: Settings
) -> None:
    """Count dead letters that failed alike, the largest group first.

    Example:  meerkat-worker dead-letters groups
    """
    found = asyncio.run(_groups(settings, wanted, limit))
    if as_json:
        json_lines(found)
    else:
        table("groups of dead letters", _GROUP_COLUMNS, (_group_row(each) for each in found))


@app.command()
@settings_flags(*STORE)
def show(
    letter_id: LetterArgument,
    *,
    payload: Annotated[
        bool, typer.Option("--payload", help="Show the body, readable, its secrets masked.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the original bytes of the body, nothing else.")
    ] = False,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Show one dead letter: why it died, its properties, and its body if asked for.

    Example:  meerkat-worker dead-letters show 01890a5d-ac96-774b-bcce-b302099a8057 --payload

    Example:  meerkat-worker dead-letters show 01890a5d-ac96-774b-bcce-b302099a8057 --raw > body
    """
    letter, body, edits = asyncio.run(_get(settings, letter_id))
    changes = [fields(each, *_EDIT, *(["diff"] if payload else [])) for each in edits]
    if raw:
        _write_raw(body)
    elif as_json:
        told = {"body": pretty(body)} if payload else {}
        json_line(masked_fields({**msgspec.to_builtins(letter), "edits": changes, **told}))
    else:
        _print(letter)
        for change in changes:
            _print_change(change)
        text(pretty(body) if payload else f"body: {len(body)} bytes; --payload or --raw shows it")


def _write_raw(body: bytes) -> None:
    """Write bytes as they are into a file or a pipe; a terminal would obey them, so not there."""
    if sys.stdout.isatty():
        sys.stdout.write(inert(body.decode(errors="backslashreplace")) + "\n")
    else:
        sys.stdout.buffer.write(body)


async def _list(settings: Settings, wanted: LetterFilter, limit: int) -> Listing[Letter]:
    async with opened(settings) as store:
        return await listed(
            lambda most, after: store.dead_letters.letters(wanted, limit=most, after=after), limit
        )


async def _groups(settings: Settings, wanted: LetterFilter, limit: int) -> tuple[LetterGroup, ...]:
    async with opened(settings) as store:
        return await store.dead_letters.groups(wanted, limit=limit)


async def _get(
    settings: Settings, letter_id: DeadLetterId
) -> tuple[Letter, bytes, tuple[LetterEdit, ...]]:
    async with opened(settings) as store:
        found = await the_letter(store, letter_id)
        return *found, await store.dead_letters.edits(letter_id)


def _print_change(change: dict[str, Any]) -> None:
    diff = change.pop("diff", None)
    facts(f"changed before redrive {change.pop('redrive_count')}", change)
    if diff is not None:
        text(diff)


def _print(letter: Letter) -> None:
    facts(
        f"dead letter {letter.id}",
        {
            "reason": letter.reason,
            "detail": letter.detail,
            "group": letter.fingerprint,
            "runtime": letter.runtime_id,
            "queue": letter.source_queue,
            "message": letter.message_id,
            "type": letter.type,
            "status": letter.status,
            "deaths": letter.deaths,
            "redriven": letter.redrive_count or None,
            "first death": letter.first_at,
            "last death": letter.last_at,
            "acted on": letter.acted_at,
            "by": letter.who,
            "note": letter.note,
            "properties": encoded(masked_fields(letter.properties)),
        },
    )


def _row(each: Letter) -> tuple[Any, ...]:
    what = (each.reason, each.runtime_id, each.type, each.deaths, each.status, each.detail)
    return (each.id, each.last_at, *what)


def _group_row(each: LetterGroup) -> tuple[Any, ...]:
    span = (each.first_at, each.last_at)
    return each.fingerprint, each.count, each.reason, *span, each.example.id, each.example.detail


for _part in (letter_rehearsal, letter_acts, letter_transfer):
    app.add_typer(_part.app)
