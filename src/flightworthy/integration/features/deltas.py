"""Snapshots of a feature state at a URL, piece by piece: a whole one, then only the entities that changed since the piece before.

A head names the pieces that make the newest state, in their order. Every owner of a state begins with a whole piece of its own,
so that pieces of two owners never mix; pieces that the head no longer names are removed.
"""

from __future__ import annotations

import io
import json
import logging
import secrets
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numba import njit
from numpy.typing import NDArray

from flightworthy.ground.errors import AdapterError, DataError
from flightworthy.integration.features.snapshot import FORMAT, Captured, Saved, Snapshot, as_array
from flightworthy.integration.features.state import FeatureState, Ints

_log = logging.getLogger("flightworthy.features")
_MOST = 64  # pieces in a row: what a takeover reads one after the other
_HEAD = "head.json"
Digests = NDArray[np.uint64]


class Shelf(Protocol):
    """Named bytes at a URL. Methods raise `AdapterError`."""

    where: str

    def get(self, name: str) -> bytes | None: ...

    def put(self, name: str, content: bytes) -> None:
        """Durable, whole or not at all."""
        ...

    def remove(self, names: Sequence[str]) -> None: ...


@dataclass
class Wrote:
    """What this process wrote last. ``sizes``: bytes of each piece."""

    pieces: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    digests: dict[str, Digests] = field(default_factory=dict)
    words: dict[str, int] = field(default_factory=dict)
    forgot: int = 0


class Deltas:
    """Of one state. ``part`` comes before all names."""

    def __init__(self, shelf: Shelf, part: str) -> None:
        self._shelf, self._part, self.where = shelf, part, f"{shelf.where}/{part}"
        # Changes are found by digests; their key is nobody else's, so that nobody can make two states that look the same.
        self._key = np.array([secrets.randbits(64) | 1, secrets.randbits(64)], np.uint64)
        self._wrote = Wrote()

    def write(self, captured: Captured) -> None:
        before, last = self._pieces(), self._wrote
        now = {name: _digests(headers, entries, self._key) for name, (headers, entries) in captured.groups.items()}
        whole = (not last.pieces or before != last.pieces or captured.forgot != last.forgot or len(before) >= _MOST
                 or sum(last.sizes[1:]) > last.sizes[0])
        places = {name: np.arange(len(found)) if whole else _changed(last.digests[name], found) for name, found in now.items()}
        words = {} if whole else last.words
        piece, name = _packed(captured, places, words), f"{captured.snapshot.seq}-{secrets.token_hex(6)}"
        self._put(name, piece)
        pieces = [name] if whole else [*last.pieces, name]
        self._put(_HEAD, json.dumps({"format": FORMAT, "pieces": pieces}).encode())
        self._wrote = Wrote(pieces, [len(piece)] if whole else [*last.sizes, len(piece)], now,
                            {field_name: len(known) for field_name, known in captured.words.items()}, captured.forgot)
        if gone := [f"{self._part}/{old}" for old in before if old not in pieces]:
            self._shelf.remove(gone)

    def restore(self, state: FeatureState, recipe_digest: str) -> Snapshot | None:
        saved: Saved | None = None
        try:
            for name in self._pieces():
                if (piece := self._shelf.get(f"{self._part}/{name}")) is None:
                    _log.warning("%s: a piece of the snapshot is missing; the state is read from the ledger", self.where)
                    return None
                saved = _read(piece, saved, [group.plan.name for group in state.groups], recipe_digest)
                if saved is None:
                    return None
            return None if saved is None else saved.fill(state)
        except AdapterError as error:  # nobody waits for what only saves time
            _log.warning("the snapshot cannot be read, the state is read from the ledger: %s", error)
            return None
        except (OSError, ValueError, KeyError, IndexError, zipfile.BadZipFile) as error:
            raise DataError(f"the feature snapshot is damaged ({error})", where=self.where,
                            next_step="delete it: the state is rebuilt from the ledger") from error

    def _pieces(self) -> list[str]:
        head = self._shelf.get(f"{self._part}/{_HEAD}")
        found: dict[str, Any] = json.loads(head) if head else {"format": 0}
        return list(found["pieces"]) if found["format"] == FORMAT else []

    def _put(self, name: str, content: bytes) -> None:
        self._shelf.put(f"{self._part}/{name}", content)


def _packed(captured: Captured, places: dict[str, Ints], words: dict[str, int]) -> bytes:
    """The entities at these places, and all words but so many of the first."""
    said = {name: [words.get(name, 0), known[words.get(name, 0) :]] for name, known in captured.words.items()}
    arrays: dict[str, Any] = {"meta": as_array(captured.meta() | {"words": said})}
    for name, (headers, entries) in captured.groups.items():
        at = places[name]
        starts, counts = _spans(headers)
        arrays[f"{name}.places"], arrays[f"{name}.headers"] = at, headers[at]
        arrays[f"{name}.entries"] = entries[_rows(starts[at], counts[at])]
    out = io.BytesIO()
    np.savez(out, allow_pickle=False, **arrays)
    return out.getvalue()


def _read(piece: bytes, saved: Saved | None, groups: Sequence[str], recipe_digest: str) -> Saved | None:
    """What was saved, with one more piece; None where it is of other features."""
    with np.load(io.BytesIO(piece), allow_pickle=False) as arrays:
        meta = json.loads(arrays["meta"].tobytes())
        if meta["format"] != FORMAT or meta["recipe"] != recipe_digest:
            return None
        out = Saved(meta)
        for name, (start, more) in meta["words"].items():
            known = saved.words.get(name, [])[:start] if saved is not None else []
            if len(known) != start:
                raise ValueError(f"{len(known)} words of '{name}', not {start}")
            out.words[name] = known + more
        for name in groups:
            changed = arrays[f"{name}.places"], arrays[f"{name}.headers"], arrays[f"{name}.entries"]
            out.groups[name] = changed[1:] if saved is None else _over(saved.groups[name], *changed)
    return out


def _over(before: tuple[Ints, Ints], places: Ints, headers: Ints, entries: Ints) -> tuple[Ints, Ints]:
    """Entities as they were, with some in their new form, or new."""
    n = max([len(before[0]), *(places[-1:] + 1)])
    out = np.zeros((n, headers.shape[1]), np.int64)
    out[: len(before[0])] = before[0]
    out[places] = headers
    starts = np.zeros(n, np.int64)
    starts[: len(before[0])] = _spans(before[0])[0]
    starts[places] = len(before[1]) + _spans(headers)[0]
    return out, np.concatenate([before[1], entries])[_rows(starts, _spans(out)[1])]


def _spans(headers: Ints) -> tuple[Ints, Ints]:
    """Where the remembered events of each entity begin, and how many they are."""
    counts = headers[:, 5] - headers[:, 4]
    return np.cumsum(counts) - counts, counts


def _rows(starts: Ints, counts: Ints) -> Ints:
    """The numbers start, start + 1 … of each, one after the other."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum()))


def _changed(before: Digests, now: Digests) -> Ints:
    """Places whose digests are others, or new."""
    same = np.zeros(len(now), bool)
    same[: len(before)] = now[: len(before)] == before
    return np.flatnonzero(~same)


def _digests(headers: Ints, entries: Ints, key: Digests) -> Digests:
    """One for each entity, over its header and its events."""
    starts, counts = _spans(headers)
    return _digest_all(np.ascontiguousarray(headers), np.ascontiguousarray(entries), starts, counts, key)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _digest_all(headers, entries, starts, counts, key):  # type: ignore[no-untyped-def]
    """Words are mixed in one by one, each by a keyed multiplication and a shift."""
    out = np.empty(len(headers), np.uint64)
    for e in range(len(headers)):
        h = key[1]
        for c in range(headers.shape[1]):
            h = (h ^ np.uint64(headers[e, c])) * key[0]
            h ^= h >> np.uint64(29)
        for row in range(starts[e], starts[e] + counts[e]):
            for c in range(entries.shape[1]):
                h = (h ^ np.uint64(entries[row, c])) * key[0]
                h ^= h >> np.uint64(29)
        out[e] = h
    return out
