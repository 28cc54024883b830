"""Choosing dead letters: the filters that the commands share, and which letters are meant."""

from __future__ import annotations

import enum
import getpass
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final, TypeVar
from uuid import UUID

import typer

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from schemas.ids import DeadLetterId
from store.dead_letters import LetterFilter
from worker.cli.faults import Failure
from worker.cli.options import expanded, flag, runtime_id_of
from worker.exits import ExitCode
from worker.moments import moment

T = TypeVar("T")

LetterArgument = Annotated[UUID, typer.Argument(metavar="LETTER", show_default=False)]
LetterArguments = Annotated[list[UUID] | None, typer.Argument(metavar="LETTER", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Who = Annotated[str | None, typer.Option("--as", metavar="NAME", help="Who does it; else you.")]


class Standing(enum.StrEnum):
    """Which letters to show, by what became of them."""

    OPEN = "open"
    REDRIVEN = "redriven"
    CLOSED = "closed"
    DISCARDED = "discarded"
    ANY = "any"

    @property
    def status(self) -> DeadLetterStatus | None:
        """The status that is meant; None for any."""
        return None if self is Standing.ANY else DeadLetterStatus(self.value)


_STATUS: Final = flag(
    "status",
    Annotated[Standing, typer.Option("--status", help="What became of them.")],
    default=Standing.OPEN,
)
_GROUP: Final = flag("group", Annotated[str | None, typer.Option("--group", help="Of this group.")])
_OTHERS: Final = [
    flag("runtime", Annotated[str | None, typer.Option("--runtime", help="Of this runtime.")]),
    flag(
        "reason",
        Annotated[DeadLetterReason | None, typer.Option("--reason", help="With this reason.")],
    ),
    flag(
        "since",
        Annotated[
            str | None,
            typer.Option(
                "--since", help="Died at or after: 90s, 5m, 2h, 7d ago, or an RFC 3339 moment."
            ),
        ],
    ),
]
_ALL: Final = flag(
    "all_", Annotated[bool, typer.Option("--all", help="All open ones.")], default=False
)


def filter_flags(*, group: bool = True) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """Give a command, as ``wanted``, flags that say which letters to show."""
    return expanded("wanted", [_STATUS, *([_GROUP] if group else []), *_OTHERS], _filter)


@dataclass(frozen=True, slots=True)
class Choice:
    """Letters to do something with: named one by one, or all open ones that a filter means."""

    ids: tuple[DeadLetterId, ...]
    wanted: LetterFilter


def choice_flags(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command, as ``wanted``, flags that say which open letters are meant besides names.

    It is None where none was given, and then letters must be named.
    """
    return expanded("wanted", [_GROUP, *_OTHERS, _ALL], _maybe_filter)(command)


def chosen(ids: list[UUID] | None, wanted: LetterFilter | None) -> Choice:
    """Tell which letters are meant: either names or a filter, never nothing and never both."""
    if (not ids) == (wanted is None):
        raise Failure(
            ExitCode.UNUSABLE,
            "expected LETTERs, or else --group, --runtime, --reason, --since or --all",
        )
    return Choice(tuple(dict.fromkeys(ids or ())), wanted or LetterFilter())


def confirm(what: str, count: int, *, yes: bool) -> None:
    """Ask before more than one letter is changed.

    Raises:
        Failure: The answer is no, or nobody is there to ask.
    """
    if yes or count <= 1:
        return
    if not sys.stdin.isatty():
        raise Failure(ExitCode.UNUSABLE, f"{what} {count} dead letters: say --yes to do it")
    if not typer.confirm(f"{what} {count} dead letters?", err=True):
        raise Failure(ExitCode.WRONG, "nothing was done")


def name_of(who: str | None) -> str:
    """Tell who acts: as they say, or the name they are logged in under."""
    if who:
        return who
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _filter(values: dict[str, Any]) -> LetterFilter:
    runtime, since = values.get("runtime"), values.get("since")
    return LetterFilter(
        status=values.get("status", Standing.OPEN).status,
        runtime_id=None if runtime is None else runtime_id_of(runtime),
        reason=values.get("reason"),
        fingerprint=values.get("group"),
        since=None if since is None else _moment(since, datetime.now(UTC)),
    )


def _maybe_filter(values: dict[str, Any]) -> LetterFilter | None:
    given = any(values[name] for name in ("group", "runtime", "reason", "since", "all_"))
    return _filter(values) if given else None


def _moment(text: str, now: datetime) -> datetime:
    try:
        return moment(text, now)
    except ValueError as error:
        raise Failure(ExitCode.UNUSABLE, f"--since: {error}") from error
