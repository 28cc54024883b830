"""``executor``: the users' own code, doing the runs of a pool."""

from __future__ import annotations

from typing import Annotated

import typer

from store.blobs import open_blobs
from worker import log, process
from worker.cli.options import BROKER, settings_flags
from worker.cli.root import noun
from worker.executor import Executor, load
from worker.settings import Settings

app = noun("executor")


@app.command()
@settings_flags(*BROKER, "blobs", "drain_seconds", "log_level", "log_format")
def executor(
    name: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:NAME", help="Where the executor is, in Python.", show_default=False
        ),
    ],
    *,
    settings: Settings,
) -> None:
    """Run an executor: your own code, doing the runs of its pool.

    The module is looked for as Python does, and in the working directory. SIGTERM: takes no more,
    finishes what it has or hands it back, then exit code 0.

    Example:  meerkat-worker executor worker.echo:executor

    Example:  meerkat-worker executor docs.examples.executor:executor --log-format json
    """
    log.configure(settings.log_level, settings.log_format)
    process.run(_serve(load(name), settings))


async def _serve(found: Executor, settings: Settings) -> None:
    blobs = open_blobs(settings.blobs)
    try:
        await blobs.prepare()
        await found.serve(
            settings.amqp_url,
            namespace=settings.namespace,
            layout=settings.layout,
            blobs=blobs,
            drain_seconds=settings.drain_seconds,
        )
    finally:
        await blobs.close()
