"""Adapters as people write them: with ``PooledAdapter`` as their base class and not a line changed, they do the same."""

from __future__ import annotations

import pickle
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import requests
from requests.adapters import HTTPAdapter
from urllib3.poolmanager import PoolManager
from urllib3.util import create_urllib3_context

from conftest import TLS
from holdfast import PooledAdapter
from proxies import HTTPProxy, proxy_url
from servers import Server, answer, ok

Serve = Callable[..., Server]
Base = Any


def tls_context(base: Base, tls: TLS, calls: list[Any]) -> Any:
    """A context for origins and proxies."""

    class Adapter(base):
        def __init__(self) -> None:
            self.context = create_urllib3_context(ciphers="ECDHE+AESGCM")
            self.context.load_verify_locations(tls.bundle)
            super().__init__()

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            calls.append("init_poolmanager")
            super().init_poolmanager(*args, **kwargs, ssl_context=self.context)

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            calls.append("proxy_manager_for")
            return super().proxy_manager_for(*args, **kwargs, ssl_context=self.context)

    return Adapter()


def foreign_manager(base: Base, tls: TLS, calls: list[Any]) -> Any:
    """``init_poolmanager`` without super: urllib3's own pools stay urllib3's."""

    class Adapter(base):
        def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **kwargs: Any) -> None:
            self.poolmanager = PoolManager(connections, maxsize=maxsize, block=block, ca_certs=tls.bundle)

    adapter = Adapter()
    calls.append(type(adapter.poolmanager).__name__)
    return adapter


def chosen_connection(base: Base, tls: TLS, calls: list[Any]) -> Any:
    """The pool is chosen, and its keys are set, by the subclass."""

    class Adapter(base):
        def get_connection_with_tls_context(self, request: Any, verify: Any, **kwargs: Any) -> Any:
            pool = super().get_connection_with_tls_context(request, verify, **kwargs)
            calls.append((pool.host, pool.scheme))
            return pool

        def build_connection_pool_key_attributes(self, request: Any, verify: Any, cert: Any = None) -> Any:
            # requests 2.32.2 has no such hook, and calls this one on neither side.
            host, pool = super().build_connection_pool_key_attributes(request, verify, cert)
            return host, {**pool, "assert_hostname": "127.0.0.1"}

    return Adapter()


def own_verification(base: Base, tls: TLS, calls: list[Any]) -> Any:
    """Trust is decided by the subclass alone."""

    class Adapter(base):
        def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
            super().cert_verify(conn, url, verify, cert)
            conn.ca_certs, conn.cert_reqs = tls.bundle, "CERT_REQUIRED"

    return Adapter()


def rewriting(base: Base, tls: TLS, calls: list[Any]) -> Any:
    """Path, headers and response are changed on their way."""

    class Adapter(base):
        def request_url(self, request: Any, proxies: Any) -> str:
            return super().request_url(request, proxies) + "changed"

        def add_headers(self, request: Any, **kwargs: Any) -> None:
            request.headers["X-Added"] = ",".join(sorted(kwargs))

        def build_response(self, req: Any, resp: Any) -> Any:
            response = super().build_response(req, resp)
            response.reason = f"built from {resp.status}"
            return response

    return Adapter()


def proxy_fields(base: Base, tls: TLS, calls: list[Any]) -> Any:
    """A header for proxies alone."""

    class Adapter(base):
        def proxy_headers(self, proxy: str) -> Any:
            return {**super().proxy_headers(proxy), "X-For-Proxy": "yes"}

    return Adapter()


def sending(base: Base, tls: TLS, calls: list[Any]) -> Any:
    """As a mixin before the base class, as most default-timeout and logging adapters are."""

    class Mixin:
        def send(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            kwargs["timeout"] = kwargs.get("timeout") or 5
            calls.append((request.method, kwargs["timeout"]))
            sender: Any = super()
            return sender.send(request, *args, **kwargs)

        def close(self) -> None:
            calls.append("close")
            closer: Any = super()
            closer.close()

    return type("Adapter", (Mixin, base), {})()


class Configured:
    """State of its own, which pickles by ``__attrs__`` as requests has it."""

    __attrs__ = [*HTTPAdapter.__attrs__, "token"]

    def __init__(self, token: str, **kwargs: Any) -> None:
        self.token = token
        super().__init__(**kwargs)

    def add_headers(self, request: Any, **kwargs: Any) -> None:
        request.headers["X-Token"] = self.token


class StockConfigured(Configured, HTTPAdapter):
    """On stock."""


class PooledConfigured(Configured, PooledAdapter):
    """On ours, with ours' own settings beside."""

    __attrs__ = [*PooledAdapter.__attrs__, "token"]


def pickled(base: Base, tls: TLS, calls: list[Any]) -> Any:
    """Through pickle and back."""
    kind = StockConfigured if base is HTTPAdapter else PooledConfigured
    return pickle.loads(pickle.dumps(kind("t0ken", max_retries=2)))


ADAPTERS = [
    tls_context,
    foreign_manager,
    chosen_connection,
    own_verification,
    rewriting,
    proxy_fields,
    sending,
    pickled,
]


def told(head: bytes, *ports: int) -> list[bytes]:
    """A request as the other side saw it, but for ports, which differ."""
    for port in ports:
        head = head.replace(b":%d" % port, b":port")
    return head.split(b"\r\n")


@pytest.mark.parametrize("way", ["http", "https", "http through a proxy", "https through a proxy"])
@pytest.mark.parametrize("make", ADAPTERS, ids=lambda make: make.__name__)
def test_a_subclass_does_what_it_does_on_stock(make: Any, way: str, serve: Serve, tls: TLS) -> None:
    """What the origin saw, what the proxy saw, what came back, and which hooks were called."""
    if make is tls_context and requests.__version__ == "2.32.2":
        pytest.skip("this release of requests puts its own context in place of the subclass's")
    seen = {}
    for base in (HTTPAdapter, PooledAdapter):
        secure = way.startswith("https")
        proxy = HTTPProxy()
        origin = serve(answer(ok(b"body", b"X-A: b")), tls=tls.server_context() if secure else None)
        front = serve(proxy)
        calls: list[Any] = []
        adapter = make(base, tls, calls)
        with requests.Session() as client:
            client.trust_env = False
            client.mount("http://", adapter)
            client.mount("https://", adapter)
            if "proxy" in way:
                client.proxies = {"http": proxy_url(front), "https": proxy_url(front)}
            verify = True if make is tls_context else tls.bundle
            got = [client.get(origin.url, verify=verify) for _ in range(2)]
        seen[base] = (
            [(one.status_code, one.reason, one.content, dict(one.headers), one.url.rpartition(":")[0]) for one in got],
            [told(head, origin.port, front.port) for _, head, _ in origin.requests],
            [told(head, origin.port, front.port) for head in proxy.heads],
            calls,
        )
    assert seen[PooledAdapter] == seen[HTTPAdapter]


def test_a_context_that_does_not_trust_is_obeyed(serve: Serve, tls: TLS) -> None:
    """For the origin and for the proxy; ``verify=False`` cannot switch it off where the name is checked, as on stock."""
    origin, front = serve(tls=tls.context), serve(HTTPProxy(), tls=tls.server_context())
    for base in (HTTPAdapter, PooledAdapter):
        context = ssl.create_default_context()

        class Adapter(base):  # type: ignore[misc,valid-type]  # stock's or ours
            def init_poolmanager(self, *args: Any, _context: Any = context, **kwargs: Any) -> None:
                super().init_poolmanager(*args, **kwargs, ssl_context=_context)

        with requests.Session() as client:
            client.trust_env = False
            client.mount("https://", Adapter())
            with pytest.raises(requests.exceptions.SSLError):
                client.get(origin.url)
            with pytest.raises(ValueError, match=r"check_hostname|in use with other verify"):
                client.get(origin.url, verify=False)
            client.proxies = {"https": proxy_url(front, "https")}
            with pytest.raises(requests.exceptions.ProxyError):
                client.get(origin.url)
    assert origin.requests == []
