"""Evidence per article or control, from the ledger itself: what it supports, with figures, and what stays with the owner.

Evidence, not a legal determination. Articles are paraphrased in few words; their texts are the law's: Regulation (EU) 2016/679
(GDPR), 45 CFR Part 164 Subpart C (HIPAA Security Rule), Regulation (EU) 2024/1689 (AI Act).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from flightworthy.governance.ledger import ACT, DECISION, EXPIRED, OUTCOME, Ledger
from flightworthy.governance.log.audit import Audit
from flightworthy.ground.clock import iso, say
from flightworthy.manifest.pilot import Pilot


class _Seen(msgspec.Struct, gc=False):
    """The members of records this needs, whichever contract they were written with."""

    id: str = ""
    arrived: int = 0
    path: list[str] = []
    action: str = ""
    said: dict[str, str] = {}
    who: str = ""
    model: bytes | None = None
    sealed: bytes = b""
    reasons: list[msgspec.Raw] = []


@dataclass
class Facts:
    """What the ledgers of a pilot hold from one instant to another (microseconds UTC)."""

    since: int
    until: int
    kinds: Counter[str] = field(default_factory=Counter)
    acts: Counter[str] = field(default_factory=Counter)  # by what comes before the first colon
    actors: Counter[str] = field(default_factory=Counter)
    actions: Counter[str] = field(default_factory=Counter)
    models: set[str] = field(default_factory=set)
    without_model: int = 0
    adverse: int = 0
    explained: int = 0
    explained_sealed: int = 0
    sealed: int = 0
    given: int = 0
    withdrawn: int = 0
    people: int = 0
    checkpoints: int = 0
    quarantined: int = 0
    audits: list[Audit] = field(default_factory=list)


def gather(pilot: Pilot, ledgers: Iterable[Ledger], since: int, until: int) -> Facts:
    """Read every entry once. Raises `LedgerError`."""
    facts, read = Facts(since, until), msgspec.msgpack.Decoder(_Seen).decode
    adverse = set(pilot.manifest.policy.adverse)
    for ledger in ledgers:
        for entry in ledger.scan():
            if entry.kind == EXPIRED:
                facts.kinds[EXPIRED] += 1
                continue
            seen = read(entry.content)
            if not since <= seen.arrived < until:
                continue
            facts.kinds[entry.kind] += 1
            if entry.kind == DECISION:
                _decided(facts, seen, adverse)
            elif entry.kind == ACT:
                _done(facts, seen)
        facts.people += ledger.subjects.count()
        facts.checkpoints += sum(1 for _ in ledger.log.checkpoints())
        facts.quarantined += sum(ledger.quarantine_counts().values())
    return facts


def _decided(facts: Facts, seen: _Seen, adverse: set[str]) -> None:
    facts.actions[seen.action] += 1
    facts.without_model += seen.model is None
    facts.sealed += bool(seen.sealed)
    if seen.model is not None:
        facts.models.add(seen.model.hex())
    if seen.action in adverse:
        facts.adverse += 1
        facts.explained += bool(seen.reasons)
        facts.explained_sealed += bool(seen.sealed)  # with the rest of what tells of the person


def _done(facts: Facts, seen: _Seen) -> None:
    name = seen.id.partition(":")[0]
    facts.acts[name] += 1
    facts.actors[seen.who] += 1
    facts.given += name == "consent" and seen.said.get("consent") == "given"
    facts.withdrawn += name == "consent" and seen.said.get("consent") == "withdrawn"


class Control(NamedTuple):
    """``asks`` in our words, ``evidence`` from the facts, ``owner``: what no system can do for whoever is responsible."""

    law: str
    place: str
    asks: str
    evidence: str
    owner: str


def controls(pilot: Pilot, facts: Facts) -> list[Control]:
    """One line each."""
    f, privacy = facts, pilot.manifest.privacy
    kept = "unlimited: the manifest sets no retention" if privacy is None or privacy.retention is None else say(privacy.retention)
    private = "no field is declared private" if privacy is None else (
        f"subject `{privacy.subject}`; " + ", ".join(f"{name}: {how}" for name, how in sorted(privacy.fields.items())))
    proof = "; ".join(map(_verified, f.audits)) or "not verified in this report"
    explained = (f"{f.adverse:,} adverse decisions, reasons recorded of {f.explained:,} in clear, of "
                 f"{f.explained_sealed:,} sealed"
                 if pilot.manifest.policy.adverse else "the manifest declares no adverse action")
    logged = (f"{f.kinds[DECISION]:,} decisions, {f.kinds[OUTCOME]:,} outcomes, {f.kinds[ACT]:,} acts, each durable before its "
              "answer")
    models = ", ".join(sorted(name[:12] for name in f.models)) or "none"
    acts = ", ".join(f"{count:,} {name}" for name, count in sorted(f.acts.items())) or "none"
    return [
        Control("GDPR", "Art. 15", "a person may see what is kept and how it was decided",
                f"`flightworthy person show` prints all entries of a person, opened; {f.people:,} people are known",
                "to identify who asks; to answer in time; what other systems keep"),
        Control("GDPR", "Art. 17", "a person may be erased",
                f"{f.acts['erasure']:,} erasures, {f.acts['hold']:,} legal holds turned; keys destroyed, proofs valid; {private}",
                "backups made before (rewrap makes them useless); fields declared clear; other systems"),
        Control("GDPR", "Art. 22", "no solely automated decision without a ground, and a human to turn to",
                f"{explained}; {f.without_model:,} decisions without a model; consents given {f.given:,}, withdrawn "
                f"{f.withdrawn:,}",
                "the legal ground; human review of contested decisions"),
        Control("GDPR", "Art. 30", "a record of processing",
                f"purpose `{privacy.purpose if privacy else 'not declared'}`; retention {kept}; {private}; {logged}",
                "controller, recipients, transfers; the record itself"),
        Control("HIPAA", "164.312(b)", "audit controls", f"{logged}; acts by {len(f.actors):,} actors: {acts}",
                "to look at it; access to other systems"),
        Control("HIPAA", "164.312(c)", "integrity: nothing altered or destroyed unnoticed", proof,
                "to keep checkpoints or a witness outside; physical safeguards"),
        Control("HIPAA", "164.316", "documentation kept six years",
                f"retention {kept}; {f.kinds[EXPIRED]:,} records expired by rule",
                "policies and procedures; a retention of at least six years where it applies"),
        Control("AI Act", "Art. 12", "events are recorded automatically over the lifetime",
                f"{logged}; models in use: {models}; {f.quarantined:,} in quarantine",
                "whether the system is one of high risk"),
        Control("AI Act", "Art. 19", "providers keep the logs, at least six months",
                f"retention {kept}; {proof}", "longer periods of other law"),
        Control("AI Act", "Art. 26", "deployers watch over it, stop it, keep the logs",
                f"kill switch turned {f.acts['kill-switch']:,} times, {f.acts['reload']:,} reloads, all with who and why",
                "competent people who watch; to inform those concerned")]


def render(pilot: Pilot, facts: Facts) -> str:
    """Markdown."""
    lines = [f"# Evidence for {pilot.name}", "",
             f"From {_at(facts.since)} to {_at(facts.until)}. Manifest `{pilot.digest[:12]}`. Evidence, "
             "not a legal determination.", "", "| law | place | asks that | evidence here | stays with the owner |",
             "|---|---|---|---|---|"]
    lines += ["| " + " | ".join(part.replace("|", "\\|").replace("\n", " ") for part in control) + " |"
              for control in controls(pilot, facts)]
    for audit in facts.audits:
        lines += ["", *(f"- FINDING: {finding}" for finding in audit.findings)]
    actions = ", ".join(f"{name} {count:,}" for name, count in sorted(facts.actions.items())) or "none"
    return "\n".join([*lines, "", f"Actions: {actions}.", ""])


def _verified(audit: Audit) -> str:
    found = "as written" if audit.fine else f"{len(audit.findings)} FINDINGS"
    return f"{audit.entries:,} entries, {audit.checkpoints:,} checkpoints ({audit.witnessed:,} seen by witnesses): {found}"


def _at(moment: int) -> str:
    return "the beginning" if moment <= -(2**61) else "now" if moment >= 2**61 else iso(moment)
