"""Settings are read from variables and flags, and refused with a sentence that helps."""

from __future__ import annotations

import pytest

from worker.settings import Events, LogFormat, Settings, SettingsError, catalogue, load

_SECRET = "hunter2"


def test_everything_has_a_default_that_works() -> None:
    """A process that is told nothing runs on one machine."""
    settings = load({})
    assert settings.amqp_url == "amqp://guest:guest@127.0.0.1:5672/"
    assert settings.database_url.startswith("sqlite")
    assert settings.policy_file is None


def test_a_flag_wins_over_its_variable_and_an_empty_variable_counts_as_absent() -> None:
    """What is said nearest to the command counts."""
    environ = {"MEERKAT_NAMESPACE": "shop", "MEERKAT_POOL": "", "MEERKAT_PREFETCH": "7"}
    settings = load(environ, {"namespace": "lab", "prefetch": None})
    assert (settings.namespace, settings.pool, settings.prefetch) == ("lab", "default", 7)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2.5", 2.5), ("90s", 90.0), ("5m", 300.0), ("2h", 7200.0), ("7d", 604_800.0), (" 1 ", 1.0)],
)
def test_durations_may_name_their_unit(text: str, seconds: float) -> None:
    """A duration is a number of seconds, or a number with its unit."""
    assert load({"MEERKAT_DEDUPE_WINDOW": text}).dedupe_window == seconds


def test_words_are_read_in_any_case() -> None:
    """Closed vocabularies do not care for capitals."""
    settings = load({"MEERKAT_EVENTS": "Outbox", "MEERKAT_LOG_FORMAT": "JSON"})
    assert (settings.events, settings.log_format) == (Events.OUTBOX, LogFormat.JSON)


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("PREFETCH", "abc", "expected a whole number from 1 to 65535; got 'abc'"),
        ("PREFETCH", "70000", "expected a whole number from 1 to 65535; got '70000'"),
        ("INLINE_SNAPSHOT_BYTES", "-1", "expected a whole number, at least 0; got '-1'"),
        ("EVENTS", "loud", "expected one of off, best-effort, outbox; got 'loud'"),
        ("ADOPT_LIVE_RUNS", "maybe", "expected true or false; got 'maybe'"),
        ("LEASE_SECONDS", "0", "expected seconds, more than 0"),
        ("LEASE_SECONDS", "nan", "expected seconds, more than 0"),
        ("LEASE_SECONDS", "inf", "expected seconds, more than 0"),
        ("LEASE_SECONDS", "s", "expected seconds, more than 0"),
        ("LAYOUT", "sharded:0", "expected per-runtime, or sharded:N"),
        ("LAYOUT", "sharded:4097", "expected per-runtime, or sharded:N"),
        ("NAMESPACE", "a b", "expected up to 64 letters, digits"),
        ("NAMESPACE", "\x1b[31m", r"got '\\u001b[31m'"),
        ("WORKER_TTL", "0.5", "expected more than MEERKAT_WORKER_HEARTBEAT (0.5 s), got 0.5 s"),
        ("BACKOFF_CAP", "0.5", "expected at least MEERKAT_BACKOFF_BASE (1 s), got 0.5 s"),
    ],
)
def test_an_unusable_value_is_refused_with_what_was_expected(
    name: str, text: str, sentence: str
) -> None:
    """The error names the variable, what was expected, and what was found."""
    with pytest.raises(SettingsError) as refused:
        load({f"MEERKAT_{name}": text})
    assert str(refused.value).startswith(f"MEERKAT_{name}: ")
    assert sentence in str(refused.value)


def test_an_unusable_flag_is_named_as_it_was_typed() -> None:
    """A person who typed a flag is told of the flag, not of a variable."""
    with pytest.raises(SettingsError, match=r"^--max-batch: "):
        load({}, {"max_batch": "none"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("AMQP_URL", f"http://u:{_SECRET}@host/"),
        ("DATABASE_URL", f"postgresql://u:{_SECRET}@host/db"),
        ("BLOBS", f"ftp://key:{_SECRET}@host/bucket"),
    ],
)
def test_the_value_of_a_secret_is_never_quoted(name: str, text: str) -> None:
    """A wrong address that holds a password is described by its length alone."""
    with pytest.raises(SettingsError) as refused:
        load({f"MEERKAT_{name}": text})
    assert _SECRET not in str(refused.value)
    assert f"got {len(text)} characters" in str(refused.value)


def test_showing_settings_shows_no_password() -> None:
    """Whoever logs the settings logs no secret."""
    settings = load(
        {
            "MEERKAT_AMQP_URL": f"amqp://u:{_SECRET}@host/",
            "MEERKAT_DATABASE_URL": f"postgresql+asyncpg://u:{_SECRET}@host/db",
            "MEERKAT_BLOBS": f"s3://key:{_SECRET}@host:1/bucket?secure=false",
        }
    )
    assert _SECRET not in repr(settings)
    assert _SECRET not in str(settings)


@pytest.mark.parametrize(
    "blobs", ["blobs", "/var/lib/blobs", "s3://key:secret@host:8333/bucket?secure=false"]
)
def test_blobs_are_a_directory_or_a_bucket(blobs: str) -> None:
    """Both kinds of blob store are addressed by one setting."""
    assert load({"MEERKAT_BLOBS": blobs}).blobs == blobs


def test_two_processes_get_different_names() -> None:
    """The default worker id is unique, and of the shape that is demanded of a given one."""
    one, two = Settings(), Settings()
    assert one.worker_id != two.worker_id
    assert load({"MEERKAT_WORKER_ID": one.worker_id}).worker_id == one.worker_id


def test_every_setting_is_described() -> None:
    """The catalogue tells of each setting what it is, what is expected, and its names."""
    described = catalogue()
    assert set(described) == set(Settings.__struct_fields__)
    for setting in described.values():
        assert setting.doc.endswith(".")
        assert setting.expected
    assert described["amqp_url"].variable == "MEERKAT_AMQP_URL"
    assert described["amqp_url"].flag == "--amqp-url"
