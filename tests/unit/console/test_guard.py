"""Nobody sees or does what they may not, whatever page, name or site they come from."""

from __future__ import annotations

import httpx
import pytest

from tests.support.consoles import TOKEN
from tests.support.place import Place
from tests.unit.console.conftest import Visit, Visitor
from worker.console.guard import HEADERS

PAGES = ("/", "/runtimes", "/runtimes/agent-1", "/dead-letters", "/dead-letters/list")
LETTER = "/dead-letters/00000000-0000-0000-0000-000000000064"
CHANGES = (
    f"{LETTER}/redrive",
    f"{LETTER}/discard",
    f"{LETTER}/reopen",
    f"{LETTER}/edit",
    "/dead-letters/redrive",
    "/dead-letters/discard",
    "/acts/00000000-0000-0000-0000-000000000064/stop",
    "/sign-out",
)
SECRETS = (
    f"{LETTER}?payload=shown",
    f"{LETTER}/body",
    f"{LETTER}/edit",
    "/dead-letters/redrive",
    "/dead-letters/discard",
)


@pytest.mark.parametrize("page", PAGES)
async def test_whoever_is_on_this_machine_may_look(guest: Visitor, page: str) -> None:
    answer = await guest.get(page)
    assert answer.status_code in (200, 303)
    assert "sign-in" not in answer.headers.get("location", "")


@pytest.mark.parametrize("page", SECRETS)
async def test_payloads_and_bulk_acts_are_for_those_with_the_token(
    guest: Visitor, page: str
) -> None:
    answer = await guest.get(page)
    assert (answer.status_code, answer.text) == (303, "")
    assert answer.headers["location"].startswith("/sign-in?next=%2Fdead-letters")


@pytest.mark.parametrize("change", CHANGES)
async def test_every_change_needs_a_session(guest: Visitor, change: str) -> None:
    answer = await guest.client.post(change, data={"note": "why not"})
    assert answer.status_code == 403
    assert "Sign in first" in answer.text


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("form_token", [None, "", "0" * 64])
async def test_every_change_needs_the_form_token_of_its_session(
    operator: Visitor, change: str, form_token: str | None
) -> None:
    """A form on another site, sent by this browser, has the cookie and not the token."""
    form = {"note": "x"} if form_token is None else {"note": "x", "form_token": form_token}
    answer = await operator.client.post(change, data=form)
    assert answer.status_code == 403
    assert "not of your session" in answer.text


async def test_a_form_token_is_of_one_session_only(visit: Visit, operator: Visitor) -> None:
    other = visit()
    await other.get(f"/sign-in?token={TOKEN}")
    operator.client.cookies, other.client.cookies = other.client.cookies, operator.client.cookies
    mine = (await other.text("/dead-letters")).partition('form_token" value="')[2][:64]
    answer = await operator.client.post(CHANGES[1], data={"form_token": mine, "note": "x"})
    assert answer.status_code == 403


@pytest.mark.parametrize("path", [*PAGES, "/static/live.js", "/sign-in"])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::2]:8081"])
async def test_another_name_that_leads_here_is_refused(
    guest: Visitor, path: str, host: str
) -> None:
    """DNS rebinding: the browser thinks that we are evil.example and lets it read us."""
    answer = await guest.get(path, host=host)
    assert answer.status_code == 421
    assert "loopback names only" in answer.text


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8081", "127.0.0.1:9", "[::1]:8081"])
async def test_the_names_of_loopback_are_answered_to(guest: Visitor, host: str) -> None:
    assert (await guest.get("/runtimes", host=host)).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_another_site_may_link_here_and_nothing_else(guest: Visitor, site: str) -> None:
    link = {"sec-fetch-site": site, "sec-fetch-mode": "navigate"}
    assert (await guest.get("/runtimes", **link)).status_code == 200
    script = {"sec-fetch-site": site, "sec-fetch-mode": "no-cors"}
    assert (await guest.get("/runtimes", **script)).status_code == 403
    sent = await guest.client.post("/sign-in", data={"token": TOKEN}, headers=link)
    assert sent.status_code == 403


@pytest.mark.parametrize("header", ["forwarded", "x-forwarded-for", "via"])
async def test_a_proxy_on_this_machine_lets_nobody_in(guest: Visitor, header: str) -> None:
    """The request comes from loopback, but whoever made it need not."""
    answer = await guest.get("/runtimes", **{header: "for=192.0.2.1"})
    assert answer.headers["location"].startswith("/sign-in")


@pytest.mark.parametrize("page", PAGES)
async def test_on_any_other_address_nothing_is_seen_without_the_token(
    visit: Visit, page: str
) -> None:
    stranger = visit(names=None, address="http://192.0.2.7:8081")
    answer = await stranger.get(page)
    assert (answer.status_code, answer.text) == (303, "")
    assert answer.headers["location"].startswith("/sign-in")
    await stranger.get(f"/sign-in?token={TOKEN}")
    assert "agent-1" in await stranger.text("/runtimes")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/runtimes"),
        ("GET", "/static/console.css"),
        ("GET", "/static/../app.py"),
        ("GET", "/nothing"),
        ("GET", "/dead-letters?status=odd"),
        ("POST", "/dead-letters/redrive"),
        ("DELETE", "/runtimes"),
    ],
)
async def test_every_answer_carries_the_headers_that_protect(
    guest: Visitor, method: str, path: str
) -> None:
    answer = await guest.client.request(method, path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    assert "unsafe" not in HEADERS["content-security-policy"]
    assert "Starlette" not in answer.text


async def test_no_file_but_the_assets_is_handed_out(guest: Visitor) -> None:
    for path in ("/static/..%2fapp.py", "/static/%2e%2e/app.py", "/static//etc/passwd"):
        assert (await guest.get(path)).status_code == 404, path


async def test_what_is_no_form_or_too_large_is_not_read(operator: Visitor) -> None:
    client = operator.client
    assert (await client.post("/sign-in", json={"token": TOKEN})).status_code == 415
    large = {"body": "x" * 5_000_000}
    assert (await client.post(CHANGES[3], data=large)).status_code == 413


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
async def test_no_other_method_gets_past(guest: Visitor, method: str) -> None:
    assert (await guest.client.request(method, "/runtimes")).status_code == 403


async def test_a_cookie_that_is_not_ours_is_nobodys(guest: Visitor, place: Place) -> None:
    letter = f"/dead-letters/{place.letters[0]}/body"
    for cookie in ("", "x", "x.y", "e30.", "e30." + "0" * 64, "\xff", "." * 5000):
        headers = httpx.Headers({b"cookie": b"meerkat-console-8081=" + cookie.encode("latin-1")})
        assert (await guest.client.get(letter, headers=headers)).status_code == 303, cookie
