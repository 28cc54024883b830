"""A session is what this console has sealed, for as long as it lasts; signing in begins one."""

from __future__ import annotations

import re

import pytest

from tests.support.consoles import TOKEN
from tests.unit.console.conftest import Visitor
from worker.console.session import LIFETIME_SECONDS, Keys, TokenError, begun, generated_token

NOW = 1_800_000_000.0


def test_a_sealed_session_is_opened_until_it_is_over() -> None:
    keys, session = Keys(TOKEN), begun(NOW, "ada")
    cookie = keys.sealed(session)
    assert keys.opened(cookie, NOW + LIFETIME_SECONDS - 1) == session
    assert keys.opened(cookie, NOW + LIFETIME_SECONDS) is None


def test_another_token_opens_nothing() -> None:
    """Whoever changes the token ends all sessions; a restart with the same one ends none."""
    session = begun(NOW, "ada")
    cookie = Keys(TOKEN).sealed(session)
    assert Keys(TOKEN).opened(cookie, NOW) == session
    assert Keys(f"{TOKEN}!").opened(cookie, NOW) is None


def test_a_cookie_that_was_tampered_with_is_nobodys() -> None:
    keys = Keys(TOKEN)
    cookie = keys.sealed(begun(NOW, "ada"))
    for place in range(len(cookie)):
        changed = cookie[:place] + ("A" if cookie[place] != "A" else "B") + cookie[place + 1 :]
        assert keys.opened(changed, NOW) is None, place


def test_form_token_of_one_session_is_not_that_of_another() -> None:
    keys, mine, other = Keys(TOKEN), begun(NOW, "ada"), begun(NOW, "ada")
    assert keys.is_form_token(mine, keys.form_token(mine))
    assert not keys.is_form_token(mine, keys.form_token(other))
    assert keys.form_token(mine) not in keys.sealed(mine)


def test_a_token_that_could_be_guessed_is_refused_without_quoting_it() -> None:
    with pytest.raises(TokenError, match="at least 16 characters, got 7") as refused:
        Keys("hunter2")
    assert "hunter2" not in str(refused.value)
    assert len({generated_token() for _ in range(10)}) == 10


async def test_the_link_signs_in_and_the_token_leaves_the_address(guest: Visitor) -> None:
    answer = await guest.get(f"/sign-in?token={TOKEN}&next=/dead-letters?status=any")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/dead-letters?status=any"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert TOKEN not in cookie
    assert '<span class="who">ada</span>' in await guest.text("/runtimes")


async def test_the_form_signs_in_under_the_name_that_is_given(guest: Visitor) -> None:
    page = await guest.text("/sign-in?next=/dead-letters")
    assert TOKEN not in page
    form = {"token": TOKEN, "who": "bo <b>", "next": "/dead-letters"}
    answer = await guest.client.post("/sign-in", data=form)
    assert answer.headers["location"] == "/dead-letters"
    assert '<span class="who">bo &lt;b&gt;</span>' in await guest.text("/runtimes")


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], f"{TOKEN}x", "é" * 20])
async def test_another_token_is_told_and_begins_nothing(guest: Visitor, token: str) -> None:
    for answer in (
        await guest.get("/sign-in?token=" + token),
        await guest.client.post("/sign-in", data={"token": token}),
    ):
        assert answer.status_code == 403
        assert "not the token" in answer.text
        assert not token or token not in answer.text
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "to", ["//evil.example", "https://evil.example", "/\\evil.example", "\t//evil.example", "x"]
)
async def test_signing_in_leads_nowhere_else(guest: Visitor, to: str) -> None:
    form = {"token": TOKEN, "next": to}
    answer = await guest.client.post("/sign-in", data=form)
    assert re.match(r"/($|[^/\\])", answer.headers["location"])


async def test_signing_out_ends_the_session(operator: Visitor) -> None:
    await operator.send("/sign-out")
    assert "Sign in" in await operator.text("/runtimes")
