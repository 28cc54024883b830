"""The log says what happened; it never says a secret or a payload."""

from __future__ import annotations

import io
import json
import logging
from uuid import UUID

import pytest
import structlog

from worker import log
from worker.settings import LogFormat, LogLevel

_SECRET = "hunter2"

pytestmark = pytest.mark.usefixtures("logging_as_found")


def _configured(form: LogFormat, level: LogLevel = LogLevel.INFO) -> io.StringIO:
    stream = io.StringIO()
    log.configure(level, form, stream)
    return stream


@pytest.mark.parametrize("form", list(LogFormat))
def test_passwords_in_addresses_are_masked_wherever_they_stand(form: LogFormat) -> None:
    """Fields, nested fields, tracebacks and other libraries' lines: no password in any."""
    stream = _configured(form)
    url = f"amqp://user:{_SECRET}@host/"
    logger = structlog.get_logger()
    logger.info("hello", url=url, nested={"list": [url]}, token=_SECRET)
    try:
        int(url)
    except ValueError:
        logger.exception("bad")
    logging.getLogger("some.library").warning("lost %s", url)
    assert _SECRET not in stream.getvalue()
    assert stream.getvalue().count("amqp://user:***@host/") >= 4


@pytest.mark.parametrize("form", list(LogFormat))
def test_payloads_are_logged_by_their_shape(form: LogFormat) -> None:
    """Whatever the field is called: no bytes, and nothing under a name that holds payload."""
    stream = _configured(form)
    structlog.get_logger().info(
        "got", body=b"private", payload={"x": "private"}, text="private", other=b"private"
    )
    assert "private" not in stream.getvalue()
    assert "<bytes of 7>" in stream.getvalue()


def test_json_lines_are_json_with_ids_as_text() -> None:
    """Each line is one object with event, level and time."""
    stream = _configured(LogFormat.JSON)
    name = UUID(int=7)
    structlog.get_logger().warning("moved", input_id=name, level_of=LogLevel.INFO, other=object)
    line = json.loads(stream.getvalue())
    assert line["event"] == "moved"
    assert line["level"] == "warning"
    assert line["input_id"] == str(name)
    assert line["timestamp"].endswith("Z")


def test_what_came_from_elsewhere_does_not_steer_the_terminal() -> None:
    """Escapes and line breaks in a field are shown, not obeyed."""
    stream = _configured(LogFormat.CONSOLE)
    structlog.get_logger().info("odd", peer="\x1b[2J\nforged line")
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_the_level_holds_for_us_and_for_libraries() -> None:
    """What is less severe than the level is not written; chatty libraries only warn."""
    stream = _configured(LogFormat.JSON, LogLevel.INFO)
    structlog.get_logger().debug("ours")
    logging.getLogger("aiormq").info("theirs")
    assert not stream.getvalue()
    logging.getLogger("aiormq").warning("theirs")
    assert "theirs" in stream.getvalue()
