"""Dispatch: which part of the worker a delivery is for, by the queue that it came from."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.ids import runtime_id
from worker.broker.delivery import Delivery
from worker.broker.topology import Topology
from worker.burial import Burial
from worker.dead_letters.collect import Collector
from worker.registrar import Registrar
from worker.runtimes import Runtimes


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Hands deliveries on, in broker order and at once."""

    topology: Topology
    runtimes: Runtimes
    registrar: Registrar
    burial: Burial
    collector: Collector

    def deliver(self, delivery: Delivery) -> None:
        """Hand a delivery to whoever settles it."""
        if delivery.queue == self.topology.registrations:
            self.registrar.deliver_registration(delivery)
        elif delivery.queue == self.topology.unrouted:
            self.registrar.deliver_unrouted(delivery)
        elif delivery.queue == self.topology.dead:
            self.collector.deliver(delivery)
        else:
            self._to_runtime(delivery)

    def _to_runtime(self, delivery: Delivery) -> None:
        try:
            name = runtime_id(delivery.envelope.routing_key)
        except ValueError as fault:
            self.burial.deliver(delivery, f"routing_key: {fault}")
            return
        self.runtimes.deliver(name, delivery)
