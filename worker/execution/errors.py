"""What an executor's function may raise, and what the kit raises into it."""

from __future__ import annotations


class Retryable(Exception):  # noqa: N818 - the word that is raised: `raise Retryable("rate limited")`
    """Raised by the function: the run failed, and may well succeed when it is tried again.

    Every exception that is not ``Fatal`` counts as this one; raise it to say so on purpose.
    """


class Fatal(Exception):  # noqa: N818 - the word that is raised: `raise Fatal("no such model")`
    """Raised by the function: the run failed, and trying again would not help."""


class ExecutorError(Exception):
    """Anything that the kit raises on purpose."""


class LeaseLostError(ExecutorError):
    """The run's lease passed before the broker could be told: the run is somebody else's now.

    Raised by ``Run.boundary``. Nothing that this executor reports about the run counts any more.
    """


class SnapshotError(ExecutorError):
    """A session snapshot cannot be loaded or kept with the blob store that this executor has."""
