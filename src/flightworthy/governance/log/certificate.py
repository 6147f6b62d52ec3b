"""A checked record in words, for people."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import msgspec

from flightworthy.governance.log.disclosure import Checked
from flightworthy.governance.log.leaf import leaf
from flightworthy.ground.clock import iso
from flightworthy.ground.errors import ProofError

_TIMES = {"arrived", "decided", "known_at"}
_FIRST = ("id", "action", "otherwise", "by", "rule", "quantity", "reasons", "path", "arm", "propensity", "arrived", "decided")


def certificate(checked: Checked, file: str) -> str:
    """What was proved, by what, and how to check it without us. Markdown."""
    try:
        record = msgspec.msgpack.decode(checked.record)
    except msgspec.MsgspecError as error:
        raise ProofError(f"the record cannot be read: {error}", where=file) from error
    lines = [f"# {checked.kind.capitalize()} {record.get('id', '')}", "",
             f"Entry {checked.seq} of the log `{checked.checkpoint.origin}`.", "", "| | |", "|---|---|"]
    order = [name for name in _FIRST if name in record] + [name for name in record if name not in _FIRST]
    lines += [f"| {name} | {_said(name, record[name])} |" for name in order if name not in ("v", "kind", "seq")]
    if checked.opened:
        lines += [f"| sealed in it | {_said('', msgspec.msgpack.decode(checked.opened[16:]))} |"]  # after its salt
    seen = ", ".join(checked.witnesses) or "none: only the log itself vouches for its checkpoint"
    lines += ["", "## What vouches for it", "",
              f"- Its bytes hash to leaf {checked.seq - 1} of a Merkle tree (RFC 6962) of {checked.checkpoint.size} leaves.",
              f"- The root of that tree, `{checked.checkpoint.root.hex()}`, is signed by `{checked.checkpoint.origin}`.",
              f"- Witnesses that saw this tree grow from the earlier ones: {seen}.",
              "", "## How to check it", "",
              f"`flightworthy audit check {file} --policy POLICY` needs this file and the keys you trust, nothing else.",
              "Without us: the file is a C2SP tlog-proof, its checkpoint a signed note; the leaf is the line", "",
              "    " + leaf(checked.seq, checked.kind, sha256(checked.record).digest()).decode(), "",
              "where `sha256` is over the record, base64 in the `extra` line. This is evidence of what was recorded, not a legal",
              "determination.", ""]
    return "\n".join(lines)


def _said(name: str, value: Any) -> str:
    if name in _TIMES and isinstance(value, int):
        return f"{iso(value)} ({value})"
    if isinstance(value, bytes):
        return f"`{value.hex()}`"
    if isinstance(value, dict):
        return "<br>".join(f"{key}: {_said('', part)}" for key, part in value.items())
    if isinstance(value, list):
        return ", ".join(_said("", part) for part in value) or "none"
    return str(value).replace("|", "\\|").replace("\n", " ")
