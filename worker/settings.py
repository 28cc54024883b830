"""Settings: what a process may be told, from ``MEERKAT_*`` variables and flags."""

from __future__ import annotations

import enum
import os
import re
import secrets
import socket
from collections.abc import Mapping
from typing import Annotated, Any, Final, TypeGuard, get_args, get_type_hints

import msgspec

from worker.masking import masked
from worker.terminal import inert

PREFIX: Final = "MEERKAT_"
_NOT_NAME: Final = re.compile(r"[^A-Za-z0-9-]")


class SettingsError(ValueError):
    """A setting that cannot be used. Says which, what was expected, and what shape was found."""


class Events(enum.StrEnum):
    """How runtime events reach observers."""

    OFF = "off"
    BEST_EFFORT = "best-effort"
    OUTBOX = "outbox"


class LogLevel(enum.StrEnum):
    """The least severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    """How log lines look: for people, or for programs."""

    CONSOLE = "console"
    JSON = "json"


def _worker_id() -> str:
    """Name this process: readable for people, unique after a restart with the same pid."""
    host = _NOT_NAME.sub("-", socket.gethostname().partition(".")[0]).strip("-")[:100] or "worker"
    return f"{host}-{os.getpid()}-{secrets.token_hex(3)}"


def _doc(text: str, unit: str = "", *, expected: str = "", secret: bool = False) -> msgspec.Meta:
    """Describe a setting; ``expected`` is for errors, where the type does not say it already."""
    return msgspec.Meta(
        description=text, extra={"unit": unit, "expected": expected, "secret": secret}
    )


_Count = Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
_Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
_Seconds = Annotated[float, msgspec.Meta(gt=0, le=10**9)]
_NAME: Final = "up to 64 letters, digits, '.', '_' or '-', a letter or digit first"
_WORKER_ID: Final = "up to 128 letters, digits, '.', '_', ':' or '-', a letter or digit first"
_Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$(?!\n)")]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a worker or executor process can be told. Durations are in seconds.

    Field order is the order of the table in the documentation.
    """

    amqp_url: Annotated[
        str,
        msgspec.Meta(pattern=r"^amqps?://[^/\s]+(/\S*)?$(?!\n)"),
        _doc(
            "The broker: `amqp://` or `amqps://`, with user, password, host, port, vhost.",
            expected="an address that begins with amqp:// or amqps://",
            secret=True,
        ),
    ] = "amqp://guest:guest@127.0.0.1:5672/"
    database_url: Annotated[
        str,
        msgspec.Meta(pattern=r"^(sqlite\+aiosqlite:///|postgresql\+asyncpg://)\S+$(?!\n)"),
        _doc(
            "The store: `sqlite+aiosqlite:///FILE` for one machine, "
            "`postgresql+asyncpg://USER:PASSWORD@HOST/NAME` for many.",
            expected="sqlite+aiosqlite:///FILE, or an address with postgresql+asyncpg://",
            secret=True,
        ),
    ] = "sqlite+aiosqlite:///meerkat.db"
    blobs: Annotated[
        str,
        msgspec.Meta(pattern=r"^(s3://\S+|file:///\S*|(?!\w+://).+)$(?!\n)"),
        _doc(
            "Images and large snapshots: a directory, or "
            "`s3://KEY:SECRET@host:port/bucket?secure=false`.",
            expected="a directory, or an address that begins with s3:// or file:///",
            secret=True,
        ),
    ] = "blobs"
    namespace: Annotated[
        _Name,
        _doc("The first part of every exchange's and queue's name.", expected=_NAME),
    ] = "meerkat"
    layout: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^(per-runtime|sharded:([1-9][0-9]{0,2}|[1-3][0-9]{3}|40[0-8][0-9]|409[0-6]))$(?!\n)"
        ),
        _doc(
            "One queue a runtime (`per-runtime`), or N shared ones (`sharded:N`). "
            "The same for every worker and publisher of a namespace.",
            expected="per-runtime, or sharded:N with N from 1 to 4096",
        ),
    ] = "per-runtime"
    pool: Annotated[_Name, _doc("The executor pool that run requests go to.", expected=_NAME)] = (
        "default"
    )
    prefetch: Annotated[
        int,
        msgspec.Meta(ge=1, le=65535),
        _doc("Deliveries that may be open at once on each queue; bounds memory.", "per queue"),
    ] = 200
    max_batch: Annotated[_Count, _doc("Inputs that one run may take.", "inputs")] = 64
    max_attempts: Annotated[
        _Count,
        _doc(
            "Times that an input is staged without being applied before it is a dead letter.",
            "runs",
        ),
    ] = 5
    lease_seconds: Annotated[
        _Seconds, _doc("How long a started run lives without a heartbeat.", "seconds")
    ] = 60.0
    request_seconds: Annotated[
        _Seconds,
        _doc(
            "After this time a run that nobody started is requested again, if the pool's queue "
            "is empty.",
            "seconds",
        ),
    ] = 60.0
    backoff_base: Annotated[
        _Seconds,
        _doc("The wait after a first failed run; doubles with each further one.", "seconds"),
    ] = 1.0
    backoff_cap: Annotated[_Seconds, _doc("The longest wait between failed runs.", "seconds")] = (
        60.0
    )
    max_message_bytes: Annotated[
        _Count, _doc("The largest body that is taken; a larger one is a dead letter.", "bytes")
    ] = 1024 * 1024
    inline_snapshot_bytes: Annotated[
        int,
        msgspec.Meta(ge=0),
        _doc("Session snapshots over this size go to the blob store.", "bytes"),
    ] = 64 * 1024
    commit_max_rows: Annotated[
        _Count, _doc("The most rows that one group commit writes.", "rows")
    ] = 5_000
    database_grace: Annotated[
        _Seconds,
        _doc(
            "How long deliveries are held while the database is away, before they are given "
            "back and consuming stops.",
            "seconds",
        ),
    ] = 30.0
    drain_seconds: Annotated[
        _Seconds, _doc("How long a stopping process finishes what is in flight.", "seconds")
    ] = 20.0
    passivate_after: Annotated[
        _Seconds, _doc("An idle runtime leaves memory after this time.", "seconds")
    ] = 300.0
    max_active_runtimes: Annotated[
        _Count,
        _doc("Runtimes in memory at once; the least recently used leave first.", "runtimes"),
    ] = 10_000
    worker_heartbeat: Annotated[
        _Seconds, _doc("How often a worker says that it is alive.", "seconds")
    ] = 0.5
    worker_ttl: Annotated[
        _Seconds, _doc("A worker that was silent for so long is taken for dead.", "seconds")
    ] = 5.0
    dedupe_window: Annotated[
        _Seconds,
        _doc("How long ended inputs are kept, and so recognised when they come again.", "seconds"),
    ] = 7 * 86_400.0
    events: Annotated[
        Events,
        _doc(
            "Runtime events: not published (which spares the broker some two messages an input), "
            "published after the commit and perhaps lost, or through the outbox."
        ),
    ] = Events.BEST_EFFORT
    policy_file: Annotated[
        str | None,
        _doc("A TOML file with changes to the policy table.", expected="a file's path"),
    ] = None
    adopt_live_runs: Annotated[
        bool, _doc("Keep a run whose lease is good when its runtime changes hands.")
    ] = True
    health_host: Annotated[
        str,
        msgspec.Meta(min_length=1),
        _doc("Where `/live`, `/ready` and `/metrics` listen.", expected="a host name or address"),
    ] = "127.0.0.1"
    health_port: Annotated[_Port, _doc("Their port; 0 switches them off.", "port")] = 8080
    log_level: Annotated[LogLevel, _doc("The least severity that is logged.")] = LogLevel.INFO
    log_format: Annotated[LogFormat, _doc("Log lines for people or for programs.")] = (
        LogFormat.CONSOLE
    )
    worker_id: Annotated[
        str,
        msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$(?!\n)"),
        _doc("This process's name; every process needs its own.", expected=_WORKER_ID),
    ] = msgspec.field(default_factory=_worker_id)

    def __repr__(self) -> str:
        """Show all settings but the secrets in them."""
        shown = (f"{name}={masked(str(getattr(self, name)))}" for name in self.__struct_fields__)
        return f"Settings({', '.join(shown)})"

    def __post_init__(self) -> None:
        """Settings that only make sense together."""
        if self.worker_ttl <= self.worker_heartbeat:
            raise SettingsError(
                "MEERKAT_WORKER_TTL: expected more than MEERKAT_WORKER_HEARTBEAT "
                f"({self.worker_heartbeat:g} s), got {self.worker_ttl:g} s"
            )
        if self.backoff_cap < self.backoff_base:
            raise SettingsError(
                "MEERKAT_BACKOFF_CAP: expected at least MEERKAT_BACKOFF_BASE "
                f"({self.backoff_base:g} s), got {self.backoff_cap:g} s"
            )


class Setting(msgspec.Struct, frozen=True):
    """One setting as people see it."""

    name: str
    type: Any
    default: str
    unit: str
    doc: str
    expected: str
    secret: bool

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    @property
    def flag(self) -> str:
        """Its flag on the command line."""
        return "--" + self.name.replace("_", "-")


def catalogue() -> dict[str, Setting]:
    """Describe every setting, by its field's name, in order."""
    hints = get_type_hints(Settings, include_extras=True)
    return {field.name: _setting(field, hints[field.name]) for field in _FIELDS}


def load(environ: Mapping[str, str], flags: Mapping[str, str | None] | None = None) -> Settings:
    """Read settings: a flag wins over its variable, a variable over the default.

    An empty variable counts as absent. ``flags`` maps field names to texts; None means not given.

    Raises:
        SettingsError: The first setting that cannot be used, by its variable's or flag's name.
    """
    given: dict[str, Any] = {}
    for name, setting in catalogue().items():
        flag = (flags or {}).get(name)
        if flag is not None:
            given[name] = _converted(setting, flag, setting.flag)
        elif environ.get(setting.variable):
            given[name] = _converted(setting, environ[setting.variable], setting.variable)
    return Settings(**given)


_FIELDS: Final = msgspec.structs.fields(Settings)
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _setting(field: msgspec.structs.FieldInfo, hint: object) -> Setting:
    doc = next(m for m in get_args(hint)[1:] if m.description is not None)
    extra = doc.extra
    return Setting(
        name=field.name,
        type=hint,
        default=_shown(field.default),
        unit=extra["unit"],
        doc=doc.description,
        expected=extra["expected"] or _expected(hint, extra["unit"]),
        secret=extra["secret"],
    )


def _shown(default: object) -> str:
    match default:
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}" if default < 10**5 else f"{default:.0f}"
        case None:
            return "none"
        case msgspec.NODEFAULT:
            return "host-pid-random"
        case _:
            return str(default)


def _expected(hint: object, unit: str) -> str:
    kind = get_args(hint)[0]
    if unit == "seconds":
        return "seconds, more than 0, such as 2.5, 90s, 5m, 2h or 7d"
    if _is_enum(kind):
        return "one of " + ", ".join(str(word) for word in kind)
    if kind is bool:
        return "true or false"
    return "a whole number" + _bounds(hint)


def _is_enum(kind: object) -> TypeGuard[type[enum.Enum]]:
    return isinstance(kind, type) and issubclass(kind, enum.Enum)


def _bounds(hint: object) -> str:
    metas = get_args(hint)[1:]
    low = [m.ge for m in metas if m.ge is not None]
    high = [m.le for m in metas if m.le is not None]
    return f" from {max(low)} to {min(high)}" if high else f", at least {max(low)}"


def _converted(setting: Setting, text: str, given_as: str) -> object:
    is_word = _is_enum(get_args(setting.type)[0])
    trimmed = text.strip().lower() if is_word else text.strip()
    try:
        value = _seconds(trimmed) if setting.unit == "seconds" else trimmed
        return msgspec.convert(value, setting.type, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        found = f"{len(text)} characters" if setting.secret else f"{inert(text[:60])!r}"
        raise SettingsError(f"{given_as}: expected {setting.expected}; got {found}") from error


def _seconds(text: str) -> float:
    number, factor = text, 1
    if number[-1:] in _UNITS:
        number, factor = number[:-1], _UNITS[number[-1]]
    return float(number) * factor
