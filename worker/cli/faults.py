"""Faults: what can foreseeably go wrong, as one sentence and an exit code."""

from __future__ import annotations

from typing import Final

from worker.exits import ExitCode

KNOWN: Final = {
    "schemas.errors.MalformedError": ExitCode.UNUSABLE,
    "store.errors.StoreError": ExitCode.UNUSABLE,
    "worker.client.errors.NoReplyError": ExitCode.NO_ANSWER,
    "worker.client.errors.ClientError": ExitCode.WRONG,
    "worker.broker.errors.UnroutableError": ExitCode.WRONG,
    "worker.broker.errors.PublishFailedError": ExitCode.NO_ANSWER,
    "worker.broker.errors.BrokerError": ExitCode.UNUSABLE,
    "worker.execution.errors.ExecutorError": ExitCode.UNUSABLE,
    "worker.driver.replay.ReplayError": ExitCode.UNUSABLE,
    "worker.console.session.TokenError": ExitCode.UNUSABLE,
    "worker.listening.PortError": ExitCode.UNUSABLE,
    "worker.sandbox.unavailable.ServiceUnavailable": ExitCode.UNUSABLE,
    "worker.settings.SettingsError": ExitCode.UNUSABLE,
}
"""By full name, so that classifying an error loads nothing; a subclass may have its own line."""


class Failure(Exception):  # noqa: N818  # it is what a command ends in, not a defect
    """The end of a command that did not do what was asked, in one sentence."""

    def __init__(self, code: ExitCode, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


def fault_of(error: Exception) -> Failure | None:
    """Classify an error; None means that nobody foresaw it."""
    if isinstance(error, Failure):
        return error
    if isinstance(error, ExceptionGroup):
        return _first([fault_of(each) for each in error.exceptions])
    for ancestor in type(error).__mro__:
        code = KNOWN.get(f"{ancestor.__module__}.{ancestor.__qualname__}")
        if code is not None:
            return Failure(code, str(error))
    if isinstance(error, OSError) and error.filename is not None:
        return Failure(ExitCode.UNUSABLE, f"{error.filename}: {error.strerror}")
    return None


def _first(faults: list[Failure | None]) -> Failure | None:
    """Of many things that went wrong at once, tell one; if any was not foreseen, that counts."""
    return None if None in faults else faults[0]
