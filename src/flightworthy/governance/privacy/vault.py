"""Keys of people, as those who decide use them: found or made by name, and gone when a person was erased."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from threading import Lock
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from flightworthy.governance.privacy.keys import PrivacyKeys, fresh, seal, unseal
from flightworthy.governance.privacy.store import Subject, Subjects
from flightworthy.ground.errors import LedgerError

_KEPT = 200_000  # people whose keys are held in memory, some 300 bytes each
_MARK = b"\0covered\0"
Names = dict[str, "Person"]


class Person(NamedTuple):
    """``word`` is the pseudonym: `ref` in text."""

    ref: bytes
    word: str
    cipher: AESGCM


def word_of(ref: bytes) -> str:
    """16 bytes as 22 letters, digits, - and _.

    >>> word_of(bytes(16))
    'AAAAAAAAAAAAAAAAAAAAAA'
    """
    return base64.urlsafe_b64encode(ref).decode().rstrip("=")


def ref_of(word: str) -> bytes:
    """The inverse of `word_of`."""
    return base64.urlsafe_b64decode(word + "==")


class Cover:
    """For bytes that may hold personal data, nobody knows whose: unreadable without the index key."""

    def __init__(self, keys: PrivacyKeys) -> None:
        self._cipher = keys.cover()

    def put(self, raw: bytes) -> bytes:
        """Covered bytes."""
        return _MARK + seal(self._cipher, raw, b"cover")

    def off(self, kept: bytes) -> bytes:
        """What was covered; bytes that were not are given back. Raises `LedgerError`."""
        if not kept.startswith(_MARK):
            return kept
        try:
            return unseal(self._cipher, kept[len(_MARK) :], b"cover")
        except InvalidTag:
            raise LedgerError("this record was covered with another key",
                              next_step="bring back the secret privacy-index") from None


class Vault:
    """For one writer, or for readers. One thread lets people in, another may ask for them."""

    def __init__(self, store: Subjects, keys: PrivacyKeys) -> None:
        self.store, self.keys = store, keys
        self._by_tag: dict[bytes, Person] = {}
        self._by_ref: dict[bytes, Person | None] = {}
        self._new_by_tag: dict[bytes, Person] = {}  # not committed yet: the store does not have them
        self._new_by_ref: dict[bytes, Person] = {}
        self.cover, self._lock = Cover(keys), Lock()

    def people(self, names: Sequence[str], now: int) -> tuple[Names, list[Subject]]:
        """Everyone of these names, and the rows of those who are new: they must be committed with what is decided for them.
        ``now`` microseconds UTC."""
        tags = {name: self.keys.tag(name) for name in names}
        found = {tag: self._by_tag.get(tag) or self._new_by_tag.get(tag) for tag in tags.values()}
        missing = [tag for tag, person in found.items() if person is None]
        new: list[Subject] = []
        if missing:
            for row in self.store.find(missing):
                found[row.tag] = self._hold(row.tag, self._person(row.ref, self.keys.unwrap(row.wrapped, row.ref)))
            for tag in missing:
                if found[tag] is None:
                    ref, key = fresh()[:16], fresh()
                    found[tag] = self._new_by_tag[tag] = self._new_by_ref[ref] = self._person(ref, key)
                    new.append(Subject(tag, ref, self.keys.wrap(key, ref), now))
        return {name: person for name, tag in tags.items() if (person := found[tag]) is not None}, new

    def settled(self, rows: Iterable[Subject]) -> None:
        """These are committed now."""
        for row in rows:
            person = self._new_by_tag.pop(row.tag, None)
            if person is not None:
                self._hold(row.tag, person)
                del self._new_by_ref[row.ref]

    def find(self, names: Sequence[str]) -> dict[str, Subject]:
        """The rows of those who are known."""
        tags = {self.keys.tag(name): name for name in names}
        return {tags[row.tag]: row for row in self.store.find(list(tags))}

    def by_ref(self, ref: bytes) -> Person | None:
        """Whoever a record is about; None when that person was erased."""
        if (new := self._new_by_ref.get(ref)) is not None:
            return new
        with self._lock:  # else another thread's newcomers may push someone out between the question and the answer
            if ref in self._by_ref:
                return self._by_ref[ref]
        rows = self.store.known([ref])
        found = self._person(ref, self.keys.unwrap(rows[0].wrapped, ref)) if rows else None
        with self._lock:
            self._by_ref[ref] = found
        self._bound()
        return found

    def keyed(self, field: str, value: str) -> str:
        """The pseudonym of a value that is not the person's own name."""
        return word_of(self.keys.keyed(f"field {field}", value))

    def meet(self, refs: Iterable[bytes]) -> None:
        """Look several up at once, for `by_ref`."""
        missing = [ref for ref in refs if ref not in self._by_ref and ref not in self._new_by_ref]
        if missing:
            found = {row.ref: self._person(row.ref, self.keys.unwrap(row.wrapped, row.ref)) for row in self.store.known(missing)}
            with self._lock:
                self._by_ref.update({ref: found.get(ref) for ref in missing})
            self._bound()

    def drop(self, words: Iterable[str]) -> None:
        """These people were erased."""
        gone = {ref_of(word) for word in words}
        with self._lock:
            self._by_ref.update(dict.fromkeys(gone))
            self._by_tag = {tag: person for tag, person in self._by_tag.items() if person.ref not in gone}

    def forget(self) -> None:
        """Hold nothing: what was not committed, or was erased elsewhere, is not believed any longer."""
        self._by_tag.clear()
        self._by_ref.clear()
        self._new_by_tag.clear()
        self._new_by_ref.clear()

    @staticmethod
    def _person(ref: bytes, key: bytes) -> Person:
        return Person(ref, word_of(ref), AESGCM(key))

    def _hold(self, tag: bytes, person: Person) -> Person:
        with self._lock:
            self._by_tag[tag] = self._by_ref[person.ref] = person
        self._bound()
        return person

    def _bound(self) -> None:
        with self._lock:
            while len(self._by_tag) > _KEPT:
                del self._by_tag[next(iter(self._by_tag))]
            while len(self._by_ref) > _KEPT:
                del self._by_ref[next(iter(self._by_ref))]


def rewrap(store: Subjects, keys: PrivacyKeys) -> int:
    """Wrap every key under the newest wrapping key; their number."""
    after, done = b"", 0
    while page := store.page(after):
        store.rewrap([row._replace(wrapped=keys.wrap(keys.unwrap(row.wrapped, row.ref), row.ref)) for row in page])
        after, done = page[-1].ref, done + len(page)
    return done
