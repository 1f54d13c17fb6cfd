"""Which lane an exchange takes: the fast one only while nobody could tell the difference.

Libraries that record, mock or trace replace functions of requests, urllib3 and http.client. At import each of those
functions must be a plain one from its own module's file (a tracer may have come first); afterwards it must be the
same object. One difference, and every exchange takes the standard lane, which runs all of them.
"""

from __future__ import annotations

import http.client
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

import requests.adapters
import urllib3.connection
import urllib3.connectionpool
import urllib3.response
import urllib3.util.ssl_ as urllib3_ssl

from holdfast._core import identical

__all__ = ["HOOKS", "exchange_is_ours", "wire_is_ours"]

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


def _plain(owner: Any, name: str) -> Any:
    """The attribute, or a value that nothing is if somebody wrapped it before we came."""
    value = owner.__dict__.get(name) if isinstance(owner, type) else getattr(owner, name)
    if isinstance(value, types.FunctionType):
        module = sys.modules.get(owner.__module__ if isinstance(owner, type) else owner.__name__)
        if value.__code__.co_filename != getattr(module, "__file__", None) or hasattr(value, "__wrapped__"):
            return object()
    return value


def _watch(owner: Any, *names: str) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[Any, ...]]:
    """How to get attributes of ``owner``, two at least, in one go, and the objects that they must be."""
    return operator.attrgetter(*names), tuple(_plain(owner, name) for name in names)


_stock_send = _plain(_Stock, "send")
_pool, _stock_pool = _watch(
    _Pool, "urlopen", "_make_request", "_get_conn", "_put_conn", "_new_conn", "_validate_conn", "ConnectionCls"
)
_secure, _stock_secure = _watch(_SecurePool, "_new_conn", "_validate_conn", "_prepare_proxy", "ConnectionCls")
_urllib3_conn, _stock_urllib3_conn = _watch(_UrllibConn, "request", "getresponse", "connect")
_conn, _stock_conn = _watch(
    _Conn, "request", "putrequest", "putheader", "endheaders", "send", "getresponse", "response_class", "debuglevel"
)
_response, _stock_response = _watch(_Response, "begin", "read")
_client, _stock_client = _watch(http.client, "HTTPResponse", "parse_headers")
_stock_results = _plain(urllib3.response, "HTTPResponse")


def wire_is_ours() -> bool:
    """Whether http.client is as it came, so that the core may read what it would read."""
    return bool(
        identical(_conn(_Conn), _stock_conn)
        and identical(_response(_Response), _stock_response)
        and identical(_client(http.client), _stock_client)
        and urllib3.response.HTTPResponse is _stock_results
        and identical(_urllib3_conn(_UrllibConn), _stock_urllib3_conn)
    )


def exchange_is_ours() -> bool:
    """Whether everything that the fast lane leaves out is as it came."""
    return bool(
        _Stock.send is _stock_send
        and identical(_pool(_Pool), _stock_pool)
        and identical(_secure(_SecurePool), _stock_secure)
        and not urllib3_ssl.IS_PYOPENSSL
        and wire_is_ours()
    )
