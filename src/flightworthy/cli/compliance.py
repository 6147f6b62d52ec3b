"""The command that puts evidence together."""

from __future__ import annotations

import sys
from pathlib import Path

from flightworthy.cli.audit import keys_of, policy_of, progress
from flightworthy.cli.pilots import parts, say
from flightworthy.cli.run import instant
from flightworthy.delivery import compliance
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.policy import Policy
from flightworthy.manifest.load import load

_EVER = 2**62


def report(path: Path, var: Path | None, policy: Path | None, since: str | None, until: str | None, out: Path | None) -> None:
    """Exit code 1 when the ledger does not verify."""
    pilot = load(path)
    trusted = policy_of(policy, []) if policy else Policy(keys_of(pilot, var))
    first, last = instant(since), instant(until)
    with parts(pilot, var) as opened:
        facts = compliance.gather(pilot, [ledger for ledger, *_ in opened], -_EVER if first is None else first,
                                  _EVER if last is None else last)
        facts.audits = [audit(ledger, trusted, watch=progress) for ledger, *_ in opened]
    text = compliance.render(pilot, facts)
    if out is None:
        sys.stdout.write(text)
    else:
        out.write_text(text, encoding="utf-8")
        say(f"{out} is written")
    if not all(each.fine for each in facts.audits):
        sys.exit(1)
