"""A witness as a small HTTP server, for a second machine or another team."""

from __future__ import annotations

import logging
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from flightworthy.governance.log.witness import Reply, Witness
from flightworthy.ground.errors import FlightworthyError

_log = logging.getLogger("flightworthy.witness")
_MOST, _PATIENCE = 1 << 16, 10  # bytes of a request, seconds for it


def server(witness: Witness, host: str, port: int) -> ThreadingHTTPServer:
    """A server that is bound and not started. Raises `OSError`."""

    class Handler(BaseHTTPRequestHandler):
        timeout = _PATIENCE
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "flightworthy-witness", ""

        def do_POST(self) -> None:
            """Answer one request."""
            length = self.headers.get("Content-Length", "")
            if self.path != "/add-checkpoint":
                self._say(Reply(404, b"POST /add-checkpoint\n"))
            elif not length.isascii() or not length.isdigit() or int(length) > _MOST:
                self._say(Reply(413 if length.isdigit() else 411, b"at most %d bytes, with their length\n" % _MOST), close=True)
            else:
                self._say(self._asked(self.rfile.read(int(length))))

        def _asked(self, body: bytes) -> Reply:
            try:
                return witness.add(body)
            except FlightworthyError as error:
                _log.error("a checkpoint could not be looked at: %s", error)
                return Reply(503, b"try again later\n")

        def _say(self, reply: Reply, close: bool = False) -> None:
            self.send_response(reply.status)
            self.send_header("Content-Type", reply.kind)
            self.send_header("Content-Length", str(len(reply.content)))
            if close:
                self.send_header("Connection", "close")
                self.close_connection = True
            self.end_headers()
            self.wfile.write(reply.content)
            _log.info("%s %d", self.path[:60], reply.status)

        def log_message(self, *_: object) -> None:
            """Nothing: `_say` does."""

    return _Server((host, port), Handler)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A caller that went away in the midst of it is no news."""
        _log.info("a request was not answered: %s", sys.exc_info()[1])
