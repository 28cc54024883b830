"""Receipts: what makes one acceptable, and the snapshot that comes with it."""

from __future__ import annotations

import binascii
import hashlib

from schemas.content import BlobRef
from schemas.lifecycle import InputState
from schemas.records import RunRecord, SnapshotRecord
from schemas.runs import BoundaryApplied, Receipt, SessionSnapshot
from worker.driver.ledger import Ledger


class SnapshotError(ValueError):
    """A session snapshot that does not hold what its receipt says."""


def receipt_fault(ledger: Ledger, run: RunRecord, receipt: Receipt) -> str | None:
    """Tell how a receipt breaks the protocol of the current run, or None if it does not."""
    if receipt.run_id != run.run_id:
        return "receipt.run_id: expected the run_id of the event"
    if receipt.sequence != run.next_boundary:
        return f"receipt.sequence: expected {run.next_boundary}, got {receipt.sequence}"
    if receipt.boundary is not run.boundary:
        return f"receipt.boundary: expected {run.boundary}, got {receipt.boundary}"
    return _contributors_fault(ledger, run, receipt)


def _contributors_fault(ledger: Ledger, run: RunRecord, receipt: Receipt) -> str | None:
    ids = receipt.contributing_input_ids
    foreign = set(ids) - set(run.batch)
    if foreign:
        return f"receipt.contributing_input_ids: {len(foreign)} are not of this run's batch"
    staged = {item.input_id for item in ledger.batch() if item.state is InputState.STAGED}
    if len(set(ids)) != len(ids) or not staged.issuperset(ids):
        return "receipt.contributing_input_ids: expected each input once, in one receipt only"
    return None


def snapshot_record(event: BoundaryApplied) -> SnapshotRecord | None:
    """Make the snapshot row of a boundary; None if it brings no snapshot.

    Raises:
        SnapshotError: The snapshot is not base64, or not what the receipt's digest says.
    """
    receipt, snapshot = event.receipt, event.session_snapshot
    match snapshot:
        case None:
            return None
        case BlobRef(blob_id=blob_id):
            digest = receipt.conversation_digest
            return SnapshotRecord(receipt.run_id, receipt.sequence, None, blob_id, digest)
        case _:
            data = _decoded(snapshot)
            digest = hashlib.sha256(data).hexdigest()
            if receipt.conversation_digest not in (None, digest):
                raise SnapshotError(
                    "receipt.conversation_digest: expected SHA-256 of the session snapshot"
                )
            return SnapshotRecord(receipt.run_id, receipt.sequence, data, None, digest)


def _decoded(text: SessionSnapshot) -> bytes:
    try:
        return binascii.a2b_base64(str(text), strict_mode=True)
    except binascii.Error as error:
        raise SnapshotError("session_snapshot: expected base64") from error
