"""Asks witnesses to sign checkpoints, and what they have seen."""

from __future__ import annotations

import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

from flightworthy.governance.ledger import Ledger
from flightworthy.governance.log import merkle, note
from flightworthy.governance.log.checkpoint import number
from flightworthy.governance.log.note import Note, Verifier
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.store import Published
from flightworthy.governance.log.tiles import TiledNodes
from flightworthy.governance.log.witness import asked
from flightworthy.ground.errors import AdapterError, FlightworthyError, ProofError

_log = logging.getLogger("flightworthy.log")
_PATIENCE = 2.0  # seconds for one answer of a witness
_REST = 10.0  # seconds a witness that did not answer is left alone
_MOST = 1 << 16  # bytes of an answer


class Witnessing:
    """The witnesses of one log."""

    def __init__(self, policy: Policy, ledger: Ledger) -> None:
        self._policy, self._ledger = policy, ledger
        self._nodes = TiledNodes(ledger.log.hashes)
        self._seen = dict.fromkeys(policy.urls, 0)
        self._rests = dict.fromkeys(policy.urls, 0.0)

    def sign(self, published: Published) -> None:
        """Have a checkpoint signed by all that answer; their lines are kept under it."""
        signed = note.parse(published.note)
        lines = list(signed.lines)
        for name, url in self._policy.urls.items():
            if time.monotonic() < self._rests[name]:
                continue
            try:
                lines += self._cosigned(name, url, published, signed.text)
            except (FlightworthyError, OSError) as error:  # the log goes on; whoever asks for a quorum will miss it
                self._rests[name] = time.monotonic() + _REST
                _log.error("witness %s did not sign the checkpoint of %d: %s", name, published.size, error)
        if len(lines) > len(signed.lines):
            self._ledger.log.countersign(published.size, bytes(Note(signed.text, tuple(lines))))

    def _cosigned(self, name: str, url: str, published: Published, text: bytes) -> list[tuple[str, bytes, bytes]]:
        for _ in range(2):  # the first answer may tell what it saw last
            old = self._seen[name]
            if old > published.size:
                raise ProofError("the witness has seen a longer log than this one: entries are missing here", where=name,
                                 found=f"{old} entries there", expected=f"at most {published.size}",
                                 next_step="run: flightworthy audit verify; restore what is missing")
            path = merkle.consistency(self._nodes, old, published.size)
            status, content = post(url, asked(old, path, published.note))
            if status == 200:
                self._seen[name] = published.size
                return _valid(text, content, self._policy.witnesses[name])
            if status != 409 or not number(content.strip()):
                raise ProofError("the witness refuses", where=name, found=f"{status} {content[:200]}".strip())
            self._seen[name] = int(content)
        raise ProofError("the witness speaks of one size and another", where=name, retryable=True)


def _valid(text: bytes, content: str, verifier: Verifier) -> list[tuple[str, bytes, bytes]]:
    lines = [line for line in note.lines_of(content) if (line[0], line[1]) == (verifier.name, verifier.id)]
    if not Note(text, tuple(lines)).by([verifier]):
        raise ProofError("the witness answered without its signature", where=verifier.name)
    return lines


def ask_all(ledger: Ledger, policy: Policy) -> Iterator[str]:
    """What witnesses say of a ledger that the ledger does not know, or that they could not be asked."""
    for name, url in policy.urls.items():
        newest = ledger.log.newest()
        if newest is None:
            continue
        try:
            status, content = post(url, asked(newest.size, [], newest.note))
        except (FlightworthyError, OSError) as error:
            yield f"witness {name} could not be asked: {error}"
            continue
        if status == 409 and number(content.strip()):
            now = ledger.log.newest()  # a ledger in use has grown meanwhile
            if int(content) > (now.size if now else 0) or int(content) == newest.size:
                yield f"witness {name} has seen {int(content)} entries, other ones than this ledger's {newest.size}"
        elif status != 200:
            yield f"witness {name} refuses this log: {status} {content[:200].strip()}"


def post(url: str, body: bytes) -> tuple[int, str]:
    """Status and text of an answer to ``add-checkpoint``. Raises `OSError`, `AdapterError`."""
    if not url.startswith(("http://", "https://")):
        raise AdapterError("a witness is asked over HTTP", found=url, expected="http:// or https://")
    asked_for = urllib.request.Request(f"{url}/add-checkpoint", body, {"Content-Type": "text/plain"}, method="POST")  # noqa: S310
    try:
        with urllib.request.urlopen(asked_for, timeout=_PATIENCE) as answer:  # noqa: S310 - checked above
            return answer.status, answer.read(_MOST).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(_MOST).decode(errors="replace")
    except http.client.HTTPException as error:
        raise AdapterError(f"the witness does not speak HTTP: {error!r}", where=url) from error
