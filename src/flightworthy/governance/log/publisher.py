"""Takes durable entries into the tree and signs what it then is."""

from __future__ import annotations

import time
from collections.abc import Sequence

from flightworthy.governance.ledger import Ledger
from flightworthy.governance.log import merkle, note
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.merkle import Growth
from flightworthy.governance.log.note import Signer
from flightworthy.governance.log.store import Published
from flightworthy.governance.log.tiles import TiledNodes
from flightworthy.ground.errors import ProofError

_AT_ONCE = 1 << 11  # leaves, half a millisecond of hashing


class Publisher:
    """Of one ledger; not for several threads. Only what is durable is signed, and only what continues the last checkpoint: two
    checkpoints of a log never contradict each other, whatever happens in between."""

    def __init__(self, ledger: Ledger, signers: Sequence[Signer]) -> None:
        """Raises `ProofError` when the ledger is not the one its last checkpoint speaks of: that is for people to look at."""
        self._ledger, self._signers = ledger, signers
        self.nodes = TiledNodes(ledger.log.hashes)
        self.origin = signers[0].verifier.name
        self._number = 0  # of the last checkpoint
        self._growth: Growth | None = self._continued()

    def _continued(self) -> Growth:
        newest = self._ledger.log.newest()
        if newest is None:
            return Growth()
        self._number = newest.number
        said = Checkpoint.parse(note.parse(newest.note).text)
        if said.origin != self.origin:
            raise ProofError("this key belongs to another log", found=self.origin, expected=said.origin,
                             next_step="bring back the key this log was signed with")
        if said.size != newest.size or self._ledger.last() < said.size or merkle.root(self.nodes, said.size) != said.root:
            raise ProofError("the ledger is not the one its last checkpoint speaks of: nothing more is signed",
                             where=f"{said.origin}, checkpoint of {said.size}", found=f"{self._ledger.last()} entries",
                             next_step="run: flightworthy audit verify; entries are missing or were changed")
        return Growth(said.size, self.nodes)

    def publish(self) -> Published | None:
        """A checkpoint over all that is durable now, signed and kept; None when nothing is new. Raises `LedgerError`,
        and `ProofError` as above."""
        with self._ledger.turn() as others:
            if others is not None and self._behind():
                self._growth = None  # another writer published
            return self._publish()

    def _behind(self) -> bool:
        newest = self._ledger.log.newest()
        return newest is not None and newest.number != self._number

    def _publish(self) -> Published | None:
        growth = self._growth if self._growth is not None else self._continued()
        last, self._growth = self._ledger.last(), None  # whatever goes wrong now, the next time begins with what is kept
        if last == growth.size:
            self._growth = growth
            return None
        complete = []
        while growth.size < last:
            leaves = self._ledger.log.hashes(0, growth.size, min(last - growth.size, _AT_ONCE))
            complete += growth.extend([leaves[i : i + 32] for i in range(0, len(leaves), 32)])
            time.sleep(0)  # decisions come first: let other threads have the interpreter
        made = Checkpoint(self.origin, last, growth.root())
        published = Published(last, self._number + 1, note.signed(made.text(), self._signers))
        self._ledger.log.publish(complete, published)
        self._growth, self._number = growth, published.number
        return published
