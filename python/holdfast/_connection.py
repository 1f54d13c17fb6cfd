"""One socket that serves one exchange at a time: urllib3's connection, with a direct exchange on top.

Dialling, proxies and TLS are urllib3's ``connect``; we give each of its phases its deadline. Heads and bodies are
the core's in both lanes. urllib3's ``request`` writes through ``send`` here, so that uploads are watched too.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import urllib3.connection
from urllib3.util.wait import wait_for_socket

from holdfast import _core, _leaks
from holdfast._body import Body, Head
from holdfast._deadline import Exchange, current
from holdfast._dial import DialBudget
from holdfast._dialled import DeadlineSocket, DialledConnection, readable
from holdfast._errors import (
    BodyStallTimeout,
    ConflictingHeader,
    CutHead,
    InvalidResponse,
    ResponseHeaderTimeout,
    carry,
)
from holdfast._response import PooledHTTPResponse, Travel

__all__ = ["PlainConnection", "TLSConnection", "WireConnection"]

RECEIVE = 65536
"""One ``recv`` of a head: most small responses come whole with it."""
UPLOAD_PIECE = 65536
"""Between two pieces of an upload the connection is checked for an early answer."""

_SEND = http.client.HTTPConnection.send
_UNKNOWN = -1.0
_HEAD_ENDS = re.compile(b"\n\r?\n|\r[^\n]|\0")
"""What ends a head, or makes it none: the parser is asked again."""
_FORBIDDEN = re.compile("[\r\n\0]")
_FORBIDDEN_BYTES = re.compile(b"[\r\n\0]")


class EarlyAnswer(BrokenPipeError):
    """The server answered before the upload ended. urllib3 takes a broken pipe for that and reads the answer."""


class WireConnection(DialledConnection):
    """What plain, TLS and SOCKS connections have in common. Owned by the holder of its lease."""

    __slots__ = ("_early", "_room", "_sent", "answered", "exchange", "whole", "written")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.exchange: Exchange | None = None
        """The exchange under way in the standard lane; it holds the lease until the response does."""
        self.answered = False
        """Whether a byte of the present answer has come."""
        self.written = False
        """Whether a byte of the present request was accepted by the socket."""
        self.whole = False
        """Whether the present request was written to the end that its head names; if not, its answer is the last one."""
        self._sent = -1
        """Bytes of the present request's body that were given to ``send``; -1 before its head was."""
        self._early = b""
        """What came during an upload, or before the head was asked for."""
        self._room = 0
        """What the present answer's heads, interim ones included, may still measure in bytes."""

    # -- writing ----------------------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange, room: int) -> None:
        """A new exchange: nothing written, nothing answered, ``room`` bytes for its heads."""
        self.answered = self.written = self.whole = False
        self._early = b""
        self._room = room
        self._sent = -1
        if self.exchange is not None:
            self._timeout = _UNKNOWN  # urllib3 sets the socket's timeout by itself
            exchange.writing_since = time.monotonic()
        if exchange.scopes:
            exchange.attach(self.interrupt)

    def close(self) -> None:
        """urllib3's, but not for an exchange whose response has ended: the connection may be another's by now."""
        exchange = current.get()
        if exchange is not None and exchange.parted is self:
            exchange.parted = None
            return
        super().close()

    def let_go(self) -> None:
        """The exchange that a patched http.client read is over: nobody may interrupt us for it any more."""
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.attach(None)

    def write(self, data: bytes, exchange: Exchange) -> None:
        """A small message in one piece. The write limit is the total's: such a message fits the socket's buffer."""
        sock = self._wait_at_most(None if exchange.total_at is None else exchange.left(None) or 1e-6)
        n = sock.send(data)
        self.written = True
        if n < len(data):
            sock.sendall(memoryview(data)[n:])

    def send(self, data: Any) -> None:
        """http.client's way out: the head, then each piece of a body (with its chunk framing)."""
        exchange = self.exchange
        plain = isinstance(data, (bytes, bytearray, memoryview)) and http.client.HTTPConnection.send is _SEND
        if isinstance(data, (bytes, bytearray, memoryview)):
            self._sent += 1 if self._sent < 0 else memoryview(data).nbytes
        if exchange is None or self.sock is None or not plain:
            super().send(data)
            self.written = True
            return
        self.upload(data, exchange)

    def upload(self, data: bytes | bytearray | memoryview, exchange: Exchange) -> None:
        """Writes; an answer that comes meanwhile ends the upload with ``EarlyAnswer`` (RFC 9112 section 9.5)."""
        if not self.written and len(data) <= UPLOAD_PIECE:
            self.write(bytes(data), exchange)
            return
        view = memoryview(data).cast("B")
        stall = exchange.timeouts.body_stall
        hears = type(self).own_wire()  # what a patched http.client will read stays in the socket
        while view:
            left = exchange.left(None if stall is None else time.monotonic() + stall)
            sock: Any = self.sock
            if left == 0.0 or not wait_for_socket(sock, read=hears, write=True, timeout=left):  # type: ignore[no-untyped-call, unused-ignore]
                exchange.check()
                text = f"{exchange.host} took no byte of the body for {stall or 0:g} s (body_stall)"
                exchange.fail(BodyStallTimeout(text))
            if exchange.cancelled:
                exchange.check()
            if hears and self.written and readable(self.fd):
                self._hear(exchange)
            sock = self._wait_at_most(0.0)
            try:
                n = sock.send(view[:UPLOAD_PIECE])
            except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
                continue
            self.written = True
            view = view[n:]

    def _hear(self, exchange: Exchange) -> bool:
        """Takes what the server says during an upload; whether it was an interim 100. A final head ends the upload."""
        try:
            data = self._wait_at_most(0.0).recv(RECEIVE)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        self._early += data
        if not data:
            raise EarlyAnswer("the server ended the connection during the upload")
        tracer = exchange.tracer
        if tracer is not None and not self.answered:
            tracer.tell("first_response_byte")
        self.answered = True
        while self._early:
            if len(self._early) > self._room:
                raise EarlyAnswer("the server answered without an end during the upload")
            try:
                head = _core.parse_head(self._early, False, self._room)
            except _core.ProtocolViolation:
                raise EarlyAnswer("the server answered during the upload") from None
            if head is None:
                return False
            if head[0] >= 200 or head[0] == 101:
                raise EarlyAnswer("the server answered before the upload ended")
            self._early = self._early[head[5] :]
            self._room -= head[5]
            if tracer is not None:
                tracer.tell("got_1xx", status=head[0])
            if head[0] == 100:
                return True
        return False

    def request(
        self, method: str, url: str, body: Any = None, headers: Any = None, *, chunked: bool = False, **more: Any
    ) -> None:
        """urllib3's; an answer may end it early, as a broken pipe that urllib3 passes over."""
        super().request(method, url, body=body, headers=headers, chunked=chunked, **more)
        self.whole = self._as_announced(headers or {}, chunked)

    def _as_announced(self, headers: Mapping[Any, Any], chunked: bool) -> bool:
        """Whether the head that the caller gave names the end that the body had (RFC 9112 section 6.3).

        If not, the server still waits for the rest, or has taken it for a request: nobody else may be next.
        """
        fields = {
            (name if isinstance(name, str) else name.decode("latin-1")).lower(): headers[name] for name in headers
        }
        length = fields.get("content-length")
        if "transfer-encoding" in fields:
            return chunked and length is None
        if length is None or chunked:
            return length is None
        return str(length if not isinstance(length, bytes) else length.decode("latin-1")).strip() == str(self._sent)

    def putheader(self, header: Any, *values: Any) -> None:
        """http.client lets folded lines and NUL through; neither may reach the wire (RFC 9110 section 5.5)."""
        for part in (header, *values):
            text = part if isinstance(part, (str, bytes)) else str(part)
            if _FORBIDDEN_BYTES.search(text) if isinstance(text, bytes) else _FORBIDDEN.search(text):
                raise ValueError(f"Invalid header value {text!r}")
        super().putheader(header, *values)

    def endheaders(self, message_body: Any = None, *, encode_chunked: bool = False) -> None:
        """The head is written; with ``Expect: 100-continue`` the body waits for the server's word."""
        expects = self.exchange is not None and any(
            line[:7].lower() == b"expect:" and b"100-continue" in line.lower()
            for line in self._buffer  # type: ignore[attr-defined]  # http.client's list of header lines
        )
        super().endheaders(message_body, encode_chunked=encode_chunked)
        if expects and self.exchange is not None:
            self._await_continue(self.exchange)

    def _await_continue(self, exchange: Exchange) -> None:
        """RFC 9110 section 10.1.1: wait for 100, but not for ever. 102 and 103 do not release the body."""
        end = time.monotonic() + exchange.timeouts.expect_continue
        while True:
            left = exchange.left(end)
            if not left or not wait_for_socket(self.sock, read=True, timeout=left):  # type: ignore[no-untyped-call, unused-ignore]
                exchange.check()
                return
            exchange.check()
            if not type(self).own_wire() or self._hear(exchange):
                return

    # -- reading ----------------------------------------------------------------------------------------------------

    def receive(self, most: int, exchange: Exchange, stall: float | None = None, until: float | None = None) -> bytes:
        """One ``recv``, bounded by ``stall`` seconds, the moment ``until`` and the exchange's total."""
        if stall is None and until is None and exchange.total_at is None:
            if self._timeout is not None:
                self._wait_at_most(None)
            return self.sock.recv(most)
        left = exchange.left(until)
        if stall is not None and (left is None or stall < left):
            left = stall
        if left == 0.0:
            raise TimeoutError("timed out")
        data: bytes = self._wait_at_most(left).recv(most)
        return data

    @contextlib.contextmanager
    def patience(self, seconds: float) -> Iterator[Callable[[int], bytes]]:
        """A receive for draining: ``seconds`` for all calls together, then ``TimeoutError``."""
        end = time.monotonic() + seconds

        def receive(most: int) -> bytes:
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            data: bytes = self._wait_at_most(left).recv(most)
            return data

        yield receive

    def read_head(self, exchange: Exchange, to_head: bool, until: float | None = None) -> tuple[Head, bytes]:
        """The final head and the bytes behind it. Interim ones are skipped, and use up the room for it.

        ``until`` is when it must have come, if the time for it has begun already.
        """
        seconds = exchange.timeouts.response_header
        if until is None and seconds is not None:
            until = time.monotonic() + seconds
        if exchange.tracer is not None:
            exchange.tracer.tell("wrote_request")
        try:
            return self._final_head(exchange, to_head, until)
        except TimeoutError as error:
            if exchange.left(None) == 0.0:
                exchange.exceeded("waiting for the response")
            text = f"Read timed out: no complete response head from {exchange.host} within {seconds or 0:g} s (response_header"
            raise carry(ResponseHeaderTimeout(f"{text}; {exchange.elapsed():.3f} s in all)")) from error

    def heard(self, data: bytes) -> None:
        """``data`` is the beginning of the answer, received elsewhere."""
        self._early = data

    def _final_head(self, exchange: Exchange, to_head: bool, until: float | None) -> tuple[Head, bytes]:
        data, self._early = self._early, b""
        if not data:
            data = self.receive(RECEIVE, exchange, until=until)
        while True:
            if not data:
                exchange.check()
                raise http.client.RemoteDisconnected("Remote end closed connection without response")
            if exchange.tracer is not None and not self.answered:
                exchange.tracer.tell("first_response_byte")
            self.answered = True
            try:
                head = _core.parse_head(data, to_head, self._room)
                while head is None:
                    data = self._more_head(data, exchange, until)
                    head = _core.parse_head(data, to_head, self._room)
            except _core.ProtocolViolation as error:
                kind = ConflictingHeader if "Content-Length" in str(error) else InvalidResponse
                exchange.fail(kind(f"invalid response from {exchange.host}: {error}"))
            status, size = head[0], head[5]
            data = data[size:]
            if status >= 200 or status == 101:
                if not self.whole:
                    # The server would take the next request for the rest of this one (RFC 9112 section 9.5).
                    head = (*head[:8], False, head[9])
                return head, data
            self._room -= size
            if exchange.tracer is not None:
                exchange.tracer.tell("got_1xx", status=status)
            if not data:
                data = self.receive(RECEIVE, exchange, until=until)

    def _more_head(self, data: bytes, exchange: Exchange, until: float | None) -> bytes:
        """Receives until a head may be complete, each byte being looked at once, however it trickles."""
        buffer = bytearray(data)
        while True:
            seen = max(0, len(buffer) - 3)
            piece = self.receive(RECEIVE, exchange, until=until)
            if not piece:
                exchange.check()
                text = f"invalid response from {exchange.host}: the connection ended after {len(buffer)} bytes of head"
                exchange.fail(CutHead(text))
            buffer += piece
            # The first bytes are parsed as they come: garbage is refused before a line end that may never come.
            if _HEAD_ENDS.search(buffer, seen) or len(buffer) > self._room or len(buffer) < 16:
                return bytes(buffer)

    # -- urllib3's response -----------------------------------------------------------------------------------------

    own_wire: Callable[[], bool] = staticmethod(lambda: True)
    """Whether http.client is unpatched, so that the core reads; set by the lanes."""

    def getresponse(self) -> Any:
        """The standard lane's response, read by the core unless http.client itself was patched."""
        exchange = self.exchange
        if exchange is None or self.sock is None:
            return super().getresponse()
        lease: Any = exchange.lease
        limits = lease.limits
        if not type(self).own_wire():
            return self._foreign_response(exchange)
        options = self._response_options
        if options is None:
            raise http.client.ResponseNotReady
        self._response_options = None
        sent = time.monotonic()
        exchange.sending = sent - exchange.writing_since
        head, rest = self.read_head(exchange, options.request_method == "HEAD")
        exchange.wait = time.monotonic() - sent
        self._idle_state()
        travel = self.hand_over(exchange, lease, head)
        body = Body(
            lease,
            exchange,
            self,
            head,
            rest,
            options.request_method,
            (limits.drain_bytes, limits.drain_timeout, limits.max_response_header_bytes),
        )
        return PooledHTTPResponse.of(
            body,
            options.request_url,
            travel,
            decode_content=options.decode_content,
            enforce_content_length=options.enforce_content_length,
            preload_content=options.preload_content,
        )

    def hand_over(self, exchange: Exchange, lease: Any, head: Head) -> Travel:
        """The response takes the lease over; the exchange lets go, so that nothing keeps a dropped response alive."""
        self.exchange = exchange.lease = None
        slot = lease.slot
        if head[9] >= 0:
            slot.hint = float(head[9])
        return Travel(self, exchange, slot.served, slot.idle_seconds)

    def _foreign_response(self, exchange: Exchange) -> Any:
        """A patched http.client parses; deadlines still hold, through a socket file that knows them."""
        lease: Any = exchange.lease
        seconds = exchange.timeouts.response_header
        until = None if seconds is None else time.monotonic() + seconds
        heads = [True]

        def left() -> float | None:
            bound = exchange.left(until if heads else None)
            stall = exchange.timeouts.body_stall
            if not heads and stall is not None and (bound is None or stall < bound):
                bound = stall
            if bound == 0.0:
                raise TimeoutError("timed out")
            return bound

        kind = type(self).response_class
        made: Any = kind
        if exchange.tracer is not None:
            exchange.tracer.tell("wrote_request")
        self.response_class = lambda sock, **kwargs: made(DeadlineSocket(sock, left), **kwargs)  # type: ignore[assignment]
        try:
            response: Any = super().getresponse()
        finally:
            del self.response_class
        heads.clear()
        if exchange.tracer is not None:
            exchange.tracer.tell("first_response_byte")
        if not self.whole:
            response._original_response.will_close = True
        exchange.lease = None  # ours until the response ends: `let_go`
        # Same layout, other behaviour: its end is the lease's end.
        response.__class__ = PooledHTTPResponse
        response.enforce_content_length = response.__dict__.pop("enforce_content_length")
        response._lease = lease
        if _leaks.limit is not None:
            _leaks.remember(lease)
        response._travel = Travel(self, exchange, lease.slot.served, lease.slot.idle_seconds)
        return response


class PlainConnection(WireConnection):
    """http."""


class TLSConnection(WireConnection, urllib3.connection.HTTPSConnection):
    """https. ``ssl_context`` is a frozen one, so urllib3 neither loads nor changes anything."""


@functools.cache
def socks_connections() -> dict[type, type]:
    """Our classes for urllib3's SOCKS connections; empty without PySocks."""
    try:
        from urllib3.contrib import socks  # noqa: PLC0415  # needs PySocks
    except ImportError:
        return {}

    class SOCKSPlain(WireConnection, socks.SOCKSConnection):
        def _open(self, budget: DialBudget) -> socket.socket:
            self.timeout = budget.left()
            sock: socket.socket = socks.SOCKSConnection._new_conn(self)
            return sock

    class SOCKSTLS(SOCKSPlain, socks.SOCKSHTTPSConnection):
        pass

    return {socks.SOCKSConnection: SOCKSPlain, socks.SOCKSHTTPSConnection: SOCKSTLS}
