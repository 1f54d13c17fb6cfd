"""A gateway to other people's APIs: forwards ``/https/api.example/path`` to the hosts of an allow-list, and to no other.

A WSGI application over one shared transport. Bodies stream both ways and are never held whole; slow upstreams are
answered for within seconds; a client that goes away ends the exchange upstream; redirects are passed on, not followed.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import requests
from requests.structures import CaseInsensitiveDict
from urllib3.exceptions import HTTPError
from watcher import Watch, Watcher

import holdfast

LIMITS = holdfast.Limits(max_idle=100, max_idle_per_host=10)
TIMEOUTS = holdfast.Timeouts(connect=30, response_header=30, body_stall=60)
"""No total: a stream may last as long as it moves."""
PIECE = 65536

HOP_BY_HOP = {
    *("connection", "keep-alive", "proxy-connection", "proxy-authenticate", "proxy-authorization"),
    *("te", "trailer", "transfer-encoding", "upgrade"),
}
"""What belongs to one connection, not to the message (RFC 9110 section 7.6.1)."""
_PLACE = re.compile(r"/(https?)/([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::([0-9]{1,5}))?(/.*)?", re.ASCII | re.DOTALL)
"""Scheme, host, port, path. No userinfo, no brackets, no escapes, no upper case: one spelling for each place."""
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\uffff]")

Resolver = Callable[[str, int], Any]


class Refused(Exception):
    """The answer to a request that is not forwarded."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


def public_addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """What ``host`` resolves to, without addresses inside: what is looked at here is what is dialled.

    There is no second look-up between check and dial for which a name could get another answer.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    public = [one for one in found if ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_global]
    if not public:
        raise OSError(f"{host} has no public address")
    return public


class Gateway:
    """The application.

    :param allow: origins, ``"https://api.example"`` or ``"http://api.example:8080"``.
    :param resolver: gives the addresses that may be dialled; ``public_addresses`` unless given.
    """

    def __init__(
        self,
        allow: Iterable[str],
        *,
        timeouts: holdfast.Timeouts = TIMEOUTS,
        limits: holdfast.Limits = LIMITS,
        resolver: Resolver = public_addresses,
        verify: bool | str = True,
    ) -> None:
        self._allow = {_origin(one) for one in allow}
        self._adapter = holdfast.PooledAdapter(limits=limits, timeouts=timeouts, resolver=resolver)
        self._verify = verify
        self._watcher = Watcher()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        try:
            request = self._request(environ)
            return self._forward(request, environ, start_response)
        except Refused as refused:
            return _refuse(start_response, refused.status, str(refused))
        except (holdfast.AcquireTimeout, holdfast.QueueFull):
            return _refuse(start_response, "503 Service Unavailable", "too many requests for this host")
        except holdfast.Cancelled:
            return _refuse(start_response, "499 Client Closed Request", "")
        except requests.RequestException as error:
            return _refuse(start_response, "502 Bad Gateway", f"upstream failed: {type(error).__name__}")

    def _request(self, environ: dict[str, Any]) -> requests.PreparedRequest:
        """The request for upstream, or ``Refused``."""
        raw = str(environ.get("RAW_URI") or environ.get("REQUEST_URI") or environ["PATH_INFO"])
        path, question, query = raw.partition("?")
        match = _PLACE.fullmatch(path)
        if match is None or _FORBIDDEN.search(raw):
            raise Refused("400 Bad Request", "expected /https/host/path")
        scheme, host, port, rest = match.groups()
        origin = _origin(f"{scheme}://{host}" + (f":{port}" if port else ""))
        if origin not in self._allow:
            raise Refused("403 Forbidden", "this host is not allowed")
        request = requests.PreparedRequest()
        request.method = environ["REQUEST_METHOD"]
        request.url = f"{scheme}://{host}" + (f":{port}" if port else "") + (rest or "/") + question + query
        request.headers = CaseInsensitiveDict(_request_fields(environ))
        request.body = _body(environ, request.headers)
        request.hooks = requests.hooks.default_hooks()
        return request

    def _forward(
        self, request: requests.PreparedRequest, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        scope = holdfast.CancelScope()
        watch = self._watcher.watch(environ.get("gunicorn.socket"), scope.cancel)
        try:
            with scope:
                # The adapter, not a session: no cookies are kept, no redirect is followed, no environment is read.
                response = self._adapter.send(request, stream=True, verify=self._verify)
        except BaseException:
            watch.end()
            raise
        start_response(f"{response.status_code} {response.reason or ''}".rstrip(), _response_fields(response))
        return Stream(response, watch, head=request.method == "HEAD")


class Stream:
    """A response's body as it comes, undecoded. Closed by the server when it is over or the client has gone."""

    def __init__(self, response: requests.Response, watch: Watch, *, head: bool) -> None:
        self._response = response
        self._watch = watch
        self._head = head

    def __iter__(self) -> Iterator[bytes]:
        try:
            while not self._head and (piece := self._response.raw.read1(PIECE, decode_content=False)):
                yield piece
        except HTTPError:
            if not self._watch.happened:
                raise  # so that the server breaks the connection off, and the client sees a short body

    def close(self) -> None:
        """Gives the connection back, or closes it if the body is not over."""
        self._watch.end()
        self._response.close()


def _origin(text: str) -> tuple[str, str, int]:
    scheme, _, place = text.partition("://")
    host, _, port = place.partition(":")
    if scheme not in ("http", "https") or not host:
        raise ValueError(f"not an origin: {text!r}")
    return scheme, host, int(port) if port else (443 if scheme == "https" else 80)


def _request_fields(environ: dict[str, Any]) -> Iterator[tuple[str, str]]:
    named = _named(environ.get("HTTP_CONNECTION", ""))
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            name = key[5:].replace("_", "-").title()
            if name.lower() not in HOP_BY_HOP | named | {"host"}:
                yield name, value
    if environ.get("CONTENT_TYPE"):
        yield "Content-Type", environ["CONTENT_TYPE"]
    if environ.get("CONTENT_LENGTH"):
        yield "Content-Length", environ["CONTENT_LENGTH"]
    yield "Via", "1.1 externalproxy"


def _body(environ: dict[str, Any], fields: CaseInsensitiveDict[str]) -> Iterator[bytes] | None:
    """The body as it comes; requests frames it by Content-Length if there is one, else in chunks."""
    if "Content-Length" in fields:
        return (
            _pieces(environ["wsgi.input"], int(fields["Content-Length"])) if fields["Content-Length"] != "0" else None
        )
    if "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower():
        return _pieces(environ["wsgi.input"], None)
    return None


def _pieces(source: Any, left: int | None) -> Iterator[bytes]:
    while left is None or left > 0:
        piece = source.read(PIECE if left is None else min(PIECE, left))
        if not piece:
            return
        if left is not None:
            left -= len(piece)
        yield piece


def _response_fields(response: requests.Response) -> list[tuple[str, str]]:
    fields = response.raw.headers
    dropped = HOP_BY_HOP | _named(fields.get("Connection", ""))
    return [(name, value) for name, value in fields.items() if name.lower() not in dropped]


def _named(connection: str) -> set[str]:
    """The fields that ``Connection`` declares hop-by-hop."""
    return {name.strip().lower() for name in connection.split(",")}


def _refuse(start_response: Callable[..., Any], status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    start_response(status, [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
