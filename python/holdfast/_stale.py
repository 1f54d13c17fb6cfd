"""When a request may be sent a second time, and what a failed exchange says about its connection."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from typing import Any

from requests import exceptions as requests_exceptions
from urllib3 import exceptions as urllib3_exceptions

from holdfast._connection import EarlyAnswer, WireConnection
from holdfast._errors import Cancelled, Carrier
from holdfast._statistics import CloseReason

__all__ = ["may_repeat", "reason_for"]

SAFE_METHODS = frozenset(("GET", "HEAD", "OPTIONS", "TRACE"))
"""RFC 9110 section 9.2.1."""
KEYS = ("idempotency-key", "x-idempotency-key")
"""Fields by which a caller promises that a repetition does no harm. (Go ``Request.isReplayable``.)"""


def may_repeat(
    error: BaseException, lease: Any, conn: WireConnection, method: str, headers: Mapping[Any, Any] | None
) -> bool:
    """Whether ``error`` means that the server had closed an idle connection, and a second try does no harm.

    Only for a connection that had served before, before any byte of an answer (an interim response is one), and if
    nothing was written or the request is idempotent by method or by key. (Go ``Transport.shouldRetryRequest``.)
    """
    if lease.slot.served <= 1 or conn.answered or isinstance(error, EarlyAnswer):
        return False
    if isinstance(error, urllib3_exceptions.ProtocolError) and error.args and isinstance(error.args[-1], Exception):
        error = error.args[-1]
    if isinstance(error, TimeoutError) or not isinstance(
        error, (ConnectionError, http.client.RemoteDisconnected, ssl.SSLEOFError, ssl.SSLZeroReturnError)
    ):
        return False
    if not conn.written or method.upper() in SAFE_METHODS:
        return True
    return any(str(name).lower() in KEYS for name in headers or ())


def reason_for(error: BaseException | None) -> CloseReason:
    """The reason to close a connection whose exchange ended with ``error``."""
    public = error.public if isinstance(error, Carrier) else error
    if isinstance(public, (Cancelled, KeyboardInterrupt, SystemExit)):
        return CloseReason.CANCELLED
    timeouts = (TimeoutError, requests_exceptions.Timeout, urllib3_exceptions.TimeoutError)
    if isinstance(public, timeouts):
        return CloseReason.TIMEOUT
    if isinstance(public, (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)):
        return CloseReason.CLOSED_BY_SERVER
    return CloseReason.ERROR
