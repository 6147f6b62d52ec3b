"""A line between client and server that can be cut."""

from __future__ import annotations

import contextlib
import socket
import threading


class Proxy:
    """Between a client and a server, to cut the line: ``cut`` is what to do with the next thing a client says: "unheard" it is
    not passed on, "half" half of it is, "unanswered" the server hears it and its answer is lost."""

    def __init__(self, port: int) -> None:
        self.target, self.cut, self.cuts = port, "", 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client = self._listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            try:
                server.connect(("127.0.0.1", self.target))
                back = threading.Thread(target=self._pass, args=(server, client), daemon=True)
                back.start()
                while said := client.recv(1 << 20):
                    how, self.cut = self.cut, ""
                    if not how:
                        server.sendall(said)
                        continue
                    self.cuts += 1
                    if how == "unanswered":
                        self._lost = True
                        server.sendall(said)
                        back.join(5)
                    elif how == "half":
                        server.sendall(said[: len(said) // 2])
                    return
            except OSError:
                return
            finally:
                for end in (client, server):
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)

    _lost = False

    def _pass(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while said := server.recv(1 << 20):
                if self._lost:
                    self._lost = False
                    return
                client.sendall(said)

    def close(self) -> None:
        """Take no more calls."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
