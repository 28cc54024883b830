"""Batching: which waiting inputs the next run takes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

from schemas.ids import InputId
from schemas.inputs import InputKind
from schemas.policy import ApplyMode
from schemas.records import InputRecord
from schemas.runs import Boundary
from worker.driver.ledger import Ledger


def next_batch(ledger: Ledger) -> list[InputRecord]:
    """Choose the inputs of the next run, in order. Something must be waiting.

    The steer lane goes first: its leading inputs with one boundary. Otherwise a prompt at the head
    of the queue lane goes alone, and so do not the leading others.
    """
    steering = _leading(ledger, ledger.lanes.steer)
    if steering:
        return _of_one_boundary(steering)
    waiting = _leading(ledger, ledger.lanes.queue)
    if waiting[0].kind is InputKind.PROMPT:
        return waiting[:1]
    return _of_one_boundary(_before_a_prompt(waiting))


def boundary_of(record: InputRecord) -> Boundary:
    """Tell at which point of a run an input is applied."""
    at_checkpoint = (
        record.policy is not None and record.policy.apply_mode is ApplyMode.STAGE_RUN_BOUNDARY
    )
    return Boundary.RUN_CHECKPOINT if at_checkpoint else Boundary.RUN_START


def _leading(ledger: Ledger, lane: Iterable[InputId]) -> list[InputRecord]:
    plan = ledger.runtime.retry
    limit = ledger.options.max_batch
    limit = limit if plan is None else min(limit, plan.batch_limit)
    return [ledger.active[input_id] for input_id in islice(lane, limit)]


def _before_a_prompt(records: list[InputRecord]) -> list[InputRecord]:
    kinds = [record.kind for record in records]
    return records[: kinds.index(InputKind.PROMPT)] if InputKind.PROMPT in kinds else records


def _of_one_boundary(records: list[InputRecord]) -> list[InputRecord]:
    first = boundary_of(records[0])
    other = (at for at, record in enumerate(records) if boundary_of(record) is not first)
    return records[: next(other, len(records))]
