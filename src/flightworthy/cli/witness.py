"""Commands of a witness."""

from __future__ import annotations

import logging
import secrets
import sys
from pathlib import Path

from flightworthy.cli.pilots import say
from flightworthy.governance.log.note import COSIGNED, Signer
from flightworthy.governance.log.witness import Witness
from flightworthy.governance.secrets import Secrets
from flightworthy.ground import registry
from flightworthy.ground.clock import SystemClock
from flightworthy.ground.errors import DataError
from flightworthy.operation.publishing import read_policy
from flightworthy.operation.witness import server

_KEY, _SEEN = "witness-key", "sqlite:///seen.db"


def key(folder: Path, name: str) -> None:
    """Make the key where there is none, and print its line of a policy."""
    store = _store(folder)
    if store.get(_KEY) is None:
        if not name:
            raise DataError("a new witness needs a name", next_step="give --name, such as witness.example.org/risk")
        store.put(_KEY, Signer(name, secrets.token_bytes(32), COSIGNED).secret())
    verifier = _signer(store).verifier
    say(f"witness {verifier.name} {verifier}")


def serve(folder: Path, policy: Path, host: str, port: int) -> None:
    """Answer until a signal."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    known = read_policy(policy).logs
    logs = {name: [verifier for verifier in known if verifier.name == name] for name in {verifier.name for verifier in known}}
    if not logs:
        raise DataError("a witness must know the keys of its logs", where=str(policy), next_step="add lines: log KEY")
    seen = registry.find("seen", _SEEN)(_SEEN, base=folder)
    made = server(Witness(_signer(_store(folder)), logs, seen, SystemClock()), host, port)
    say(f"a witness of {len(logs)} logs on http://{host}:{made.server_address[1]}")
    sys.stdout.flush()
    try:
        made.serve_forever()
    except KeyboardInterrupt:
        made.server_close()


def _store(folder: Path) -> Secrets:
    found: Secrets = registry.find("secrets", "file:///keys")("file:///keys", base=folder)
    return found


def _signer(store: Secrets) -> Signer:
    text = store.get(_KEY)
    if text is None:
        raise DataError("this witness has no key yet", next_step="run: flightworthy witness key FOLDER --name NAME")
    return Signer.parse(text)
