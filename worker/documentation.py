"""Documentation that cannot drift: ``python -m worker.documentation [--check]``.

Writes ``docs/configuration.md`` out of the settings and the metrics, ``docs/cli.md`` out of the
command line itself, the drawings of ``docs/driver.md`` out of the driver's tables, and the examples
of ``README.md`` out of the files that are tested.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import typer
from typer.core import TyperCommand, TyperGroup

from worker.cli.root import PROGRAM, Deferred, app
from worker.driver.diagram import redrawn
from worker.exits import ExitCode
from worker.metrics import declared
from worker.settings import catalogue

ROOT: Final = Path(__file__).parent.parent
_EXAMPLE: Final = re.compile(r"(<!-- example: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_MADE: Final = "<!-- Made by `python -m worker.documentation`; do not edit. -->"

Command = TyperCommand | TyperGroup


def pages(root: Path = ROOT) -> dict[str, str]:
    """Make every page: its text by its file, relative to the project's root."""
    driver = (root / "docs/driver.md").read_text(encoding="utf-8")
    readme = (root / "README.md").read_text(encoding="utf-8")
    return {
        "docs/configuration.md": configuration(),
        "docs/cli.md": command_line(),
        "docs/driver.md": redrawn(driver),
        "README.md": _EXAMPLE.sub(lambda found: _quoted(found, root), readme),
    }


def _quoted(found: re.Match[str], root: Path) -> str:
    """Put a file's text between the markers that name it."""
    begin, name, end = found.groups()
    code = (root / name).read_text(encoding="utf-8")
    return f"{begin}```python\n{code}```\n{end}"


def configuration() -> str:
    """Make the page of settings and metrics."""
    lines = [
        "# Configuration",
        "",
        _MADE,
        "",
        "Every setting is an environment variable and a flag of `run`; the flag wins. An empty",
        "variable counts as absent. Durations are seconds, or a number with `s`, `m`, `h` or `d`.",
        "A value that cannot be used ends the command with exit code 2 and a sentence.",
        "",
        *_grid("Variable", "Default", "Unit", "Meaning", rows=_settings()),
        "",
        "## Console",
        "",
        "Of `console` alone, beside those settings that it shares.",
        "",
        *_grid("Variable", "Flag", "Default", "Meaning", rows=_console()),
        "",
        "## Metrics",
        "",
        "Served at `/metrics` on `MEERKAT_HEALTH_PORT`, beside `/live` and `/ready`.",
        "",
        *_grid("Name", "Kind", "Labels", "Meaning", rows=_metrics()),
    ]
    return "\n".join(lines) + "\n"


def command_line() -> str:
    """Make the page of commands and exit codes."""
    root: Any = typer.main.get_command(app)
    codes = ((str(int(code)), code.meaning) for code in ExitCode)
    lines = [
        "# Command line",
        "",
        _MADE,
        "",
        inspect.cleandoc(root.help),
        "",
        "Lists are tables for people; `--json` makes them one JSON object a line, for programs.",
        "Text from messages is shown with control characters made inert.",
        "",
        "## Exit codes",
        "",
        *_grid("Code", "Meaning", rows=codes),
    ]
    for command in root.commands.values():
        lines += _described(_loaded(command), f"{PROGRAM} {command.name}", level=2)
    return "\n".join(lines) + "\n"


def _settings() -> Iterator[tuple[str, ...]]:
    for setting in catalogue().values():
        yield f"`{setting.variable}`", f"`{setting.default}`", setting.unit, setting.doc


def _console() -> Iterator[tuple[str, ...]]:
    root: Any = typer.main.get_command(app)
    for param in _loaded(root.commands["console"]).params:
        if getattr(param, "envvar", None):
            default = "none" if param.default is None else str(param.default)
            help_text = str(getattr(param, "help", ""))
            yield f"`{param.envvar}`", f"`{param.opts[0]}`", f"`{default}`", help_text


def _metrics() -> Iterator[tuple[str, ...]]:
    for name, (kind, recipe) in declared().items():
        labels = ", ".join(f"`{label}`" for label in recipe.labels)
        yield f"`meerkat_{name}`", kind.__name__.lower(), labels, recipe.doc


def _loaded(command: Any) -> Command:  # noqa: ANN401  # typer's own base class is private
    loaded: Command = command.load() if isinstance(command, Deferred) else command
    return loaded


def _described(command: Command, path: str, level: int) -> list[str]:
    lines = ["", f"{'#' * level} {path}", "", *_prose(command.help or "")]
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            lines += _described(_loaded(inner), f"{path} {name}", level + 1)
        return lines
    return lines + _parameters(command)


def _prose(text: str) -> list[str]:
    """Keep paragraphs; an example becomes code."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs).split("\n")


def _paragraph(text: str) -> str:
    example = text.removeprefix("Example:")
    if example is text or example == text:
        return text
    return f"```sh\n{' '.join(example.split())}\n```"


def _parameters(command: Command) -> list[str]:
    shown = [param for param in command.params if param.name != "help"]
    own = [param for param in shown if getattr(param, "rich_help_panel", None) != "Settings"]
    flags = [f"`{param.opts[0]}`" for param in shown if param not in own]
    lines: list[str] = []
    if own:
        rows = ((_name(param), _meaning(param)) for param in own)
        lines += ["", *_grid("Parameter", "Meaning", rows=rows)]
    if len(flags) == len(catalogue()):
        return [*lines, "", "Every setting is a flag: see [configuration](configuration.md)."]
    return [*lines, "", f"Settings: {', '.join(flags)}."] if flags else lines


def _name(param: Any) -> str:  # noqa: ANN401  # typer's own base class is private
    if param.param_type_name == "argument":
        return f"`{param.metavar or param.name.upper()}`"
    return ", ".join(f"`{name}`" for name in (*param.opts, *param.secondary_opts))


def _meaning(param: Any) -> str:  # noqa: ANN401  # the same
    parts = [param.help or "", "Required." if param.required else ""]
    default = param.default
    if isinstance(default, str | int | float) and not isinstance(default, bool):
        parts.append(f"Default: `{default}`.")
    if param.envvar:
        parts.append(f"Also `{param.envvar}`.")
    return " ".join(part for part in parts if part)


def _grid(*columns: str, rows: Iterator[tuple[str, ...]]) -> list[str]:
    head = [_row(columns), f"|{'---|' * len(columns)}"]
    return head + [_row(row) for row in rows]


def _row(cells: Sequence[str]) -> str:
    shown = (cell.replace("|", r"\|").replace("\n", " ") for cell in cells)
    return f"| {' | '.join(shown)} |"


def stale(root: Path = ROOT) -> list[Path]:
    """Name the pages that are missing or out of date."""
    made = {root / name: text for name, text in pages(root).items()}
    return [path for path, text in made.items() if not path.exists() or path.read_text() != text]


def main(arguments: Sequence[str]) -> int:
    """Write the pages, or with ``--check`` only name the stale ones (exit code 1)."""
    if "--check" in arguments:
        old = stale()
        sys.stderr.writelines(f"stale: {path}; run make docs\n" for path in old)
        return 1 if old else 0
    for name, text in pages().items():
        (ROOT / name).write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
