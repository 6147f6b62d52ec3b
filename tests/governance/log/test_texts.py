"""Notes, checkpoints, tiles, proofs and policies: their texts, and what is refused."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flightworthy.governance.log import merkle, note
from flightworthy.governance.log.checkpoint import Checkpoint
from flightworthy.governance.log.note import COSIGNED, Signer, Verifier
from flightworthy.governance.log.policy import Policy
from flightworthy.governance.log.proof import Proof
from flightworthy.governance.log.tiles import ENTRIES, Tile, bundle, leaves_of
from flightworthy.ground.errors import ProofError

# The example of the documentation of Go's package golang.org/x/mod/sumdb/note.
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
GO_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"  # noqa: S105 - published
GO_TEXT = ("If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n")
GO_LINE = ("— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n")

LOG = Signer("example.com/log", bytes(32))
WITNESS = Signer("witness.example/w", bytes([7]) * 32, COSIGNED)
OTHER = Signer("witness.example/o", bytes([8]) * 32, COSIGNED)


def test_keys_and_signatures_are_those_of_go() -> None:
    signer = Signer.parse(GO_SECRET)
    assert str(signer.verifier) == GO_KEY == str(Verifier.parse(GO_KEY)) and signer.secret() == GO_SECRET
    made = note.signed(GO_TEXT, [signer])
    assert made.decode() == f"{GO_TEXT}\n{GO_LINE}"
    assert note.parse(made).by([Verifier.parse(GO_KEY)]) == [signer.verifier]
    assert bytes(note.parse(made)) == made


def test_a_changed_note_is_found_and_an_unknown_key_is_no_key() -> None:
    made = note.signed("a\nb\n", [LOG])
    assert note.parse(made).by([WITNESS.verifier]) == []
    with pytest.raises(ProofError, match="does not hold"):
        note.parse(made.replace(b"b\n", b"c\n", 1)).by([LOG.verifier])
    same_name = Signer(LOG.verifier.name, bytes([1]) * 32)
    assert note.parse(made).by([same_name.verifier]) == []


@pytest.mark.parametrize("content", [
    b"", b"\n", b"a\n", b"a\n\n", b"a\n\n\xe2\x80\x94 n\n", "a\n\n— n AAAA\n".encode(), "a\n\n— n AAAAAAAA".encode(),
    b"a\n\n- n AAAAAAAA\n", "a\n\n—  AAAAAAAA\n".encode(), b"\xff\n\n", "a\n\n— n AAAAAAA!\n".encode(),
    "a\tb\n\n— n AAAAAAAA\n".encode(), "\n\n— n AAAAAAAA\n".encode()])
def test_what_is_no_note(content: bytes) -> None:
    with pytest.raises(ProofError):
        note.parse(content)


@pytest.mark.parametrize("key", ["", "a", "a+b", "a+12345678+AAAA", GO_KEY.replace("c74f", "c74e"), GO_KEY[:-4], GO_KEY + "AAAA",
                                 GO_KEY.replace("PeterNeumann", "Peter"), "PeterNeumann+C74F20A3+" + GO_KEY.split("+", 2)[2]])
def test_what_is_no_key(key: str) -> None:
    with pytest.raises(ProofError):
        Verifier.parse(key)
    with pytest.raises(ProofError) as caught:
        Signer.parse("PRIVATE+KEY+" + key)
    assert len(key) < 4 or key not in str(caught.value)  # a secret is not shown


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\n"])
def test_names_that_cannot_sign(name: str) -> None:
    with pytest.raises(ProofError, match="cannot sign"):
        Signer(name, bytes(32))


def test_a_witness_signs_with_the_time() -> None:
    text = Checkpoint("example.com/log", 3, bytes(32)).text().encode()
    line = WITNESS.line(text, 1_700_000_000)
    content = note.parse(text + b"\n" + line.encode())
    assert content.by([WITNESS.verifier]) == [WITNESS.verifier]
    assert content.lines[0][2][:8] == (1_700_000_000).to_bytes(8, "big")
    later = (*content.lines[0][:2], (1700000001).to_bytes(8, "big") + content.lines[0][2][8:])
    with pytest.raises(ProofError):
        note.Note(text, (later,)).by([WITNESS.verifier])
    short = note.Note(text, ((*content.lines[0][:2], content.lines[0][2][:20]),))
    with pytest.raises(ProofError):
        short.by([WITNESS.verifier])


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_checkpoints_come_back(size: int, root: bytes) -> None:
    made = Checkpoint("example.com/log", size, root)
    assert Checkpoint.parse(made.text().encode()) == made
    assert Checkpoint.parse(made.text().encode() + b"an extension\n") == made


@pytest.mark.parametrize("text", ["", "a\n", "a\n1\n", "\n1\nAAAA\n", "a\n01\n{r}\n", "a\n-1\n{r}\n", "a\n1\nAAAA\n", "a\n1\n{r}",
                                  "a\n9223372036854775808\n{r}\n", "a\n\u0661\n{r}\n"])
def test_what_is_no_checkpoint(text: str) -> None:
    with pytest.raises(ProofError):
        Checkpoint.parse(text.replace("{r}", base64.b64encode(bytes(32)).decode()).encode())


@given(st.sampled_from([ENTRIES, 0, 1, 5, 63]), st.integers(0, 10**10), st.integers(1, 256))
def test_tiles_by_path(level: int, place: int, width: int) -> None:
    tile = Tile(level, place, width)
    assert Tile.parse(tile.path) == tile


@pytest.mark.parametrize("path", ["", "tile/0/0", "tile/64/000", "tile/00/000", "tile/0/x000/000", "tile/0/000.p/0", "tile/0/000.p/256",
                                  "tile/0/000.p/01", "tile/0/x1/000", "tile/0/" + "x001/" * 3000 + "000", "tile/-1/000", "tile/entries/000/", "tile/0/\u0660\u0660\u0660"])
def test_what_is_no_tile(path: str) -> None:
    with pytest.raises(ProofError, match="no such tile"):
        Tile.parse(path)


@given(st.lists(st.binary(max_size=300), max_size=256))
def test_bundles_come_back(leaves: list[bytes]) -> None:
    content = bundle(leaves)
    assert leaves_of(content) == leaves
    if content:
        with pytest.raises(ProofError, match="cut off"):
            leaves_of(content + b"\0")


def _proof(extra: bytes = b"") -> tuple[Proof, bytes]:
    leaves = [b"a", b"b", b"c"]
    growth = merkle.Growth()
    growth.extend(list(map(merkle.leaf_hash, leaves)))
    path = (merkle.leaf_hash(b"a"), merkle.leaf_hash(b"c"))
    return Proof(1, path, note.signed(Checkpoint("example.com/log", 3, growth.root()).text(), [LOG]), extra), leaves[1]


@pytest.mark.parametrize("extra", [b"", b"\x00 more"])
def test_proofs_come_back_and_hold(extra: bytes) -> None:
    proof, leaf = _proof(extra)
    assert Proof.parse(proof.text()) == proof
    assert proof.holds_for(leaf).size == 3
    with pytest.raises(ProofError, match="not in the log"):
        proof.holds_for(b"x")


def test_any_changed_byte_of_a_proof_is_found() -> None:
    proof, leaf = _proof()
    text, policy = bytearray(proof.text()), Policy([LOG.verifier])
    for at in range(len(text)):
        text[at] ^= 1
        with pytest.raises(ProofError):
            changed = Proof.parse(bytes(text))
            changed.holds_for(leaf)
            policy.check(changed.checkpoint)
        text[at] ^= 1


@pytest.mark.parametrize("text", [b"", b"c2sp.org/tlog-proof@v1", b"c2sp.org/tlog-proof@v1\n\n", b"c2sp.org/tlog-proof@v1\nindex 01\n\nx",
                                  b"c2sp.org/tlog-proof@v1\nindex 1\nAAAA\n\nx", b"other\nindex 1\n\nx", b"\xff\n\nx",
                                  b"c2sp.org/tlog-proof@v1\nextra !\nindex 1\n\nx"])
def test_what_is_no_proof(text: bytes) -> None:
    with pytest.raises(ProofError):
        Proof.parse(text)


def _witnessed(*by: Signer) -> bytes:
    made = note.signed(Checkpoint("example.com/log", 3, bytes(32)).text(), [LOG])
    text = note.parse(made).text
    return made + "".join(signer.line(text, 5) for signer in by).encode()


POLICY = f"""
log {LOG.verifier}      # ours
witness w {WITNESS.verifier} https://w.example/
witness o {OTHER.verifier}
group both all w o
group one 1 w o
"""


def test_policies_count_witnesses() -> None:
    both, one = Policy.parse(POLICY + "quorum both"), Policy.parse(POLICY + "quorum one")
    assert both.check(_witnessed(WITNESS, OTHER))[1] == ["w", "o"] and one.check(_witnessed(OTHER))[1] == ["o"]
    for policy, by in ((both, (WITNESS,)), (one, ()), (Policy.parse(POLICY + "quorum o"), (WITNESS,))):
        with pytest.raises(ProofError, match="too few witnesses"):
            policy.check(_witnessed(*by))
    assert Policy.parse(POLICY + "quorum none").check(_witnessed())[1] == []
    assert one.urls == {"w": "https://w.example"}
    with pytest.raises(ProofError, match="not signed by a key that is trusted"):
        Policy([WITNESS.verifier]).check(_witnessed())
    strange = note.signed(Checkpoint("example.com/another", 3, bytes(32)).text(), [LOG])
    with pytest.raises(ProofError, match="not signed by a key that is trusted"):
        one.check(strange)  # the key of one log does not speak for another


@pytest.mark.parametrize("line", ["log", "log x", "witness w", f"witness w {LOG.verifier}", f"witness none {WITNESS.verifier}", "other x",
                                  f"witness w {WITNESS.verifier}\nwitness w {OTHER.verifier}", "group g all", "group g all nobody",
                                  f"witness w {WITNESS.verifier}\ngroup g 2 w", f"witness w {WITNESS.verifier}\ngroup g x w",
                                  "quorum nobody", "quorum", "quorum none\nquorum none"])
def test_what_is_no_policy(line: str) -> None:
    with pytest.raises(ProofError):
        Policy.parse(line, "p")
