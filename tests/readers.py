"""Three readers of one response: ours, http.client and h11, brought to one form so that they can be compared."""

from __future__ import annotations

import http.client
import io
from typing import NamedTuple

import h11

from holdfast import _core

LIMIT = 1 << 20


class Answer(NamedTuple):
    """What a reader made of it."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    rest: bytes | None
    """What follows the message; None where a reader does not say."""


class Refused(NamedTuple):
    """Why it made nothing of it."""

    why: str


def ours(wire: bytes, method: str) -> Answer | Refused:
    """The core, as the connection and the body use it; the stream ends with ``wire``."""
    try:
        head = _core.parse_head(wire, method == "HEAD", LIMIT)
        while head is not None and head[0] < 200 and head[0] != 101:
            wire = wire[head[5] :]
            head = _core.parse_head(wire, method == "HEAD", LIMIT)
        if head is None:
            return Refused("cut")
        rest = wire[head[5] :]
        kind, length = head[6], head[7]
        if kind == _core.BODY_NONE:
            body = b""
        elif kind == _core.BODY_LENGTH:
            if len(rest) < length:
                return Refused("cut")
            body, rest = rest[:length], rest[length:]
        elif kind == _core.BODY_CHUNKED:
            decoder = _core.ChunkedDecoder(LIMIT)
            body, end = decoder.feed(rest, 0)
            if not decoder.done:
                return Refused("cut")
            rest = rest[end:]
        else:
            body, rest = rest, b""
    except _core.ProtocolViolation as error:
        return Refused(str(error))
    return Answer(head[0], [(name.lower(), value) for name, value in head[3]], body, rest)


class _Socket:
    def __init__(self, wire: bytes) -> None:
        self._file = io.BytesIO(wire)

    def makefile(self, *_: object) -> io.BytesIO:
        return self._file


def stock(wire: bytes, method: str) -> Answer | Refused:
    """http.client."""
    response = http.client.HTTPResponse(_Socket(wire), method=method)  # type: ignore[arg-type]
    try:
        response.begin()
        body = response.read()
    except (http.client.HTTPException, ValueError, OverflowError, MemoryError) as error:
        return Refused(type(error).__name__)
    return Answer(response.status, [(name.lower(), value) for name, value in response.getheaders()], body, None)


def strict(wire: bytes, method: str) -> Answer | Refused:
    """h11."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    connection.send(h11.EndOfMessage())
    head: h11.Response | None = None
    body = b""
    try:
        connection.receive_data(wire)
        connection.receive_data(b"")
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                head = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)) or event is h11.PAUSED:
                break
    except h11.RemoteProtocolError as error:
        return Refused(str(error))
    if head is None:
        return Refused("cut")
    fields = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]
    return Answer(head.status_code, fields, body, None)
