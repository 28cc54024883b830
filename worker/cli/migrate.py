"""``migrate``: the database's schema."""

from __future__ import annotations

from typing import Annotated

import typer

from store import migrations
from store.errors import SchemaError
from worker.cli.faults import Failure
from worker.cli.options import STORE, settings_flags
from worker.cli.root import noun
from worker.exits import ExitCode
from worker.settings import Settings

app = noun("migrate")


@app.command()
@settings_flags(*STORE)
def migrate(
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit code 1 if there is work to do.")
    ] = False,
    settings: Settings,
) -> None:
    """Bring the database's schema to what this version needs.

    Safe to repeat, and to run from many processes at once.

    Example:  meerkat-worker migrate --database-url sqlite+aiosqlite:///meerkat.db
    """
    if check:
        _check(settings.database_url)
    else:
        migrations.upgrade(settings.database_url)
    typer.echo("the database's schema is up to date")


def _check(address: str) -> None:
    try:
        migrations.check(address)
    except SchemaError as error:
        raise Failure(ExitCode.WRONG, str(error)) from error
