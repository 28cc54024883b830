"""Options: settings as flags of a command, and the few flags that many commands share."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, BinaryIO, Final, TypeVar

import typer

from schemas.ids import RuntimeId, runtime_id
from worker.cli.faults import Failure
from worker.exits import ExitCode
from worker.settings import Setting, Settings, catalogue, load

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="Show at most so many.")]
DEFAULT_LIMIT: Final = 100

RuntimeIdArgument = Annotated[
    str, typer.Argument(metavar="RUNTIME", help="The runtime's id.", show_default=False)
]


JsonLines = Annotated[
    typer.FileBinaryRead | None,
    typer.Argument(
        metavar="FILE",
        help="One JSON object a line; standard input if left out or '-'.",
        show_default=False,
    ),
]


def source_of(file: BinaryIO | None) -> BinaryIO:
    """Read a file that was named, or else standard input."""
    return typer.get_binary_stream("stdin") if file is None else file


def runtime_id_of(text: str) -> RuntimeId:
    """Check a runtime id that was typed."""
    try:
        return runtime_id(text)
    except ValueError as error:
        raise Failure(ExitCode.UNUSABLE, f"RUNTIME: {error}") from error


STORE: Final = ("database_url",)
BROKER: Final = ("amqp_url", "namespace", "layout")


def settings_flags(*names: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command flags for the named settings; it receives all settings as ``settings``."""
    return expanded("settings", setting_parameters(*names), settings_of)


def setting_parameters(*names: str) -> list[inspect.Parameter]:
    """Make flags of the named settings; the others come from their variables alone."""
    known = catalogue()
    return [_flag(known[name]) for name in names]


def settings_of(values: Mapping[str, Any]) -> Settings:
    """Read the settings, given the values of all flags of a command."""
    known = catalogue()
    texts = {name: text for name, text in values.items() if name in known}
    return load(os.environ, texts)


def expanded(
    name: str, flags: Sequence[inspect.Parameter], gather: Callable[[dict[str, Any]], object]
) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Replace a command's parameter by flags, out of whose values ``gather`` makes it."""
    names = [flag.name for flag in flags]

    def wrap(command: Callable[..., T]) -> Callable[..., T]:
        signature = inspect.signature(command, eval_str=True)
        own = [item for item in signature.parameters.values() if item.name != name]

        @functools.wraps(command)
        def wrapped(**given: Any) -> T:  # noqa: ANN401  # whatever the command takes
            values = {flag: given.pop(flag) for flag in names}
            return command(**given, **{name: gather(values)})

        parameters = [*own, *flags]
        wrapped.__dict__["__signature__"] = signature.replace(parameters=parameters)
        wrapped.__annotations__ = {item.name: item.annotation for item in parameters}
        return wrapped

    return wrap


def flag(name: str, kind: object, default: object = None) -> inspect.Parameter:
    """Make a flag: ``kind`` is its type, annotated with a ``typer.Option``."""
    only = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, only, default=default, annotation=kind)


def _flag(setting: Setting) -> inspect.Parameter:
    option = typer.Option(
        setting.flag,
        metavar=(setting.unit or "text").upper().replace(" ", "_"),
        help=f"{setting.doc} {setting.variable}, else {setting.default}.".replace("`", ""),
        show_default=False,
        rich_help_panel="Settings",
    )
    return flag(setting.name, Annotated[str | None, option])
