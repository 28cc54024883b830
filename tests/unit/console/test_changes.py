"""What is done with letters on the console's pages, as far as no broker is needed."""

from __future__ import annotations

import re
from html import unescape
from uuid import UUID

import msgspec
import pytest

from schemas.dead_letters import DeadLetterStatus
from store.dead_letters import Letter, LetterFilter
from store.letter_acts import Act
from store.ports import Commit
from store.sql import SqlStore
from tests.support.eventually import eventually
from tests.support.place import NOW, Place
from tests.support.store import a_letter
from tests.unit.console.conftest import Visitor
from worker.client import Prompt
from worker.console.console import Console


async def _letter(store: SqlStore, letter_id: UUID) -> Letter:
    found = await store.dead_letters.get(letter_id)
    assert found is not None
    return found[0]


async def test_a_letter_is_discarded_with_a_reason_and_opened_again(
    operator: Visitor, store: SqlStore, place: Place
) -> None:
    one = f"/dead-letters/{place.letters[0]}"
    unexplained = await operator.send(f"{one}/discard", note="  ")
    assert unexplained.status_code == 400
    assert "note: expected why" in unexplained.text
    answer = await operator.send(f"{one}/discard", note="a load test")
    assert "Discarded." in await operator.text(answer.headers["location"])
    letter = await _letter(store, place.letters[0])
    assert (letter.status, letter.who, letter.note) == ("discarded", "ada", "a load test")
    again = await operator.send(f"{one}/discard", note="a load test")
    assert "Somebody else was faster" in await operator.text(again.headers["location"])
    answer = await operator.send(f"{one}/reopen", note="it was not")
    assert "Open again." in await operator.text(answer.headers["location"])
    assert (await _letter(store, place.letters[0])).status == "open"


@pytest.mark.parametrize("path", ["{one}/redrive", "/dead-letters/redrive"])
async def test_without_a_broker_nothing_is_redriven(
    operator: Visitor, store: SqlStore, place: Place, path: str
) -> None:
    answer = await operator.send(path.format(one=f"/dead-letters/{place.letters[0]}"))
    assert answer.status_code == 503
    assert "Nothing was done: no connection to the broker" in answer.text
    assert await store.dead_letters.count(LetterFilter()) == 3


async def test_a_page_whose_broker_is_away_says_so(operator: Visitor) -> None:
    page = await operator.text("/runtimes/agent-1")
    assert "The broker could not be asked: no connection to the broker" in page


async def test_many_are_discarded_after_saying_how_many(
    operator: Visitor, store: SqlStore, parts: Console
) -> None:
    page = await operator.text("/dead-letters/discard?reason=malformed")
    assert "Discard 2 letters?" in page
    assert await store.dead_letters.count(LetterFilter()) == 3
    form = {"reason": "malformed", "limit": "5", "note": "a load test"}
    answer = await operator.send("/dead-letters/discard", **form)
    act = answer.headers["location"]
    await eventually(lambda: not parts.acts.going, 20, "the act is over")
    page = await operator.text(act)
    assert "2 discarded" in page
    assert '<span class="state done">done</span>' in page
    discarded = LetterFilter(status=DeadLetterStatus.DISCARDED)
    assert await store.dead_letters.count(discarded) == 2


@pytest.mark.parametrize(
    ("field", "text"), [("limit", "0"), ("limit", "many"), ("limit", "9" * 5000), ("note", " ")]
)
async def test_a_field_that_cannot_be_read_is_named_and_nothing_done(
    operator: Visitor, store: SqlStore, field: str, text: str
) -> None:
    form = {"limit": "1", "note": "x", field: text}
    answer = await operator.send("/dead-letters/discard", **form)
    assert answer.status_code == 400
    assert f"{field}: expected" in answer.text
    assert await store.dead_letters.count(LetterFilter()) == 3


def _edit_form(page: str) -> dict[str, str]:
    body = re.search(r"<textarea[^>]*>\n(.*)</textarea>", page, re.DOTALL)
    digest = re.search(r'name="digest" value="([0-9a-f]{64})"', page)
    assert body is not None
    assert digest is not None
    return {"body": unescape(body[1]), "digest": digest[1]}


async def test_an_edit_is_tried_dry_and_writes_nothing(operator: Visitor, store: SqlStore) -> None:
    item = Prompt("fine").to_input()
    body = msgspec.json.encode({**msgspec.to_builtins(item), "text": 7})
    properties = {"message_id": str(item.header.id), "type": "input"}
    dead = a_letter(message_id=str(item.header.id), properties=properties, body=body)
    await store.commit([Commit(None, 0, dead_letters=(dead,))])
    one = f"/dead-letters/{dead.id}"
    form = _edit_form(await operator.text(f"{one}/edit"))
    as_sent = {**form, "body": form["body"].replace("\n", "\r\n")}
    unchanged = await operator.send(f"{one}/edit", **as_sent)
    assert unchanged.status_code == 422
    assert "the body is as it was" in unchanged.text
    typed = form["body"].replace('"prompt"', '"odd"').replace("\n", "\r\n")
    wrong = await operator.send(f"{one}/edit", body=typed, digest=form["digest"])
    assert wrong.status_code == 422
    assert "it would die again" in wrong.text
    assert '"odd"' in unescape(wrong.text), "what was typed is still there"
    typed = form["body"].replace(": 7", ': "sev\u00ebn"').replace("\n", "\r\n")
    tried = await operator.send(f"{one}/edit", body=typed, digest=form["digest"])
    assert "<strong>processed</strong>" in tried.text
    assert '+  "text": "sevën"' in unescape(tried.text)
    away = await operator.send(f"{one}/edit", **form | {"body": typed, "step": "redrive"})
    assert away.status_code == 503
    found = await store.dead_letters.get(dead.id)
    assert found is not None
    assert (found[0].status, found[1]) == ("open", body)


async def test_an_edit_of_what_was_changed_meanwhile_is_told(
    operator: Visitor, store: SqlStore, place: Place
) -> None:
    one = f"/dead-letters/{place.letters[1]}"
    answer = await operator.send(f"{one}/edit", body="{}", digest="0" * 64, note="x")
    assert "somebody else has changed the body" in await operator.text(answer.headers["location"])
    await store.letter_acts.discard([place.letters[1]], Act("bo", NOW, "gone"))
    answer = await operator.send(f"{one}/edit", body="{}", digest="0" * 64, note="x")
    assert "the letter is not open" in await operator.text(answer.headers["location"])


async def test_a_body_that_a_form_would_change_is_not_offered_for_editing(
    operator: Visitor, place: Place
) -> None:
    page = await operator.text(f"/dead-letters/{place.letters[0]}/edit")
    assert "cannot be edited in a browser" in page
    assert "--body-file" in page
    assert "<textarea" not in page
