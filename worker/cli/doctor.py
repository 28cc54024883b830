"""``doctor``: everything that a worker needs, checked."""

from __future__ import annotations

import asyncio
import os

import typer

from worker.cli.options import BROKER, STORE, Json, settings_flags
from worker.cli.output import json_lines, table
from worker.cli.root import noun
from worker.diagnosis import (
    Finding,
    Standing,
    blob_findings,
    broker_findings,
    database_findings,
    settings_findings,
)
from worker.exits import ExitCode
from worker.masking import masked
from worker.settings import Settings

app = noun("doctor")


@app.command()
@settings_flags(*BROKER, *STORE, "blobs", "pool")
def doctor(*, as_json: Json = False, settings: Settings) -> None:
    """Check everything that a worker needs, and say what to do about what is wrong.

    Looks at the settings, the broker (version, quorum queues, permissions, layout, executors), the
    database (schema, durability, workers) and the blob store, by using each once. What it makes
    for that it takes away again. Exit code 1 if anything is wrong.

    Example:  meerkat-worker doctor
    """
    findings = asyncio.run(_examine(settings))
    if as_json:
        json_lines(findings)
    else:
        table("doctor", ("", "part", "found", "what to do"), (_row(each) for each in findings))
    if any(each.standing is Standing.WRONG for each in findings):
        raise typer.Exit(ExitCode.WRONG)


async def _examine(settings: Settings) -> list[Finding]:
    """Look at all parts at once: a dead one costs its deadline only once."""
    looked_at = await asyncio.gather(
        broker_findings(settings), database_findings(settings), blob_findings(settings)
    )
    return [*settings_findings(os.environ), *(each for part in looked_at for each in part)]


def _row(finding: Finding) -> tuple[object, ...]:
    return finding.standing, finding.part, masked(finding.found), finding.remedy
