"""The wire document: each of its examples is what it claims to be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import schemas
from schemas.envelope import Envelope, MessageType, decode
from schemas.export import documents
from tests.unit.schemas.examples import NOW, decoded
from worker.broker.topology import Topology

ROOT = Path(schemas.__file__).parent.parent
WIRE = (ROOT / "docs" / "wire.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"<!-- ([a-z_ ]+) -->\n```json\n(.*?)```", WIRE, re.DOTALL)
BODIES = [(kind, json.loads(text)) for kind, text in EXAMPLES if " " not in kind]


def test_every_example_says_what_it_is() -> None:
    assert len(EXAMPLES) == WIRE.count("```json")


def test_every_type_of_message_has_an_example() -> None:
    assert {kind for kind, _ in BODIES} == {*MessageType, "command_report"}


@pytest.mark.parametrize(("kind", "body"), BODIES, ids=lambda part: str(part)[:50])
def test_an_example_fits_its_schema(kind: str, body: dict[str, Any]) -> None:
    Draft202012Validator(json.loads(documents()[f"{kind}.json"])).validate(body)


@pytest.mark.parametrize(
    ("kind", "body"),
    [(kind, body) for kind, body in BODIES if kind not in ("input", "command")],
    ids=lambda part: str(part)[:50],
)
def test_an_example_decodes(kind: str, body: dict[str, Any]) -> None:
    assert decoded(kind, body) is not None


@pytest.mark.parametrize(
    ("kind", "body"),
    [(kind, body) for kind, body in BODIES if kind in ("input", "command")],
    ids=lambda part: str(part)[:50],
)
def test_an_example_decodes_under_its_own_id(kind: str, body: dict[str, Any]) -> None:
    own = body["header"]["id"] if kind == "input" else body["command_id"]
    text = json.dumps(body).encode()
    envelope = Envelope("agent-7", text, message_id=own, type=kind, headers={"schema": 1})
    assert decode(envelope, received_at=NOW).runtime_id == "agent-7"


def test_the_queue_arguments_are_those_that_workers_declare() -> None:
    """An inbox that is declared with others is refused by the broker."""
    [arguments] = [json.loads(text) for kind, text in EXAMPLES if kind == "queue arguments"]
    assert arguments == Topology()._ordered()
    del arguments["x-single-active-consumer"]
    assert arguments == Topology()._competing()


@pytest.mark.parametrize("kind", MessageType)
def test_every_value_of_the_type_property_is_listed(kind: MessageType) -> None:
    [listed] = re.findall(r"^\| `type` \| (`input`, .*) \|$", WIRE, re.MULTILINE)
    assert f"`{kind}`" in listed


# --- links, on all pages -------------------------------------------------------------------------

PAGES = sorted((ROOT / "docs").rglob("*.md"))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_link_leads_nowhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", page.read_text(encoding="utf-8"))
    local = [(path, anchor) for path, anchor in links if "://" not in path]
    targets = [((page.parent / path) if path else page, anchor) for path, anchor in local]
    assert [str(path) for path, _ in targets if not path.exists()] == []
    assert [
        (str(path), anchor)
        for path, anchor in targets
        if anchor and path.suffix == ".md" and anchor not in anchors(path)
    ] == []
