"""``verify``: the store, proved against its receipts."""

from __future__ import annotations

import asyncio

import typer

from store.verify import PROMISES, Finding
from store.verify import verify as findings
from worker.cli.options import STORE, Json, settings_flags
from worker.cli.output import json_line, table, text
from worker.cli.reading import opened
from worker.cli.root import noun
from worker.exits import ExitCode
from worker.settings import Settings

app = noun("verify")


@app.command()
@settings_flags(*STORE)
def verify(*, as_json: Json = False, settings: Settings) -> None:
    """Prove the store against its receipts: what was consumed was applied, in order, once.

    Reads everything in one moment of the database and writes nothing; workers may go on. Exit code
    1 if a rule is broken, with the row that shows it.

    Example:  meerkat-worker verify --database-url sqlite+aiosqlite:///meerkat.db
    """
    found = asyncio.run(_found(settings, as_json=as_json))
    if found and not as_json:
        table("broken rules", ("rule", "runtime", "row", "finding"), (_row(each) for each in found))
    elif not as_json:
        text(f"{len(PROMISES)} rules hold")
    if found:
        raise typer.Exit(ExitCode.WRONG)


async def _found(settings: Settings, *, as_json: bool) -> list[Finding]:
    found: list[Finding] = []
    async with opened(settings) as store:
        async for finding in findings(store.database):
            found.append(finding)
            if as_json:
                json_line(finding)
    return found


def _row(finding: Finding) -> tuple[object, ...]:
    return finding.rule, finding.runtime_id, finding.subject, finding.sentence
