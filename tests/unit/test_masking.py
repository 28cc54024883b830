"""Secrets are taken out of what people are shown, wherever they stand."""

from __future__ import annotations

import pytest

from worker.masking import is_secret, masked, masked_fields, masked_text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("amqp://user:pw@host:1/v", "amqp://user:***@host:1/v"),
        ("see postgresql+asyncpg://u:p@ss@h/db now", "see postgresql+asyncpg://u:***@h/db now"),
        ("s3://KEY:SECRET@host:1/b?x=1", "s3://KEY:***@host:1/b?x=1"),
        ("a amqp://u:p@h/ b amqps://v:q@i/", "a amqp://u:***@h/ b amqps://v:***@i/"),
        ("http://host/path:x@y", "http://host/path:x@y"),
        ("nothing here: a@b", "nothing here: a@b"),
        ("Authorization: Bearer abcdefgh.ijkl", "Authorization: Bearer ***"),
    ],
)
def test_passwords_are_taken_out_of_addresses(text: str, shown: str) -> None:
    """User and host stay readable, the password is gone."""
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"password": "a\\"b", "x": 1', '{"password": ***, "x": 1'),
        ('"client_secret" : "abc', '"client_secret" : ***'),
        ("user=a&token=abc&x=1", "user=a&token=***&x=1"),
        ("api-key: abc, more", "api-key: ***, more"),
        ("{'apiKey': 'abc'}", "{'apiKey': ***}"),
        ("a tokenizer: fine", "a tokenizer: fine"),
        ("see amqp://u:p@h/", "see amqp://u:***@h/"),
    ],
)
def test_text_that_is_no_json_is_masked_by_names_too(text: str, shown: str) -> None:
    """A malformed body is no less private than a well-formed one."""
    assert masked_text(text) == shown


@pytest.mark.parametrize("name", ["password", "PASSWORD", "client_secret", "x-api-key", "token"])
def test_names_of_secrets_are_known(name: str) -> None:
    """The usual names, with whatever stands before them."""
    assert is_secret(name)


@pytest.mark.parametrize("name", ["tokens_used", "max_tokens", "secretary", "key", "text"])
def test_names_that_only_look_alike_are_shown(name: str) -> None:
    """A field is not hidden for a likeness."""
    assert not is_secret(name)


def test_fields_are_masked_at_any_depth() -> None:
    """By name in objects, by pattern in texts; everything else is as it was."""
    given = {"a": [{"token": {"b": 1}, "url": "amqp://u:p@h/", "n": 1}], "ok": None}
    expected = {"a": [{"token": "***", "url": "amqp://u:***@h/", "n": 1}], "ok": None}
    assert masked_fields(given) == expected
