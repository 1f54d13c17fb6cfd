"""The same smoke over servers that others wrote: gunicorn, waitress, hypercorn, granian, aiohttp, Go's net/http."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

import holdfast
from apps import echo
from conftest import settle
from holdfast import CloseReason, Limits

GO = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
FOLDER = Path(__file__).parent


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def module(*args: str) -> list[str]:
    return [sys.executable, "-W", "ignore", "-m", *args]


COMMANDS: dict[str, Callable[[int], list[str]]] = {
    "gunicorn gthread": lambda port: module(
        *("gunicorn", "-b", f"127.0.0.1:{port}", "-k", "gthread", "--threads", "8"),
        *("--keep-alive", "5", "--log-level", "error", "apps.echo:wsgi"),
    ),
    "gunicorn gevent": lambda port: module(
        *("gunicorn", "-b", f"127.0.0.1:{port}", "-k", "gevent"),
        *("--keep-alive", "5", "--log-level", "error", "apps.echo:wsgi"),
    ),
    "gunicorn sync": lambda port: module(
        "gunicorn", "-b", f"127.0.0.1:{port}", "-w", "2", "--log-level", "error", "apps.echo:wsgi"
    ),
    "waitress": lambda port: module("waitress", f"--listen=127.0.0.1:{port}", "--threads=8", "apps.echo:wsgi"),
    "hypercorn": lambda port: module(
        "hypercorn", "-b", f"127.0.0.1:{port}", "--log-level", "critical", "apps.echo:asgi"
    ),
    "granian asgi": lambda port: module(
        *("granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", str(port)),
        *("--log-level", "error", "apps.echo:asgi"),
    ),
    "aiohttp": lambda port: [sys.executable, str(FOLDER / "apps" / "echo.py"), str(port)],
    "go": lambda port: [str(port)],
}
SAY_CLOSE = {"gunicorn sync", "waitress"}
"""Those that end the connection after each answer, or after those without a length, and say so."""


class Process:
    """A server in a process of its own, ended by its own process id (and its group's)."""

    def __init__(self, name: str, folder: Path, program: str | None = None) -> None:
        self.port = free_port()
        command = COMMANDS[name](self.port)
        self.command = command if program is None else [program, *command]
        self.log = folder / "server.log"
        self.start()

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=FOLDER,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        assert settle(self._answers, 30), self.log.read_text()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def _answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            assert self.process.poll() is None, self.log.read_text()
            return False
        return True

    def stop(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(10)


@pytest.fixture(scope="module")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> str:
    if GO is None:
        pytest.skip("Go is not installed")
    folder = tmp_path_factory.mktemp("go")
    environment = {**os.environ, "GOCACHE": str(folder / "cache"), "GOFLAGS": "-mod=mod", "GO111MODULE": "off"}
    subprocess.run(
        [GO, "build", "-o", str(folder / "echo"), str(FOLDER / "apps" / "echo.go")],
        check=True,
        env=environment,
        timeout=300,
    )
    return str(folder / "echo")


@pytest.fixture(params=list(COMMANDS))
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Process]]:
    program = request.getfixturevalue("go_program") if request.param == "go" else None
    process = Process(request.param, tmp_path, program)
    yield request.param, process
    process.stop()


def pieces() -> Iterator[bytes]:
    for _ in range(20):
        yield b"x" * 1000


@pytest.mark.timeout(300)
def test_smoke(server: tuple[str, Process], session: Any, lane: str) -> None:
    """Every kind of body both ways, all over one connection; many threads within the limit; a restart is survived."""
    name, process = server
    client: requests.Session = session(limits=Limits(max_connections_per_host=4))
    url = process.url
    ports = set()
    for _ in range(3):
        ports.add(client.get(url + "port").content)
        assert client.get(url + "big").content == echo.BIG
        assert client.get(url + "pieces").content == echo.PIECE * 100
        assert client.head(url + "big").headers["Content-Length"] == str(len(echo.BIG))
        assert client.get(url + "empty").status_code == 204
        assert client.post(url + "echo", data=echo.BIG).content == echo.BIG
        assert client.post(url + "echo", data=b"").content == b""
        assert client.post(url + "echo", data=pieces()).content == b"x" * 20_000
        client.get(url + "pieces", stream=True).close()
        ports.add(client.get(url + "port").content)
    if name in SAY_CLOSE:
        stats = client.get_adapter(url).statistics()  # type: ignore[attr-defined]
        assert stats.created <= 1 + stats.closed[CloseReason.NOT_REUSABLE]
    else:
        assert len(ports) == 1, "one connection, as the server sees it"

    def work(_: int) -> set[bytes]:
        return {client.get(url + "port").content for _ in range(20)}

    with ThreadPoolExecutor(8) as pool:
        seen = set().union(*pool.map(work, range(8)))
    stats = client.get_adapter(url).statistics()  # type: ignore[attr-defined]
    assert stats.in_use == 0
    assert name in SAY_CLOSE or len(seen) <= 4
    process.stop()
    process.start()
    assert client.post(url + "echo", data=b"after the restart").content == b"after the restart"
    assert holdfast.statistics().in_use == 0
