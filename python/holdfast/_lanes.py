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

__all__ = ["HOOKS", "exchange_is_ours", "hooks_of", "wire_is_ours"]

_Stock = requests.adapters.HTTPAdapter
_Pool = urllib3.connectionpool.HTTPConnectionPool
_SecurePool = urllib3.connectionpool.HTTPSConnectionPool
_Conn = http.client.HTTPConnection

HOOKS = (
    "init_poolmanager",
    "proxy_manager_for",
    "cert_verify",
    "build_response",
    "build_connection_pool_key_attributes",
    "get_connection_with_tls_context",
    "get_connection",
    "request_url",
    "add_headers",
    "proxy_headers",
)
"""The methods of ``HTTPAdapter`` that a subclass overrides to have a say in an exchange."""


def _plain(owner: Any, name: str) -> Any:
    """The attribute, or a value that nothing equals if somebody wrapped it before we came."""
    value = owner.__dict__.get(name) if isinstance(owner, type) else getattr(owner, name)
    if isinstance(value, types.FunctionType):
        module = sys.modules.get(owner.__module__ if isinstance(owner, type) else owner.__name__)
        if value.__code__.co_filename != getattr(module, "__file__", None) or hasattr(value, "__wrapped__"):
            return object()
    return value


_send = _plain(_Stock, "send")
_urlopen = _plain(_Pool, "urlopen")
_make_request = _plain(_Pool, "_make_request")
_get_conn = _plain(_Pool, "_get_conn")
_put_conn = _plain(_Pool, "_put_conn")
_new_conn = _plain(_Pool, "_new_conn")
_new_secure_conn = _plain(_SecurePool, "_new_conn")
_connection_cls = urllib3.connection.HTTPConnection
_secure_connection_cls = urllib3.connection.HTTPSConnection
_urllib3_request = _plain(urllib3.connection.HTTPConnection, "request")
_urllib3_getresponse = _plain(urllib3.connection.HTTPConnection, "getresponse")
_urllib3_response = urllib3.response.HTTPResponse
_pool_ok = _Pool.__dict__["ConnectionCls"] is _connection_cls
_http_request = _plain(_Conn, "request")
_http_putrequest = _plain(_Conn, "putrequest")
_http_putheader = _plain(_Conn, "putheader")
_http_endheaders = _plain(_Conn, "endheaders")
_http_send = _plain(_Conn, "send")
_http_getresponse = _plain(_Conn, "getresponse")
_http_response = http.client.HTTPResponse
_http_begin = _plain(http.client.HTTPResponse, "begin")
_parse_headers = _plain(http.client, "parse_headers")


def wire_is_ours() -> bool:
    """Whether http.client is as it came, so that the core may read what it would read."""
    return (
        _Conn.getresponse is _http_getresponse
        and _Conn.response_class is _http_response
        and http.client.HTTPResponse is _http_response
        and _http_response.begin is _http_begin
        and http.client.parse_headers is _parse_headers
        and not _Conn.debuglevel
        and urllib3.connection.HTTPConnection.getresponse is _urllib3_getresponse
        and urllib3.response.HTTPResponse is _urllib3_response
    )


def exchange_is_ours() -> bool:
    """Whether everything that the fast lane leaves out is as it came."""
    return (
        _Stock.send is _send
        and _Pool.urlopen is _urlopen
        and _Pool._make_request is _make_request
        and _Pool._get_conn is _get_conn
        and _Pool._put_conn is _put_conn
        and _Pool._new_conn is _new_conn
        and _SecurePool._new_conn is _new_secure_conn
        and _Pool.ConnectionCls is _connection_cls
        and _SecurePool.ConnectionCls is _secure_connection_cls
        and _connection_cls.request is _urllib3_request
        and _Conn.request is _http_request
        and _Conn.putrequest is _http_putrequest
        and _Conn.putheader is _http_putheader
        and _Conn.endheaders is _http_endheaders
        and _Conn.send is _http_send
        and not urllib3_ssl.IS_PYOPENSSL
        and wire_is_ours()
    )


def hooks_of(kind: type) -> tuple[Any, ...]:
    """The hooks as ``kind`` has them."""
    return tuple(getattr(kind, name) for name in HOOKS)
