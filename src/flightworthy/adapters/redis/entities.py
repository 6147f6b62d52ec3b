"""Entities in Redis: each a string, its version in the first eight bytes; what is done to several of them is one script."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from redis.backoff import ExponentialBackoff
from redis.retry import Retry

import redis
from flightworthy.ground.errors import LedgerError
from flightworthy.integration.features.shared import Change, Mark

T = TypeVar("T")
_ANSWER = 2.0  # seconds
_UNDO = 16  # batches that can be taken back: more than are ever under way
# KEYS: mark, undo, entities… ARGV: mark before, mark after, version, content and milliseconds of each entity.
_SWAP = """
local mark = redis.call('GET', KEYS[1]) or ''
if mark ~= ARGV[1] then return 0 end
local now, same = {}, true
for i = 3, #KEYS do
  local held = redis.call('GET', KEYS[i]) or ''
  now[i - 2] = held
  if string.sub(held, 1, 8) ~= ARGV[3 * i - 6] then same = false end
end
if not same then return now end
local undo = {ARGV[1], ARGV[2]}
for i = 3, #KEYS do
  local content, keep = ARGV[3 * i - 5], tonumber(ARGV[3 * i - 4])
  undo[#undo + 1] = KEYS[i]
  undo[#undo + 1] = now[i - 2]
  undo[#undo + 1] = string.sub(content, 1, 8)
  if keep > 0 then redis.call('SET', KEYS[i], content, 'PX', keep) else redis.call('SET', KEYS[i], content) end
end
redis.call('SET', KEYS[1], ARGV[2])
redis.call('LPUSH', KEYS[2], cmsgpack.pack(undo))
redis.call('LTRIM', KEYS[2], 0, ARGV[#ARGV] - 1)
return 1
"""
# KEYS: mark, undo. ARGV: the entry, eight bytes big-endian. What is taken back gets a version of its own, that nobody has seen.
_BACK = """
local mixed = 0
while true do
  local packed = redis.call('LINDEX', KEYS[2], 0)
  if not packed then break end
  local undo = cmsgpack.unpack(packed)
  if string.sub(undo[2], 1, 8) <= ARGV[1] then break end
  for i = 3, #undo, 3 do
    local held = redis.call('GET', undo[i]) or ''
    if string.sub(held, 1, 8) ~= undo[i + 2] then
      mixed = mixed + 1
    else
      local fresh = struct.pack('>l', struct.unpack('>l', undo[i + 2]) + 1)
      redis.call('SET', undo[i], fresh .. string.sub(undo[i + 1], 9))
    end
  end
  redis.call('SET', KEYS[1], undo[1])
  redis.call('LPOP', KEYS[2])
end
return mixed
"""


class RedisEntities:
    """One connection pool; may be used from several threads."""

    def __init__(self, url: str, password: str | None, prefix: str) -> None:
        self.prefix = prefix
        self._client = redis.Redis.from_url(
            url, password=password, socket_timeout=_ANSWER, socket_connect_timeout=_ANSWER, health_check_interval=30,
            retry=Retry(ExponentialBackoff(cap=0.2, base=0.02), 3), retry_on_error=[redis.ConnectionError])
        self._where = url
        self._swap, self._back = self._client.register_script(_SWAP), self._client.register_script(_BACK)

    def read(self, keys: Sequence[bytes]) -> list[tuple[int, bytes]]:
        return [_read(held) for held in self._said(lambda: self._client.mget(keys))]

    def swap(self, writer: str, before: Mark, after: Mark, changes: Sequence[Change]) -> list[tuple[int, bytes]] | None:
        arguments: list[Any] = [_mark(before), _mark(after)]
        for change in changes:
            version = b"" if change.version == 0 else struct.pack(">q", change.version)
            arguments += [version, struct.pack(">q", change.version + 1) + change.content, change.keep]
        keys = [*_of(writer), *(change.key for change in changes)]
        answer = self._said(lambda: self._swap(keys=keys, args=[*arguments, _UNDO]))
        if isinstance(answer, list):
            return [_read(held) for held in answer]
        return [] if answer == 1 else None

    def mark(self, writer: str) -> Mark | None:
        held = self._said(lambda: self._client.get(_of(writer)[0]))
        return Mark(*struct.unpack(">qq", held)) if held else None

    def undo(self, writer: str, seq: int) -> int:
        return int(self._said(lambda: self._back(keys=_of(writer), args=[struct.pack(">q", seq)])))

    def forget(self, pattern: bytes, exactly: bool) -> None:
        if exactly:
            self._said(lambda: self._client.delete(pattern))
            return
        escaped = b"".join(b"\\" + bytes([c]) if c in b"*?[]\\^-" else bytes([c]) for c in pattern)
        for key in self._said(lambda: list(self._client.scan_iter(match=b"*" + escaped + b"*", count=1000))):
            self._said(lambda key=key: self._client.delete(key))  # type: ignore[misc]

    def _said(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except redis.RedisError as error:
            raise LedgerError(f"the shared feature state does not answer: {error}", where=self._where, retryable=True,
                              next_step="see whether Redis runs, and has memory") from error


def _of(writer: str) -> list[bytes]:
    """Keys of a writer's mark and of what it can take back."""
    return [f"{writer}:mark".encode(), f"{writer}:undo".encode()]


def _mark(mark: Mark) -> bytes:
    """Sixteen bytes; none for a writer that has written nothing yet. Big-endian, and never negative in the first eight: so they
    compare as numbers do."""
    return b"" if mark.seq == 0 else struct.pack(">qq", mark.seq, mark.watermark)


def _read(held: bytes | None) -> tuple[int, bytes]:
    return (struct.unpack(">q", held[:8])[0], held[8:]) if held else (0, b"")
