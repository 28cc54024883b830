"""``console``: a small web page for operators."""

from __future__ import annotations

from typing import Annotated

import typer

from worker import log, process
from worker.cli.letter_choice import Who, name_of
from worker.cli.options import BROKER, STORE, settings_flags
from worker.cli.root import noun
from worker.console.service import DEFAULT_HOST, DEFAULT_PORT, Place, serve
from worker.settings import Settings

app = noun("console")


@app.command()
@settings_flags(*STORE, *BROKER, "pool", "policy_file", "log_level", "log_format")
def console(
    *,
    host: Annotated[
        str,
        typer.Option(envvar="MEERKAT_CONSOLE_HOST", help="Where it listens: a name or an address."),
    ] = DEFAULT_HOST,
    port: Annotated[
        int,
        typer.Option(
            envvar="MEERKAT_CONSOLE_PORT", min=0, max=65535, help="Its port; 0 takes a free one."
        ),
    ] = DEFAULT_PORT,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MEERKAT_CONSOLE_TOKEN",
            show_envvar=True,
            help="What must be shown to change things, 16 characters at least; on loopback one is "
            "made if none is given. Others on this machine can read a flag, but not the variable.",
        ),
    ] = None,
    who: Who = None,
    settings: Settings,
) -> None:
    """Serve a web page: runtimes, dead letters, and what can be done about them.

    It reads the database and asks the broker; workers need not run. On loopback everybody may look
    and whoever opens the printed link, which carries a token, may redrive, edit and discard. On any
    other address nobody sees anything without the token: put TLS in front of it.

    Example:  meerkat-worker console

    Example:  MEERKAT_CONSOLE_TOKEN=... meerkat-worker console --host 0.0.0.0
    """
    log.configure(settings.log_level, settings.log_format)
    process.run(serve(settings, Place(host, port, token or None, name_of(who))))
