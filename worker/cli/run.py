"""``run``: a worker."""

from __future__ import annotations

from typing import Annotated

import typer

from store import migrations
from worker import log, process
from worker.cli.options import settings_flags
from worker.cli.root import noun
from worker.service import serve
from worker.settings import Settings, catalogue

app = noun("run")


@app.command()
@settings_flags(*catalogue())
def run(
    *,
    executor: Annotated[
        str | None,
        typer.Option(
            metavar="MODULE:NAME", help="Run this executor inside the worker; for small set-ups."
        ),
    ] = None,
    migrate: Annotated[
        bool, typer.Option("--migrate", help="Bring the database's schema up to date first.")
    ] = False,
    settings: Settings,
) -> None:
    """Run a worker until it is told to stop.

    Checks configuration, broker, database and blobs first, and ends with exit code 2 and a
    sentence for what is wrong. SIGTERM: finishes what is in flight, then exit code 0; a second
    SIGTERM: leaves at once. Nothing is lost either way.

    Example:  meerkat-worker run --migrate --log-format json

    Example:  meerkat-worker run --executor worker.echo:executor
    """
    log.configure(settings.log_level, settings.log_format)
    if migrate:
        migrations.upgrade(settings.database_url)
    process.run(serve(settings, executor=executor))
