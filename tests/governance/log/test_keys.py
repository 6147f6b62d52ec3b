"""Keys of a log: made once, kept as a secret, a name for each shard, and rotated without a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from flightworthy.adapters.keys.factory import open_environment, open_files
from flightworthy.governance.log.keys import LOG_KEY, made, rotated, signers
from flightworthy.governance.log.note import Signer
from flightworthy.ground.errors import AdapterError, ProofError


def test_a_key_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    store = open_files("file:///keys", tmp_path)
    assert store.get(LOG_KEY) is None
    one = signers(store, "p")[0]
    assert [s.verifier for s in signers(store, "other")] == [one.verifier]
    assert one.verifier.name.startswith("flightworthy/p/") and (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert [f.name for f in (tmp_path / "keys").iterdir()] == [LOG_KEY]
    store.put(LOG_KEY, "another", new=True)  # two that start at once: the first one's stays
    assert [s.verifier for s in signers(store, "p")] == [one.verifier]
    (tmp_path / "keys" / LOG_KEY).chmod(0o640)
    with pytest.raises(AdapterError, match="others can read"):
        store.get(LOG_KEY)
    with pytest.raises(AdapterError, match="cannot keep"):
        open_files("file:///keys/log-key", tmp_path).put("x", "y")


def test_shards_that_share_a_key_do_not_share_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    store, key = open_environment("env:"), made("p")
    with pytest.raises(AdapterError, match="only read"):
        signers(store, "p")
    monkeypatch.setenv("FLIGHTWORTHY_LOG_KEY", key.secret())
    whole, one, two = (signers(store, "p", part)[0].verifier for part in ("", "shard-1-of-2", "shard-2-of-2"))
    assert len({v.name for v in (whole, one, two)}) == 3 and len({v.public for v in (whole, one, two)}) == 1
    assert one.name == f"{whole.name}/shard-1-of-2"
    monkeypatch.setenv("FLIGHTWORTHY_LOG_KEY", "PRIVATE+KEY+p+00000000+AAAA")
    with pytest.raises(ProofError) as caught:
        signers(store, "p")
    assert "AAAA" not in str(caught.value)


def test_a_rotation_puts_the_new_key_in_front(tmp_path: Path) -> None:
    store = open_files("file:///keys", tmp_path)
    old = signers(store, "p")[0].verifier
    names = [signer.verifier for signer in rotated(store)]
    assert names[1] == old != names[0] and names[0].name == old.name
    assert [signer.verifier for signer in signers(store, "p")] == names
    assert isinstance(signers(store, "p", "shard-1-of-1")[1], Signer)
