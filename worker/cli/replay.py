"""``replay``: a recorded trace through the driver, offline."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from worker.cli.root import noun
from worker.driver.replay import replay as steps
from worker.terminal import inert

app = noun("replay")

Trace = Annotated[
    Path | None,
    typer.Argument(
        help="A trace, one JSON object a line; standard input if left out or '-'.",
        exists=True,
        dir_okay=False,
        allow_dash=True,
        show_default=False,
    ),
]


@app.command()
def replay(trace: Trace = None) -> None:
    """Run a recorded trace through the driver, offline.

    Reads operations as JSON lines and prints what the driver did as one JSON line a step. Touches
    neither broker nor database. A line that it does not know ends it with exit code 2 and the
    line's number.

    Example:  meerkat-worker replay trace.jsonl | jq .outcome
    """
    with ExitStack() as opened:
        from_stdin = trace is None or str(trace) == "-"
        source = (
            typer.get_binary_stream("stdin")
            if from_stdin or trace is None
            else opened.enter_context(trace.open("rb"))
        )
        for step in steps(source):
            typer.echo(inert(step))
