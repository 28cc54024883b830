"""``sandbox``: a broker, a worker and an agent to try things on."""

from __future__ import annotations

from typing import Annotated

import typer

from worker.cli.root import noun
from worker.demo.stage import ECHO
from worker.demo.standing import main

app = noun("sandbox")


@app.command()
def sandbox(
    executor: Annotated[
        str, typer.Option(metavar="MODULE:NAME", help="The agent that takes the runs.")
    ] = ECHO,
) -> None:
    """Run a broker, a worker and an agent until Ctrl-C, to try things on.

    Uses the broker of MEERKAT_AMQP_URL, else a private one that is gone afterwards. The database,
    the logs and a file of variables to source in another terminal are in ./meerkat-sandbox.

    Example:  meerkat-worker sandbox --executor docs.examples.executor:executor
    """
    raise typer.Exit(main(executor))
