"""Commands that look into the store, on a real database file."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from uuid import UUID

import msgspec
import pytest

from tests.support.place import HOSTILE, MALFORMED, SECRET, Place
from tests.unit.cli.conftest import Say


def _inert(said: str) -> bool:
    return not any(character in said for character in "\x1b\x07\r")


def test_runtimes_are_listed_with_what_waits(say: Say) -> None:
    """One row a runtime, by id, with counts and its owner."""
    said = say("runtimes", "list", "--json")
    assert said.code == 0
    first, second = said.lines
    assert (first["runtime_id"], first["state"]) == ("agent-1", "running")
    assert (first["waiting"], first["in_run"], first["owner"]) == (1, 1, "worker-1")
    assert (second["runtime_id"], second["state"]) == ("agent-2", "idle")
    shown = say("runtimes", "list").out
    assert "agent-1" in shown
    assert "worker-2" in shown


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--state", "running"], ["agent-1"]),
        (["--owner", "worker-2"], ["agent-2"]),
        (["--prefix", "agent"], ["agent-1", "agent-2"]),
        (["--prefix", "x%"], []),
    ],
)
def test_runtimes_can_be_filtered(say: Say, flags: list[str], expected: list[str]) -> None:
    """A filter shows those that are meant and no others."""
    said = say("runtimes", "list", "--json", *flags)
    assert [line["runtime_id"] for line in said.lines] == expected


def test_a_list_that_goes_on_says_so(say: Say) -> None:
    """A limit never hides silently."""
    said = say("runtimes", "list", "--json", "--limit", "1")
    assert len(said.lines) == 1
    assert "there are more" in said.err


def test_a_runtime_is_shown_with_its_runs_and_receipts(say: Say, place: Place) -> None:
    """The proof of what was done stands beside what is being done."""
    said = say("runtimes", "show", "agent-1", "--json")
    (found,) = said.lines
    assert set(found) == {"runtime", "owner", "active", "run", "timers", "runs", "receipts"}
    assert found["active"] == {"queued": 1, "staged": 1}
    shown = say("runtimes", "show", "agent-1").out
    assert str(place.run) in shown
    assert "completed" in shown
    assert "run_start" in shown


def test_inputs_are_listed_in_admission_order(say: Say, place: Place) -> None:
    """The first that came is the first row, whatever became of it."""
    lines = say("inputs", "list", "agent-1", "--json").lines
    assert [line["input_id"] for line in lines] == [
        str(place.done),
        str(place.running),
        str(place.waiting),
    ]
    assert [line["state"] for line in lines] == ["consumed", "staged", "queued"]
    newest = say("inputs", "list", "agent-1", "--json", "--newest", "--limit", "1")
    assert newest.lines[0]["input_id"] == str(place.waiting)


@pytest.mark.parametrize(
    ("flags", "states"),
    [
        (["--active"], ["staged", "queued"]),
        (["--state", "consumed"], ["consumed"]),
        (["--state", "consumed", "--state", "queued"], ["consumed", "queued"]),
    ],
)
def test_inputs_can_be_filtered_by_state(say: Say, flags: list[str], states: list[str]) -> None:
    """A state, several, or all that have not ended."""
    lines = say("inputs", "list", "agent-1", "--json", *flags).lines
    assert [line["state"] for line in lines] == states


def test_a_payload_is_shown_when_it_is_asked_for_and_not_before(say: Say, place: Place) -> None:
    """Hidden by default; shown inert and with its secrets masked."""
    hidden = say("inputs", "show", "agent-1", place.running)
    assert "--payload shows it" in hidden.out
    assert "owned" not in hidden.out
    shown = say("inputs", "show", "agent-1", place.running, "--payload")
    assert "owned" in shown.out
    assert _inert(shown.out)
    assert SECRET not in shown.out
    assert '"password": "***"' in shown.out


def test_an_input_for_programs_has_its_record_and_its_payload(say: Say, place: Place) -> None:
    """With --payload the JSON holds the input as it was published."""
    (bare,) = say("inputs", "show", "agent-1", place.running, "--json").lines
    assert set(bare) == {"input", "payload_bytes"}
    said = say("inputs", "show", "agent-1", place.running, "--json", "--payload")
    assert _inert(said.out)
    payload = said.lines[0]["payload"]
    assert isinstance(payload, dict)
    assert payload["event_type"] == HOSTILE


@pytest.mark.parametrize(
    "arguments",
    [
        ["runtimes", "show", "nobody"],
        ["inputs", "list", "nobody"],
        ["inputs", "show", "agent-1", UUID(int=9)],
        ["dead-letters", "show", UUID(int=9)],
        ["explain", "nobody"],
    ],
)
def test_what_does_not_exist_is_exit_code_3(say: Say, arguments: list[object]) -> None:
    """One sentence that names what was looked for."""
    said = say(*arguments)
    assert said.code == 3
    assert said.err.count("\n") == 1
    assert str(arguments[-1]) in said.err


def test_dead_letters_are_listed_latest_first_and_inert(say: Say, place: Place) -> None:
    """What a publisher wrote into the fields of a message steers no terminal."""
    said = say("dead-letters", "list")
    assert said.code == 0
    assert _inert(said.out)
    assert SECRET not in said.out
    lines = say("dead-letters", "list", "--json").lines
    assert [line["id"] for line in lines] == [str(each) for each in reversed(place.letters)]


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        (["--reason", "malformed"], 2),
        (["--runtime", "agent-1"], 1),
        (["--status", "discarded"], 0),
        (["--status", "any"], 3),
        (["--since", "2026-01-02T03:05:00Z"], 2),
        (["--since", "2026-01-02"], 3),
        (["--since", "1s"], 0),
    ],
)
def test_dead_letters_can_be_filtered(say: Say, flags: list[str], count: int) -> None:
    """By reason, runtime, status and time."""
    assert len(say("dead-letters", "list", "--json", *flags).lines) == count


def test_a_moment_that_is_none_is_refused(say: Say) -> None:
    """The error names the flag and shows what is expected."""
    said = say("dead-letters", "list", "--since", "yesterday")
    assert said.code == 2
    assert "--since: expected" in said.err


def test_letters_that_failed_alike_are_one_group(say: Say) -> None:
    """A group leads to its letters."""
    lines = say("dead-letters", "groups", "--json").lines
    assert [(line["reason"], line["count"]) for line in lines] == [
        ("malformed", 2),
        ("conflict", 1),
    ]
    members = say("dead-letters", "list", "--json", "--group", lines[0]["fingerprint"]).lines
    assert len(members) == 2
    assert _inert(say("dead-letters", "groups").out)


def test_a_letter_shows_its_body_only_when_asked(say: Say, place: Place) -> None:
    """Hidden, readable with secrets masked, or the original bytes."""
    letter = place.letters[2]
    hidden = say("dead-letters", "show", letter)
    assert "--payload or --raw shows it" in hidden.out
    assert "input_type" not in hidden.out
    shown = say("dead-letters", "show", letter, "--payload")
    assert "input_type" in shown.out
    for said in (hidden, shown, say("dead-letters", "show", letter, "--json", "--payload")):
        assert _inert(said.out)
        assert SECRET not in said.out


def test_a_letter_of_binary_bytes_is_shown_too(say: Say, place: Place) -> None:
    """What is not text is shown by its bytes' codes."""
    shown = say("dead-letters", "show", place.letters[0], "--payload")
    assert shown.code == 0
    assert "\\xff\\u0000" in shown.out


def test_raw_is_the_original_bytes(place: Place) -> None:
    """Into a file or a pipe: byte for byte, nothing else."""
    letter, flag = str(place.letters[0]), "--database-url"
    command = ["-m", "worker.cli", "dead-letters", "show", letter, "--raw", flag, place.url]
    assert subprocess.check_output([sys.executable, *command]) == MALFORMED


def test_explain_works_without_a_broker_and_says_so(say: Say, place: Place) -> None:
    """The store alone explains much; that the broker is away is part of the answer."""
    said = say("explain", "agent-1", place.waiting)
    assert said.code == 0
    assert str(place.waiting) in said.out
    assert "The broker could not be asked" in said.out
    assert SECRET not in said.out
    (found,) = say("explain", "agent-1", "--json").lines
    assert found["runtime_id"] == "agent-1"
    assert isinstance(found["sentences"], list)


def test_a_database_that_is_not_there_is_one_sentence(
    say: Say, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No trace; the command that mends it; and no file made by looking."""
    missing = tmp_path / "nowhere.db"
    monkeypatch.setenv("MEERKAT_DATABASE_URL", f"sqlite+aiosqlite:///{missing}")
    said = say("runtimes", "list")
    assert said.code == 2
    assert "meerkat-worker migrate" in said.err
    assert said.err.count("\n") == 1
    assert not missing.exists()


def test_replay_prints_a_line_a_step_and_stops_at_what_it_does_not_know(
    say: Say, tmp_path: Path
) -> None:
    """Steps before the bad line are printed; the line is named; exit code 2."""
    trace = tmp_path / "trace.jsonl"
    header = {"id": str(UUID(int=1)), "source": {"type": "operator"}}
    accept = {
        "op": "accept",
        "at": "2026-01-01T00:00:00Z",
        "input": {"input_type": "prompt", "header": header, "text": "hi"},
    }
    trace.write_bytes(msgspec.json.encode(accept) + b'\n{"op": "dance"}\n')
    said = say("replay", trace)
    assert said.code == 2
    assert said.lines[0]["runtime_state"] == "idle"
    assert "line 2" in said.err


def test_a_sound_store_verifies(say: Say) -> None:
    """What the driver and the store made holds every rule."""
    said = say("verify")
    assert (said.code, said.err) == (0, "")
    assert "rules hold" in said.out
    assert say("verify", "--json").out == ""


def test_a_store_that_was_tampered_with_does_not(
    say: Say, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A consumed input whose receipt is gone is found, and the row is named."""
    copy = tmp_path / "copy.db"
    shutil.copy(place.url.removeprefix("sqlite+aiosqlite:///"), copy)
    with contextlib.closing(sqlite3.connect(copy)) as database, database:
        assert database.execute("DELETE FROM receipts").rowcount == 1
    monkeypatch.setenv("MEERKAT_DATABASE_URL", f"sqlite+aiosqlite:///{copy}")
    assert str(place.done) in say("verify").out
    said = say("verify", "--json")
    assert said.code == 1
    assert [line["rule"] for line in said.lines] == ["consumed_has_receipt"]
