"""The Open Inference Protocol (KServe v2, REST) beside our own routes: its clients call a pilot as if it were a model server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from flightworthy.operation.service import keys as roles
from flightworthy.operation.service import v2, wire
from flightworthy.operation.service.answers import Answer, Problem
from flightworthy.operation.service.callers import Caller
from flightworthy.operation.service.desk import Desk
from flightworthy.operation.service.links import BusyError
from flightworthy.operation.service.messages import JSON, Reply, Request

if TYPE_CHECKING:
    from flightworthy.operation.service.app import App, Handler

_BINARY = b"application/octet-stream"
_RAWS = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Inference:
    """Routes of the protocol for one pilot; its model has the pilot's name and the version 1."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    def routes(self, app: App) -> dict[tuple[str, str], tuple[str | None, Handler]]:
        """Method and path → role and handler."""
        self._app = app
        model = f"/v2/models/{self.desk.pilot.name}"
        out: dict[tuple[str, str], tuple[str | None, Handler]] = {
            ("GET", "/v2"): (None, self.server), ("GET", "/v2/health/live"): (None, self.live),
            ("GET", "/v2/health/ready"): (None, self.ready)}
        for path in (model, f"{model}/versions/1"):
            out |= {("GET", path): (roles.DECIDE, self.model), ("GET", f"{path}/ready"): (None, self.ready),
                    ("POST", f"{path}/infer"): (roles.DECIDE, self.infer)}
        return out

    async def server(self, _: Request, __: Caller) -> Reply:
        """What this server is."""
        return self._reply(200, v2.server_metadata())

    async def model(self, _: Request, __: Caller) -> Reply:
        """Inputs and outputs of the pilot."""
        return self._reply(200, v2.metadata(self.desk.pilot))

    async def live(self, _: Request, __: Caller) -> Reply:
        """Whether the process is worth keeping."""
        return self._reply(200, b"")

    async def ready(self, request: Request, caller: Caller) -> Reply:
        """Whether it would decide correctly now."""
        await self._app.ready(request, caller)
        return self._reply(200, b"")

    async def infer(self, request: Request, caller: Caller) -> Reply:
        """Decide the rows of the tensors."""
        try:
            if request.headers.get(b"content-encoding", b"identity") != b"identity":
                raise v2.V2Error(415, "compressed requests are not read; send them plain")
            asked = v2.read(self.desk.pilot, request.body, _json_length(request))
            self._app.limit(caller, len(asked.raws))
            status, body = await self._decided(asked.raws)
            if status != 200:
                return self._reply(status, v2.error(body.decode(errors="replace")))
            answers = [_answer(raw) for raw in _RAWS(body)]
            if all(isinstance(one, Problem) and one.status == 503 for one in answers):
                return self._reply(503, v2.error(answers[0].title))  # type: ignore[union-attr]
            made, head = v2.write(self.desk.pilot, asked, answers)
        except v2.V2Error as error:
            return self._reply(error.status, v2.error(error.message))
        except BusyError as error:
            return self._reply(503, v2.error(error.what))
        if head is None:
            return self._reply(200, made)
        return self._reply(200, made, _BINARY, b"inference-header-content-length: %d\r\n" % head)

    async def _decided(self, raws: list[bytes]) -> tuple[int, bytes]:
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self.desk.take(wire.EVENT, raws, True, lambda status, body: answer.set_result((status, body)))
        return await answer

    @staticmethod
    def _reply(status: int, body: bytes, kind: bytes = JSON, more: bytes = b"") -> Reply:
        return Reply(status, body, kind, more + (b"retry-after: 1\r\n" if status == 503 else b""))


def _json_length(request: Request) -> int | None:
    """Bytes of JSON before the binary tensors; None without any."""
    text = request.headers.get(b"inference-header-content-length")
    if text is None:
        return None
    if not text.isdigit() or len(text) > 9:
        raise v2.V2Error(400, "Inference-Header-Content-Length is not a number of bytes")
    return int(text)


def _answer(raw: msgspec.Raw) -> Answer | Problem:
    try:
        return msgspec.json.decode(raw, type=Answer)
    except msgspec.ValidationError:
        return msgspec.json.decode(raw, type=Problem)
