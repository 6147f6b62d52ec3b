"""What the front and its shards say to each other: MessagePack frames over a socket between two processes of one machine.

A frame is its length (4 bytes, big-endian) and its content. Requests wait at the sender until there is nothing else to do,
and travel together; answers come back a batch at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

EVENT, OUTCOME, FIND, SPILL = 0, 1, 2, 3
PING, KILL, PREPARE, SWAP, LEAVE, PEOPLE, ROLL = 10, 11, 12, 13, 14, 15, 16
REFUSED = 0  # as a status: it could not be made durable; nothing was done, and why is the body


class Ask(msgspec.Struct, array_like=True, gc=False):
    """One request. ``late`` is the instant of the machine's monotonic clock, in nanoseconds, from which nobody waits for its
    answer; ``many``: its answer is an array."""

    number: int
    kind: int
    late: int
    many: bool
    raws: list[bytes]


class Told(msgspec.Struct, array_like=True, gc=False):
    """One answer: an HTTP status (or `REFUSED`) and its body."""

    number: int
    status: int
    body: bytes


class Tally(msgspec.Struct, array_like=True, gc=False):
    """What a batch adds to the metrics. ``waited`` and ``took`` in seconds; decided: (action, by, step) → count."""

    records: int = 0
    waited: float = 0.0
    took: float = 0.0
    decided: list[tuple[str, str, str, int]] = []
    quarantined: dict[str, int] = {}
    outcomes: int = 0


class Answers(msgspec.Struct, array_like=True, gc=False):
    """The answers of a batch."""

    told: list[Told]
    tally: Tally | None = None


_encode = msgspec.msgpack.Encoder().encode
asks = msgspec.msgpack.Decoder(list[Ask]).decode
answers = msgspec.msgpack.Decoder(Answers).decode


def frame(content: Any) -> bytes:
    """A frame with its length before it."""
    body = _encode(content)
    return len(body).to_bytes(4, "big") + body


class Frames:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, data: bytes) -> Iterator[memoryview | bytes]:
        """The contents of all frames that are complete now."""
        rest = self._rest
        rest += data
        at = 0
        while len(rest) - at >= 4:
            end = at + 4 + int.from_bytes(rest[at : at + 4], "big")
            if end > len(rest):
                break
            yield bytes(rest[at + 4 : end])
            at = end
        del rest[:at]
