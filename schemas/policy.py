"""The policy decision: what is to become of one input, and by which version of the table."""

from __future__ import annotations

import enum

import msgspec

from schemas.lifecycle import Lane


class ApplyMode(enum.StrEnum):
    """When an input is applied to the conversation."""

    STAGE_RUN_START = "stage_run_start"
    STAGE_RUN_BOUNDARY = "stage_run_boundary"
    INJECT_NOW = "inject_now"
    IGNORE = "ignore"


class WakeMode(enum.StrEnum):
    """Whether an input wakes its runtime."""

    WAKE_IF_IDLE = "wake_if_idle"
    INTERRUPT_YIELDING = "interrupt_yielding"
    NONE = "none"


class QueueMode(enum.StrEnum):
    """What an input does to those that wait already."""

    NONE = "none"
    FIFO = "fifo"
    COALESCE = "coalesce"
    SUPERSEDE = "supersede"
    PRIORITY = "priority"


class ConsumePoint(enum.StrEnum):
    """When an input counts as consumed."""

    ON_ACCEPT = "on_accept"
    ON_APPLY = "on_apply"
    ON_RUN_START = "on_run_start"
    ON_RUN_COMPLETE = "on_run_complete"
    EXPLICIT_ACK = "explicit_ack"


class InterruptPolicy(enum.StrEnum):
    """Whether an input asks a running executor to yield."""

    NONE = "none"
    INTERRUPT_YIELDING = "interrupt_yielding"


class DrainPolicy(enum.StrEnum):
    """How an input leaves its lane."""

    QUEUE_NEXT_TURN = "queue_next_turn"
    STEER_BATCH = "steer_batch"
    IMMEDIATE = "immediate"
    IGNORE = "ignore"


class RoutingDisposition(enum.StrEnum):
    """Where an input goes."""

    QUEUE = "queue"
    STEER = "steer"
    IMMEDIATE = "immediate"
    DROP = "drop"


class PolicyDecision(msgspec.Struct, frozen=True, gc=False):
    """What the policy table says about one input; recorded on the input with its version."""

    apply_mode: ApplyMode
    wake_mode: WakeMode
    queue_mode: QueueMode
    consume_point: ConsumePoint
    interrupt_policy: InterruptPolicy
    drain_policy: DrainPolicy
    routing_disposition: RoutingDisposition
    record_transcript: bool
    emit_operator_content: bool
    policy_version: int

    @property
    def lane(self) -> Lane:
        """The lane that the route leads to."""
        steers = self.routing_disposition is RoutingDisposition.STEER
        return Lane.STEER if steers else Lane.QUEUE
