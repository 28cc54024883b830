"""Commands as an application writes them: each is given its id when it is made, and keeps it.

So carrying out the same object twice is a retry, answered with the first one's report.
"""

from __future__ import annotations

import msgspec
from uuid_utils.compat import uuid7

from schemas import commands
from schemas.ids import CommandId


def _new_id() -> CommandId:
    return uuid7()


class Stop(commands.Stop, frozen=True, kw_only=True):
    """End the runtime; abandon what is active."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class Resume(commands.Resume, frozen=True, kw_only=True):
    """Leave ``recovering``; nothing elsewhere."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class Retire(commands.Retire, frozen=True, kw_only=True):
    """Take no new input, drain the old."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class Reset(commands.Reset, frozen=True, kw_only=True):
    """Abandon all active inputs and return to idle."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class Recycle(commands.Recycle, frozen=True, kw_only=True):
    """Rebuild the driver from the store and keep the work."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class Destroy(commands.Destroy, frozen=True, kw_only=True):
    """End the runtime for good; abandon what is active."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class Recover(commands.Recover, frozen=True, kw_only=True):
    """Run recovery now."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class Attach(commands.Attach, frozen=True, kw_only=True):
    """Bind an executor in the worker process."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class Detach(commands.Detach, frozen=True, kw_only=True):
    """Unbind it."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class CancelRun(commands.CancelRun, frozen=True, kw_only=True):
    """Ask the executor to cancel the current run, or just the run named."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class CancelInput(commands.CancelInput, frozen=True, kw_only=True):
    """Abandon one input that is not in a run."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class AbandonPending(commands.AbandonPending, frozen=True, kw_only=True):
    """Abandon all active inputs for a reason."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class SetSilentIntents(commands.SetSilentIntents, frozen=True, kw_only=True):
    """Name the intents of peer requests that wake nobody."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)


class Wake(commands.Wake, frozen=True, kw_only=True):
    """Process what waits, as if an input had woken the runtime."""

    command_id: CommandId = msgspec.field(default_factory=_new_id)
