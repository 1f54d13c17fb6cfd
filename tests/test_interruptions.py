"""Cancel, Ctrl-C, and a session closed by another thread: each in every phase of a request."""

from __future__ import annotations

import contextlib
import contextvars
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
import requests

import holdfast
from conftest import TLS, settle
from holdfast import Cancelled, CancelScope, Limits
from servers import Peer, Server, ok

GENEROUS = 20.0
PROMPT = 5.0
PHASES = ("queue", "dns", "connect", "connect, by name", "CONNECT", "tls", "writing", "head", "body", "drain")


class Scene:
    """A server that brings a request into a phase and keeps it there until ``go``."""

    def __init__(self, phase: str, tls: TLS, patch: pytest.MonkeyPatch) -> None:
        self.phase = phase
        self.tls = tls
        self.patch = patch
        self.arrived = threading.Event()
        self.go = threading.Event()
        self.server = Server(self._handle)
        self.options: dict[str, Any] = {}
        self.url = self.server.url
        self.blocker: Future[Any] | None = None
        self.stack = contextlib.ExitStack()
        self.stack.callback(self.server.stop)
        self.pool = self.stack.enter_context(ThreadPoolExecutor(4))
        getattr(self, "_" + phase.partition(",")[0], lambda: None)()
        if phase == "connect, by name":
            self.url = self.url.replace("127.0.0.1", "localhost")

    def _dns(self) -> None:
        self.url = self.url.replace("127.0.0.1", "localhost")
        resolve = socket.getaddrinfo

        def hang(host: Any, *args: Any, **kwargs: Any) -> Any:
            if host == "localhost":
                self.arrived.set()
                self.go.wait(30)
                return resolve("127.0.0.1", *args, **kwargs)
            return resolve(host, *args, **kwargs)

        self.patch.setattr(socket, "getaddrinfo", hang)

    def _connect(self) -> None:
        """A full backlog, until somebody accepts."""
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/"

        def admit() -> None:
            self.go.wait(30)
            for filler in fillers:
                filler.close()
            with contextlib.suppress(OSError):
                while True:
                    sock, _ = listener.accept()
                    self.stack.callback(sock.close)
                    with contextlib.suppress(OSError):
                        sock.settimeout(GENEROUS)
                        if sock.recv(65536):
                            sock.sendall(ok(b"in time"))

        self.pool.submit(admit)
        self.stack.callback(listener.close)
        self.stack.callback(lambda: listener.shutdown(socket.SHUT_RDWR))
        self.stack.callback(self.go.set)
        threading.Timer(0.2, self.arrived.set).start()  # nobody sees a connect that hangs

    def _tls(self) -> None:
        self.url = self.url.replace("http:", "https:")

    def _handle(self, peer: Peer) -> None:
        wait = not self.go.is_set()
        if self.phase == "tls":
            self.arrived.set()
            self.go.wait(30)
            peer.sock = self.tls.context.wrap_socket(peer.sock, server_side=True)
        elif self.phase == "writing" and wait:
            while b"\r\n\r\n" not in peer.buffer and peer._more():
                pass
            self.arrived.set()
            self.go.wait(30)
        while peer.read_request() is not None:
            if self.phase == "CONNECT":
                self.arrived.set()
                self.go.wait(30)
                peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                peer.sock = self.tls.context.wrap_socket(peer.sock, server_side=True)
                peer.read_request()
            elif self.phase in ("body", "drain") and wait:
                peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nin \r\n")
                if self.phase == "body":
                    self.arrived.set()
                self.go.wait(30)
                peer.send(b"4\r\ntime\r\n0\r\n\r\n")
                continue
            elif self.phase in ("head", "queue") and wait:
                self.arrived.set()
                self.go.wait(30)
            peer.send(ok(b"in time"))

    def prepare(self, client: requests.Session) -> None:
        """What has to be so before the request starts."""
        client.verify = self.tls.bundle
        if self.phase == "CONNECT":
            client.proxies = {"https": self.url}
            self.url = "https://127.0.0.1:1/"
        if self.phase == "queue":
            self.blocker = self.pool.submit(client.get, self.url)
            assert self.arrived.wait(GENEROUS)
            self.arrived.clear()
            stats = client.get_adapter(self.url).statistics  # type: ignore[attr-defined]
            self.pool.submit(lambda: settle(lambda: stats().waiting == 1) and self.arrived.set())

    def call(self, client: requests.Session) -> bytes:
        """The request; what it brought."""
        if self.phase == "writing":
            return client.post(self.url, data=bytes(8 << 20)).content
        if self.phase == "drain":
            response = client.get(self.url, stream=True)
            self.arrived.set()
            response.close()
            return b"in time"
        return client.get(self.url).content


@pytest.fixture
def scene(tls: TLS, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Scene]]:
    made: list[Scene] = []

    def make(phase: str) -> Scene:
        made.append(Scene(phase, tls, monkeypatch))
        return made[-1]

    yield make
    for one in made:
        one.go.set()
        one.stack.close()


def client_of(session: Any) -> requests.Session:
    client: requests.Session = session(
        limits=Limits(max_connections_per_host=1, acquire_timeout=None, drain_timeout=30.0, drain_bytes=1 << 20)
    )
    return client


def usable(client: requests.Session, stage: Scene) -> None:
    """Nothing was lost: the only permit serves the next request."""
    stage.go.set()
    if stage.blocker is not None:
        assert stage.blocker.result(GENEROUS).content == b"in time"
    assert settle(lambda: stats_of(client).in_use == stats_of(client).dialing == stats_of(client).waiting == 0)
    assert stage.call(client) == b"in time"


def stats_of(client: requests.Session) -> Any:
    return client.get_adapter("http://").statistics()  # type: ignore[attr-defined]


@pytest.mark.parametrize("phase", PHASES)
def test_cancel(phase: str, lane: str, scene: Callable[[str], Scene], session: Any) -> None:
    """The request ends with ``Cancelled``, promptly; a drain just ends. The pool serves on."""
    stage, client = scene(phase), client_of(session)
    stage.prepare(client)
    scope = CancelScope()
    with scope:
        job = stage.pool.submit(contextvars.copy_context().run, stage.call, client)
    assert stage.arrived.wait(GENEROUS)
    began = time.monotonic()
    scope.cancel()
    if phase == "drain":
        assert job.result(GENEROUS) == b"in time"
    else:
        with pytest.raises(Cancelled, match="cancelled after"):
            job.result(GENEROUS)
    assert time.monotonic() - began < PROMPT
    usable(client, stage)


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT as Python has it: a shell that starts something in the background has it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c(phase: str, lane: str, scene: Callable[[str], Scene], session: Any, ctrl_c: None) -> None:
    """``KeyboardInterrupt`` in the main thread, promptly; nothing is lost."""
    stage, client = scene(phase), client_of(session)
    stage.prepare(client)
    sent: list[float] = []

    def interrupt() -> None:
        stage.arrived.wait(GENEROUS)
        time.sleep(0.1)  # from here on the main thread waits, and for as long as nobody lets it go
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    with pytest.raises(KeyboardInterrupt):
        stage.call(client)
    assert time.monotonic() - sent[0] < PROMPT
    interrupter.join()
    usable(client, stage)


@pytest.mark.parametrize("phase", PHASES)
def test_close_by_another_thread(phase: str, lane: str, scene: Callable[[str], Scene], session: Any) -> None:
    """A session that is closed lets what is under way end well, and closes its connection then."""
    stage, client = scene(phase), client_of(session)
    stage.prepare(client)
    job = stage.pool.submit(stage.call, client)
    assert stage.arrived.wait(GENEROUS)
    stats = client.get_adapter("http://").statistics  # type: ignore[attr-defined]
    client.close()
    stage.go.set()
    assert job.result(GENEROUS) == b"in time"
    assert settle(lambda: not holdfast.statistics().in_use)
    assert (stats().idle, stats().in_use) == (0, 0)
    assert settle(lambda: stage.server.open == 0)
