"""The same smoke over a server that we did not write: nginx, where it is installed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import holdfast
from conftest import settle
from holdfast import CloseReason, Limits

NGINX = shutil.which("nginx")
pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")

CONF = """
worker_processes 1; daemon off; pid {root}/pid; error_log {root}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log off; keepalive_requests 10; keepalive_timeout {timeout};
  client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
  server {{ listen 127.0.0.1:{port}; root {root}; location = /small {{ return 200 "small"; }}
    location = /connection {{ return 200 "$connection"; }} }}
}}
"""


class Nginx:
    """One instance, in the foreground, ended by its own process id."""

    def __init__(self, root: Path, timeout: int) -> None:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            self.port = int(sock.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}/"
        (root / "big").write_bytes(b"0123456789abcdef" * 65536)
        for folder in (root, *list(root.parents)[:2]):
            folder.chmod(0o755)  # its workers run as another user
        config = root / "nginx.conf"
        config.write_text(CONF.format(root=root, port=self.port, timeout=timeout))
        assert NGINX is not None
        self.process = subprocess.Popen([NGINX, "-p", str(root), "-e", str(root / "error.log"), "-c", str(config)])
        assert settle(self._answers, 20)

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def reload(self) -> None:
        os.kill(self.process.pid, signal.SIGHUP)


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Callable[[int], Nginx]]:
    started: list[Nginx] = []

    def start(timeout: int) -> Nginx:
        started.append(Nginx(tmp_path, timeout))
        return started[-1]

    yield start
    for one in started:
        one.process.terminate()
        one.process.wait(20)


def test_keepalive_requests_is_followed(
    nginx: Callable[[int], Nginx], session: Callable[..., requests.Session], lane: str
) -> None:
    """nginx closes after ten; 100 requests need ten connections and nothing fails."""
    server = nginx(60)
    client = session()
    for _ in range(50):
        assert client.get(server.url + "small").content == b"small"
        assert len(client.get(server.url + "big").content) == 1 << 20
    stats = client.get_adapter("http://").statistics()  # type: ignore[attr-defined]
    assert stats.created == 10
    assert dict(stats.closed) == {CloseReason.NOT_REUSABLE: 10}


def test_a_reload_under_load_loses_nothing(
    nginx: Callable[[int], Nginx], session: Callable[..., requests.Session]
) -> None:
    """GETs on connections that the old workers close are sent again."""
    server = nginx(60)
    client = session(limits=Limits(max_connections_per_host=4))

    def work(_: int) -> int:
        return sum(len(client.get(server.url + "big").content) for _ in range(30))

    with ThreadPoolExecutor(8) as pool:
        jobs = [pool.submit(work, i) for i in range(8)]
        for _ in range(3):
            time.sleep(0.1)  # spreads the reloads over the load; nothing waits for it
            server.reload()
        assert [job.result() for job in jobs] == [30 << 20] * 8


def test_a_short_keepalive_timeout_is_noticed(
    nginx: Callable[[int], Nginx], session: Callable[..., requests.Session], lane: str
) -> None:
    """The server closes first after a second; the count drops by itself and a POST is not lost."""
    server = nginx(1)
    client = session()
    client.get(server.url + "small")
    assert settle(lambda: client.get_adapter("http://").statistics().idle == 0)  # type: ignore[attr-defined]
    assert client.post(server.url + "small", data=b"x").status_code == 200
    assert holdfast.statistics().in_use == 0
