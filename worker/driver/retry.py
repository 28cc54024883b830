"""Retries: how a runtime goes on after a run that did not end well."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from schemas.records import InputRecord, RetryPlan
from worker.driver.options import DriverOptions

_MOST_DOUBLINGS: Final = 32  # 2 ** 32 seconds is beyond any cap


def after_failure(
    plan: RetryPlan | None,
    back: Sequence[InputRecord],
    *,
    not_before: datetime,
    failures: int,
    batch_limit: int,
) -> RetryPlan:
    """Plan how the inputs that came back are tried again.

    What an earlier plan still watches over stays watched.
    """
    through = max(record.sequence for record in back)
    return RetryPlan(
        failures=failures,
        not_before=not_before,
        batch_limit=batch_limit,
        through_sequence=through if plan is None else max(through, plan.through_sequence),
    )


def halved(count: int) -> int:
    """Tell how many inputs go into the larger half of a batch: at least one."""
    return (count + 1) // 2


def backoff(options: DriverOptions, failures: int, jitter: float) -> timedelta:
    """Tell how long to wait after the given number of failures in a row.

    Doubles from ``backoff_base`` up to ``backoff_cap``; jitter takes away up to half, so that
    runtimes that failed together do not come back together.
    """
    doubled = options.backoff_base * 2 ** min(failures - 1, _MOST_DOUBLINGS)
    longest = min(options.backoff_cap, doubled)
    return timedelta(seconds=longest - longest / 2 * jitter)
