"""What can go wrong, as users catch it, and as it travels below ``send``.

``requests.exceptions.RequestException`` is an ``OSError``, which urllib3's ``urlopen`` would catch, wrap and retry.
So below ``send`` each public error rides in a ``Carrier``, a urllib3 error whose class decides what urllib3 does
with it, and ``send`` (or ``raw.stream``) lets it out again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from requests import exceptions as requests_exceptions
from urllib3 import exceptions as urllib3_exceptions

if TYPE_CHECKING:
    from requests import PreparedRequest

__all__ = [
    "AcquireTimeout",
    "BodyStallTimeout",
    "Cancelled",
    "DeadlineExceeded",
    "HoldfastError",
    "IncompleteBody",
    "InvalidResponse",
    "ProxyConnectTimeout",
    "QueueFull",
    "ResponseHeaderTimeout",
    "TLSHandshakeTimeout",
]


class HoldfastError(requests_exceptions.RequestException):
    """Base of the errors that only holdfast raises; each is also the requests exception that existing code catches."""


class AcquireTimeout(HoldfastError, requests_exceptions.ConnectTimeout):
    """No connection became free within ``Limits.acquire_timeout`` (or a ``connect`` timeout given for the call)."""


class QueueFull(HoldfastError, requests_exceptions.ConnectTimeout):
    """``Limits.max_waiting`` callers are waiting for this host already."""


class TLSHandshakeTimeout(HoldfastError, requests_exceptions.ConnectTimeout):
    """The TLS handshake took longer than ``Timeouts.tls_handshake``."""


class ProxyConnectTimeout(HoldfastError, requests_exceptions.ConnectTimeout, requests_exceptions.ProxyError):
    """The proxy did not answer CONNECT within ``Timeouts.proxy_connect``."""


class ResponseHeaderTimeout(HoldfastError, requests_exceptions.ReadTimeout):
    """The response's head was not complete within ``Timeouts.response_header``."""


class BodyStallTimeout(HoldfastError, requests_exceptions.ReadTimeout, requests_exceptions.ConnectionError):
    """Nothing of a body moved for ``Timeouts.body_stall``."""


class DeadlineExceeded(HoldfastError, requests_exceptions.Timeout):
    """``Timeouts.total``, or an enclosing ``holdfast.deadline``, passed."""


class Cancelled(HoldfastError):
    """``CancelScope.cancel()`` was called."""


class InvalidResponse(HoldfastError, requests_exceptions.ConnectionError):
    """The peer's bytes are malformed, ambiguous or over a limit (RFC 9112); the connection was closed."""


class ConflictingHeader(InvalidResponse, requests_exceptions.InvalidHeader):
    """An ``InvalidResponse`` that stock reports as ``InvalidHeader``: Content-Lengths that differ."""


class CutHead(InvalidResponse, requests_exceptions.ChunkedEncodingError):
    """An ``InvalidResponse`` that stock takes for the end of the head, and fails on in the body."""


class IncompleteBody(HoldfastError, requests_exceptions.ChunkedEncodingError):
    """The body ended before its framing said so (RFC 9112 section 8)."""


for _name in __all__:
    globals()[_name].__module__ = "holdfast"


class Carrier(urllib3_exceptions.HTTPError):
    """Brings ``public`` up through urllib3, which neither wraps nor retries a plain ``HTTPError``."""

    def __init__(self, public: HoldfastError) -> None:
        Exception.__init__(self, str(public))  # urllib3's own want a pool and a URL
        self.public = public
        self.__cause__ = public


class ConnectCarrier(Carrier, urllib3_exceptions.ConnectTimeoutError):
    """Counts as a failed connect: ``Retry(connect=...)`` applies."""


class ReadCarrier(Carrier, urllib3_exceptions.ReadTimeoutError):
    """Counts as a failed read: ``Retry(read=...)`` applies."""

    def __init__(self, public: HoldfastError) -> None:
        Carrier.__init__(self, public)
        # Where existing code looks for stock's words: in `error.args[0].args[0]`.
        public.args = (urllib3_exceptions.HTTPError(str(public)),)
        self.pool = None  # type: ignore[assignment]  # urllib3 sets the pool, which nobody needs here
        self.url = None


class EmptyCarrier(Carrier, urllib3_exceptions.EmptyPoolError):
    """No connection to be had: what ``pool_timeout`` raises, never retried."""


class BrokenCarrier(Carrier, urllib3_exceptions.ProtocolError):
    """Counts as a broken connection: ``Retry(read=...)`` applies."""


def carry(error: HoldfastError) -> Carrier:
    """Wraps ``error`` so that urllib3 treats it as what it is. Acquire, deadline and cancel are never retried."""
    if isinstance(error, (TLSHandshakeTimeout, ProxyConnectTimeout)):
        return ConnectCarrier(error)
    if isinstance(error, (AcquireTimeout, QueueFull)):
        return EmptyCarrier(error)
    if isinstance(error, (ResponseHeaderTimeout, BodyStallTimeout)):
        return ReadCarrier(error)
    if isinstance(error, (InvalidResponse, IncompleteBody)):
        return BrokenCarrier(error)
    return Carrier(error)


def carried(error: BaseException) -> HoldfastError | None:
    """The public error inside ``error``, however urllib3 and requests wrapped it."""
    for _ in range(4):
        if isinstance(error, Carrier):
            return error.public
        inner = getattr(error, "reason", None)
        if inner is None and error.args:
            inner = error.args[-1] if isinstance(error.args[-1], BaseException) else error.args[0]
        if not isinstance(inner, BaseException):
            return None
        error = inner
    return None


def surface(error: HoldfastError, request: PreparedRequest | None, cause: BaseException | None) -> NoReturn:
    """Raises the public error, with the request that users look for on a requests exception."""
    if error.request is None:
        error.request = request
    if isinstance(cause, Carrier):
        cause = cause.__cause__  # the carrier itself is nobody's business
    raise error from (cause if cause is not error else None)
