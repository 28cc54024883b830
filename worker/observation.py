"""Observation: one place that turns what the worker does into metrics, health and log lines."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

import structlog

from schemas.envelope import MessageType
from schemas.ids import RuntimeId
from schemas.outcomes import Stale
from store.ports import Commit, CommitResult
from worker.batch import Item
from worker.broker.errors import BrokerError, UnroutableError
from worker.disposition import Disposition
from worker.health import Health
from worker.metrics import Metrics

log = structlog.get_logger()

_KNOWN_TYPES: Final = frozenset(kind.value for kind in MessageType)


@dataclass(frozen=True, slots=True)
class Observation:
    """What the committer, runtimes, the outbox and the broker's connections are observed by."""

    metrics: Metrics
    health: Health

    def settled(self, runtime_id: RuntimeId, items: Sequence[Item]) -> None:
        """Count deliveries that ended, and log a line for each.

        A plain success is logged at debug level: an input's history is in the store. Everything
        else (a duplicate, a dead letter, a return) is logged at info level or above.
        """
        tally = Counter((_type(item), item.disposition) for item in items)
        for (kind, disposition), count in tally.items():
            self.metrics.messages.labels(kind, disposition.value).inc(count)
            if not disposition.is_ack:
                self.metrics.returned_deliveries.labels(disposition.value).inc(count)
        self.metrics.batch_messages.observe(len(items))
        says_all = log.is_enabled_for(logging.DEBUG)
        for item in items:
            if says_all or item.disposition is not Disposition.DONE:
                self._note(runtime_id, item)

    def activated(self, runtime_id: RuntimeId, seconds: float) -> None:
        """Count an activation."""
        self.metrics.activations.inc()
        log.debug("runtime: active", runtime_id=runtime_id, ms=round(seconds * 1000, 1))

    def committed(
        self, parts: Sequence[Commit], results: Sequence[CommitResult], seconds: float
    ) -> None:
        """Measure a group commit."""
        self.metrics.commits.labels("committed").inc()
        self.metrics.commit_seconds.observe(seconds)
        self.metrics.commit_runtimes.observe(len(parts))
        for part, result in zip(parts, results, strict=True):
            match result:
                case CommitResult.COMMITTED:
                    self._count_effects(part)
                case CommitResult.FENCED:
                    self.metrics.fenced_commits.inc()
                case CommitResult.FAILED:
                    self.metrics.failed_commits.inc()

    def database(self, *, away: bool) -> None:
        """Report the database."""
        if away:
            self.metrics.commits.labels("unavailable").inc()
            self.metrics.connections_lost.labels("database").inc()
            self.health.down("database", "does not answer; deliveries are held")
        else:
            self.health.up("database")

    def broker_lost(self) -> None:
        """Count a connection to the broker that was up and is lost."""
        self.metrics.connections_lost.labels("broker").inc()

    def published(self, confirmed: int, failures: Sequence[BrokerError]) -> None:
        """Count tries to publish rows of the outbox."""
        self.metrics.published.labels("confirmed").inc(confirmed)
        for failure in failures:
            result = "unroutable" if isinstance(failure, UnroutableError) else "failed"
            self.metrics.published.labels(result).inc()

    def lag(self, queue: str, ready: int | None) -> None:
        """Report how many messages wait in a queue that is consumed here; None: it no longer is."""
        if ready is None:
            self.metrics.forget_queue(queue)
        else:
            self.metrics.queue_lag.labels(queue).set(ready)

    def _count_effects(self, part: Commit) -> None:
        for letter in part.dead_letters:
            self.metrics.dead_letters.labels(letter.reason.value).inc()
        for run in part.changes.runs:
            self.metrics.runs.labels(run.state.value).inc()

    def _note(self, runtime_id: RuntimeId, item: Item) -> None:
        if isinstance(item.outcome, Stale):
            self.metrics.stale_run_events.inc()
        if item.disposition is Disposition.DONE:
            say = log.debug
        elif item.disposition is Disposition.DEAD_LETTER:
            say = log.warning
        else:
            say = log.info
        reason, detail = item.cause or (None, None)
        say(
            "message",
            runtime_id=runtime_id,
            message_id=item.envelope.message_id,
            type=item.envelope.type,
            disposition=item.disposition.value,
            reason=reason and reason.value,
            detail=detail,
            ms=round((monotonic() - item.delivery.received) * 1000, 1),
        )


def _type(item: Item) -> str:
    """Name the message's type; what is not ours to name is ``other``."""
    kind = item.envelope.type
    return kind if kind in _KNOWN_TYPES else "other"
