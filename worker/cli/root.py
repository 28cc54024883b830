"""The root command: which commands there are, without loading any of them."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import Annotated, Any, Final, cast

import typer
from typer.core import TyperCommand, TyperGroup

PROGRAM: Final = "meerkat-worker"

COMMANDS: Final = {
    "run": "Run a worker until it is told to stop.",
    "executor": "Run an executor: your own code, doing the runs of a pool.",
    "publish": "Publish inputs to a runtime.",
    "command": "Tell a runtime what to do, and see what it answers.",
    "runtimes": "Look at runtimes: their state, their inputs, their runs and receipts.",
    "workers": "Look at the workers that share the queues.",
    "inputs": "Look at the inputs of a runtime.",
    "dead-letters": "Look at messages and inputs that could not be processed, and have them back.",
    "console": "Serve a web page: runtimes, dead letters, and what can be done about them.",
    "explain": "Say in plain words why a runtime, or one of its inputs, has not moved.",
    "events": "Watch what happens to runtimes.",
    "migrate": "Bring the database's schema to what this version needs.",
    "doctor": "Check everything that a worker needs, and say what to do about what is wrong.",
    "verify": "Prove the store against its receipts.",
    "replay": "Run a recorded trace through the driver, offline.",
    "schemas": "Export the JSON Schemas of the wire contract.",
    "sandbox": "Run a broker, a worker and an agent until Ctrl-C, to try things on.",
    "demo": "See one input's whole life on a real broker, with a crash in the middle.",
}
"""Every command and its summary, in the order of the help."""


def noun(name: str) -> typer.Typer:
    """Make the Typer application of one command's file."""
    return typer.Typer(
        help=COMMANDS[name],
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )


class Deferred(TyperCommand):
    """A command that is known by name and summary, and loaded when it is run."""

    def load(self) -> TyperCommand | TyperGroup:
        """Import the command's file and build the command; ``run`` sets up a log of its own."""
        from worker import log  # noqa: PLC0415  # keeps --version and --help fast

        log.quiet()
        module = import_module(f"worker.cli.{str(self.name).replace('-', '_')}")
        command = cast("TyperCommand | TyperGroup", typer.main.get_command(module.app))
        command.name = self.name
        return command

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # typer's own types
        """Hand over to the loaded command: its context, its parsing, its body."""
        return self.load().make_context(*args, **kwargs)


class Root(TyperGroup):
    """The group of all commands."""

    def __init__(self, **attributes: Any) -> None:  # noqa: ANN401  # typer's own types
        super().__init__(**attributes)
        for name, summary in COMMANDS.items():
            self.add_command(Deferred(name, help=summary))


def _show_version(wanted: bool) -> None:  # noqa: FBT001  # called by typer
    if wanted:
        typer.echo(f"{PROGRAM} {metadata.version(PROGRAM)}")
        raise typer.Exit


app = typer.Typer(
    cls=Root,
    name=PROGRAM,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Durable, ordered, idempotent inboxes for agent runtimes, on RabbitMQ.

    Settings come from MEERKAT_* variables (docs/configuration.md); flags win over them.

    Start with:  meerkat-worker doctor,  then  meerkat-worker run
    """
