"""``demo``: the whole story, on a real broker."""

from __future__ import annotations

import typer

from worker.cli.root import noun
from worker.demo import main

app = noun("demo")


@app.command()
def demo() -> None:
    """See one input's whole life on a real broker, with a crash in the middle.

    Starts a worker and an executor, publishes some forty messages to three runtimes, kills the
    worker half way, and checks what became of each message. Uses the broker of MEERKAT_AMQP_URL,
    else a private one that is gone afterwards.

    Example:  meerkat-worker demo
    """
    raise typer.Exit(main())
