"""Every page shows what is there, inert, and no payload and no secret that was not asked for."""

from __future__ import annotations

import re
import sqlite3
from html import unescape
from pathlib import Path

import pytest

from schemas.dead_letters import DeadLetter
from schemas.ids import RuntimeId
from store.ports import Commit
from store.sql import SqlStore
from tests.support.place import MALFORMED, SECRET, Place
from tests.support.store import a_letter
from tests.unit.console.conftest import Visitor

ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e\u2066]")
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\r\u202e\u2066<script>alert(1)</script><img src=x onerror=alert(1)>"
    '"\'><a href="javascript:alert(1)">{{ 7*7 }}</a>'
)
MIB = 1024 * 1024


def _paths(place: Place) -> list[str]:
    letter = f"/dead-letters/{place.letters[0]}"
    return [
        "/runtimes",
        "/runtimes?order=wait&prefix=agent",
        "/runtimes/agent-1",
        "/runtimes/agent-1?show=ended",
        f"/runtimes/agent-1/inputs/{place.running}",
        f"/runtimes/agent-1/inputs/{place.running}?payload=shown",
        "/dead-letters",
        "/dead-letters/list",
        "/dead-letters/dry-run",
        "/dead-letters/redrive?reason=malformed",
        letter,
        f"{letter}?payload=shown",
        f"{letter}/dry-run",
        f"{letter}/edit",
    ]


def _harmless(page: str) -> None:
    assert not ACTIVE.search(page)
    assert "<script>" not in page
    assert "<img" not in page
    assert '<a href="javascript' not in page
    assert "49" not in re.findall(r"<code>(.*?)</code>", page)
    assert re.findall(r"<script[^>]*>", page) in ([], ['<script src="/static/live.js" defer>'])
    assert not re.search(r"<[^>]+\s(on\w+|style)=", page), "a handler or a style"


async def test_every_page_shows_what_others_wrote_inert(operator: Visitor, place: Place) -> None:
    for path in _paths(place):
        _harmless(await operator.text(path))


async def test_the_living_part_is_that_of_the_page(operator: Visitor, place: Place) -> None:
    for path in _paths(place):
        page = await operator.text(path)
        part = (await operator.get(path, **{"x-fragment": "live"})).text
        if 'id="refresh"' in page:
            assert "<html" not in part
            assert re.sub(r"\d+ s ago", "", part.strip()) in re.sub(r"\d+ s ago", "", page)
            _harmless(part)


async def test_no_page_shows_a_payload_or_a_secret_unasked(guest: Visitor, place: Place) -> None:
    for path in _paths(place):
        answer = await guest.get(path)
        assert SECRET not in answer.text
        assert "input_type" not in answer.text
        assert (answer.status_code == 303) == bool(re.search(r"shown|/edit|/redrive", path))


async def test_payloads_are_shown_to_those_who_ask_with_secrets_masked(
    operator: Visitor, place: Place
) -> None:
    letter = f"/dead-letters/{place.letters[1]}?payload=shown"
    for path in (letter, f"/runtimes/agent-1/inputs/{place.running}?payload=shown"):
        page = unescape(await operator.text(path))
        assert '"input_type"' in page
        assert re.search(r'"password": "?\*\*\*', page)
        assert SECRET not in page


async def test_original_bytes_are_a_file_that_no_browser_shows(
    operator: Visitor, place: Place
) -> None:
    answer = await operator.get(f"/dead-letters/{place.letters[0]}/body")
    assert answer.content == MALFORMED
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment; filename=")
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "body",
    [
        b"\xff\xfe\x00" * 100,
        HOSTILE.encode(),
        b"x" * MIB,
        b'{"a": "' + b"<" * (MIB - 9) + b'"}',
        b"[" * 50_000,
        b"",
    ],
    ids=["binary", "hostile", "1 MiB", "1 MiB of JSON", "deep", "empty"],
)
async def test_any_body_and_any_field_is_shown_inert_and_in_bounds(
    operator: Visitor, store: SqlStore, body: bytes
) -> None:
    letter = _hostile(body)
    await store.commit([Commit(None, 0, dead_letters=(letter,))])
    one = f"/dead-letters/{letter.id}"
    for path in (one, f"{one}?payload=shown", f"{one}/dry-run", f"{one}/edit", "/dead-letters"):
        page = await operator.text(path)
        _harmless(page)
        assert len(page) < (2 * MIB * 4 if path.endswith("edit") else MIB)
    assert (await operator.get(f"{one}/body")).content == body


def _hostile(body: bytes) -> DeadLetter:
    return a_letter(
        RuntimeId("agent-1"),
        message_id=HOSTILE,
        type=HOSTILE,
        source_queue=HOSTILE,
        detail=HOSTILE,
        body=body,
        properties={HOSTILE: HOSTILE, "headers": {HOSTILE: [HOSTILE]}, "password": SECRET},
    )


async def test_who_and_why_are_shown_inert(operator: Visitor, place: Place) -> None:
    letter = f"/dead-letters/{place.letters[0]}"
    answer = await operator.send(f"{letter}/discard", note=HOSTILE)
    _harmless(await operator.text(answer.headers["location"]))
    assert "owned" in await operator.text(letter)


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/nothing", 404, "Not here"),
        ("/runtimes/nobody", 404, "no runtime nobody"),
        ("/runtimes/%3Cscript%3E", 400, "expected a runtime id"),
        ("/runtimes?state=odd", 400, "state: expected one of"),
        ("/runtimes?after=odd", 400, "expected a cursor"),
        ("/runtimes?order=odd", 400, "order: expected one of name, wait"),
        (f"/runtimes/agent-1/inputs/{'0' * 8}-0000-0000-0000-{'0' * 12}", 404, "no input"),
        ("/dead-letters?status=odd", 400, "status: expected one of"),
        ("/dead-letters?reason=odd", 400, "reason: expected one of"),
        ("/dead-letters?runtime=%20%2F", 400, "runtime: expected a runtime id"),
        ("/dead-letters?since=yesterday", 400, "since: expected 90s"),
        ("/dead-letters/list?group=odd", 400, "group: expected 16 hexadecimal"),
        ("/dead-letters/list?after=W10", 400, "expected a cursor"),
        (f"/dead-letters/{'0' * 8}-0000-0000-0000-{'0' * 12}", 404, "no dead letter"),
        (f"/acts/{'0' * 8}-0000-0000-0000-{'0' * 12}", 404, "no such act"),
    ],
)
async def test_what_cannot_be_shown_is_said_in_a_sentence(
    operator: Visitor, path: str, code: int, words: str
) -> None:
    answer = await operator.get(path)
    assert answer.status_code == code
    assert words in unescape(answer.text)
    _harmless(answer.text)


async def test_a_list_goes_on_where_its_page_ended(
    operator: Visitor, store: SqlStore, place: Place
) -> None:
    letters = [a_letter(RuntimeId("agent-9"), detail=f"number {n}") for n in range(60)]
    await store.commit([Commit(None, 0, dead_letters=(one,)) for one in letters])
    path = "/dead-letters/list?runtime=agent-9"
    first = await operator.text(path)
    following = re.search(r'href="([^"]+)" rel="next"', first)
    assert following is not None
    second = await operator.text(unescape(following[1]))
    shown = [
        set(re.findall(r'href="/dead-letters/([0-9a-f-]{36})"', page)) for page in (first, second)
    ]
    assert shown[0].isdisjoint(shown[1])
    assert shown[0] | shown[1] == {str(one.id) for one in letters}
    assert len(place.letters) == 3


async def test_runtimes_are_found_by_how_their_ids_begin(operator: Visitor) -> None:
    page = await operator.text("/runtimes?prefix=agent-2")
    assert "agent-2" in page
    assert 'href="/runtimes/agent-1"' not in page
    assert "No runtime is like that" in await operator.text("/runtimes?prefix=%25")


async def test_a_damaged_row_does_not_hide_the_others(
    operator: Visitor, store: SqlStore, place: Place, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "meerkat.db") as database:
        database.execute("UPDATE dead_letters SET reason = 'odd' WHERE reason = 'conflict'")
    page = await operator.text("/dead-letters/list")
    assert "cannot be decoded" in page
    assert str(place.letters[0]) in page
    answer = await operator.get(f"/dead-letters/{place.letters[2]}")
    assert answer.status_code == 500
    assert "cannot be decoded" in answer.text
    assert await store.workers() == []


async def test_a_database_that_is_gone_is_said_and_the_console_lives_on(
    operator: Visitor, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "meerkat.db") as database:
        database.execute("ALTER TABLE dead_letters RENAME TO gone")
    answer = await operator.get("/dead-letters")
    assert answer.status_code == 503
    assert "The database" in answer.text
    with sqlite3.connect(tmp_path / "meerkat.db") as database:
        database.execute("ALTER TABLE gone RENAME TO dead_letters")
    await operator.text("/dead-letters")
