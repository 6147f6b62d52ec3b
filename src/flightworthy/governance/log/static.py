"""A log as static files, as tlog-tiles has them: any web server or object store can hand them out."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path

from flightworthy.governance.ledger import EXPIRED, Entry, Ledger
from flightworthy.governance.log import merkle, note
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.leaf import leaf
from flightworthy.governance.log.tiles import ENTRIES, WIDTH, Tile, TiledNodes, bundle, for_size
from flightworthy.ground.errors import ProofError

CHECKPOINT = "checkpoint"


def write(ledger: Ledger, folder: Path) -> int:
    """Bring a folder to the newest checkpoint; what it has already stays. Returns the size. The checkpoint comes last, so that a
    reader never misses a tile of it. Raises `ProofError` when nothing is published, or the folder holds another log."""
    newest = ledger.log.newest()
    if newest is None:
        raise ProofError("nothing is published yet", next_step="decide something first")
    origin = Checkpoint.parse(note.parse(newest.note).text).origin
    before = _before(folder, origin)
    if before.size > newest.size:
        raise ProofError("the folder holds a longer log than the ledger", where=str(folder), found=before.size,
                         expected=f"at most {newest.size}", next_step="the ledger lost entries: run flightworthy audit verify")
    if before.size and merkle.root(TiledNodes(ledger.log.hashes), before.size) != before.root:
        raise ProofError("the folder holds another past than the ledger", where=str(folder), found=before.root.hex(),
                         next_step="one of them was changed: run flightworthy audit verify --kept with the folder's checkpoint")
    for tile in for_size(newest.size):
        if not tile.within(before.size):
            _put(folder / tile.path, content_of(ledger, tile))
    for tile, content in _bundles(ledger, before.size // WIDTH, newest.size):
        _put(folder / tile.path, content)
    _put(folder / CHECKPOINT, newest.note)
    return newest.size


def _before(folder: Path, origin: str) -> Checkpoint:
    try:
        found = Checkpoint.parse(note.parse((folder / CHECKPOINT).read_bytes()).text)
    except FileNotFoundError:
        return Checkpoint(origin, 0, b"")
    if found.origin != origin:
        raise ProofError("this folder holds another log", where=str(folder), found=found.origin, expected=origin)
    return found


def _bundles(ledger: Ledger, first: int, size: int) -> Iterator[tuple[Tile, bytes]]:
    """Bundles from number ``first`` on, of a log of this size."""
    entries = islice(ledger.scan(first * WIDTH + 1), size - first * WIDTH)
    place = first
    while part := list(islice(entries, WIDTH)):
        yield Tile(ENTRIES, place, len(part)), _bundled(part)
        place += 1


def _bundled(part: Iterable[Entry]) -> bytes:
    return bundle([leaf(e.seq, e.key, e.content) if e.kind == EXPIRED else leaf(e.seq, e.kind, sha256(e.content).digest())
                   for e in part])


def content_of(ledger: Ledger, tile: Tile) -> bytes:
    """What a tile holds that the tree has. Raises `LedgerError`."""
    if tile.level == ENTRIES:
        return _bundled(islice(ledger.scan(tile.place * WIDTH + 1), tile.width))
    return ledger.log.hashes(tile.level, tile.place * WIDTH, tile.width)


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(content)
    beside.replace(path)
