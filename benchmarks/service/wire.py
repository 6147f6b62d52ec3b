"""Under the generator: when a response is complete, and a timer finer than the event loop's."""

from __future__ import annotations

import ctypes
import os
import struct

_LIBC = ctypes.CDLL(None, use_errno=True)
_MONOTONIC, _NONBLOCK, _ABSOLUTE = 1, 0o4000, 1


def complete(data: bytes) -> bool:
    """Whether a whole HTTP/1.1 response is there."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return False
    head = data[:end].lower()
    at = head.find(b"\r\ncontent-length:")
    if at >= 0:
        stop = head.find(b"\r\n", at + 2)
        return len(data) >= end + 4 + int(head[at + 17:stop if stop > 0 else end])
    return b"\r\ntransfer-encoding: chunked" in head and data.endswith(b"0\r\n\r\n")


class Timer:
    """A timer of the kernel with the resolution of nanoseconds; the event loop's own has one of milliseconds."""

    def __init__(self) -> None:
        self.fd = _LIBC.timerfd_create(_MONOTONIC, _NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self.armed = 0

    def arm(self, at: int) -> None:
        """Become readable at a moment of the monotonic clock."""
        if at != self.armed:
            self.armed = at
            spec = struct.pack("qqqq", 0, 0, at // 1_000_000_000, at % 1_000_000_000)
            if _LIBC.timerfd_settime(self.fd, _ABSOLUTE, spec, None) < 0:
                raise OSError(ctypes.get_errno(), "timerfd_settime")

    def rang(self) -> bool:
        """Whether the moment came; False when it was armed anew meanwhile."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            return False
        return True
