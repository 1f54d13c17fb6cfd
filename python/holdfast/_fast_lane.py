"""The exchange without urllib3's detours: one message written, one head read, one response made.

What it does is what ``HTTPAdapter.send`` over urllib3 does, byte for byte on the wire and class for class in errors.
Requests that need more (proxies, retries, uploads from files, ``Expect``) are not for this lane: ``prepare`` says so.
"""

from __future__ import annotations

import http.client
import logging
import os
import ssl
import time
from typing import TYPE_CHECKING, Any

from requests import exceptions as requests_exceptions
from urllib3.connectionpool import log as urllib3_log
from urllib3.exceptions import (
    ClosedPoolError,
    ConnectTimeoutError,
    HTTPError,
    InvalidHeader,
    MaxRetryError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    ResponseError,
    SSLError,
)
from urllib3.util.ssl_match_hostname import CertificateError
from urllib3.util.url import _encode_target

from holdfast import _core
from holdfast._acquire import acquire, redial
from holdfast._body import Body, Head
from holdfast._connection import UPLOAD_PIECE, EarlyAnswer, WireConnection
from holdfast._core import Message
from holdfast._deadline import Exchange
from holdfast._errors import carried, surface
from holdfast._lease import Lease
from holdfast._response import FastResponse, Travel
from holdfast._stale import may_repeat, reason_for
from holdfast._statistics import CloseReason

if TYPE_CHECKING:
    from requests import PreparedRequest
    from requests.adapters import HTTPAdapter

    from holdfast._binding import Binding
    from holdfast._facade import Facade

__all__ = ["Message", "connection_bound", "prepare", "run"]

_BOUND_SCHEMES = ("ntlm", "negotiate")


def connection_bound(headers: Any) -> bool:
    """Whether a request with these headers authenticates its connection (RFC 4559, MS-NTHT)."""
    for name in ("authorization", "proxy-authorization"):
        value = headers.get(name)
        if value:
            text = value if isinstance(value, str) else value.decode("latin-1", "replace")
            if text.partition(" ")[0].lower() in _BOUND_SCHEMES:
                return True
    return False


def prepare(request: PreparedRequest, target: str, host_line: str) -> Message | None:
    """The message for ``request``, in http.client's order of lines; None if this lane is not for it."""
    if "%" in target:
        target = str(_encode_target(target))
    store: Any = request.headers._store
    return _core.build_message(request.method, target, host_line, store, request.body, UPLOAD_PIECE)


def run(
    adapter: HTTPAdapter,
    facade: Facade,
    request: PreparedRequest,
    message: Message,
    exchange: Exchange,
    binding: Binding,
) -> FastResponse:
    """Sends ``message`` and gives the response, whose body is still to be read."""
    lease: Lease | None = None
    try:
        lease = acquire(binding.transport, binding.place, exchange, facade, facade.config.token, bound=message.bound)
        head, rest = _exchange(facade, lease, message, exchange)
        conn: WireConnection = lease.conn
        slot, limits = lease.slot, lease.limits
        if head[9] >= 0:
            slot.hint = float(head[9])
        travel = Travel(conn, exchange, slot.served, slot.idle_seconds)
        body = Body(
            lease,
            exchange,
            conn,
            head,
            rest,
            message.method,
            (limits.drain_bytes, limits.drain_timeout, limits.max_response_header_bytes),
        )
    except BaseException as error:
        exchange.attach(None)
        if lease is not None:
            lease.discard(CloseReason.CANCELLED if exchange.cancelled else reason_for(error))
        if isinstance(error, (HTTPError, OSError, http.client.HTTPException, CertificateError)):
            _fail(error, adapter, facade, request, message)
        raise
    if urllib3_log.isEnabledFor(logging.DEBUG):
        _log(facade, message, head)
    return FastResponse(request, message.target, body, adapter, travel, facade)


def _exchange(facade: Facade, lease: Lease, message: Message, exchange: Exchange) -> tuple[Head, bytes]:
    """Writes and reads; once more on a new connection if the first was idle and stale."""
    to_head = message.method == "HEAD"
    limit = lease.limits.max_response_header_bytes
    while True:
        conn: WireConnection = lease.conn
        if not conn.is_verified and facade.scheme == "https":
            facade._validate_conn(conn)  # warns, each time, as urllib3 does
        conn.begin(exchange, limit)
        try:
            if conn.direct and message.body is None and exchange.tracer is None:
                return _converse(conn, message.data, exchange, to_head, limit)
            return _in_steps(conn, message, exchange, to_head)
        except (OSError, http.client.HTTPException) as error:
            if exchange.cancelled:
                exchange.check()
            if not may_repeat(error, lease, conn, message.method, _field_names(message)):
                raise
            assert lease.transport is not None  # nobody has ended it
            redial(lease.transport, lease, exchange, facade, CloseReason.CLOSED_BY_SERVER)


def _in_steps(conn: WireConnection, message: Message, exchange: Exchange, to_head: bool) -> tuple[Head, bytes]:
    """Writes, then reads: TLS, long messages, and where somebody wants to hear of each step."""
    started = time.monotonic()
    _write(conn, message.data, message.body, exchange)
    sent = time.monotonic()
    result = conn.read_head(exchange, to_head)
    exchange.sending, exchange.wait = sent - started, time.monotonic() - sent
    return result


def _converse(conn: WireConnection, data: bytes, exchange: Exchange, to_head: bool, limit: int) -> tuple[Head, bytes]:
    """The same for a small message on a plain socket, in one step of the core as long as nothing is out of the ordinary."""
    seconds = exchange.timeouts.response_header
    started = time.monotonic()
    until = None if seconds is None else started + seconds
    within = None if until is None and exchange.total_at is None else exchange.left(until)
    head, rest, sent, sending, word, errno = _core.converse(conn.fd, data, to_head, limit, within)
    conn.written = sent > 0
    if head is None:
        if word == "failed":
            conn.whole = sent == len(data)
            raise OSError(errno, os.strerror(errno))
        if sent < len(data):  # the socket had no room for more
            _write(conn, data[sent:], None, exchange)
        conn.whole = True
        if word == "eof":
            exchange.check()
            raise http.client.RemoteDisconnected("Remote end closed connection without response")
        # The beginning of a head, an interim one, or none that is any good; or nothing yet.
        conn.heard(rest)
        head, rest = conn.read_head(exchange, to_head, until)
    else:
        conn.answered = conn.whole = True
    exchange.sending, exchange.wait = sending, time.monotonic() - started - sending
    return head, rest


def _write(conn: WireConnection, data: bytes, body: bytes | None, exchange: Exchange) -> None:
    try:
        conn.write(data, exchange)
        if body is not None:
            conn.upload(body, exchange)
        conn.whole = True
    except (EarlyAnswer, BrokenPipeError, ConnectionResetError):
        # The server may have answered before it stopped reading; if not, reading says so.
        if not conn.written:
            raise
    except TimeoutError:
        exchange.exceeded("sending the request")


def _field_names(message: Message) -> dict[str, None]:
    head = message.data.partition(b"\r\n\r\n")[0].decode("latin-1")
    return dict.fromkeys(line.partition(":")[0] for line in head.split("\r\n")[1:])


def _log(facade: Facade, message: Message, head: Head) -> None:
    length = head[7] if head[7] >= 0 else None
    urllib3_log.debug(
        '%s://%s:%s "%s %s %s" %s %s',
        facade.scheme,
        facade.host,
        facade.port,
        message.method,
        message.target,
        f"HTTP/1.{head[1]}",
        head[0],
        length,
    )


def _fail(
    error: BaseException, adapter: HTTPAdapter, facade: Facade, request: PreparedRequest, message: Message
) -> None:
    """Raises what stock ``send`` raises for ``error``: urlopen's wrapping first, then the adapter's."""
    public = carried(error)
    if public is not None:
        surface(public, request, error)
    wrapped: Any = error
    if isinstance(error, (ssl.SSLError, CertificateError)):
        wrapped = SSLError(error)
    elif isinstance(error, (OSError, http.client.HTTPException)):
        wrapped = ProtocolError("Connection aborted.", error)
    if isinstance(wrapped, (ProtocolError, ConnectTimeoutError, NewConnectionError, SSLError, ProxyError)):
        try:
            adapter.max_retries.increment(
                message.method, message.target, error=wrapped, _pool=facade, _stacktrace=error.__traceback__
            )
        except (HTTPError, OSError) as final:
            wrapped = final
    raise_as_requests(wrapped, request)


def raise_as_requests(error: BaseException, request: PreparedRequest) -> None:
    """The last clauses of ``HTTPAdapter.send``."""
    if isinstance(error, MaxRetryError):
        reason = error.reason
        if isinstance(reason, ConnectTimeoutError) and not isinstance(reason, NewConnectionError):
            raise requests_exceptions.ConnectTimeout(error, request=request)
        for kind, public in (
            (ResponseError, requests_exceptions.RetryError),
            (ProxyError, requests_exceptions.ProxyError),
            (SSLError, requests_exceptions.SSLError),
        ):
            if isinstance(reason, kind):
                raise public(error, request=request)
        raise requests_exceptions.ConnectionError(error, request=request)
    if isinstance(error, (ProtocolError, OSError, ClosedPoolError)):
        raise requests_exceptions.ConnectionError(error, request=request)
    if isinstance(error, ProxyError):
        raise requests_exceptions.ProxyError(error)
    if isinstance(error, SSLError):
        raise requests_exceptions.SSLError(error, request=request)
    if isinstance(error, ReadTimeoutError):
        raise requests_exceptions.ReadTimeout(error, request=request)
    if isinstance(error, InvalidHeader):
        raise requests_exceptions.InvalidHeader(error, request=request)
    raise error
