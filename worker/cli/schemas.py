"""``schemas``: the wire contract as JSON Schemas."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from schemas.export import check as stale_files
from schemas.export import export as export_files
from worker.cli.faults import Failure
from worker.cli.root import noun
from worker.exits import ExitCode

app = noun("schemas")

Directory = Annotated[Path, typer.Argument(help="Where the schemas lie.", file_okay=False)]


@app.command()
def export(directory: Directory = Path("schemas/json")) -> None:
    """Write one JSON Schema a message type into a directory.

    Example:  meerkat-worker schemas export ./contract
    """
    written = export_files(directory)
    typer.echo(f"wrote {len(written)} schemas to {directory}")


@app.command()
def check(directory: Directory = Path("schemas/json")) -> None:
    """Tell whether the schemas in a directory are those of this version.

    Example:  meerkat-worker schemas check ./contract
    """
    stale = stale_files(directory)
    if stale:
        names = ", ".join(str(name) for name in stale)
        raise Failure(ExitCode.WRONG, f"not fresh: {names}; run meerkat-worker schemas export")
    typer.echo(f"{directory} is fresh")
