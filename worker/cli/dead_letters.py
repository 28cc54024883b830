"""``dead-letters``: what could not be processed, and why."""

from __future__ import annotations

import asyncio
import enum
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
import typer

from schemas.dead_letters import DeadLetterReason, DeadLetterStatus
from schemas.ids import DeadLetterId
from store.dead_letters import Letter, LetterFilter, LetterGroup
from worker.body import pretty
from worker.cli.faults import Failure
from worker.cli.options import DEFAULT_LIMIT, STORE, Json, Limit, runtime_id_of, settings_flags
from worker.cli.output import as_json as encoded
from worker.cli.output import facts, json_line, json_lines, table, text
from worker.cli.reading import Listing, listed, opened
from worker.cli.root import noun
from worker.exits import ExitCode
from worker.masking import masked_fields
from worker.settings import Settings
from worker.terminal import inert

app = noun("dead-letters")

_COLUMNS = ("letter", "last death", "reason", "runtime", "type", "deaths", "status", "detail")
_GROUP_COLUMNS = ("group", "letters", "reason", "first death", "last death", "example", "detail")

_AGO: Final = re.compile(r"(\d+)([smhd])")
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Standing(enum.StrEnum):
    """Which letters to show, by what became of them."""

    OPEN = "open"
    REDRIVEN = "redriven"
    DISCARDED = "discarded"
    ANY = "any"

    @property
    def status(self) -> DeadLetterStatus | None:
        """The status that is meant; None for any."""
        return None if self is Standing.ANY else DeadLetterStatus(self.value)


Status = Annotated[Standing, typer.Option("--status", help="What became of them.")]
Runtime = Annotated[str | None, typer.Option("--runtime", help="Of this runtime.")]
Reason = Annotated[DeadLetterReason | None, typer.Option("--reason", help="With this reason.")]
Since = Annotated[
    str | None,
    typer.Option("--since", help="Died at or after: 90s, 5m, 2h, 7d ago, or an RFC 3339 moment."),
]


@app.command("list")
@settings_flags(*STORE)
def list_(  # noqa: PLR0913  # each is a flag
    *,
    status: Status = Standing.OPEN,
    runtime: Runtime = None,
    reason: Reason = None,
    group: Annotated[str | None, typer.Option("--group", help="Of this group.")] = None,
    since: Since = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """List dead letters, the latest death first.

    Example:  meerkat-worker dead-letters list --reason malformed --since 2h
    """
    wanted = _filter(status, runtime, reason, group, since)
    found = asyncio.run(_list(settings, wanted, limit))
    if as_json:
        json_lines(found.items)
    else:
        table("dead letters", _COLUMNS, (_row(each) for each in found.items))
    found.warn()


@app.command()
@settings_flags(*STORE)
def groups(  # noqa: PLR0913  # each is a flag
    *,
    status: Status = Standing.OPEN,
    runtime: Runtime = None,
    reason: Reason = None,
    since: Since = None,
    limit: Limit = DEFAULT_LIMIT,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Count dead letters that failed alike, the largest group first.

    Example:  meerkat-worker dead-letters groups
    """
    wanted = _filter(status, runtime, reason, None, since)
    found = asyncio.run(_groups(settings, wanted, limit))
    if as_json:
        json_lines(found)
    else:
        table("groups of dead letters", _GROUP_COLUMNS, (_group_row(each) for each in found))


@app.command()
@settings_flags(*STORE)
def show(
    letter_id: Annotated[UUID, typer.Argument(metavar="LETTER", show_default=False)],
    *,
    payload: Annotated[
        bool, typer.Option("--payload", help="Show the body, readable, its secrets masked.")
    ] = False,
    raw: Annotated[
        bool, typer.Option("--raw", help="Write the original bytes of the body, nothing else.")
    ] = False,
    as_json: Json = False,
    settings: Settings,
) -> None:
    """Show one dead letter: why it died, its properties, and its body if asked for.

    Example:  meerkat-worker dead-letters show 01890a5d-ac96-774b-bcce-b302099a8057 --payload

    Example:  meerkat-worker dead-letters show 01890a5d-ac96-774b-bcce-b302099a8057 --raw > body
    """
    letter, body = asyncio.run(_get(settings, letter_id))
    if raw:
        _write_raw(body)
    elif as_json:
        told = {"body": pretty(body)} if payload else {}
        json_line(masked_fields({**msgspec.to_builtins(letter), **told}))
    else:
        _print(letter)
        text(pretty(body) if payload else f"body: {len(body)} bytes; --payload or --raw shows it")


def _write_raw(body: bytes) -> None:
    """Write bytes as they are into a file or a pipe; a terminal would obey them, so not there."""
    if sys.stdout.isatty():
        sys.stdout.write(inert(body.decode(errors="backslashreplace")) + "\n")
    else:
        sys.stdout.buffer.write(body)


async def _list(settings: Settings, wanted: LetterFilter, limit: int) -> Listing[Letter]:
    async with opened(settings) as store:
        return await listed(
            lambda most, after: store.dead_letters.letters(wanted, limit=most, after=after), limit
        )


async def _groups(settings: Settings, wanted: LetterFilter, limit: int) -> tuple[LetterGroup, ...]:
    async with opened(settings) as store:
        return await store.dead_letters.groups(wanted, limit=limit)


async def _get(settings: Settings, letter_id: DeadLetterId) -> tuple[Letter, bytes]:
    async with opened(settings) as store:
        found = await store.dead_letters.get(letter_id)
        if found is None:
            raise Failure(ExitCode.NOT_FOUND, f"no dead letter {letter_id}")
        return found


def _filter(
    status: Standing,
    runtime: str | None,
    reason: DeadLetterReason | None,
    group: str | None,
    since: str | None,
) -> LetterFilter:
    return LetterFilter(
        status=status.status,
        runtime_id=None if runtime is None else runtime_id_of(runtime),
        reason=reason,
        fingerprint=group,
        since=None if since is None else _moment(since, datetime.now(UTC)),
    )


def _moment(text: str, now: datetime) -> datetime:
    ago = _AGO.fullmatch(text)
    if ago is not None:
        return now - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        expected = "expected 90s, 5m, 2h, 7d or a moment such as 2026-01-31T12:00:00Z"
        raise Failure(ExitCode.UNUSABLE, f"--since: {expected}") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _print(letter: Letter) -> None:
    facts(
        f"dead letter {letter.id}",
        {
            "reason": letter.reason,
            "detail": letter.detail,
            "group": letter.fingerprint,
            "runtime": letter.runtime_id,
            "queue": letter.source_queue,
            "message": letter.message_id,
            "type": letter.type,
            "status": letter.status,
            "deaths": letter.deaths,
            "redriven": letter.redrive_count or None,
            "first death": letter.first_at,
            "last death": letter.last_at,
            "acted on": letter.acted_at,
            "by": letter.who,
            "note": letter.note,
            "properties": encoded(masked_fields(letter.properties)),
        },
    )


def _row(each: Letter) -> tuple[Any, ...]:
    what = (each.reason, each.runtime_id, each.type, each.deaths, each.status, each.detail)
    return (each.id, each.last_at, *what)


def _group_row(each: LetterGroup) -> tuple[Any, ...]:
    span = (each.first_at, each.last_at)
    return each.fingerprint, each.count, each.reason, *span, each.example.id, each.example.detail
