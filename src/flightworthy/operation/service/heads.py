"""Heads of requests that came before. Whoever keeps a connection sends the same bytes before every body: what they mean is
looked up instead of parsed again.

Only the parser says what a head means. One is kept when it came together with its whole body, and the same connection sent it
before; the same bytes at the same place, between two requests, mean the same. Who calls is asked anew every time; a key in a head
stays in memory until there are too many heads.
"""

from __future__ import annotations

from typing import NamedTuple

_MOST, _LONGEST = 256, 2048  # heads kept, and bytes of one


class Head(NamedTuple):
    """What the parser made of the bytes before an empty line. ``length``: bytes of the body that follows."""

    method: str
    path: str
    headers: dict[bytes, bytes]  # shared by all requests with this head: not to be changed
    length: int


class Heads:
    """The heads of a port. Bounded: when there are too many it begins anew."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}
        self.find = self._known.get

    def note(self, raw: bytes, head: Head) -> None:
        """Remember what a head means, where nothing but its bytes decides how its request ends and what follows it."""
        said = head.headers
        plain = said.get(b"content-length") == b"%d" % head.length and b"transfer-encoding" not in said and b"expect" not in said
        if plain and len(raw) <= _LONGEST and raw[:1].isalpha():
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[raw] = head
