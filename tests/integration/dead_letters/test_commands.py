"""The commands on a real broker and database: what they do, what they say, how they end."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from schemas.dead_letters import DeadLetter, DeadLetterStatus
from schemas.envelope import Envelope
from schemas.ids import DeadLetterId, RuntimeId
from schemas.records import OutboxMessage
from store.dead_letters import Letter, LetterFilter
from store.letter_acts import Act
from store.ports import Commit
from store.sql import SqlStore
from tests.support.commands import Ended, finish, meerkat, start
from tests.support.deployment import Deployment
from tests.support.eventually import eventually
from tests.support.ledger import Ledger
from tests.support.migrated import migrated_file
from tests.support.operating import Operator
from tests.support.store import NOW, a_letter, new_id, replace
from worker.broker.connection import Connection
from worker.broker.consumer import Consumer
from worker.broker.publisher import Outgoing
from worker.client import Prompt
from worker.clock import now

ADA = RuntimeId("ada")
EXIT = {"ok": 0, "wrong": 1, "unusable": 2, "missing": 3, "unanswered": 4, "interrupted": 130}
HOSTILE = "\x1b]0;owned\x07<script>\u202e"
SECRET = "hunter2"


class Terminal:
    """An operator's terminal, and the inbox of ada."""

    def __init__(self, deployment: Deployment, store: SqlStore, queue: str) -> None:
        self.store = store
        self.queue = queue
        self.url = deployment.amqp_url
        self.variables = {
            "MEERKAT_AMQP_URL": deployment.amqp_url,
            "MEERKAT_NAMESPACE": deployment.namespace,
            "MEERKAT_DATABASE_URL": deployment.database_url,
        }

    async def say(self, *arguments: object, **variables: str) -> Ended:
        """Run ``dead-letters`` with these arguments."""
        words = [str(argument) for argument in arguments]
        return await meerkat("dead-letters", *words, **{**self.variables, **variables})

    async def keep(self, *letters: DeadLetter) -> list[DeadLetterId]:
        """Have dead letters."""
        await self.store.commit([Commit(None, 0, dead_letters=(one,)) for one in letters])
        return [letter.id for letter in letters]

    async def read(self, letter_id: DeadLetterId) -> tuple[Letter, bytes]:
        """Look at a letter."""
        found = await self.store.dead_letters.get(letter_id)
        assert found is not None
        return found

    async def count(self, status: DeadLetterStatus) -> int:
        """How many letters have a status."""
        return await self.store.dead_letters.count(LetterFilter(status=status))

    async def inbox(self, number: int) -> list[Envelope]:
        """Take so many messages from the inbox of ada, as they come."""
        taken: list[Envelope] = []
        connection = await Connection.open(self.url, "test")
        try:
            consumer = await Consumer.open(
                connection, self.queue, lambda each: taken.append(each.envelope), prefetch=0
            )
            await eventually(lambda: len(taken) >= number, 20, f"{number} messages in the inbox")
            await consumer.release(deadline=0)
        finally:
            await connection.close()
        return taken


@pytest.fixture
async def terminal(deployment: Deployment, ledger: Ledger, operator: Operator) -> Terminal:
    """No worker runs: what is redriven waits in the inbox."""
    connection = await Connection.open(deployment.amqp_url, "test")
    await operator.topology.declare_inbox(await connection.channel(), ADA)
    await connection.close()
    return Terminal(deployment, ledger.store, operator.topology.queue_of(ADA))


def a_prompt(text: object, runtime_id: RuntimeId = ADA, **changed: object) -> DeadLetter:
    """A letter of a prompt; a text that is none is malformed."""
    item = Prompt("fine", timestamp=NOW).to_input()
    name = str(item.header.id)
    body = msgspec.json.encode({**msgspec.to_builtins(item), "text": text})
    properties = {"message_id": name, "type": "input"}
    letter = a_letter(runtime_id, message_id=name, properties=properties, body=body)
    return replace(letter, **changed)


# --- redrive -------------------------------------------------------------------------------------


async def test_a_group_is_redriven_in_the_order_of_its_deaths(terminal: Terminal) -> None:
    mine = [a_prompt(n) for n in range(30)]
    others = [a_prompt(n, detail="something else") for n in range(3)]
    await terminal.keep(*mine, *others)
    ended = await terminal.say("redrive", "--group", mine[0].fingerprint, "--yes", "--json")
    assert ended.lines == [{"redriven": 30, "waiting": 0, "unroutable": 0}]
    assert (ended.code, ended.err) == (EXIT["ok"], "")
    inbox = await terminal.inbox(30)
    assert [one.message_id for one in inbox] == [letter.message_id for letter in mine]
    assert [one.headers["redriven_from"] for one in inbox] == [str(one.id) for one in mine]
    assert await terminal.count(DeadLetterStatus.OPEN) == 3


async def test_many_are_not_redriven_unasked(terminal: Terminal) -> None:
    await terminal.keep(a_prompt(1), a_prompt(2))
    ended = await terminal.say("redrive", "--all")
    assert ended.code == EXIT["unusable"]
    assert "redrive 2 dead letters: say --yes" in ended.err
    assert await terminal.count(DeadLetterStatus.OPEN) == 2


@pytest.mark.parametrize("arguments", [[], [UUID(int=1), "--all"]])
async def test_letters_are_named_or_filtered(terminal: Terminal, arguments: list[object]) -> None:
    ended = await terminal.say("redrive", *arguments)
    assert ended.code == EXIT["unusable"]
    assert "expected LETTERs, or else --group" in ended.err


async def test_what_cannot_be_redriven_is_told_with_the_reason(terminal: Terminal) -> None:
    done, nowhere, gone = await terminal.keep(
        a_prompt(1),
        replace(a_prompt(2), runtime_id=None, source_queue=terminal.queue),
        replace(a_prompt(3), runtime_id=None, source_queue="a queue that is gone"),
    )
    await terminal.store.letter_acts.discard([done], Act("ada", NOW))
    ended = await terminal.say("redrive", done, nowhere, gone, new_id(), "--yes")
    assert ended.code == EXIT["wrong"]
    for words in ("1 not open", "1 not redriven: they name no runtime", "1 not there"):
        assert words in ended.out
    assert "1 not redriven: their queue does not exist" in ended.out
    letter, _ = await terminal.read(gone)
    assert (letter.status, letter.who) == (DeadLetterStatus.OPEN, "meerkat-worker")


async def test_an_interrupted_redrive_is_gone_on_with_and_nothing_goes_twice(
    terminal: Terminal,
) -> None:
    letters = [a_prompt(n) for n in range(120)]
    await terminal.keep(*letters)
    arguments = ("dead-letters", "redrive", "--all", "--yes", "--rate", "40")
    process = await start(*arguments, **terminal.variables)

    async def begun() -> bool:
        return await terminal.count(DeadLetterStatus.REDRIVEN) > 0

    await eventually(begun, 30, "some are redriven")
    process.send_signal(signal.SIGINT)
    ended = await finish(process)
    assert ended.code == EXIT["interrupted"]
    assert await terminal.count(DeadLetterStatus.OPEN) > 0
    again = await terminal.say("redrive", "--all", "--yes", "--json")
    assert again.code == EXIT["ok"]
    waiting = [row.properties["message_id"] for row in await _outbox(terminal.store)]
    inbox = await terminal.inbox(len(letters) - len(waiting))
    published = [one.message_id for one in inbox]
    assert sorted({*published, *waiting}) == sorted(str(one.message_id) for one in letters)
    assert {(await terminal.read(one.id))[0].redrive_count for one in letters} == {1}


async def test_without_a_broker_nothing_is_redriven(terminal: Terminal) -> None:
    [letter_id] = await terminal.keep(a_prompt(1))
    away = {"MEERKAT_AMQP_URL": f"amqp://u:{SECRET}@127.0.0.1:1/"}
    ended = await terminal.say("redrive", letter_id, **away)
    assert ended.code == EXIT["unusable"]
    assert SECRET not in ended.err
    assert await terminal.count(DeadLetterStatus.OPEN) == 1


# --- edit and dry run ----------------------------------------------------------------------------


async def test_an_edit_is_tried_published_and_kept(terminal: Terminal, tmp_path: Path) -> None:
    letter = a_prompt(7)
    [letter_id] = await terminal.keep(letter)
    fixed = tmp_path / "fixed.json"
    fixed.write_bytes(letter.body.replace(b'"text":7', b'"text":"seven"'))
    tried = await terminal.say("dry-run", letter_id, "--json")
    assert tried.code == EXIT["wrong"]
    assert tried.lines[0]["verdict"] == "dies_again"
    tried = await terminal.say("dry-run", letter_id, "--body-file", fixed)
    assert tried.code == EXIT["ok"]
    assert "it would be  processed" in tried.out
    ended = await terminal.say(
        "edit", letter_id, "--body-file", fixed, "--note", "typo", "--as", "bo"
    )
    assert ended.code == EXIT["ok"], ended.err
    assert '+  "text": "seven"' in ended.out
    [message] = await terminal.inbox(1)
    assert message.body == fixed.read_bytes()
    shown = await terminal.say("show", letter_id, "--payload")
    for words in ("bo", "typo", '-  "text": 7', "redriven"):
        assert words in shown.out


async def test_the_editor_of_a_person_is_used(terminal: Terminal, tmp_path: Path) -> None:
    [letter_id] = await terminal.keep(a_prompt(7))
    editor = tmp_path / "editor"
    change = 'p = pathlib.Path(sys.argv[1]); p.write_text(p.read_text().replace(": 7", \': "7"\'))'
    editor.write_text(f"#!{sys.executable}\nimport pathlib, sys\n{change}\n")
    editor.chmod(0o700)
    ended = await terminal.say("edit", letter_id, "--note", "typo", EDITOR=str(editor), VISUAL="")
    assert ended.code == EXIT["ok"], ended.err
    assert msgspec.json.decode((await terminal.inbox(1))[0].body)["text"] == "7"


async def test_an_edit_that_would_die_again_is_refused(terminal: Terminal, tmp_path: Path) -> None:
    [letter_id] = await terminal.keep(a_prompt(7))
    wrong = tmp_path / "wrong.json"
    wrong.write_bytes(b'{"input_type": "prompt"}')
    ended = await terminal.say("edit", letter_id, "--body-file", wrong, "--note", "typo")
    assert ended.code == EXIT["unusable"]
    assert "the new body is not taken: it would die again" in ended.err
    assert await terminal.count(DeadLetterStatus.OPEN) == 1


# --- discard, reopen -----------------------------------------------------------------------------


async def test_what_is_discarded_says_why_and_can_be_opened_again(terminal: Terminal) -> None:
    first, *_ = await terminal.keep(*(a_prompt(n) for n in range(3)))
    note = f"a load test {HOSTILE}"
    ended = await terminal.say("discard", "--runtime", "ada", "--note", note, "--yes", "--json")
    assert ended.lines == [{"discarded": 3, "not_open": 0}]
    shown = await terminal.say("list", "--status", "discarded")
    assert "\x1b" not in shown.out
    again = await terminal.say("reopen", first, "--note", "it was not")
    assert again.out == "1 open again\n"
    assert await terminal.count(DeadLetterStatus.OPEN) == 1


# --- export and import ---------------------------------------------------------------------------


async def test_letters_move_to_another_database_with_every_byte(
    terminal: Terminal, tmp_path: Path
) -> None:
    bodies = (b"\xff\x00\x1b[2J", bytes(1024 * 1024), HOSTILE.encode())
    letters = [a_prompt(1, body=body, detail=HOSTILE) for body in bodies]
    await terminal.keep(*letters)
    exported = await terminal.say("export")
    assert exported.code == EXIT["ok"]
    assert "\x1b" not in exported.out
    file = tmp_path / "letters.jsonl"
    file.write_text(exported.out + "{}\n")
    url = await asyncio.to_thread(migrated_file, tmp_path / "other.db")
    other = {"MEERKAT_DATABASE_URL": url}
    for _ in range(2):
        ended = await terminal.say("import", file, "--json", **other)
        assert ended.lines == [{"imported": 3, "failed": 1}]
        assert "line 4: " in ended.err
    listed = await terminal.say("list", "--json", **other)
    assert {line["deaths"] for line in listed.lines} == {1}
    back = await terminal.say("export", **other)
    assert sorted(back.out.splitlines()) == sorted(exported.out.splitlines())


async def test_a_queue_is_imported_and_an_inbox_is_not(
    terminal: Terminal, operator: Operator
) -> None:
    queue = f"{operator.topology.namespace}-legacy"
    connection = await Connection.open(terminal.url, "test")
    channel = await connection.channel()
    await channel.queue_declare(queue)
    messages = [Outgoing("", queue, b"old", {"message_id": f"m-{n}"}) for n in range(7)]
    assert set(await operator.publisher.publish_many(messages)) == {None}
    ended = await terminal.say("import", "--queue", queue, "--limit", "5")
    assert ended.out == "5 imported\n"
    ended = await terminal.say("import", "--queue", queue)
    assert ended.out == "2 imported\n"
    await channel.queue_delete(queue)
    await connection.close()
    assert (await terminal.say("import", "--queue", queue)).code == EXIT["missing"]
    refused = await terminal.say("import", "--queue", terminal.queue)
    assert refused.code == EXIT["unusable"]
    assert "workers live on it" in refused.err


async def _outbox(store: SqlStore) -> list[OutboxMessage]:
    return await store.unpublished(before=now(), limit=1000)
