"""The exported JSON Schemas are fresh, valid, and accept exactly what the decoder accepts."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from schemas import export
from schemas.envelope import MessageType
from tests.unit.schemas.examples import (
    COMMAND_REPORT,
    INLINE,
    OTHER,
    Example,
    bad,
    good,
    header,
    prompt,
)

FILES = sorted(export.DIRECTORY.glob("*.json"))


@cache
def validator(kind: str) -> Draft202012Validator:
    schema = json.loads((export.DIRECTORY / f"{kind}.json").read_text())
    return Draft202012Validator(schema)


def test_the_files_are_those_that_the_code_makes_now() -> None:
    assert export.check() == []


def test_there_is_a_schema_for_every_message() -> None:
    assert {path.stem for path in FILES} == set(MessageType) | {COMMAND_REPORT}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_schema_is_valid_by_its_own_meta_schema(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema, format_checker=FormatChecker())
    assert schema["$id"] == f"urn:meerkat-worker:schema:1:{path.stem}"
    assert not list(dangling(schema, schema["$defs"]))


def dangling(part: Any, definitions: dict[str, Any]) -> list[str]:  # noqa: ANN401
    """Find references to definitions that are not there."""
    match part:
        case {"$ref": str(target)}:
            return [] if target.removeprefix("#/$defs/") in definitions else [target]
        case dict():
            return [name for value in part.values() for name in dangling(value, definitions)]
        case list():
            return [name for value in part for name in dangling(value, definitions)]
        case _:
            return []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_patterns_hold_in_languages_that_cannot_look_ahead(path: Path) -> None:
    patterns = re.findall(r'"pattern": (".*")', path.read_text())
    assert patterns
    assert not [pattern for pattern in patterns if "(?" in json.loads(pattern)]


@pytest.mark.parametrize("example", good(), ids=str)
def test_what_decodes_is_accepted(example: Example) -> None:
    validator(example.kind).validate(example.body)


# JSON Schema has no word for these: a month 13 that looks like a date.
INEXPRESSIBLE = [header(timestamp="2026-13-02T03:04:05Z")]


@pytest.mark.parametrize(
    "example", [example for example in bad() if example.body not in INEXPRESSIBLE], ids=str
)
def test_what_does_not_decode_is_refused(example: Example) -> None:
    assert not validator(example.kind).is_valid(example.body)


@pytest.mark.parametrize(
    "body",
    [
        header(id=OTHER.replace("-", "")),
        header(timestamp="2026-01-02 03:04:05Z"),
        header(timestamp="2026-01-02T03:04:05+0100"),
    ],
    ids=str,
)
def test_what_the_decoder_merely_tolerates_is_not_in_the_contract(body: dict[str, Any]) -> None:
    """Other spellings of ids and moments are taken today and may be refused tomorrow."""
    assert not validator(MessageType.INPUT).is_valid(body)


def test_an_image_is_inline_or_a_reference_never_both() -> None:
    both = prompt(blocks=[INLINE | {"blob_id": f"sha256:{'0' * 64}"}])
    assert not validator(MessageType.INPUT).is_valid(both)


# --- the command ---------------------------------------------------------------------------------


def test_export_writes_what_check_then_finds_fresh(tmp_path: Path) -> None:
    written = export.export(tmp_path / "new")
    assert sorted(path.name for path in written) == [path.name for path in FILES]
    assert export.check(tmp_path / "new") == []


def test_check_names_the_stale_the_missing_and_the_left_over(tmp_path: Path) -> None:
    shutil.copytree(export.DIRECTORY, tmp_path, dirs_exist_ok=True)
    stale, missing, over = (tmp_path / f"{name}.json" for name in ("command", "input", "zebra"))
    stale.write_text("{}")
    missing.unlink()
    over.write_text("{}")
    assert export.check(tmp_path) == [stale, missing, over]


def test_the_command_exports_and_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(export.check, "__defaults__", (tmp_path,))
    monkeypatch.setattr(export.export, "__defaults__", (tmp_path,))
    assert export.main(["--check"]) == 1
    assert f"{tmp_path / 'input.json'}: stale" in capsys.readouterr().err
    assert export.main([]) == 0
    assert export.main(["--check"]) == 0


def test_the_module_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["export", "--check"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_path(str(export.__file__), run_name="__main__")
    assert caught.value.code == 0


def test_the_command_refuses_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert export.main(["--wipe"]) == 2
    assert "usage" in capsys.readouterr().err
