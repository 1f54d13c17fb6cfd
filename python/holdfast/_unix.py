"""HTTP over unix sockets: ``http+unix://%2Frun%2Fapp.sock/path``, as curl's ``--unix-socket`` and Docker's clients do.

The socket's path is the URL's host, percent-encoded. Its connections are pooled, limited and watched like any others.
"""

from __future__ import annotations

import functools
import socket
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import urllib3.connection
from requests import PreparedRequest, Response
from urllib3.poolmanager import SSL_KEYWORDS, PoolKey, _default_key_normalizer

from holdfast._adapter import PooledAdapter
from holdfast._connection import PlainConnection
from holdfast._dial import DialBudget
from holdfast._facade import HTTPFacade

__all__ = ["SCHEME", "UnixAdapter"]

SCHEME = "http+unix"


class UnixConnection(PlainConnection):
    """``host`` is the socket's path, percent-encoded."""

    def _open(self, budget: DialBudget) -> socket.socket:
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("this system has no unix sockets")
        left = budget.left()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(left)
            sock.connect(unquote(self.host))
        except BaseException:
            sock.close()
            raise
        return sock

    def request(self, method: str, url: str, body: Any = None, headers: Any = None, **more: Any) -> None:
        """With ``Host: localhost`` where the caller names none: a path is no host (RFC 9110 section 7.2)."""
        fields = dict(headers or {})
        if not any(str(name).lower() == "host" for name in fields):
            fields = {"Host": "localhost", **fields}
        super().request(method, url, body=body, headers=fields, **more)


class UnixFacade(HTTPFacade):
    """The pool of one socket."""

    scheme = SCHEME
    connections: ClassVar[dict[Any, Any]] = {urllib3.connection.HTTPConnection: UnixConnection}

    def __init__(self, *args: Any, **keywords: Any) -> None:
        # urllib3 drops these for http only.
        super().__init__(*args, **{name: value for name, value in keywords.items() if name not in SSL_KEYWORDS})

    @property
    def numeric(self) -> bool:
        """A path needs no DNS."""
        return True

    def _place(self) -> tuple[str, str, int]:
        return SCHEME, self.host, 0


class UnixAdapter(PooledAdapter):
    """What ``mount(unix_sockets=True)`` mounts for ``http+unix://``. No proxy ever stands before a unix socket."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Adds the scheme to ``poolmanager``."""
        super().init_poolmanager(*args, **kwargs)
        manager = self.poolmanager
        manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, SCHEME: UnixFacade}
        manager.key_fn_by_scheme[SCHEME] = functools.partial(_pool_key, PoolKey)

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """The path as it stands: a host is lower-cased, a path is not. Nothing of TLS."""
        return self.poolmanager.connection_from_host(urlsplit(str(request.url)).netloc, scheme=SCHEME)

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str | None = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """``PooledAdapter.send`` without ``proxies``."""
        return super().send(request, stream, timeout, verify, cert, None)


def _pool_key(kind: type[PoolKey], context: dict[str, Any]) -> PoolKey:
    """urllib3's key with the case of the path."""
    return _default_key_normalizer(kind, context)._replace(key_host=context["host"])
