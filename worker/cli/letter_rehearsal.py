"""Trying dead letters: ``dry-run``."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from store.dead_letters import LetterFilter
from store.sql import SqlStore
from worker.broker.topology import Layout, Topology
from worker.cli.faults import Failure
from worker.cli.letter_choice import Choice, LetterArguments, choice_flags, chosen
from worker.cli.options import BROKER, DEFAULT_LIMIT, STORE, Json, Limit, settings_flags
from worker.cli.output import facts, json_line, table, text
from worker.cli.reading import opened, the_letter
from worker.clock import new_id, now
from worker.dead_letters.dry_run import DryRun, Rehearsal, Verdict
from worker.dead_letters.words import VERDICTS
from worker.exits import ExitCode
from worker.settings import Settings
from worker.wiring import driver_options

app = typer.Typer()

_COLUMNS: Final = ("letter", "it would be", "reason", "detail", "changes")
_FINE: Final = (Verdict.PROCESSED, Verdict.LEAVES)


@app.command("dry-run")
@settings_flags(*STORE, *BROKER, "policy_file", "max_message_bytes")
@choice_flags
def dry_run(
    letters: LetterArguments = None,
    *,
    wanted: LetterFilter | None,
    body_file: Annotated[
        Path | None, typer.Option("--body-file", help="Try one letter with this body.")
    ] = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Say what would become of dead letters if they were redriven now. Writes nothing.

    Each is tried by itself, on a copy of its runtime as it is. The exit code is 1 if any would be a
    dead letter again.

    Example:  meerkat-worker dead-letters dry-run 01890a5d-ac96-774b-bcce-b302099a8057

    Example:  meerkat-worker dead-letters dry-run --group 0f1e2d3c4b5a6978
    """
    choice = chosen(letters, wanted)
    if body_file is not None and len(choice.ids) != 1:
        raise Failure(ExitCode.UNUSABLE, "--body-file: expected one LETTER")
    body = None if body_file is None else body_file.read_bytes()
    found = asyncio.run(_tried(settings, choice, body, limit))
    if as_json:
        for each in found:
            json_line(each)
    else:
        _show(found)
    if any(each.verdict not in _FINE for each in found):
        raise typer.Exit(ExitCode.WRONG)


async def _tried(
    settings: Settings, choice: Choice, body: bytes | None, limit: int
) -> list[DryRun]:
    async with opened(settings) as store:
        rehearsal = Rehearsal(
            store,
            Topology(settings.namespace, Layout.parse(settings.layout)),
            driver_options(settings),
            settings.max_message_bytes,
        )
        if not choice.ids:
            trials = rehearsal.group(choice.wanted, limit=limit, now=now(), run_id=new_id())
        else:
            trials = _named(store, rehearsal, choice, body)
        return [each async for each in trials]


async def _named(
    store: SqlStore, rehearsal: Rehearsal, choice: Choice, body: bytes | None
) -> AsyncIterator[DryRun]:
    for letter_id in choice.ids:
        letter, own = await the_letter(store, letter_id)
        yield await rehearsal.letter(
            letter, own if body is None else body, now=now(), run_id=new_id()
        )


def _show(found: list[DryRun]) -> None:
    if len(found) == 1:
        _show_one(found[0])
        return
    table("dry run", _COLUMNS, (_row(each) for each in found))
    counts = Counter(each.verdict for each in found)
    text(", ".join(f"{count} would be {VERDICTS[verdict]}" for verdict, count in counts.items()))


def _show_one(each: DryRun) -> None:
    facts(
        "dry run",
        {
            "letter": each.letter_id,
            "it would be": VERDICTS[each.verdict],
            "reason": each.reason,
            "detail": each.detail or None,
            "outcome": None if each.outcome is None else msgspec.to_builtins(each.outcome),
        },
    )
    for change in each.changes:
        text(f"  {change}")


def _row(each: DryRun) -> tuple[Any, ...]:
    changes = "; ".join(each.changes)
    return each.letter_id, VERDICTS[each.verdict], each.reason, each.detail, changes
