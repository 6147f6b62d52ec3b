"""Commands about the log: what an auditor, a regulator, or a person asks of it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from flightworthy.cli.pilots import Part, parts, places, say
from flightworthy.decision.history import changes
from flightworthy.decision.line import Line
from flightworthy.decision.people import unaccounted
from flightworthy.decision.rooms import Rooms
from flightworthy.governance.ledger import DECISION, HISTORY, Entry
from flightworthy.governance.log import disclosure, static
from flightworthy.governance.log.audit import Audit, audit
from flightworthy.governance.log.certificate import certificate
from flightworthy.governance.log.checkpoint import number
from flightworthy.governance.log.keys import LOG_KEY, rotated, signers
from flightworthy.governance.log.note import Verifier
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.privacy.vault import Vault
from flightworthy.ground.clock import iso
from flightworthy.ground.errors import DataError, LedgerError
from flightworthy.manifest.load import load
from flightworthy.manifest.pilot import Pilot
from flightworthy.operation.publishing import read_policy
from flightworthy.operation.witnessing import ask_all


def verify(path: Path, var: Path | None, policy: Path | None, first: int, kept: list[Path], as_json: bool) -> None:
    """Exit code 1 when anything is found."""
    pilot = load(path)
    trusted = policy_of(policy, []) if policy else Policy(keys_of(pilot, var))
    results = []
    with parts(pilot, var) as opened:
        for ledger, *_ in opened:
            results.append(audit(ledger, trusted, first, [_read(file) for file in kept], progress))
            for finding in [*ask_all(ledger, trusted), *(unaccounted(pilot, ledger) if pilot.manifest.privacy else ())]:
                results[-1].found(finding)
    if as_json:
        say(json.dumps([asdict(result) for result in results], indent=2))
    else:
        for result in results:
            _tell(result)
    if not all(result.fine for result in results):
        sys.exit(1)


def _tell(result: Audit) -> None:
    seen = f", {result.witnessed:,} of them seen by witnesses" if result.witnessed else ""
    say(f"{result.entries:,} entries from {result.first} on, {result.checkpoints:,} checkpoints{seen}, published up to "
        f"{result.size:,}: {'as it was written' if result.fine else f'{len(result.findings)} findings'}")
    for finding in result.findings:
        say(f"  {finding}")
    if result.fine and not result.witnessed:
        say("that nothing is missing at the end, only a witness or a checkpoint you kept can tell (--kept)")


def progress(done: int) -> None:
    """How many entries are done, where someone looks."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r{done:,} entries ")


def prove(path: Path, var: Path | None, decision: str, out: Path | None, unseal: bool) -> None:
    """Write the proof and its certificate."""
    pilot = load(path)
    with parts(pilot, var) as opened:
        (ledger, vault, _), entry = _find(opened, decision)
        content = disclosure.prove(ledger, entry, _unsealed(pilot, vault, entry) if unseal else b"")
    file = out or Path(f"{''.join(c if c.isalnum() or c in '-_.' else '_' for c in entry.key)[:80]}.tlog-proof")
    file.write_bytes(content)
    checked = disclosure.check(content, Policy(keys_of(load(path), var)))
    words = file.with_suffix(".md")
    words.write_text(certificate(checked, file.name), encoding="utf-8")
    say(f"{file} proves entry {entry.seq} of {checked.checkpoint.origin}; {words} says it in words")


def _unsealed(pilot: Pilot, vault: Vault | None, entry: Entry) -> bytes:
    line = Line(pilot, {}, vault)
    if line.veil is None or entry.kind not in (DECISION, HISTORY):
        return b""
    content = line.veil.opened(line.records.stored(entry))
    if content is None:
        raise LedgerError("the person was erased: what is sealed cannot be shown any more", where=f"entry {entry.seq}")
    return content


def _find(opened: list[Part], decision: str) -> tuple[Part, Entry]:
    for part in opened:
        if decision in (found := part.ledger.find([decision])):
            return part, part.ledger.read([found[decision]])[0]
    if len(opened) == 1 and number(decision):
        return opened[0], opened[0].ledger.read([int(decision)])[0]
    raise LedgerError("no decision for this event", found=decision, expected="an event's id, or an entry's number")


def check(file: Path, policy: Path | None, keys: list[str]) -> None:
    """Print the certificate of a proof that holds."""
    if policy is None and not keys:
        raise DataError("a proof holds only for keys that you trust", next_step="give --policy FILE or --key KEY")
    checked = disclosure.check(_read(file), policy_of(policy, keys))
    sys.stdout.write(certificate(checked, file.name))


def log(path: Path, var: Path | None, as_json: bool) -> None:
    """What was live when."""
    with parts(load(path), var) as opened:
        found = [change for ledger, *_ in opened for change in changes(load(path), ledger)]
    for change in sorted(found, key=lambda change: change.at):
        say(json.dumps(asdict(change)) if as_json else
            f"{iso(change.at)}  {change.seq:>10,}  {change.what:<12} {change.name}{f'  by {change.who}' if change.who else ''}")


def publish(path: Path, var: Path | None, folder: Path) -> None:
    """Static files of the log."""
    with parts(load(path), var) as opened:
        for i, (ledger, *_) in enumerate(opened):
            to = folder if len(opened) == 1 else folder / str(i)
            say(f"{to}: {static.write(ledger, to):,} entries")


def key(path: Path, var: Path | None, rotate: bool) -> None:
    """The lines of a policy that trust this pilot's logs."""
    pilot, fresh = load(path), set[str | None]()
    for place in places(pilot, var):
        where = Rooms.of(pilot, place)
        secrets = where.open_secrets()
        if secrets.get(LOG_KEY) is None:
            raise DataError("this pilot has no log yet", where=str(place), next_step="decide something first")
        if rotate and secrets.get(LOG_KEY) not in fresh:  # shards may share a key
            rotated(secrets)
            fresh.add(secrets.get(LOG_KEY))
        for signer in signers(secrets, pilot.name, where.part):
            say(f"log {signer.verifier}")
    if rotate:
        say("the new key signs from the next start on, the old one along with it; take its line out of the secret when all trust "
            "the new one")


def keys_of(pilot: Pilot, var: Path | None) -> list[Verifier]:
    """The keys of a pilot's own logs."""
    found = [(store, where.part) for where in (Rooms.of(pilot, place) for place in places(pilot, var))
             if (store := where.open_secrets()).get(LOG_KEY)]
    return [signer.verifier for store, part in found for signer in signers(store, pilot.name, part)]


def policy_of(file: Path | None, keys: list[str]) -> Policy:
    """Whom to trust."""
    policy = read_policy(file) if file else Policy()
    policy.logs += [Verifier.parse(text) for text in keys]
    return policy


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the file: {error}", where=str(file)) from error
