"""The story: what is published to whom, and what must come of it."""

from __future__ import annotations

import struct
import zlib
from base64 import b64encode
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from schemas.content import Image
from schemas.ids import InputId, RuntimeId
from schemas.inputs import OperationCompleted
from worker.client.drafts import Draft, ExternalEvent, Operation, PeerMessage, Prompt
from worker.clock import new_id

RUNTIMES: Final = tuple(RuntimeId(name) for name in ("ada", "grace", "linus"))
MALFORMED: Final = b'{"input_type":"prompt","header":{"id":"not-a-uuid"},"text":"hello"}'


@dataclass(frozen=True, slots=True)
class Scene:
    """One message: to whom, what, and the words for it on the screen.

    ``duplicate_of`` names the input that this one repeats, by its id or by its key.
    """

    runtime_id: RuntimeId
    draft: Draft
    about: str
    duplicate_of: InputId | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """All messages, in order, in two acts; the worker is killed between them.

    ``picture`` is the base64 text of the inline image.
    """

    acts: tuple[tuple[Scene, ...], tuple[Scene, ...]]
    picture: str
    malformed_id: UUID = field(default_factory=new_id)

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """Both acts."""
        return self.acts[0] + self.acts[1]

    def expected(self, runtime_id: RuntimeId) -> list[InputId]:
        """The inputs that a runtime must end up with, in order."""
        return [
            scene.draft.id
            for scene in self.scenes
            if scene.runtime_id == runtime_id and scene.duplicate_of is None
        ]


def story() -> Story:
    """Write the story anew, with new ids."""
    picture = b64encode(png(8, 8)).decode()
    return Story((_first_act(), _second_act(picture)), picture)


def _first_act() -> tuple[Scene, ...]:
    conversation = [
        Scene(name, draft, about)
        for round_ in range(1, 3)
        for name in RUNTIMES
        for draft, about in _turn(name, round_)
    ]
    original = Prompt("Pay the invoice.", key="invoice-17")
    again = Prompt("Pay the invoice, please.", key="invoice-17")
    return (
        *conversation,
        Scene(RUNTIMES[0], original, "prompt with key invoice-17"),
        Scene(RUNTIMES[0], original, "the same message again", duplicate_of=original.id),
        Scene(RUNTIMES[0], again, "another with key invoice-17", duplicate_of=original.id),
    )


def _turn(name: RuntimeId, round_: int) -> list[tuple[Draft, str]]:
    return [
        (Prompt(f"Question {round_} for {name}."), "prompt"),
        (PeerMessage(f"News {round_} for {name}.", peer="ops"), "peer message"),
    ]


def _second_act(picture: str) -> tuple[Scene, ...]:
    burst = [
        Scene(name, ExternalEvent("build", {"body": f"build {n}"}, source_name="ci"), "event")
        for n in range(1, 6)
        for name in RUNTIMES
    ]
    image = Image("image/png", "inline", data=picture)
    look = Prompt("What is in this picture?", blocks=[image])
    steer = Prompt("Stop, look at this first.", steer=True)
    notice = Operation("backup-9", OperationCompleted("backup-9", {"files": 120}))
    questions = [Scene(name, Prompt(f"Question 3 for {name}."), "prompt") for name in RUNTIMES]
    return (
        *burst,
        Scene(RUNTIMES[1], look, "prompt with an inline PNG"),
        Scene(RUNTIMES[2], notice, "operation"),
        Scene(RUNTIMES[2], steer, "steering prompt"),
        *questions,
    )


def png(width: int, height: int) -> bytes:
    """Draw a PNG of one colour."""
    rows = b"".join(b"\0" + b"\x1f\x8a\x70" * width for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
