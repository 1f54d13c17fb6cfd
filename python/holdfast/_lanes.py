"""Which lane an exchange takes: the fast one only while nobody could tell the difference.

Libraries that record, mock or trace replace functions of requests, urllib3 and http.client. At import each of those
functions must be a plain one from its own module's file (a tracer may have come first); afterwards it must be the
same object. One difference, and every exchange takes the standard lane, which runs all of them.
"""

from __future__ import annotations

import http.client
import sys
import types
from typing import Any

import requests.adapters
import urllib3.connection
import urllib3.connectionpool
import urllib3.response
import urllib3.util.ssl_ as urllib3_ssl

from holdfast._core import Watch

__all__ = ["HOOKS", "exchange", "plain", "wire_is_ours"]

_Stock = requests.adapters.HTTPAdapter
_Pool = urllib3.connectionpool.HTTPConnectionPool
_SecurePool = urllib3.connectionpool.HTTPSConnectionPool
_UrllibConn = urllib3.connection.HTTPConnection
_Conn = http.client.HTTPConnection
_Response = http.client.HTTPResponse

HOOKS = tuple(
    name
    for name in (
        "init_poolmanager",
        "proxy_manager_for",
        "cert_verify",
        "build_response",
        "build_connection_pool_key_attributes",  # since requests 2.32.3
        "get_connection_with_tls_context",
        "get_connection",
        "request_url",
        "add_headers",
        "proxy_headers",
    )
    if hasattr(_Stock, name)
)
"""The methods of ``HTTPAdapter`` that a subclass overrides to have a say in an exchange."""


def plain(owner: Any, name: str) -> Any:
    """The attribute, or a value that nothing is if somebody wrapped it before we came."""
    value = owner.__dict__.get(name) if isinstance(owner, type) else getattr(owner, name)
    if isinstance(value, types.FunctionType):
        module = sys.modules.get(owner.__module__ if isinstance(owner, type) else owner.__name__)
        if value.__code__.co_filename != getattr(module, "__file__", None) or hasattr(value, "__wrapped__"):
            return object()
    return value


def _watch(owner: Any, *names: str) -> tuple[Any, tuple[str, ...], tuple[Any, ...]]:
    """Attributes of ``owner`` and the objects that they must be."""
    return owner, names, tuple(plain(owner, name) for name in names)


_WIRE = (
    _watch(
        _Conn, "request", "putrequest", "putheader", "endheaders", "send", "getresponse", "response_class", "debuglevel"
    ),
    _watch(_Response, "begin", "read"),
    _watch(http.client, "HTTPResponse", "parse_headers"),
    _watch(urllib3.response, "HTTPResponse"),
    _watch(_UrllibConn, "request", "getresponse", "connect"),
)
_EXCHANGE = (
    _watch(_Stock, "send"),
    _watch(_Pool, "urlopen", "_make_request", "_get_conn", "_put_conn", "_new_conn", "_validate_conn", "ConnectionCls"),
    _watch(_SecurePool, "_new_conn", "_validate_conn", "_prepare_proxy", "ConnectionCls"),
    (urllib3_ssl, ("IS_PYOPENSSL",), (False,)),
    *_WIRE,
)


_wire = Watch(_WIRE)
exchange = Watch(_EXCHANGE)
"""Everything that the fast lane leaves out."""


def wire_is_ours() -> bool:
    """Whether http.client is as it came, so that the core may read what it would read."""
    return _wire.unchanged()
