"""A server that reads a JSON body and writes it back: what HTTP and JSON alone cost.

Usage: python -m benchmarks.service.echo --port P [--listener asgi]
"""

from __future__ import annotations

import argparse
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

_decode, _encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode


async def app(scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
    """Raw ASGI: decode, encode, answer."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    answer = _encode(_decode(body)) if body else b"{}"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def own(port: int) -> None:
    """The echo behind the listener of our service: its ceiling."""
    import asyncio

    import uvloop

    from flightworthy.operation.service.http import Listener
    from flightworthy.operation.service.messages import Limits, Request

    def handle(request: Request) -> None:
        request.connection.respond(200, _encode(_decode(request.body)) if request.body else b"{}")

    async def serve() -> None:
        server = await asyncio.get_running_loop().create_server(Listener(handle, Limits()), "127.0.0.1", port, backlog=4096)
        await server.serve_forever()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve())


def asgi(port: int) -> None:
    """The echo behind uvicorn with its fast parser and loop."""
    import uvicorn

    uvicorn.run(app, host="127.0.0.1", port=port, http="httptools", loop="uvloop", ws="none", lifespan="off", interface="asgi3",
                log_level="warning", access_log=False, server_header=False, date_header=False, proxy_headers=False, backlog=4096)


# One more listener is one more line here and one more `Server` in `servers`.
LISTENERS: dict[str, Callable[[int], None]] = {"own": own, "asgi": asgi}


def main() -> None:
    """Listen on loopback until a signal."""
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--port", type=int, required=True)
    args.add_argument("--listener", choices=LISTENERS, default="asgi")
    given = args.parse_args()
    LISTENERS[given.listener](given.port)


if __name__ == "__main__":
    main()
