"""Fixtures: servers, a certificate authority, and the check that a test left nothing behind."""

from __future__ import annotations

import contextlib
import gc
import os
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme

import holdfast
from holdfast import PooledAdapter, _trace
from servers import Server, answer


def settle(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Whether ``condition`` came true within generous time; for what another thread or the kernel finishes."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


DESCRIPTORS = Path("/proc/self/fd") if os.path.exists("/proc/self/fd") else Path("/dev/fd")


def descriptors() -> dict[int, str]:
    """What this process has open."""
    found = {}
    for entry in os.listdir(DESCRIPTORS):
        with contextlib.suppress(OSError):  # the one that lists
            found[int(entry)] = os.readlink(DESCRIPTORS / entry)
    return found


def held() -> list[int]:
    """What the pools of this process have: leases, dials, idle connections, waiters."""
    stats = holdfast.statistics()
    return [stats.in_use, stats.dialing, stats.idle, stats.waiting]


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """After each test: no lease, no dial, no thread and no descriptor more than before, once what is idle is closed.

    Measured from the test's own beginning, so that what one test leaves fails that test alone.
    """
    threads_before = set(threading.enumerate())
    descriptors_before = descriptors()
    held_before = held()
    yield
    holdfast.uninstall()
    holdfast.set_trace(None)
    assert _trace.process == (), "somebody still listens"
    gc.collect()
    holdfast.close_idle_connections()
    left: dict[str, Any] = {}

    def clean() -> bool:
        gc.collect()
        threads = set(threading.enumerate()) - threads_before
        opened = {n: what for n, what in descriptors().items() if descriptors_before.get(n) != what}
        more = any(now > before for now, before in zip(held(), held_before, strict=True))
        left.update(statistics=holdfast.statistics(), threads=threads, descriptors=opened)
        return not (more or threads or opened)

    assert settle(clean), left


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers; bytes are the answer to everything."""
    servers: list[Server] = []

    def start(handler: Any = None, **options: Any) -> Server:
        server = Server(answer(handler) if isinstance(handler, bytes) else handler, **options)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def session() -> Iterator[Callable[..., requests.Session]]:
    """Makes mounted sessions and closes them. Private ones, so that tests do not share connections."""
    made: list[requests.Session] = []

    def make(**options: Any) -> requests.Session:
        one = requests.Session()
        one.trust_env = False
        holdfast.mount(one, **{"shared": False, **options})
        made.append(one)
        return one

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["fast", "standard"])
def lane(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs the test in each lane."""
    if request.param == "standard":
        monkeypatch.setattr(PooledAdapter, "_nobody_can_tell", lambda self: False)
    return str(request.param)


class TLS:
    """A certificate authority with a server certificate for 127.0.0.1 and localhost."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.folder = folder
        self.bundle = str(folder / "ca.pem")
        self.ca.cert_pem.write_to_path(self.bundle)
        self.context = self.server_context()

    def server_context(self, *, client_cas: str | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert("127.0.0.1", "localhost", "::1").configure_cert(context)
        if client_cas is not None:
            context.load_verify_locations(client_cas)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def client_cert(self, name: str) -> str:
        """A PEM file with a client's key and certificate."""
        path = self.folder / f"{name}.pem"
        path.unlink(missing_ok=True)
        cert = self.ca.issue_cert(f"{name}@example.org")
        cert.private_key_and_cert_chain_pem.write_to_path(path)
        return str(path)


@pytest.fixture
def tls(tmp_path: Path) -> TLS:
    return TLS(tmp_path)
