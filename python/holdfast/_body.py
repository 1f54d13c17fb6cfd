"""A response's body: read from its connection, framed by the core, and the lease ended exactly when it is over.

``Body`` looks like ``http.client.HTTPResponse`` to urllib3 and to those who reach through it (NTLM, Kerberos,
CacheControl), so it serves as ``raw._fp`` and ``raw._original_response``. Everything it reads comes from ``_pull``.
"""

from __future__ import annotations

import http.client
import ssl
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from holdfast import _core, _leaks
from holdfast._deadline import Exchange
from holdfast._errors import BodyStallTimeout, IncompleteBody, InvalidResponse
from holdfast._look import HTTPLook
from holdfast._statistics import CloseReason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from holdfast._connection import WireConnection

__all__ = ["Body", "Head", "Lease"]

Head = tuple[int, int, str, list[tuple[str, str]], dict[str, tuple[str, str]], int, int, int, bool, int]
"""What ``_core.parse_head`` gives: status, minor version, reason, pairs, store, size, kind, length, keep, idle hint."""

PIECE = 65536
"""One ``recv`` of a body whose reader did not say how much it wants."""
DIRECT = 32768
"""From this size on a body is received straight into the bytes that are returned."""
WHOLE = 64 << 20
"""So much is allocated on a server's word; a longer body is read in pieces of this size."""


class Lease(Protocol):
    """The right to a connection. It has two ways out."""

    @property
    def conn(self) -> Any:
        """The connection."""

    @property
    def shown(self) -> str:
        """The URL that it was taken for, without secrets."""

    def release(self) -> None:
        """The connection is fit for another request."""

    def discard(self, reason: CloseReason) -> None:
        """It is not."""

    def drained(self, n: int) -> None:
        """Counts bytes that were read and dropped."""


class Body(HTTPLook):
    """What follows a head. One thread reads; any thread may close."""

    __slots__ = (
        "_buffer",
        "_busy",
        "_chunk_ended",
        "_conn",
        "_decoder",
        "_ended",
        "_exchange",
        "_lease",
        "_left",
        "_msg",
        "_pos",
        "_size",
        "_sock",
        "_stop",
        "debuglevel",
        "drain_bytes",
        "drain_timeout",
        "enforce",
        "head",
        "kind",
        "method",
    )

    def __init__(
        self,
        lease: Lease,
        exchange: Exchange,
        conn: WireConnection,
        head: Head,
        rest: bytes,
        method: str,
        limits: tuple[int, float, int],
    ) -> None:
        self._lease: Lease | None = lease
        self._exchange = exchange
        self._conn: WireConnection | None = conn
        self._sock: Any = conn.sock
        self.head = head
        self._buffer = rest
        self._pos = 0
        self.kind = kind = head[6]
        self._left = head[7]
        self.drain_bytes, self.drain_timeout, header_limit = limits
        self._decoder = _core.ChunkedDecoder(header_limit) if kind == _core.BODY_CHUNKED else None
        self.method = method
        self.enforce = True
        """Whether a short body is an error (``raw.enforce_content_length``)."""
        self._msg: http.client.HTTPMessage | None = None
        self._busy = False
        self._stop = False
        """Another thread closed the body while this one was reading."""
        self._chunk_ended = False
        self._ended = False
        self.debuglevel = 0
        if kind == _core.BODY_NONE:
            self._end()
        elif _leaks.limit is not None:
            _leaks.remember(lease)

    @property
    def conn(self) -> WireConnection | None:
        """The connection, until the body ends."""
        return self._conn

    # -- reading ----------------------------------------------------------------------------------------------------

    def read_all(self) -> bytes:
        """The rest of the body."""
        if self._ended:
            return b""
        if self.kind == _core.BODY_LENGTH:
            buffer, left = self._buffer, self._left
            if len(buffer) - self._pos == left:
                self._left = 0
                data = buffer[self._pos :] if self._pos else buffer
                self._buffer, self._pos = b"", 0
                self._end()
                return data
            if left >= DIRECT and self._conn is not None and self._conn.direct:
                return self._read_direct()
        if self._decoder is not None:
            return b"".join(self._chunks(self._decoder))
        return b"".join(self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        while piece := self._pull(PIECE if self._left < PIECE else min(self._left, 1 << 20)):
            yield piece

    def _chunks(self, decoder: _core.ChunkedDecoder) -> Iterator[bytes]:
        """Everything that each receive gives, however many chunks that is."""
        while not self._ended:
            try:
                data, self._pos = decoder.feed(self._buffer, self._pos)
            except _core.ProtocolViolation as error:
                self._invalid(error)
            yield data
            if decoder.done:
                self._end()
                return
            self._buffer, self._pos = self._receive(4 * PIECE), 0
            if not self._buffer:
                self._cut()

    def read(self, amt: int | None = None) -> bytes:
        """``amt`` bytes, fewer only at the end; everything if ``amt`` is None."""
        if amt is None or amt < 0:
            return self.read_all()
        first = self._pull(amt) if amt else b""
        if len(first) == amt or not first:
            return first
        parts, missing = [first], amt - len(first)
        while missing and (piece := self._pull(missing)):
            parts.append(piece)
            missing -= len(piece)
        return b"".join(parts)

    def read1(self, amt: int = -1) -> bytes:
        """What one receive gives, ``amt`` bytes at most; empty only at the end."""
        return self._pull(PIECE if amt is None or amt < 0 else amt) if amt != 0 else b""

    def readinto(self, buffer: Any) -> int:
        """Fills ``buffer``; how much."""
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def read_chunk(self, amt: int | None) -> bytes:
        """The rest of one chunk, ``amt`` bytes at most; empty at the end of the body."""
        parts: list[bytes] = []
        missing = amt
        while missing is None or missing > 0:
            piece = self._pull(PIECE if missing is None else missing)
            if not piece:
                break
            parts.append(piece)
            if missing is not None:
                missing -= len(piece)
            if self._chunk_ended:
                break
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _pull(self, most: int) -> bytes:
        """The next bytes of payload, ``most`` at most; empty at the end, where the lease ends too."""
        if self._ended:
            return b""
        try:
            if self._decoder is not None:
                return self._pull_chunked(self._decoder, most)
            if self._left >= 0:
                most = min(most, self._left)
            data = self._from_buffer(most) or self._fetch(most)
        except _core.ProtocolViolation as error:
            self._invalid(error)
        if not data:
            self._cut()
            return b""
        if self._left >= 0:
            self._left -= len(data)
            if self._left == 0:
                self._end()
        return data

    def _pull_chunked(self, decoder: _core.ChunkedDecoder, most: int) -> bytes:
        while True:
            start, end, self._pos, self._chunk_ended = decoder.step(self._buffer, self._pos, most)
            if end > start:
                data = self._buffer[start:end]
                if self._chunk_ended:
                    # If the last chunk is in hand already, the connection need not wait for another read.
                    _, _, self._pos, _ = decoder.step(self._buffer, self._pos, 0)
                    if decoder.done:
                        self._end()
                return data
            if decoder.done:
                self._end()
                return b""
            self._buffer, self._pos = self._receive(PIECE), 0
            if not self._buffer:
                self._cut()
                return b""

    def _fetch(self, most: int) -> bytes:
        """What was asked for; a small reader's receive brings more than that, and the rest waits in the buffer."""
        size = max(most, PIECE) if self._left < 0 else min(max(most, PIECE), self._left)
        data = self._receive(size)
        if len(data) > most:
            self._buffer, self._pos = data, most
            return data[:most]
        return data

    def _from_buffer(self, most: int) -> bytes:
        data = self._buffer[self._pos : self._pos + most]
        self._pos += len(data)
        if self._pos >= len(self._buffer) and self._pos:
            self._buffer, self._pos = b"", 0
        return data

    def _receive(self, most: int) -> bytes:
        """One ``recv``; empty where the connection ends."""
        conn, exchange = self._conn, self._exchange
        if conn is None:
            return b""
        self._busy = True
        try:
            stall = exchange.timeouts.body_stall
            data: bytes = conn.receive(most, exchange, stall)
        except TimeoutError as error:
            self._timed_out(error)
        except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
            self._check_over()
            self._broken(f"connection lost: {error}")
        except OSError:
            self._check_over()
            self._abort(CloseReason.ERROR)
            raise
        except BaseException:
            # Ctrl-C: the stream stands somewhere in the middle.
            self._abort(CloseReason.CANCELLED)
            raise
        finally:
            self._busy = False
        if _leaks.held:
            _leaks.touch(self._lease)
        if not data or exchange.cancelled or self._stop:
            self._check_over()
        return data

    def _read_direct(self) -> bytes:
        """The rest of a long body with known length, received into the object that is returned (plain sockets)."""
        exchange, conn = self._exchange, self._conn
        assert conn is not None  # read_all looked
        parts: list[bytes] = []
        while not self._ended:
            size = min(self._left, WHOLE)
            prefix = self._from_buffer(size)
            self._busy = True
            try:
                part, word, errno = _core.read_exact(
                    conn.fd, size, prefix, exchange.timeouts.body_stall, exchange.left(None)
                )
            except BaseException:
                self._abort(CloseReason.CANCELLED)
                raise
            finally:
                self._busy = False
            self._left -= len(part)
            parts.append(part)
            if exchange.cancelled or self._stop:
                self._check_over()
            if word in ("stalled", "deadline"):
                self._timed_out(None)
            if word == "failed":
                self._broken(f"connection lost: errno {errno}")
            if word == "eof":
                self._cut()
                break
            if self._left == 0:
                self._end()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # -- the end ----------------------------------------------------------------------------------------------------

    def _end(self) -> None:
        """The message is complete: the connection goes back at once, even if nobody ever closes the response."""
        lease = self._detach()
        if lease is None:
            return
        if self._pos < len(self._buffer):
            lease.discard(CloseReason.UNSOLICITED_DATA)
        elif self.head[8] and not self._stop:
            lease.release()
        else:
            lease.discard(CloseReason.NOT_REUSABLE)
        self._buffer, self._pos = b"", 0

    def _detach(self) -> Lease | None:
        self._ended = True
        # The slot is the only reference that ends the lease; whoever empties it first has that duty.
        lease, self._lease = self._lease, None
        self._conn = None
        if self._exchange.scopes:
            # Before the lease ends: from then on a cancel would hit the connection's next user.
            self._exchange.attach(None)
        return lease

    def _abort(self, reason: CloseReason) -> None:
        lease = self._detach()
        if lease is not None:
            lease.discard(reason)

    def _cut(self) -> None:
        """The connection ended: where the body does if it is delimited so, else too early."""
        if self.kind in (_core.BODY_CLOSE, _core.BODY_UPGRADE):
            self._abort(CloseReason.NOT_REUSABLE)
        elif not self.enforce and self.kind == _core.BODY_LENGTH:
            self._abort(CloseReason.ERROR)
        elif self._left >= 0:
            self._broken(f"{self._left} bytes of the promised {self.head[7]} are missing")
        else:
            self._broken("the connection ended inside a chunked body")

    def _broken(self, what: str) -> NoReturn:
        exchange = self._exchange
        self._abort(CloseReason.ERROR)
        text = f"incomplete body from {exchange.host} after {exchange.elapsed():.3f} s: {what}"
        exchange.fail(IncompleteBody(text))

    def _invalid(self, error: Exception) -> NoReturn:
        self._abort(CloseReason.ERROR)
        exchange = self._exchange
        exchange.fail(InvalidResponse(f"invalid response from {exchange.host}: {error}"))

    def _timed_out(self, cause: BaseException | None) -> NoReturn:
        exchange = self._exchange
        self._abort(CloseReason.TIMEOUT)
        if exchange.left(None) == 0.0:
            exchange.exceeded("reading the body")
        stall = exchange.timeouts.body_stall
        exchange.fail(
            BodyStallTimeout(
                f"Read timed out: no body byte from {exchange.host} for {stall:g} s (body_stall; {exchange.elapsed():.3f} s in all)"
            )
        )

    def _check_over(self) -> None:
        """A receive that ended because of us, not of the peer, says so."""
        exchange = self._exchange
        if exchange.cancelled:
            self._abort(CloseReason.CANCELLED)
            exchange.check()
        if self._stop:
            self._abort(CloseReason.UNDRAINED_BODY)
            raise http.client.IncompleteRead(b"")

    def close(self) -> None:
        """Ends the body. What is unread is drained within the limits to save the connection, else it is closed."""
        if self._ended:
            return
        conn = self._conn
        if conn is not None and conn.inherited:
            # The parent may be reading just now, which also is where our `_busy` would come from.
            self._abort(CloseReason.UNDRAINED_BODY)
            return
        if self._busy:
            # Another thread reads. It holds the descriptor, so it does the closing; we only wake it.
            self._stop = True
            if conn is not None:
                conn.interrupt()
            return
        if conn is None or not self.head[8] or not self._drained(conn):
            self._abort(CloseReason.UNDRAINED_BODY if self.head[8] else CloseReason.NOT_REUSABLE)
        else:
            self._end()

    def _drained(self, conn: WireConnection) -> bool:
        tracer = self._exchange.tracer
        if tracer is None:
            return self._drain(conn)
        self._size = 0
        saved = self._drain(conn)
        tracer.tell("drained", size=self._size)
        return saved

    def _drain(self, conn: WireConnection) -> bool:
        """Reads and drops the rest; whether the connection then stands at the end of the message."""
        buffered = len(self._buffer) - self._pos
        if self._left > self.drain_bytes + buffered or (self.drain_bytes == 0 and self._left != buffered):
            return False
        self._busy = True
        try:
            if not conn.direct:
                return self._drain_slowly(conn)
            if self._decoder is None:
                self._left -= len(self._from_buffer(self._left))
                n, word, _ = _core.drain_length(conn.fd, self._left, self.drain_timeout)
                self._count(n)
                return word == "complete"
            _, self._pos = self._decoder.feed(self._buffer, self._pos)
            n, word, _, excess = _core.drain_chunked(conn.fd, self._decoder, self.drain_bytes, self.drain_timeout)
            self._count(n)
            return word == "complete" and not excess
        except (OSError, _core.ProtocolViolation):
            return False
        finally:
            self._busy = False

    def _drain_slowly(self, conn: WireConnection) -> bool:
        """The same through Python's socket: TLS, and sockets that somebody patched."""
        budget = self.drain_bytes + len(self._buffer) - self._pos
        with conn.patience(self.drain_timeout) as receive:
            while not self._over():
                if self._pos >= len(self._buffer):
                    if budget <= 0:
                        return False
                    self._buffer, self._pos = receive(min(PIECE, budget)), 0
                    self._count(len(self._buffer))
                    if not self._buffer:
                        return False
                budget -= len(self._buffer) - self._pos
                if self._decoder is None:
                    self._left -= len(self._from_buffer(self._left))
                else:
                    _, self._pos = self._decoder.feed(self._buffer, self._pos)
        return True

    def _over(self) -> bool:
        return self._left == 0 if self._decoder is None else self._decoder.done

    def _count(self, n: int) -> None:
        if self._lease is not None:
            self._lease.drained(n)
        if self._exchange.tracer is not None:
            self._size += n
