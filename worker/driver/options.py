"""Options: the bounds within which a driver works."""

from __future__ import annotations

from dataclasses import dataclass

from worker.driver.policy import DEFAULT_POLICY, PolicyTable


@dataclass(frozen=True, slots=True)
class DriverOptions:
    """The bounds within which a driver works.

    Attributes:
        policy: The table that decides what becomes of an input.
        max_batch: The most inputs that one run takes.
        max_attempts: How often an input is staged before it is given up.
        lease_seconds: How long a run lives without a heartbeat.
        request_seconds: After how long a run that nobody started may be requested again.
        backoff_base: Seconds before the first retry.
        backoff_cap: The most seconds before any retry.
        announce: Whether runtime events are made for observers.
    """

    policy: PolicyTable = DEFAULT_POLICY
    max_batch: int = 64
    max_attempts: int = 5
    lease_seconds: float = 60.0
    request_seconds: float = 60.0
    backoff_base: float = 1.0
    backoff_cap: float = 60.0
    announce: bool = True
