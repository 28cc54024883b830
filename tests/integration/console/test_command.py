"""``console`` as a process: what is wrong is said at once; it ends well; its log is discreet."""

from __future__ import annotations

import asyncio
import signal
import socket

import httpx
import pytest

from schemas.dead_letters import DeadLetterReason
from store.ports import Commit
from store.sql import SqlStore
from tests.support.browsing import served
from tests.support.commands import finish, meerkat
from tests.support.store import a_letter

TOKEN = "a token of sixteen letters"
ALL = "0.0.0.0"  # noqa: S104  # refused
SECRET = "hunter2"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
async def test_it_says_where_it_is_and_ends_well(
    variables: dict[str, str], ending: signal.Signals
) -> None:
    """A browser that keeps its connection open does not hold it up."""
    async with served(**variables) as console, httpx.AsyncClient() as browser:
        assert (await browser.get(f"{console.address}/runtimes")).status_code == 200
        answer = await browser.get(console.sign_in)
        assert answer.headers["location"] == "/"
        console.process.send_signal(ending)
        async with asyncio.timeout(10):
            assert await console.process.wait() == 0


async def test_a_token_that_was_given_is_not_repeated(variables: dict[str, str]) -> None:
    async with served(MEERKAT_CONSOLE_TOKEN=TOKEN, **variables) as console:
        assert console.sign_in == f"{console.address}/sign-in"
        async with httpx.AsyncClient() as browser:
            answer = await browser.post(console.sign_in, data={"token": TOKEN})
            assert answer.status_code == 303


async def test_it_serves_when_the_broker_is_away(variables: dict[str, str]) -> None:
    away = f"amqp://u:{SECRET}@127.0.0.1:1/"
    async with served(**variables | {"MEERKAT_AMQP_URL": away}) as console:
        async with httpx.AsyncClient() as browser:
            page = await browser.get(f"{console.address}/dead-letters")
            assert page.status_code == 200
        console.process.terminate()
        ended = await finish(console.process)
    assert "broker.unavailable" in ended.err
    assert SECRET not in ended.err


async def test_no_token_and_no_payload_is_in_its_log(
    variables: dict[str, str], store: SqlStore
) -> None:
    """Not of what goes well, and not of what does not."""
    letter = a_letter(body=SECRET.encode(), reason=DeadLetterReason.CONFLICT)
    await store.commit([Commit(None, 0, dead_letters=(letter,))])
    async with served(**variables) as console:
        token = console.sign_in.partition("token=")[2]
        assert len(token) >= 32
        async with httpx.AsyncClient(base_url=console.address) as browser:
            await browser.get(console.sign_in)
            page = (await browser.get(f"/dead-letters/{letter.id}?payload=shown")).text
            assert SECRET in page
            form = {"form_token": page.partition('form_token" value="')[2][:64]}
            await browser.post(
                "/dead-letters/discard", data={**form, "note": SECRET, "reason": "conflict"}
            )
            for path in (
                f"/dead-letters/{letter.id}/edit",
                f"/dead-letters/{letter.id}/dry-run",
                f"/dead-letters/list?runtime={SECRET}!",
                f"/sign-in?token={SECRET}",
            ):
                await browser.get(path)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", int(console.address.rpartition(":")[2])
            )
            writer.write(f"GET / HTTP/0.0 {SECRET} {token}\r\n\r\n".encode())
            await reader.read()
            writer.close()
        console.process.terminate()
        ended = await finish(console.process)
    assert "console.act" in ended.err
    for secret in (token, SECRET, form["form_token"]):
        assert secret not in ended.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", ALL], f"{ALL} can be reached by others: set MEERKAT_CONSOLE_TOKEN"),
        (["--host", "::"], ":: can be reached by others"),
        (["--token", SECRET], "expected at least 16 characters, got 7"),
        (["--host", "no-such-host.invalid", "--token", TOKEN], "cannot resolve no-such-host"),
        (["--host", "192.0.2.1", "--token", TOKEN], "cannot listen on 192.0.2.1"),
        (["--port", "70000"], "--port"),
        (["--policy-file", "/nonexistent"], "/nonexistent"),
    ],
)
async def test_what_it_cannot_be_told_is_one_sentence(
    variables: dict[str, str], arguments: list[str], words: str
) -> None:
    ended = await meerkat("console", "--port", "0", *arguments, **variables)
    assert ended.code == 2
    assert words in ended.err
    assert "Traceback" not in ended.err
    assert SECRET not in ended.err
    assert ended.out == ""


async def test_a_database_that_was_not_migrated_is_one_sentence(
    variables: dict[str, str],
) -> None:
    variables["MEERKAT_DATABASE_URL"] += ".other"
    ended = await meerkat("console", "--port", "0", **variables)
    assert ended.code == 2
    assert "meerkat-worker migrate" in ended.err
    assert "Traceback" not in ended.err


async def test_a_port_that_is_taken_is_one_sentence(variables: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ended = await meerkat("console", "--port", port, **variables)
    assert ended.code == 2
    assert f"console: cannot listen on 127.0.0.1:{port}" in ended.err
    assert "MEERKAT_CONSOLE_PORT" in ended.err
