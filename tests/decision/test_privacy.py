"""People in the ledger: pseudonyms, sealed records, consent, erasure, holds, expiry, what is kept about someone."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from flightworthy.adapters.keys.factory import open_files
from flightworthy.adapters.sqlite.factory import open_ledger
from flightworthy.decision.engine import Engine
from flightworthy.decision.held import retry
from flightworthy.decision.people import about, consent, erase, hold, unaccounted
from flightworthy.decision.recovery import begin
from flightworthy.decision.replay import replay
from flightworthy.decision.retention import expire
from flightworthy.decision.rollout import roll_all
from flightworthy.decision.tally import Tally
from flightworthy.decision.valuation import judge
from flightworthy.governance.ledger import ACT, DECISION, ERASED, EXPIRED, OUTCOME, Block
from flightworthy.governance.log import disclosure, static
from flightworthy.governance.log.audit import audit
from flightworthy.governance.log.certificate import certificate
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.moving import move
from flightworthy.governance.privacy.keys import WRAPPING, PrivacyKeys, renewed, retired
from flightworthy.governance.privacy.vault import Vault, ref_of, rewrap, word_of
from flightworthy.ground.clock import ManualClock
from flightworthy.ground.errors import AdapterError, DataError, LedgerError, ManifestError, ProofError
from flightworthy.integration.contract import Rejection
from flightworthy.manifest.explain import explain
from flightworthy.manifest.load import parse
from flightworthy.manifest.pilot import Pilot
from tests.conftest import Trained
from tests.decision.test_shadow import louder

YEAR = 365 * 86_400_000_000
NOW = 1_790_000_000_000_000
Open = Callable[..., Engine]


def private(trained: Trained, more: str = "", ledger: str = "") -> Pilot:
    text = (trained.pilot.folder / "pilot.yaml").read_text()
    adapters = f"adapters: {{ledger: '{ledger}'}}\n" if ledger else ""
    return parse(f"{text}\nprivacy: {{subject: customer, fields: {{terms: encrypt}}{more}}}\n{adapters}", folder=trained.pilot.folder)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def open_(request: pytest.FixtureRequest, starter_trained: Trained, tmp_path: Path) -> Iterator[Open]:
    """Opens engines of a private pilot over the same rooms, on both stores."""
    var, opened = tmp_path / "var", list[Engine]()
    shutil.copytree(starter_trained.var, var)
    url = "" if request.param == "sqlite" else request.getfixturevalue("server").url(f"p{abs(hash(str(tmp_path)))}")

    def open_(more: str = "", **options: Any) -> Engine:
        opened.append(Engine.open(private(starter_trained, more, url), var, ManualClock(NOW), **options))
        return opened[-1]

    yield open_
    for engine in opened:
        engine.ledger.close()


def names(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["customer_id"] for line in lines]


def trusted(engine: Engine) -> Policy:
    assert engine.publisher is not None
    return Policy([signer.verifier for signer in engine.publisher._signers])


def test_records_hold_no_name_and_open_only_with_the_key(open_: Open, starter_trained: Trained) -> None:
    engine, lines = open_(), starter_trained.lines("live", 60)
    results = engine.decide(lines)
    stored = [engine.line.records.stored(entry) for entry in engine.ledger.scan(1, (DECISION,))]
    assert all(s.event.terms is None and s.features == [] and s.outputs == [] and s.reasons == () for s in stored)
    assert len({s.event.customer_id for s in stored}) == len(set(names(lines)))
    assert not any(name.encode() in entry.content for entry in engine.ledger.scan() for name in set(names(lines)))
    opened = [engine.line.records.read(entry) for entry in engine.ledger.scan(1, (DECISION,))]
    assert repr([r.features for r in opened]) == repr([r.features for r in results])
    assert [r.event for r in opened] == [r.event for r in results]
    assert [r.event.terms for r in opened] == [json.loads(line)["terms"] for line in lines]
    assert engine.decide(lines[:2])[0].seq == 1  # the same ids get their first decisions
    other = Vault(engine.ledger.subjects, PrivacyKeys(_Fresh()))
    engine.line.veil.vault = other  # type: ignore[union-attr]
    with pytest.raises(LedgerError, match="no wrapping key opens"):
        engine.line.records.read(engine.ledger.read([1])[0])
    engine.line.veil.vault = None  # type: ignore[union-attr]
    with pytest.raises(LedgerError, match="no key is at hand"):
        engine.line.records.read(engine.ledger.read([1])[0])


class _Fresh:
    """Secrets of someone else."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        return self.kept.get(name)

    def put(self, name: str, value: str, new: bool = False) -> None:
        self.kept[name] = value


def test_it_recovers_and_replays_bit_for_bit_and_prices(open_: Open, starter_trained: Trained, tmp_path: Path) -> None:
    engine, lines = open_(snapshots=False), starter_trained.lines("live", 400)
    engine.decide(lines[:200])
    engine.observe(starter_trained.lines("live_outcomes", 40))
    before = engine.state.digest()
    again = open_(snapshots=False)
    assert again.state.digest() == before
    again.decide(lines[200:])
    report = replay(again.pilot, again.ledger, tmp_path / "var" / "models", vault=again.vault)
    assert (report.decisions, report.mismatches, report.erased) == (400, 0, 0)
    assert sum(1 for _ in judge(again.pilot, again.ledger, NOW, again.vault)) == 400


def test_an_erased_person_is_gone_everywhere_and_every_proof_still_holds(open_: Open, starter_trained: Trained, tmp_path: Path) -> None:
    engine, lines = open_(), starter_trained.lines("live", 300)
    broken = json.dumps({**json.loads(lines[0]), "amount": -1}).encode()
    engine.decide([*lines, broken, b'{"customer_id": "' + names(lines)[0].encode() + b'", oops', b"{}"])
    assert engine.publisher is not None
    engine.publisher.publish()
    gone, stays = names(lines)[0], names(lines)[1]
    theirs = [i + 1 for i, name in enumerate(names(lines)) if name == gone]
    proofs = {seq: disclosure.prove(engine.ledger, engine.ledger.read([seq])[0]) for seq in [*theirs, 2]}
    word = engine.line.records.read(engine.ledger.read([1])[0]).event.customer_id
    done = erase(engine, [gone, "nobody", gone], "dpo", "asked for it")
    assert (done.erased, done.unknown, done.on_hold, done.quarantine) == (1, ["nobody"], [], 2)
    assert all(disclosure.check(proof, trusted(engine)).seq == seq for seq, proof in proofs.items())
    for each in (engine, open_(snapshots=False)):  # also rebuilt from the ledger
        record = each.line.records.read(each.ledger.read([1])[0])
        assert (record.erased, record.features, record.event.terms) == (True, [], None)
        assert each.line.records.read(each.ledger.read([2])[0]).features != []
        assert word not in each.state.interners["customer_id"].words()
        assert len(each.state.groups[0].packed()[0]) == len(set(names(lines))) - 1
    assert [q.raw for q in engine.ledger.quarantine(ERASED)] == [b"", b""]
    assert len(engine.ledger.quarantine()) == 1
    report = replay(engine.pilot, engine.ledger, tmp_path / "var" / "models", vault=engine.vault)
    assert (report.decisions, report.mismatches, report.erased) == (300 - len(theirs), 0, len(theirs))
    repeated = engine.decide(lines[:1])[0]  # whoever asks again gets the same action, and leaves nothing in quarantine
    assert (repeated.seq, len(engine.ledger.quarantine())) == (1, 1)
    engine.publisher.publish()
    assert audit(engine.ledger, trusted(engine)).fine
    assert list(about(engine.line, engine.ledger, stays))
    assert unaccounted(engine.pilot, engine.ledger) == []
    with pytest.raises(DataError, match="nothing is kept"):
        list(about(engine.line, engine.ledger, "nobody"))
    acts = [entry.key for entry in engine.ledger.scan(1, (ACT,))]
    assert acts == [f"erasure:{word}"]


def test_what_is_sealed_can_be_shown_and_only_as_it_was(open_: Open, starter_trained: Trained) -> None:
    engine = open_()
    engine.decide(starter_trained.lines("live", 3))
    assert engine.publisher is not None
    engine.publisher.publish()
    [entry], veil = engine.ledger.read([2]), engine.line.veil
    assert veil is not None
    content = veil.opened(engine.line.records.stored(entry))
    assert content is not None
    shown = disclosure.check(disclosure.prove(engine.ledger, entry, content), trusted(engine))
    assert shown.opened == content
    terms = json.loads(starter_trained.lines("live", 3)[1])["terms"]
    assert terms in certificate(shown, "file")
    assert terms not in certificate(disclosure.check(disclosure.prove(engine.ledger, entry), trusted(engine)), "file")
    with pytest.raises(ProofError, match="not what the record commits to"):
        disclosure.check(disclosure.prove(engine.ledger, entry, content[:-1] + b"x"), trusted(engine))


def test_a_private_value_is_not_told_by_its_error(open_: Open, starter_trained: Trained) -> None:
    engine = open_()
    engine.decide([starter_trained.lines("live", 1)[0].replace(b'"net', b'"secret')])
    [kept] = engine.ledger.quarantine()
    assert (kept.field, kept.message) == ("terms", "the value is private")
    assert b"secret" not in kept.raw


def test_more_people_than_are_held_at_once(open_: Open, starter_trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flightworthy.governance.privacy.vault._KEPT", 5)
    engine, lines = open_(), starter_trained.lines("live", 200)
    first = engine.decide(lines[:100])
    assert [r.id for r in engine.decide(lines)][:100] == [r.id for r in first]
    assert engine.ledger.subjects.count() == len(set(names(lines)))
    assert all(engine.line.records.read(entry).features for entry in engine.ledger.scan(1, (DECISION,)))


def test_what_expired_and_who_is_known_is_moved(starter_trained: Trained, open_: Open, tmp_path: Path) -> None:
    engine, lines = open_(", retention: 1us"), starter_trained.lines("live", 150)
    engine.decide(lines)
    clock: Any = engine.clock
    clock.at += 10
    expire(engine, "rule")
    consent(engine, names(lines)[0], True, "crm", "form")
    target = open_ledger("sqlite:///target.db", tmp_path)
    for _ in range(2):
        move(engine.ledger, target)
        assert list(target.scan()) == list(engine.ledger.scan())
        assert target.counts() == engine.ledger.counts()
        assert target.subjects.page() == engine.ledger.subjects.page() != []
        erase(engine, names(lines)[:1], "dpo", "letter")
    target.close()


@pytest.mark.parametrize("name", ["", " ", "customer_id", "invoice"])
def test_a_name_that_is_none_empties_nothing(open_engine: Open, starter_trained: Trained, name: str) -> None:
    engine = open_engine(pilot=private(starter_trained))
    engine.decide([json.dumps({**json.loads(starter_trained.lines("live", 1)[0]), "amount": -1}).encode()])
    done = erase(engine, [name], "dpo", "a slip")
    assert (done.erased, done.quarantine, len(engine.ledger.quarantine())) == (0, 0, 1)


def test_a_key_that_goes_or_stays_behind_the_ledgers_back_is_found(open_: Open, starter_trained: Trained) -> None:
    engine = open_()
    engine.decide(starter_trained.lines("live", 20))
    assert unaccounted(engine.pilot, engine.ledger) == []
    one, two = engine.ledger.subjects.page()[:2]
    engine.ledger.commit(Block(erased=[one.ref]))
    engine.act(f"erasure:{word_of(two.ref)}", "dpo", {"why": "said, not done"})
    found = unaccounted(engine.pilot, engine.ledger)
    assert len(found) == 2
    assert word_of(one.ref) in found[0]
    assert "no act says" in found[0]
    assert word_of(two.ref) in found[1]
    assert "is there, though" in found[1]


def test_an_erasure_beside_a_reader_is_done_and_says_what_is_left(starter_trained: Trained, open_engine: Open, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    engine, lines = open_engine(pilot=private(starter_trained)), starter_trained.lines("live", 20)
    engine.decide(lines)
    engine.ledger._writer.execute("PRAGMA busy_timeout=50")  # type: ignore[attr-defined]
    with contextlib.closing(sqlite3.connect(tmp_path / "var" / "ledger.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM segment").fetchone()
        done = erase(engine, names(lines)[:1], "dpo", "letter")
        assert done.erased == 1
        assert "another process reads the ledger" in done.left
    assert erase(engine, names(lines)[1:2], "dpo", "letter").left == ""


def test_a_hold_keeps_what_would_be_erased(open_: Open, starter_trained: Trained) -> None:
    engine, lines = open_(), starter_trained.lines("live", 20)
    engine.decide(lines)
    name = names(lines)[0]
    hold(engine, name, True, "legal", "case 7")
    assert erase(engine, [name], "dpo", "asked").on_hold == [name]
    hold(engine, name, False, "legal", "case closed")
    assert erase(engine, [name], "dpo", "asked").erased == 1
    with pytest.raises(DataError, match="nothing is kept"):
        hold(engine, name, True, "legal", "case 8")


@pytest.mark.parametrize("otherwise", ["baseline", "refuse"])
def test_without_consent_the_manifests_rule_applies(open_: Open, starter_trained: Trained, otherwise: str) -> None:
    engine, lines = open_(f", without_consent: {otherwise}, purpose: dunning"), starter_trained.lines("live", 60)
    name = names(lines)[0]
    act = consent(engine, name, True, "crm", "signed form 3")
    results = engine.decide(lines)
    for who, result in zip(names(lines), results, strict=True):
        if who == name:
            assert (result.path, result.consent) == (["champion"], act.seq)
        elif otherwise == "baseline":
            assert (result.path, result.consent, result.model) == (["no-consent", "baseline"], 0, None)
        else:
            assert isinstance(result, Rejection)
            assert (result.reason, result.field) == ("no_consent", "customer_id")
    assert replay(engine.pilot, engine.ledger, engine.models_folder, vault=engine.vault).mismatches == 0
    consent(engine, name, False, "crm", "by letter")
    assert engine.decide(lines[:1])[0].seq == results[0].seq  # what was decided stays decided
    changed = json.dumps({**json.loads(lines[-1]), "customer_id": name, "invoice": "another"}).encode()
    [again] = engine.decide([changed])
    assert isinstance(again, Rejection) if otherwise == "refuse" else again.path == ["no-consent", "baseline"]
    if otherwise == "refuse":
        consent(engine, name, True, "crm", "by phone")
        assert retry(engine)[0] == 1  # the bytes in quarantine are covered, and come back


def test_what_is_kept_about_someone_is_told_whole(open_: Open, starter_trained: Trained) -> None:
    engine, lines = open_(), starter_trained.lines("live", 300)
    engine.decide(lines)
    told = [line for line in starter_trained.lines("live_outcomes")
            if json.loads(line)["invoice"] in {json.loads(x)["invoice"] for x in lines}]
    engine.observe(told)
    name = names(lines)[0]
    consent(engine, name, True, "crm", "form")
    mine = {json.loads(line)["invoice"] for line in lines if json.loads(line)["customer_id"] == name}
    found = list(about(engine.line, engine.ledger, name))
    assert {r["id"] for r in found if r["kind"] == DECISION} == mine
    assert {r["id"] for r in found if r["kind"] == OUTCOME} == mine & {json.loads(x)["invoice"] for x in told}
    assert [r["said"]["consent"] for r in found if r["kind"] == ACT] == ["given"]
    assert found[0]["event"]["terms"] == json.loads(lines[0])["terms"]
    json.dumps(found)


def test_records_expire_by_rule_and_by_no_other_hand(open_: Open, starter_trained: Trained, tmp_path: Path) -> None:
    engine, lines = open_(", retention: 365d"), starter_trained.lines("live", 400)
    engine.decide(lines[:200])
    first = {json.loads(line)["invoice"] for line in lines[:200]}
    told = [line for line in starter_trained.lines("live_outcomes") if json.loads(line)["invoice"] in first]
    told.sort(key=lambda line: json.loads(line)["invoice"], reverse=True)
    engine.observe(told[:20])
    held_name = names(lines)[150]
    hold(engine, held_name, True, "legal", "case 7")
    clock: Any = engine.clock
    clock.at = NOW + YEAR // 2
    late = [line for line in told[20:] if json.loads(line)["invoice"] in {json.loads(x)["invoice"] for x in lines[:64]}]
    engine.observe(late)  # known later than their decisions
    assert late
    engine.decide(lines[200:])
    assert engine.publisher is not None
    engine.publisher.publish()
    proof = disclosure.prove(engine.ledger, engine.ledger.read([1])[0])
    assert (expire(engine, "rule").entries, expire(engine, "rule").acts) == (0, 0)
    clock.at = NOW + YEAR + 1
    state = engine.state.digest()
    done = expire(engine, "rule")
    theirs = {json.loads(line)["invoice"] for line in lines[:200] if json.loads(line)["customer_id"] == held_name}
    on_hold = len(theirs) + sum(json.loads(line)["invoice"] in theirs for line in told[:20])
    late_ids = {json.loads(line)["invoice"] for line in late} - theirs
    assert (done.on_hold, done.told_since, done.entries) == (on_hold, len(late_ids), 220 - on_hold - len(late_ids))
    gone = [e.seq for e in engine.ledger.scan() if e.kind == EXPIRED]
    assert 0 < len(gone) <= done.entries
    assert all(names(lines)[seq - 1] != held_name for seq in gone if seq <= 200)
    assert disclosure.check(proof, trusted(engine)).seq == 1
    engine.publisher.publish()
    assert audit(engine.ledger, trusted(engine)).findings == []
    assert open_(", retention: 365d").state.digest() == state
    rebuilt = open_(", retention: 365d", snapshots=False)
    assert rebuilt.state.digest() == state
    report = replay(engine.pilot, engine.ledger, tmp_path / "var" / "models", vault=engine.vault, base=engine.base)
    assert (report.decisions, report.mismatches) == (200, 0)
    assert static.write(engine.ledger, tmp_path / "tiles") == engine.ledger.last()
    with pytest.raises(LedgerError, match="kept as long as the manifest says"):
        engine.line.records.read(engine.ledger.read([gone[0]])[0])
    engine.ledger.commit(Block(expired=[(201, 400)]))  # behind the ledger's back
    assert any("no act says that it expired" in finding for finding in audit(engine.ledger, trusted(engine)).findings)
    who = next(name for name in names(lines) if name != held_name)
    assert engine.vault is not None
    assert engine.base is not None
    word = word_of(engine.vault.find([who])[who].ref)
    assert word.encode() in engine.base.read_bytes()
    assert erase(engine, [who], "dpo", "letter").erased == 1
    assert word.encode() not in engine.base.read_bytes()
    assert word not in begin(engine.line, engine.base)[0].interners["customer_id"].words()
    with pytest.raises(DataError, match="nothing of retention"):
        expire(open_(), "rule")


def test_a_new_wrapping_key_makes_old_copies_useless(open_: Open, starter_trained: Trained, tmp_path: Path) -> None:
    engine, lines = open_(), starter_trained.lines("live", 50)
    engine.decide(lines)
    assert engine.vault is not None
    before = {row.ref: row.wrapped for row in engine.ledger.subjects.page()}  # as a backup has them
    secrets = open_files("file:///keys", tmp_path / "var")
    renewed(secrets)
    both = PrivacyKeys(secrets)
    assert rewrap(engine.ledger.subjects, both) == len(before)
    retired(secrets)
    alone = PrivacyKeys(secrets)
    assert open_().line.records.read(engine.ledger.read([1])[0]).features != []
    for ref, wrapped in before.items():
        with pytest.raises(LedgerError, match="no wrapping key opens"):
            alone.unwrap(wrapped, ref)
    secrets.put(WRAPPING, "not a key")
    with pytest.raises(AdapterError, match="not a key of 32 bytes"):
        PrivacyKeys(secrets)


def test_sealed_bytes_that_were_changed_are_not_believed(open_: Open, starter_trained: Trained) -> None:
    engine = open_()
    engine.decide(starter_trained.lines("live", 3))
    veil, stored = engine.line.veil, engine.line.records.stored(engine.ledger.read([1])[0])
    assert veil is not None
    for changed in (replace(stored, sealed=stored.sealed[:-1] + b"x"), replace(stored, sealed=b"x"), replace(stored, commits=bytes(32)),
                    replace(stored, seq=2)):
        with pytest.raises(LedgerError, match="does not open, or is not what"):
            veil.open(changed)
    assert ref_of(word_of(bytes(range(16)))) == bytes(range(16))


@pytest.mark.parametrize(("privacy", "said"), [
    ("{subject: nobody}", "unknown entity"), ("{subject: customer, fields: {customer_id: clear}}", "always pseudonymised"),
    ("{subject: customer, fields: {amount: encrypt}}", "features are computed over this field"),
    ("{subject: customer, fields: {invoice: encrypt}}", "stays clear"), ("{subject: customer, fields: {terms: drop}}", "only a text"),
    ("{subject: customer, fields: {nothing: drop}}", "unknown field"), ("{subject: customer, fields: {terms: hide}}", "pseudonymise"),
    ("{subject: customer, without_consent: default}", "no safe default"), ("{subject: customer, retention: 5}", "duration")])
def test_what_cannot_be_private_is_said(starter_trained: Trained, privacy: str, said: str) -> None:
    text = (starter_trained.pilot.folder / "pilot.yaml").read_text()
    with pytest.raises(ManifestError, match=said):
        parse(f"{text}\nprivacy: {privacy}\n", folder=starter_trained.pilot.folder)


def test_it_is_explained_in_plain_words(starter_trained: Trained) -> None:
    said = explain(private(starter_trained, ", without_consent: refuse, purpose: dunning, retention: 7y"))
    for words in ("The customer is a person", "`customer_id` as a pseudonym", "`terms` sealed under", "for 'dunning' no model sees",
                  "goes to quarantine", "kept for 2562d"):
        assert words in said, words
    assert "Whom it is about" not in explain(starter_trained.pilot)


def test_a_pilot_that_names_no_people_has_none(open_engine: Open) -> None:
    engine = open_engine()
    with pytest.raises(DataError, match="names no people"):
        erase(engine, ["a"], "dpo", "")
    with pytest.raises(DataError, match="names no people"):
        list(about(engine.line, engine.ledger, "a"))




def test_a_shadow_reads_sealed_records_and_leaves_out_whoever_was_erased(open_: Open, starter_trained: Trained) -> None:
    engine, lines = open_(), starter_trained.lines("live", 300)
    roll_all([engine], "start", "alice", "new", louder(engine))
    engine.decide(lines)
    erase(engine, names(lines)[:8], "alice", "asked to")  # not all of them are held out
    seen = Tally(engine.pilot, engine.ledger, engine.models_folder, engine.vault)
    seen.read()
    told = [record for record in engine.line.records.read_all(list(engine.ledger.scan(1, (DECISION,)))) if record.arm != "holdout"]
    assert seen.changed.all == sum(not record.erased for record in told) < len(told)
    assert seen.changed.bad > 0 and not seen.blind
