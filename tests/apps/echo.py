"""One small application in three dialects, for the servers that run it: WSGI, ASGI and aiohttp.

``/port`` answers with the client's port, so that a test sees which connections the server had; ``/big`` with 1 MiB,
``/pieces`` with 100 chunks, ``/echo`` with the request's body, ``/empty`` with 204, ``/last`` closes the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

BIG = b"0123456789abcdef" * 65536
PIECE = b"piece of a body\n"


def wsgi(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path == "/pieces":
        start_response("200 OK", [("Content-Type", "text/plain")])
        return (PIECE for _ in range(100))
    if path == "/empty":
        start_response("204 No Content", [])
        return []
    body = {"/port": str(environ["REMOTE_PORT"]).encode(), "/big": BIG}.get(path, b"ok")
    if path == "/echo":
        body = environ["wsgi.input"].read() if "CONTENT_LENGTH" not in environ else _sized(environ)
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]


def _sized(environ: dict[str, Any]) -> bytes:
    body: bytes = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
    return body


async def asgi(
    scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    path = scope["path"]
    body = {"/port": str(scope["client"][1]).encode(), "/big": BIG}.get(path, b"ok")
    if path == "/echo":
        body, more = b"", True
        while more:
            event = await receive()
            body += event.get("body", b"")
            more = event.get("more_body", False)
    status = 204 if path == "/empty" else 200
    fields = [] if path in ("/pieces", "/empty") else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    if path == "/pieces":
        for _ in range(100):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        body = b""
    await send({"type": "http.response.body", "body": b"" if status == 204 or scope["method"] == "HEAD" else body})


def aiohttp_main(port: int) -> None:
    from aiohttp import web

    async def handle(request: web.Request) -> web.StreamResponse:
        if request.path == "/pieces":
            response = web.StreamResponse()
            response.enable_chunked_encoding()
            await response.prepare(request)
            for _ in range(100):
                await response.write(PIECE)
            await response.write_eof()
            return response
        if request.path == "/empty":
            return web.Response(status=204)
        if request.path == "/echo":
            return web.Response(body=await request.read())
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        return web.Response(body={"/port": str(peer[1]).encode(), "/big": BIG}.get(request.path, b"ok"))

    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", handle)
    web.run_app(app, host="127.0.0.1", port=port, print=None)


if __name__ == "__main__":
    import sys

    aiohttp_main(int(sys.argv[1]))
