"""Commands: what an operator or an application tells a runtime to do, and the report it answers."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.ids import CommandId, InputId, RunId
from schemas.lifecycle import AbandonReason


class _Command(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="command"):
    command_id: CommandId


class Stop(_Command, frozen=True, tag="stop"):
    """End the runtime; abandon what is active."""


class Resume(_Command, frozen=True, tag="resume"):
    """Leave ``recovering``; nothing elsewhere."""


class Retire(_Command, frozen=True, tag="retire"):
    """Take no new input, drain the old."""


class Reset(_Command, frozen=True, tag="reset"):
    """Abandon all active inputs and return to idle."""


class Recycle(_Command, frozen=True, tag="recycle"):
    """Rebuild the driver from the store and keep the work."""


class Destroy(_Command, frozen=True, tag="destroy"):
    """End the runtime for good; abandon what is active."""


class Recover(_Command, frozen=True, tag="recover"):
    """Run recovery now."""


class Attach(_Command, frozen=True, tag="attach"):
    """Bind an executor in the worker process."""


class Detach(_Command, frozen=True, tag="detach"):
    """Unbind it."""


class CancelRun(_Command, frozen=True, tag="cancel_run"):
    """Ask the executor to cancel the current run, or just the run named."""

    run_id: RunId | None = None


class CancelInput(_Command, frozen=True, tag="cancel_input"):
    """Abandon one input that is not in a run."""

    input_id: InputId


class AbandonPending(_Command, frozen=True, tag="abandon_pending"):
    """Abandon all active inputs for a reason."""

    reason: AbandonReason


class SetSilentIntents(_Command, frozen=True, tag="set_silent_intents"):
    """Name the intents of peer requests that wake nobody."""

    intents: tuple[str, ...]


class Wake(_Command, frozen=True, tag="wake"):
    """Process what waits, as if an input had woken the runtime. The retry timer sends it."""


Command = (
    Stop
    | Resume
    | Retire
    | Reset
    | Recycle
    | Destroy
    | Recover
    | Attach
    | Detach
    | CancelRun
    | CancelInput
    | AbandonPending
    | SetSilentIntents
    | Wake
)


class CommandReport(msgspec.Struct, frozen=True):
    """What is answered to a command's ``reply_to``: ``outcome`` is ``report``, ``refused``, ..."""

    command_id: CommandId
    outcome: dict[str, Any]
