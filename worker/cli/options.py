"""Options: settings as flags of a command, and the few flags that many commands share."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

import typer

from worker.settings import Setting, catalogue, load

T = TypeVar("T")

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="Show at most so many.")]
DEFAULT_LIMIT: Final = 100

STORE: Final = ("database_url",)
BROKER: Final = ("amqp_url", "namespace", "layout")


def settings_flags(*names: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command flags for the named settings; it receives them as ``settings``.

    Settings that are not named come from their variables alone.
    """
    known = catalogue()
    flags = [_flag(known[name]) for name in names]

    def wrap(command: Callable[..., T]) -> Callable[..., T]:
        signature = inspect.signature(command, eval_str=True)
        own = [item for name, item in signature.parameters.items() if name != "settings"]

        @functools.wraps(command)
        def wrapped(**given: Any) -> T:  # noqa: ANN401  # whatever the command takes
            texts = {name: given.pop(name) for name in names}
            return command(**given, settings=load(os.environ, texts))

        parameters = [*own, *flags]
        wrapped.__dict__["__signature__"] = signature.replace(parameters=parameters)
        wrapped.__annotations__ = {item.name: item.annotation for item in parameters}
        return wrapped

    return wrap


def _flag(setting: Setting) -> inspect.Parameter:
    option = typer.Option(
        setting.flag,
        metavar=(setting.unit or "text").upper().replace(" ", "_"),
        help=f"{setting.doc} {setting.variable}, else {setting.default}.".replace("`", ""),
        show_default=False,
        rich_help_panel="Settings",
    )
    return inspect.Parameter(
        setting.name,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[str | None, option],
    )
