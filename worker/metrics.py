"""Metrics: what a process counts and measures, for Prometheus.

An instrument is named after its field: ``messages`` is exposed as ``meerkat_messages_total``.
"""

from __future__ import annotations

from typing import Annotated, Final, get_args, get_type_hints

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

PREFIX: Final = "meerkat_"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_SIZES: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


class Recipe(msgspec.Struct, frozen=True):
    """What an instrument is made of, beside its name and kind."""

    doc: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] | None = None


class Metrics:
    """The instruments of one process, in a registry of their own.

    The values of every label but ``queue`` are a closed vocabulary; call ``forget_queue`` when a
    queue is released.
    """

    registry: CollectorRegistry

    # --- deliveries
    messages: Annotated[
        Counter,
        Recipe(
            "Messages settled.",
            (
                "type",
                "disposition",
            ),
        ),
    ]
    dead_letters: Annotated[Counter, Recipe("Dead letters written.", ("reason",))]
    open_deliveries: Annotated[Gauge, Recipe("Deliveries taken and not settled.")]
    oldest_delivery_seconds: Annotated[
        Gauge, Recipe("Age of the oldest delivery that is not settled.")
    ]
    returned_deliveries: Annotated[
        Counter, Recipe("Deliveries given back to the broker.", ("reason",))
    ]
    lost_acks: Annotated[Counter, Recipe("Acks on dead channels; redelivery and dedupe end those.")]
    stale_run_events: Annotated[Counter, Recipe("Run events for ended runs, or that repeat one.")]

    # --- the broker
    queue_lag: Annotated[
        Gauge,
        Recipe(
            "Messages ready on a queue that is consumed here; 50 queues are asked every 5 s.",
            ("queue",),
        ),
    ]
    queues_desired: Annotated[Gauge, Recipe("Queues that this worker should consume.")]
    queues_live: Annotated[Gauge, Recipe("Queues that this worker does consume.")]
    queues_redeclared: Annotated[Counter, Recipe("Queues found broken and declared anew.")]
    connections_lost: Annotated[
        Counter,
        Recipe(
            "Connections to the broker that were lost; for the database, times it went away.",
            ("peer",),
        ),
    ]
    published: Annotated[Counter, Recipe("Outbox messages published, each try.", ("result",))]
    outbox_age_seconds: Annotated[
        Gauge, Recipe("Age of the oldest message decided and not published.")
    ]
    events_dropped: Annotated[Counter, Recipe("Runtime events that observers will not see.")]

    # --- the store
    commits: Annotated[Counter, Recipe("Group commits.", ("result",))]
    commit_seconds: Annotated[Histogram, Recipe("Duration of one group commit.", buckets=_SECONDS)]
    commit_runtimes: Annotated[Histogram, Recipe("Runtimes in one group commit.", buckets=_SIZES)]
    batch_messages: Annotated[Histogram, Recipe("Messages in one runtime's batch.", buckets=_SIZES)]
    fenced_commits: Annotated[
        Counter, Recipe("Runtimes that another worker had taken at the commit.")
    ]
    failed_commits: Annotated[Counter, Recipe("Runtimes whose part of a commit was refused.")]

    # --- runtimes and runs
    active_runtimes: Annotated[Gauge, Recipe("Runtimes in memory.")]
    activations: Annotated[Counter, Recipe("Runtimes loaded from the store.")]
    passivations: Annotated[Counter, Recipe("Runtimes dropped from memory.", ("reason",))]
    runs: Annotated[Counter, Recipe("Runs requested, and how they ended.", ("state",))]
    timers_fired: Annotated[
        Counter, Recipe("Timers that came due and whose message was sent from here.", ("kind",))
    ]
    workers_alive: Annotated[Gauge, Recipe("Workers that share the queues, as seen from here.")]

    def __init__(self) -> None:
        """Make every instrument that is declared above, at zero."""
        self.registry = CollectorRegistry()
        for name, (kind, recipe) in declared().items():
            options = {} if recipe.buckets is None else {"buckets": recipe.buckets}
            instrument = kind(
                PREFIX + name, recipe.doc, recipe.labels, registry=self.registry, **options
            )
            setattr(self, name, instrument)

    def forget_queue(self, queue: str) -> None:
        """Stop reporting a queue that is no longer ours; unknown ones change nothing."""
        self.queue_lag.remove(queue)  # not by labels: that looks at every queue

    def exposition(self) -> bytes:
        """Render everything in the text format of Prometheus (``CONTENT_TYPE``)."""
        return generate_latest(self.registry)


def raise_to(counter: Counter, total: float) -> None:
    """Bring a counter without labels to a total that is kept elsewhere and only ever rises."""
    [family] = counter.collect()
    counter.inc(total - family.samples[0].value)


def declared() -> dict[str, tuple[type, Recipe]]:
    """Every instrument's field name, kind and recipe, in order."""
    hints = get_type_hints(Metrics, include_extras=True)
    return {name: get_args(hint) for name, hint in hints.items() if get_args(hint)}
