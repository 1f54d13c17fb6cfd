"""What people used to patch in by hand: options of sockets and contexts, as arguments of the adapter."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

import holdfast
from conftest import TLS
from holdfast import PooledAdapter
from proxies import HTTPProxy, proxy_url
from servers import Server

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


def options_of(response: Any, *names: tuple[int, int]) -> list[int]:
    """What the kernel says of the connection's socket."""
    sock = response.raw.connection.sock
    return [sock.getsockopt(*name) for name in names]


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux has these names")
def test_keepalive_and_user_timeout_reach_the_socket(lane: str, serve: Serve, session: Sessions) -> None:
    """In seconds, beside urllib3's own option, which switches Nagle's algorithm off."""
    client = session(tcp_keepalive=(30, 10, 3), tcp_user_timeout=20.5)
    with client.get(serve().url, stream=True) as response:
        tcp = socket.IPPROTO_TCP
        found = options_of(
            response,
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            (tcp, socket.TCP_KEEPIDLE),
            (tcp, socket.TCP_KEEPINTVL),
            (tcp, socket.TCP_KEEPCNT),
            (tcp, socket.TCP_USER_TIMEOUT),
        )
        assert found == [1, 30, 10, 3, 20500]
        assert options_of(response, (tcp, socket.TCP_NODELAY)) != [0]


@pytest.mark.parametrize(("given", "keepalive"), [(True, 1), (False, 0), (None, 0)])
def test_keepalive_by_a_switch(given: Any, keepalive: int, serve: Serve, session: Sessions) -> None:
    """On, off, or the system's default."""
    with session(tcp_keepalive=given).get(serve().url, stream=True) as response:
        assert options_of(response, (socket.SOL_SOCKET, socket.SO_KEEPALIVE)) == [keepalive]


def test_socket_options_take_the_place_of_urllib3s(lane: str, serve: Serve, session: Sessions) -> None:
    """As urllib3's ``socket_options`` does."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    with session(socket_options=options).get(serve().url, stream=True) as response:
        found = options_of(response, (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_NODELAY))
        assert found == [1, 0]


def test_source_address(lane: str, serve: Serve, session: Sessions) -> None:
    """Where connections come from."""
    response = session(source_address=("127.0.0.9", 0)).get(serve().url)
    info = holdfast.connection_info(response)
    assert info is not None
    assert info.local_address[0] == "127.0.0.9"


@pytest.mark.parametrize("wrong", [{"tcp_keepalive": (0, 1, 1)}, {"tcp_user_timeout": -1}, {"tcp_keepalive": (1, 2)}])
def test_nonsense_is_refused_where_it_is_written(wrong: dict[str, Any]) -> None:
    """A ``ValueError`` that names it."""
    with pytest.raises(ValueError, match=r"tcp_|argument"):
        PooledAdapter(**wrong)


def test_sslkeylogfile(lane: str, serve: Serve, tls: TLS, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The keys are written for who must look into TLS; with another file, another context and another connection."""
    server = serve(tls=tls.context)
    for name in ("one", "two"):
        monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / name))
        with holdfast.Session() as client:
            client.trust_env = False
            for _ in range(2):
                assert client.get(server.url, verify=tls.bundle).content == b"ok"
        assert "CLIENT_HANDSHAKE_TRAFFIC_SECRET" in (tmp_path / name).read_text()
    assert server.accepted == 2


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_ssl_context_is_used_through_and_for_proxies(scheme: str, serve: Serve, session: Sessions, tls: TLS) -> None:
    """One context decides for the origin behind a proxy and for a proxy that speaks TLS."""
    proxy = HTTPProxy()
    origin = serve(tls=tls.context)
    front = serve(proxy, tls=tls.server_context() if scheme == "https" else None)
    trusting = ssl.create_default_context(cafile=tls.bundle)
    client = session(ssl_context=trusting)
    client.proxies = {"https": proxy_url(front, scheme)}
    for _ in range(2):
        assert client.get(origin.url).content == b"ok"
    assert (origin.accepted, len(proxy.heads)) == (1, 1)
    client = session(ssl_context=ssl.create_default_context())
    client.proxies = {"https": proxy_url(front, scheme)}
    with pytest.raises(requests.exceptions.ProxyError if scheme == "https" else requests.exceptions.SSLError):
        client.get(origin.url)
    assert origin.accepted == (1 if scheme == "https" else 2)


def test_an_ssl_context_with_verify_false(serve: Serve, session: Sessions, tls: TLS) -> None:
    """Its other settings hold: here, the only ciphers that it offers."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE+CHACHA20")
    client = session(ssl_context=context)
    with client.get(serve(tls=tls.context).url, verify=False, stream=True) as response:
        sock: Any = response.raw.connection.sock  # type: ignore[attr-defined]
        assert (sock.version(), "CHACHA20" in sock.cipher()[0]) == ("TLSv1.2", True)
