"""Messages of a benchmark: durable prompts, as any publisher would send them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import cycle, islice
from typing import Final

import msgspec

from schemas.ids import RuntimeId, runtime_id
from worker.broker.publisher import Outgoing
from worker.broker.topology import Topology
from worker.clock import new_id

TEXT: Final = "What is to be done next? ".ljust(200, ".")
"""200 bytes; the whole body has some 340."""


def runtime_ids(count: int) -> tuple[RuntimeId, ...]:
    """Name so many runtimes."""
    return tuple(runtime_id(f"runtime-{number:03}") for number in range(count))


def prompts(topology: Topology, runtimes: Sequence[RuntimeId], count: int) -> Iterator[Outgoing]:
    """Make prompts for runtimes in turn; an id says when its prompt was asked for."""
    for runtime in islice(cycle(runtimes), count):
        input_id = str(new_id())
        body = {
            "input_type": "prompt",
            "header": {"id": input_id, "source": {"type": "operator"}, "durability": "durable"},
            "text": TEXT,
        }
        yield Outgoing(
            topology.inbox,
            runtime,
            msgspec.json.encode(body),
            {"message_id": input_id, "type": "input"},
        )
