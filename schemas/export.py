"""JSON Schemas of all messages, made from the code: ``python -m schemas.export [--check]``.

The files in ``schemas/json/`` are for authors in other languages and for tools. Formats are only
annotations to many validators, so ids and timestamps carry a pattern besides.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from schemas.commands import Command, CommandReport
from schemas.envelope import SCHEMA_VERSION, MessageType, Registration, Signal
from schemas.events import RuntimeEventEnvelope
from schemas.inputs import WireInput
from schemas.outcomes import Completion
from schemas.runs import RunEvent, RunRequest

DIRECTORY: Final = Path(__file__).parent / "json"

_META_SCHEMA: Final = "https://json-schema.org/draft/2020-12/schema"
_PATTERNS: Final = {
    "uuid": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$",
    "date-time": (
        "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]+)?"
        "([Zz]|[+-][0-9]{2}:[0-9]{2})$"
    ),
}
_COMMAND_REPORT: Final = "command_report"
_BODIES: Final[dict[str, tuple[Any, str]]] = {
    MessageType.INPUT: (WireInput, "An input for a runtime."),
    MessageType.RUN_EVENT: (RunEvent, "What an executor says of a run."),
    MessageType.COMMAND: (Command, "What a runtime is told to do."),
    MessageType.RUN_REQUEST: (RunRequest, "What an executor takes from its pool."),
    MessageType.SIGNAL: (Signal, "What the executor that holds a run is told."),
    MessageType.RUNTIME_EVENT: (RuntimeEventEnvelope, "What observers are told."),
    MessageType.COMPLETION: (Completion, "How an input ended, to whoever asked."),
    MessageType.REGISTRATION: (Registration, "A publisher's notice that a runtime exists."),
    _COMMAND_REPORT: (CommandReport, "What became of a command, to whoever asked."),
}


def documents() -> dict[str, str]:
    """Make every schema: its text by the name of its file."""
    return {
        f"{name}.json": json.dumps(_document(name, body, purpose), indent=2) + "\n"
        for name, (body, purpose) in _BODIES.items()
    }


def export(directory: Path = DIRECTORY) -> list[Path]:
    """Write every schema into a directory, and answer the files."""
    directory.mkdir(parents=True, exist_ok=True)
    written = [directory / name for name in documents()]
    for path, text in zip(written, documents().values(), strict=True):
        path.write_text(text, encoding="utf-8")
    return written


def check(directory: Path = DIRECTORY) -> list[Path]:
    """Name the files of a directory that are missing, out of date, or no longer made."""
    made = {directory / name: text for name, text in documents().items()}
    stale = [path for path, text in made.items() if _text(path) != text]
    return sorted(stale + [path for path in directory.glob("*.json") if path not in made])


def main(arguments: Sequence[str]) -> int:
    """Export, or with ``--check`` only say what is stale (exit code 1 if anything is)."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m schemas.export [--check]\n")
        return 2
    if not arguments:
        export()
        return 0
    stale = check()
    for path in stale:
        sys.stderr.write(f"{path}: stale; run python -m schemas.export\n")
    return 1 if stale else 0


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _document(name: str, body: Any, purpose: str) -> dict[str, Any]:  # noqa: ANN401
    made = msgspec.json.schema(body)
    definitions = made.pop("$defs", {})
    if "Image" in definitions:
        definitions["Image"] |= _image_rules()
    return {
        "$schema": _META_SCHEMA,
        "$id": f"urn:meerkat-worker:schema:{SCHEMA_VERSION}:{name}",
        "title": name,
        "description": purpose,
        **_with_patterns(made),
        "$defs": {key: _with_patterns(definitions[key]) for key in sorted(definitions)},
    }


def _image_rules() -> dict[str, Any]:
    """What ``Image`` checks in code: the field that the source names is there, the other is not."""
    text, nothing = {"type": "string"}, {"type": "null"}
    base64 = text | {"contentEncoding": "base64", "pattern": r"^[A-Za-z0-9+/]*={0,2}$"}
    return {
        "oneOf": [
            {
                "properties": {
                    "source": {"const": "inline"},
                    "data": base64,
                    "blob_id": nothing,
                },
                "required": ["data"],
            },
            {
                "properties": {"source": {"const": "blob"}, "data": nothing, "blob_id": text},
                "required": ["blob_id"],
            },
        ]
    }


def _with_patterns(part: Any) -> Any:  # noqa: ANN401
    match part:
        case {"format": str(kind)} if kind in _PATTERNS:
            return part | {"pattern": _PATTERNS[kind]}
        case {"pattern": str(pattern)}:
            # Python's $ also matches before a last line feed; no other language needs telling,
            # and many cannot look ahead.
            return part | {"pattern": pattern.removesuffix(r"(?!\n)")}
        case dict():
            return {key: _with_patterns(value) for key, value in part.items()}
        case list():
            return [_with_patterns(value) for value in part]
        case _:
            return part


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
