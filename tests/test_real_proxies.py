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
from servers import Server, ok

TINYPROXY, MICROSOCKS = shutil.which("tinyproxy"), shutil.which("microsocks")
without_tinyproxy = pytest.mark.skipif(TINYPROXY is None, reason="tinyproxy is not installed (Debian: tinyproxy-bin)")
without_microsocks = pytest.mark.skipif(MICROSOCKS is None, reason="microsocks is not installed (Debian: microsocks)")

Start = Callable[..., str]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a proxy; its address, with the credentials it asks for. Ended by its process id."""
    processes: list[subprocess.Popen[bytes]] = []

    def run(kind: str, user: str | None) -> str:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
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
        credentials = f"{user}@" if user else ""
        return f"{'http' if kind == 'http' else 'socks5h'}://{credentials}127.0.0.1:{port}"

    yield run
    for one in processes:
        one.terminate()
        one.wait(20)


@pytest.mark.parametrize("user", [None, "me:secret"], ids=["open", "credentials"])
@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    "kind", [pytest.param("http", marks=without_tinyproxy), pytest.param("socks", marks=without_microsocks)]
)
def test_ten_requests(
    kind: str, secure: bool, user: str | None, start: Start, serve: Callable[..., Server], session: Any, tls: TLS
) -> None:
    """Answers come through; tunnels are reused; the origin never sees the proxy's credentials."""
    server = serve(tls=tls.context if secure else None)
    proxy = start(kind, user)
    client: requests.Session = session()
    client.verify = tls.bundle
    client.proxies = {"http": proxy, "https": proxy}
    for _ in range(10):
        assert client.get(server.url.replace("127.0.0.1", "localhost")).content == b"ok"
    if secure or kind == "socks":
        assert server.accepted == 1
    for _, head, _ in server.requests:
        assert b"proxy-authorization" not in head.lower()
        assert b"secret" not in head


@pytest.mark.parametrize(
    "kind", [pytest.param("http", marks=without_tinyproxy), pytest.param("socks", marks=without_microsocks)]
)
def test_wrong_credentials(kind: str, start: Start, serve: Callable[..., Server], session: Any, tls: TLS) -> None:
    """A 407 for a forwarded request, an error for a tunnel; nothing reaches the origin, and no password is shown."""
    server, secure = serve(), serve(tls=tls.context)
    proxy = start(kind, "me:secret").replace("me:secret", "me:wrong-password")
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
    proxy = start("http", None)
    client: requests.Session = session()
    client.proxies = {"http": proxy, "https": proxy}
    assert client.get(f"http://127.0.0.1:{port}/").status_code in (500, 502, 503)
    with pytest.raises(requests.exceptions.ProxyError):
        client.get(f"https://127.0.0.1:{port}/")
