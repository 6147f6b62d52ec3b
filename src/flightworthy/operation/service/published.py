"""The logs of the shards over HTTP, as tlog-tiles has them below a prefix: ``/v1/log/0/checkpoint``, ``/v1/log/0/tile/…``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from flightworthy.decision.rooms import Rooms
from flightworthy.governance.ledger import Ledger
from flightworthy.governance.log import static
from flightworthy.governance.log.tiles import Tile
from flightworthy.ground.errors import FlightworthyError, ProofError
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.service.answers import encode, problem
from flightworthy.operation.service.messages import PROBLEM, Reply

PREFIX = "/v1/log"
_TEXT, _BYTES = b"text/plain; charset=utf-8", b"application/octet-stream"
_NOW, _EVER = b"cache-control: no-cache\r\n", b"cache-control: private, max-age=31536000, immutable\r\n"


class Published:
    """Reads the shards' ledgers beside them, in a thread of its own: who reads much delays others who read, and no decision."""

    def __init__(self, pilot: Pilot, bases: Sequence[Path]) -> None:
        self._pilot, self._bases = pilot, bases
        self._opened: dict[int, Ledger] = {}
        self._thread = ThreadPoolExecutor(1, "published")

    async def answer(self, path: str) -> Reply:
        """The reply for a path below the prefix."""
        shard, _, rest = path.removeprefix(PREFIX).strip("/").partition("/")
        if shard not in map(str, range(len(self._bases))):
            return _missing(f"there are shards 0 to {len(self._bases) - 1}", path)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, int(shard), rest, path)

    def _read(self, shard: int, rest: str, path: str) -> Reply:
        try:
            ledger = self._ledger(shard)
            newest = ledger.log.newest()
            if newest is None:
                return _missing("nothing is published yet", path)
            if rest == static.CHECKPOINT:
                return Reply(200, newest.note, _TEXT, _NOW)
            tile = Tile.parse(rest)
            if not tile.within(newest.size):
                return _missing(f"the log has {newest.size} entries", path)
            return Reply(200, static.content_of(ledger, tile), _BYTES, _EVER)
        except ProofError as error:
            return _missing(error.what, path)
        except FlightworthyError as error:
            return Reply(503, encode(problem(503, "ledger", "the ledger cannot be read now", error.what, retry=True)), PROBLEM,
                         b"retry-after: 1\r\n")

    def _ledger(self, shard: int) -> Ledger:
        if shard not in self._opened:
            self._opened[shard] = Rooms.of(self._pilot, self._bases[shard]).open_ledger(read_only=True)
        return self._opened[shard]

    def close(self) -> None:
        """Release the ledgers."""
        self._thread.shutdown()
        for ledger in self._opened.values():
            ledger.close()


def _missing(why: str, path: str) -> Reply:
    return Reply(404, encode(problem(404, "path", "there is nothing here", path[:200], next_step=why)), PROBLEM)
