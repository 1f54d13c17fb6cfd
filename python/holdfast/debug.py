"""A page that shows the pools of this process: ``holdfast.debug.app``, a WSGI application to be mounted anywhere.

It is off unless you mount it, answers local addresses only unless told otherwise, and shows nothing secret: origins,
counts, ages and the peers' addresses, as ``statistics()`` has them. ::

    from wsgiref.simple_server import make_server
    make_server("127.0.0.1", 8081, holdfast.debug.app).serve_forever()
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import time
from collections.abc import Callable, Iterable
from importlib import resources
from typing import Any

from holdfast._install import statistics
from holdfast._statistics import Counts
from holdfast._transport import every

__all__ = ["App", "app", "snapshot"]

POLICY = "; ".join(
    (
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        "script-src 'unsafe-inline'",
        "connect-src 'self'",
        "frame-ancestors 'none'",
    )
)
StartResponse = Callable[[str, list[tuple[str, str]]], Any]

_COUNTS = (
    *("idle", "in_use", "dialing", "waiting", "oldest_wait_seconds"),
    *("created", "reused", "acquired", "wait_count", "wait_seconds", "dial_seconds", "tls_handshakes"),
    *("stale_retries", "drained_bytes", "leaked"),
)


def _counts(counts: Counts) -> dict[str, Any]:
    shown: dict[str, Any] = {name: getattr(counts, name) for name in _COUNTS}
    shown["closed"] = {reason.value: n for reason, n in sorted(counts.closed.items()) if n}
    return shown


def snapshot() -> dict[str, Any]:
    """What the page shows, for programs: JSON-ready, at ``?format=json`` too."""
    whole = statistics()
    connections = {transport.name: transport.connections(time.monotonic()) for transport in every()}
    return {
        "process": os.getpid(),
        "at": time.time(),
        **_counts(whole),
        "transports": [
            {
                "name": transport.name,
                **_counts(transport),
                "hosts": [
                    {
                        "origin": host.origin,
                        **_counts(host),
                        "connections": connections.get(transport.name, {}).get(host.origin, []),
                    }
                    for host in transport.hosts
                ],
            }
            for transport in whole.transports
        ],
    }


class App:
    """The page, at whatever path it is mounted; the same figures as JSON at ``?format=json``.

    :param allow: who may look: called with the client's address (``REMOTE_ADDR``), which is the proxy's behind one.
        None: loopback addresses only, asked for by a loopback name, and nothing that was forwarded.
        ``lambda address: True``: everybody.
    """

    def __init__(self, allow: Callable[[str], bool] | None = None) -> None:
        self._allow = allow or _is_loopback

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        if environ.get("REQUEST_METHOD") not in ("GET", "HEAD"):
            return _answer(start_response, environ, "405 Method Not Allowed", "text/plain", b"GET only\n")
        allowed = self._allow(str(environ.get("REMOTE_ADDR", "")))
        if not allowed or (self._allow is _is_loopback and not _came_directly(environ)):
            return _answer(start_response, environ, "403 Forbidden", "text/plain", b"local addresses only\n")
        if "format=json" in environ.get("QUERY_STRING", ""):
            return _answer(start_response, environ, "200 OK", "application/json", json.dumps(snapshot()).encode())
        page = resources.files("holdfast").joinpath("debug.html").read_bytes()
        return _answer(start_response, environ, "200 OK", "text/html; charset=utf-8", page)


def _is_loopback(address: str) -> bool:
    if not address:  # a unix socket's peer
        return True
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _came_directly(environ: dict[str, Any]) -> bool:
    """Behind a proxy on this machine every client would be local; and a web site may point a name of its own to here."""
    if "HTTP_X_FORWARDED_FOR" in environ or "HTTP_FORWARDED" in environ:
        return False
    name = re.sub(r":[0-9]*$", "", str(environ.get("HTTP_HOST", ""))).strip("[]").lower()
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _answer(
    start_response: StartResponse, environ: dict[str, Any], status: str, kind: str, body: bytes
) -> Iterable[bytes]:
    fields = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Cache-Control", "no-store"),
        # The page is one file and asks only itself; nobody may frame it, or read it across origins.
        ("Content-Security-Policy", POLICY),
        ("X-Content-Type-Options", "nosniff"),
    ]
    start_response(status, fields)
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]


app = App()
"""The page for local addresses."""
