"""Lanes: the two ordered lists of waiting inputs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence

from schemas.ids import InputId
from schemas.inputs import InputKind
from schemas.lifecycle import Lane
from schemas.records import InputRecord

Scope = tuple[InputKind, str]
"""What an input coalesces with or supersedes: its kind and its supersession key."""


class LaneList:
    """One lane: ids in the order of their positions. Removes from anywhere in constant time.

    An ordered dict and not a dict: the latter finds its first entry only by walking over all that
    were removed before it.
    """

    __slots__ = ("_positions",)

    def __init__(self) -> None:
        self._positions: OrderedDict[InputId, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[InputId]:
        return iter(self._positions)

    @property
    def first_position(self) -> int | None:
        """Where its first entry stands, or None if it is empty."""
        return next(iter(self._positions.values()), None)

    def append(self, input_id: InputId, position: int) -> None:
        """Put an entry behind all others."""
        self._positions[input_id] = position

    def prepend(self, input_id: InputId, position: int) -> None:
        """Put an entry in front of all others."""
        self._positions[input_id] = position
        self._positions.move_to_end(input_id, last=False)

    def remove(self, input_id: InputId) -> None:
        """Take an entry out, wherever it stands."""
        del self._positions[input_id]

    def restore(self, positions: Mapping[InputId, int]) -> None:
        """Put entries back where they stood.

        What came in front of them in the meantime is merged by position; what stands behind the
        last of them is not looked at.
        """
        merged = dict(positions)
        last = max(merged.values(), default=0)
        while (first := self.first_position) is not None and first < last:
            input_id, position = self._positions.popitem(last=False)
            merged[input_id] = position
        for input_id in sorted(merged, key=merged.__getitem__, reverse=True):
            self.prepend(input_id, merged[input_id])


class Lanes:
    """Both lanes of a runtime, and which waiting inputs share a scope."""

    __slots__ = ("_scopes", "queue", "steer")

    def __init__(self) -> None:
        self.queue = LaneList()
        self.steer = LaneList()
        self._scopes: dict[Scope, dict[InputId, None]] = {}

    def __len__(self) -> int:
        return len(self.queue) + len(self.steer)

    def enter(self, record: InputRecord) -> None:
        """Let an input wait: behind all others, or in front of all others if it has priority."""
        lane = self._lane(record)
        position = record.position
        first = lane.first_position
        ahead = first is not None and position < first
        (lane.prepend if ahead else lane.append)(record.input_id, position)
        self._enter_scope(record)

    def restore(self, records: Sequence[InputRecord]) -> None:
        """Let inputs that were rolled back wait where they stood."""
        for lane in (self.queue, self.steer):
            mine = [record for record in records if self._lane(record) is lane]
            lane.restore({record.input_id: record.position for record in mine})
        for record in records:
            self._enter_scope(record)

    def leave(self, record: InputRecord) -> None:
        """Take an input out, wherever it stands."""
        self._lane(record).remove(record.input_id)
        if record.supersession_key is not None:
            self._scopes[record.kind, record.supersession_key].pop(record.input_id)

    def in_scope(self, kind: InputKind, key: str) -> list[InputId]:
        """List the waiting inputs of one kind and supersession key."""
        return list(self._scopes.get((kind, key), ()))

    def _lane(self, record: InputRecord) -> LaneList:
        return self.steer if record.lane is Lane.STEER else self.queue

    def _enter_scope(self, record: InputRecord) -> None:
        if record.supersession_key is not None:
            scope = (record.kind, record.supersession_key)
            self._scopes.setdefault(scope, {})[record.input_id] = None

    def hold_any_through(self, sequence: int) -> bool:
        """Tell whether an input admitted at or before a sequence may still wait.

        A priority input in front hides what stands behind it, so it counts as one.
        """
        firsts = (self.queue.first_position, self.steer.first_position)
        return any(first is not None and first <= sequence for first in firsts)
