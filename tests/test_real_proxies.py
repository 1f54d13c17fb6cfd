"""Proxies that others wrote, where they are installed: tinyproxy (forwarding and CONNECT) and microsocks (SOCKS5)."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from conftest import TLS, settle
from proxies import join
from servers import Peer, Server, ok

TINYPROXY, MICROSOCKS = shutil.which("tinyproxy"), shutil.which("microsocks")
without_tinyproxy = pytest.mark.skipif(TINYPROXY is None, reason="tinyproxy is not installed (Debian: tinyproxy-bin)")
without_microsocks = pytest.mark.skipif(MICROSOCKS is None, reason="microsocks is not installed (Debian: microsocks)")

Start = Callable[[str, "str | None"], int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a proxy; its port. Ended by its process id."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(kind: str, user: str | None) -> int:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port: int = sock.getsockname()[1]
        name, _, password = (user or "").partition(":")
        if kind == "http":
            config = tmp_path / "tinyproxy.conf"
            auth = f"BasicAuth {name} {password}\n" if user else ""
            config.write_text(f"Port {port}\nListen 127.0.0.1\nAllow 127.0.0.1\nTimeout 60\nLogLevel Error\n{auth}")
            command = [str(TINYPROXY), "-d", "-c", str(config)]
        else:
            command = [str(MICROSOCKS), "-i", "127.0.0.1", "-p", str(port)]
            command += ["-u", name, "-P", password] if user else []
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        processes.append(process)

        def answers() -> bool:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                assert process.poll() is None
                return False
            return True

        assert settle(answers, 20)
        return port

    yield run
    for one in processes:
        one.terminate()
        one.wait(20)


class Front:
    """Stands before a proxy and counts; with TLS it makes an https proxy of it, as stunnel would."""

    def __init__(self, port: int) -> None:
        self.port = port

    def __call__(self, peer: Peer) -> None:
        join(peer, socket.create_connection(("127.0.0.1", self.port), 10))


SCHEMES = [
    pytest.param("http", marks=without_tinyproxy),
    pytest.param("https", marks=without_tinyproxy),
    pytest.param("socks5h", marks=without_microsocks),
]


@pytest.mark.parametrize("no_proxy", ["", "localhost"], ids=["proxied", "no_proxy"])
@pytest.mark.parametrize("user", [None, "me:secret"], ids=["open", "credentials"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_ten_requests(
    scheme: str,
    secure: bool,
    user: str | None,
    no_proxy: str,
    start: Start,
    serve: Callable[..., Server],
    session: Any,
    tls: TLS,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the environment, as requests reads it. Answers come through; tunnels are reused; ``no_proxy`` goes past.

    The origin never sees the proxy's credentials.
    """
    port = start("socks" if scheme == "socks5h" else "http", user)
    server = serve(tls=tls.server_context() if secure else None)
    front = serve(Front(port), tls=tls.context if scheme == "https" else None)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"{scheme}://{user + '@' if user else ''}127.0.0.1:{front.port}")
    monkeypatch.setenv("no_proxy", no_proxy)
    client: requests.Session = session()
    client.trust_env = True
    for _ in range(10):
        assert client.get(server.url.replace("127.0.0.1", "localhost"), verify=tls.bundle).content == b"ok"
    if no_proxy:
        assert (front.accepted, server.accepted) == (0, 1)
    elif secure or scheme == "socks5h":
        assert (front.accepted, server.accepted) == (1, 1)
    else:
        assert 1 <= front.accepted <= 10  # tinyproxy closes after what it forwards
    for _, head, _ in server.requests:
        assert b"proxy-authorization" not in head.lower()
        assert b"secret" not in head


@pytest.mark.parametrize(
    "kind", [pytest.param("http", marks=without_tinyproxy), pytest.param("socks", marks=without_microsocks)]
)
def test_wrong_credentials(kind: str, start: Start, serve: Callable[..., Server], session: Any, tls: TLS) -> None:
    """A 407 for a forwarded request, an error for a tunnel; nothing reaches the origin, and no password is shown."""
    server, secure = serve(), serve(tls=tls.context)
    proxy = f"{'http' if kind == 'http' else 'socks5h'}://me:wrong-password@127.0.0.1:{start(kind, 'me:secret')}"
    client: requests.Session = session()
    client.proxies = {"http": proxy, "https": proxy}
    with pytest.raises((requests.exceptions.ProxyError, requests.ConnectionError)) as caught:
        client.get(secure.url)
    assert "wrong-password" not in str(caught.value)
    if kind == "http":
        assert client.get(server.url).status_code in (401, 407)
    assert (server.accepted, secure.accepted) == (0, 0)


@without_tinyproxy
def test_a_dead_origin_behind_a_proxy(start: Start, serve: Callable[..., Server], session: Any) -> None:
    """The proxy's own error page for a forwarded request; ``ProxyError`` for a tunnel."""
    server = serve(ok())
    port = server.port
    server.stop()
    proxy = f"http://127.0.0.1:{start('http', None)}"
    client: requests.Session = session()
    client.proxies = {"http": proxy, "https": proxy}
    assert client.get(f"http://127.0.0.1:{port}/").status_code in (500, 502, 503)
    with pytest.raises(requests.exceptions.ProxyError):
        client.get(f"https://127.0.0.1:{port}/")
