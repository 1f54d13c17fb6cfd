"""The exchange without urllib3's detours: one message written, one head read, one response made.

What it does is what ``HTTPAdapter.send`` over urllib3 does, byte for byte on the wire and class for class in errors.
Requests that need more (proxies, retries, uploads from files, ``Expect``) are not for this lane: ``prepare`` says so.
"""

from __future__ import annotations

import http.client
import logging
import ssl
import time
from typing import TYPE_CHECKING, Any, NamedTuple

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
from holdfast._deadline import Exchange
from holdfast._errors import carried, surface
from holdfast._lease import Lease
from holdfast._response import FastResponse, Travel
from holdfast._stale import may_repeat, reason_for
from holdfast._statistics import CloseReason

if TYPE_CHECKING:
    from requests import PreparedRequest
    from requests.adapters import HTTPAdapter

    from holdfast._facade import Facade

__all__ = ["Message", "connection_bound", "prepare", "run"]

_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "POST", "PUT", "PATCH", "DELETE"))
_BODYLESS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE", "DELETE"))
_BOUND_SCHEMES = ("ntlm", "negotiate")


class Message(NamedTuple):
    """A request as it goes onto the wire."""

    method: str
    target: str
    data: bytes
    body: bytes | None
    """What is too long to be sent in one piece with the head."""
    bound: bool
    """Whether it authenticates its connection."""


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
    method, body = request.method, request.body
    if method not in _METHODS:
        return None
    if "%" in target:
        target = str(_encode_target(target))
    built = _core.build_head(method, target, host_line, request.headers._store)  # type: ignore[arg-type]  # a dict of pairs
    if built is None:
        return None
    data, length, authorized = built
    bound = authorized and connection_bound(request.headers)
    if body is None:
        # A length without a body is the standard lane's to worry about.
        plain = length == 0 or (length is None and method in _BODYLESS)
        return Message(method, target, data, None, bound) if plain else None
    if type(body) is str:
        body = body.encode("utf-8")
    if type(body) is not bytes or length != len(body):
        return None
    if len(body) <= UPLOAD_PIECE:
        return Message(method, target, data + body, None, bound)
    return Message(method, target, data, body, bound)


def run(
    adapter: HTTPAdapter, facade: Facade, request: PreparedRequest, message: Message, exchange: Exchange
) -> FastResponse:
    """Sends ``message`` and gives the response, whose body is still to be read."""
    lease: Lease | None = None
    try:
        binding = facade.bind()
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
        started = time.monotonic()
        try:
            _write(conn, message, exchange)
            sent = time.monotonic()
            result = conn.read_head(exchange, to_head)
        except (OSError, http.client.HTTPException) as error:
            if exchange.cancelled:
                exchange.check()
            if not may_repeat(error, lease, conn, message.method, _field_names(message)):
                raise
            assert lease.transport is not None  # nobody has ended it
            redial(lease.transport, lease, exchange, facade, CloseReason.CLOSED_BY_SERVER)
            continue
        exchange.sending, exchange.wait = sent - started, time.monotonic() - sent
        return result


def _write(conn: WireConnection, message: Message, exchange: Exchange) -> None:
    try:
        conn.write(message.data, exchange)
        if message.body is not None:
            conn.upload(message.body, exchange)
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
