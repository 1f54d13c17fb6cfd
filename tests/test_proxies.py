"""Proxies as requests does them, with the pool behind them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
import urllib3
import urllib3.exceptions

import holdfast
from conftest import TLS
from holdfast import PooledAdapter, ProxyConnectTimeout, Timeouts
from proxies import HTTPProxy, SOCKSProxy, proxy_url
from servers import Server

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


@pytest.mark.parametrize("user", [None, "user:secret"])
def test_forwarding(user: str | None, serve: Serve, session: Sessions) -> None:
    """Absolute form to the proxy, whose connection is reused; the credentials stay with it."""
    proxy = HTTPProxy(user)
    origin, front = serve(), serve(proxy)
    client = session()
    client.proxies = {"http": proxy_url(front, user=user)}
    for _ in range(3):
        assert client.get(origin.url + "path").content == b"ok"
    assert front.accepted == 1
    assert proxy.heads[0].startswith(b"GET " + origin.url.encode() + b"path HTTP/1.1\r\n")
    assert not any(b"Proxy-Authorization" in head for _, head, _ in origin.requests)


@pytest.mark.parametrize("user", [None, "user:secret"])
def test_connect(user: str | None, serve: Serve, session: Sessions, tls: TLS) -> None:
    """One tunnel for many requests, over plain proxies."""
    proxy = HTTPProxy(user)
    origin, front = serve(tls=tls.context), serve(proxy)
    client = session()
    client.proxies = {"https": proxy_url(front, user=user)}
    for _ in range(3):
        assert client.get(origin.url, verify=tls.bundle).content == b"ok"
    assert (front.accepted, origin.accepted, len(proxy.heads)) == (1, 1, 1)
    assert not any(b"Proxy-Authorization" in head for _, head, _ in origin.requests)


def test_a_tls_proxy(serve: Serve, session: Sessions, tls: TLS) -> None:
    """TLS to the proxy, and TLS in TLS to the origin; what is not TLS is forwarded, never tunnelled."""
    proxy = HTTPProxy()
    origin, plain, front = serve(tls=tls.context), serve(), serve(proxy, tls=tls.server_context())
    client = session()
    client.proxies = {"https": proxy_url(front, "https"), "http": proxy_url(front, "https")}
    client.verify = tls.bundle
    for _ in range(2):
        assert client.get(origin.url).content == b"ok"
    assert origin.accepted == 1
    assert client.get(plain.url).content == b"ok"
    assert [head.partition(b" ")[0] for head in proxy.heads] == [b"CONNECT", b"GET"]


def test_a_tls_proxy_that_is_not_trusted(serve: Serve, session: Sessions, tls: TLS) -> None:
    """``ProxyError`` with urllib3's ``SSLError`` inside, as on stock."""
    front = serve(HTTPProxy(), tls=tls.context)
    client = session()
    client.proxies = {"all": proxy_url(front, "https")}
    with pytest.raises(requests.exceptions.ProxyError) as caught:
        client.get("https://127.0.0.1:9/")
    assert isinstance(caught.value.args[0].reason.original_error, urllib3.exceptions.SSLError)


@pytest.mark.skipif(
    tuple(map(int, urllib3.__version__.split(".")[:2])) < (2, 8), reason="urllib3 looks at it when forwarding since 2.8"
)
def test_the_name_that_a_tls_proxy_must_show(serve: Serve, tls: TLS) -> None:
    """``proxy_assert_hostname`` of a subclass's ``proxy_manager_for``, for https that is forwarded."""

    class Asserting(PooledAdapter):
        def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
            more = {"proxy_assert_hostname": "other.example", "use_forwarding_for_https": True}
            return super().proxy_manager_for(proxy, **more, **kwargs)

    front = serve(HTTPProxy(), tls=tls.context)
    with requests.Session() as client:
        client.trust_env = False
        client.mount("https://", Asserting(shared=False))
        client.proxies = {"https": proxy_url(front, "https")}
        with pytest.raises(requests.exceptions.ProxyError, match=r"other\.example"):
            client.get("https://127.0.0.1:9/", verify=tls.bundle)


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
@pytest.mark.parametrize("user", [None, "user:secret"])
@pytest.mark.parametrize("secure", [False, True])
def test_socks(secure: bool, user: str | None, scheme: str, serve: Serve, session: Sessions, tls: TLS) -> None:
    """One SOCKS connection for many requests; the name is resolved where the scheme says."""
    proxy = SOCKSProxy(None if user is None else b"user")
    origin, front = serve(tls=tls.context if secure else None), serve(proxy)
    client = session()
    client.proxies = {"all": proxy_url(front, scheme, user)}
    url = origin.url.replace("127.0.0.1", "localhost")
    for _ in range(3):
        assert client.get(url, verify=tls.bundle).content == b"ok"
    assert (front.accepted, origin.accepted) == (1, 1)
    assert proxy.targets == [("localhost" if scheme == "socks5h" else "127.0.0.1", origin.port)]


def test_other_credentials_and_no_proxy_never_share(serve: Serve) -> None:
    """The proxy's URL with its credentials is part of the identity."""
    proxy = HTTPProxy()
    origin, front = serve(), serve(proxy)
    for user in ("a:1", "a:2", "a:1", None):
        with holdfast.Session() as client:
            client.trust_env = False
            client.proxies = {"http": proxy_url(front, user=user)}
            client.get(origin.url)
    assert front.accepted == 3
    with holdfast.Session() as client:
        client.trust_env = False
        client.get(origin.url)
    assert front.accepted == 3
    assert "1" not in {t.name for t in holdfast.statistics().transports}


@pytest.mark.parametrize("answer", [b"HTTP/1.1 403 Forbidden\r\n\r\n", b"garbage\r\n\r\n"])
def test_a_refusal_or_garbage_is_a_proxy_error(answer: bytes, serve: Serve, session: Sessions, tls: TLS) -> None:
    """Stock's ``ProxyError``."""
    proxy = HTTPProxy(connect_answer=answer)
    front = serve(proxy)
    client = session()
    client.proxies = {"https": proxy_url(front)}
    proxy.hold.set()
    with pytest.raises(requests.exceptions.ProxyError):
        client.get("https://127.0.0.1:1/", verify=tls.bundle)


def test_a_refused_proxy_is_a_proxy_error(session: Sessions) -> None:
    """For plain and tunnelled requests."""
    client = session()
    client.proxies = {"all": "http://127.0.0.1:1"}
    for url in ("http://127.0.0.1:9/", "https://127.0.0.1:9/"):
        with pytest.raises(requests.exceptions.ProxyError):
            client.get(url)


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nX: "])
def test_proxy_connect(part: bytes, serve: Serve, session: Sessions, tls: TLS) -> None:
    """A proxy that does not finish its answer."""
    proxy = HTTPProxy(connect_answer=part)
    front = serve(proxy)
    client = session(timeouts=Timeouts(proxy_connect=0.15))
    client.proxies = {"https": proxy_url(front)}
    with pytest.raises(ProxyConnectTimeout, match=r"proxy_connect=0\.15") as caught:
        client.get("https://127.0.0.1:9/", verify=tls.bundle)
    proxy.hold.set()
    assert isinstance(caught.value, requests.exceptions.ProxyError)
    assert isinstance(caught.value, requests.exceptions.ConnectTimeout)


def test_no_secret_in_any_repr_or_statistics(serve: Serve, session: Sessions, caplog: Any) -> None:
    """Neither the proxy's password nor the URL's."""
    front = serve(HTTPProxy("user:s3cr3t"))
    origin = serve()
    client = session()
    client.proxies = {"http": proxy_url(front, user="user:s3cr3t")}
    with caplog.at_level("DEBUG"):
        response = client.get(origin.url)
    adapter = client.get_adapter("http://")
    shown = [repr(adapter), repr(holdfast.statistics()), repr(holdfast.connection_info(response)), caplog.text]
    assert not any("s3cr3t" in text for text in shown)
