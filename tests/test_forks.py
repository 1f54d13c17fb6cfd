"""Processes: forks with connections idle and in flight, pre-fork servers, gevent, and interpreters that end."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

import holdfast
from servers import Peer, Server, ok
from test_python_and_go_servers import COMMANDS, Process, module

Serve = Callable[..., Server]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


def in_child(work: Callable[[], bool]) -> bool:
    """Whether ``work`` said so in a forked child."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = 0 if work() else 1
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class Halves:
    """Sends one half of a body, and the other when it may."""

    def __init__(self, chunked: bool) -> None:
        self.half_way = threading.Event()
        self.go = threading.Event()
        self.head = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 80000"
        self.half = b"9c40\r\n" + b"x" * 40_000 + b"\r\n" if chunked else b"x" * 40_000
        self.end = b"0\r\n\r\n" if chunked else b""

    def __call__(self, peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            if request[0].startswith(b"GET /small"):
                peer.send(ok())
                continue
            peer.send(b"HTTP/1.1 200 OK\r\n" + self.head + b"\r\n\r\n" + self.half)
            self.half_way.set()
            self.go.wait(20)
            peer.send(self.half + self.end)


@needs_fork
@pytest.mark.parametrize("how", ["read", "iterated", "untouched"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_fork_while_a_body_is_read_leaves_the_parent_its_body(
    chunked: bool, how: str, lane: str, serve: Serve, session: Any
) -> None:
    """Whatever the child drops, closes or cancels: the parent reads on, and its connection serves the next request."""
    halves = Halves(chunked)
    server = serve(halves)
    client = session()
    scope = holdfast.CancelScope()
    with scope:
        response = client.get(server.url, stream=True)
    got: list[bytes] = []

    def read() -> None:
        got.append(response.content if how == "read" else b"".join(response.iter_content(100)))

    reader = threading.Thread(target=read)
    if how != "untouched":
        reader.start()
    assert halves.half_way.wait(20)

    def child() -> bool:
        scope.cancel()
        response.close()
        gc.collect()
        answer = client.get(server.url + "small")
        client.close()
        return bool(answer.content == b"ok")

    assert in_child(child)
    halves.go.set()
    if how == "untouched":
        reader.start()
    reader.join(20)
    assert got == [b"x" * 80_000]
    assert client.get(server.url + "small").content == b"ok"
    assert server.accepted == 2, "the parent's connection, and the child's"


def work_in_child(url: str) -> tuple[int, int]:
    """In a process of a pool: ten requests; how many connections were made, and in which process."""
    for _ in range(10):
        assert requests.get(url).content == b"ok"
    return holdfast.statistics().created, os.getpid()


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")


@needs_fork
def test_multiprocessing(serve: Serve, direct: None) -> None:
    """Every process has a pool of its own; the parent's connection stays the parent's."""
    server = serve()
    holdfast.install()
    try:
        assert requests.get(server.url).content == b"ok"
        with multiprocessing.get_context("fork").Pool(3) as pool:
            results = pool.map(work_in_child, [server.url] * 6, chunksize=1)
        assert requests.get(server.url).content == b"ok"
    finally:
        holdfast.uninstall()
    assert len(server.requests) == 62
    assert {created for created, _ in results} == {1}
    assert server.accepted == 1 + len({pid for _, pid in results})


def test_gunicorn_pre_fork(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that are forked from a process with idle connections and a response in hand have pools of their own."""
    server = serve()
    monkeypatch.setenv("UPSTREAM", server.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setitem(
        COMMANDS,
        "prefork",
        lambda port: module(
            *("gunicorn", "-b", f"127.0.0.1:{port}", "--workers", "3", "--preload"),
            *("--log-level", "error", "apps.prefork:app"),
        ),
    )
    process = Process("prefork", tmp_path)
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(requests.get, [process.url] * 80))
    finally:
        process.stop()
    assert [answer.content for answer in answers] == [b"ok"] * 80
    workers = {answer.headers["X-Worker"] for answer in answers}
    assert server.accepted == 1 + len(workers), "the master's, and one of each worker"
    assert all(number > 1 for number, _, _ in server.requests[2:]), "no worker used the master's connection"


def run_python(code: str, *options: str, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NO_PROXY": "127.0.0.1,localhost"}
    return subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env=environment,
    )


GEVENT = """
from gevent import monkey; monkey.patch_all()
import gevent, requests, holdfast, threading
from gevent.pool import Pool
client = holdfast.Session(limits=holdfast.Limits(max_connections_per_host=5))
client.trust_env = False
url = {url!r}
def work(n):
    return client.get(url + str(n)).content
assert list(Pool(50).imap(work, range(500))) == [b"ok"] * 500
response = client.get(url + "big")
assert response.content == b"x" * 1000000
client.get(url + "big", stream=True).close()
try:
    client.get(url + "hang", timeout=holdfast.Timeouts(response_header=0.1))
except holdfast.ResponseHeaderTimeout:
    pass
else:
    raise SystemExit("no timeout")
scope = holdfast.CancelScope()
def hang():
    with scope:
        try:
            client.get(url + "hang")
        except holdfast.Cancelled:
            return "cancelled"
job = gevent.spawn(hang)
gevent.sleep(0.1)
scope.cancel()
assert job.get(timeout=10) == "cancelled"
with gevent.Timeout(0.2, False):
    client.get(url + "hang")
    raise SystemExit("no gevent timeout")
assert holdfast.statistics().in_use == 0, holdfast.statistics()
assert client.get(url).content == b"ok"
client.close()
print("done", holdfast.statistics().created)
"""


def test_gevent(serve: Serve) -> None:
    """Monkey-patched: greenlets wait in the queue, for heads and for bodies, and the limit holds."""
    pytest.importorskip("gevent")
    release = threading.Event()

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            path = request[0].split(b" ")[1]
            if path == b"/hang":
                release.wait(30)
                return
            peer.send(ok(b"x" * 1_000_000 if path == b"/big" else b"ok"))

    server = serve(handle)
    try:
        done = run_python(GEVENT.format(url=server.url), "-W", "ignore")
    finally:
        release.set()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("done")
    assert server.most_open <= 5


EXIT = """
import sys, threading, time, requests, holdfast
client = holdfast.Session(limits=holdfast.Limits(max_connections_per_host=2))
client.trust_env = False
phase, url = {phase!r}, {url!r}
def work():
    try:
        if phase == "body":
            for _ in client.get(url + "body", stream=True).iter_content(1):
                pass
        else:
            client.get(url + phase)
    except BaseException:
        pass
threads = [threading.Thread(target=work, daemon=True) for _ in range(3 if phase == "queue" else 1)]
for thread in threads:
    thread.start()
end = time.monotonic() + 20
def there():
    stats = holdfast.statistics()
    return stats.waiting if phase == "queue" else stats.in_use + stats.dialing
while not there() and time.monotonic() < end:
    time.sleep(0.01)
print("ready" if there() else "never")
"""


@pytest.mark.parametrize("phase", ["queue", "head", "body", "dial"])
def test_the_interpreter_ends_with_requests_in_flight(phase: str, serve: Serve) -> None:
    """Promptly and silently; daemon threads are in the middle of something."""
    release = threading.Event()

    def handle(peer: Peer) -> None:
        if peer.read_request() is None:
            return
        if phase == "body":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx")
        release.wait(30)

    server = serve(handle)
    url = server.url.replace("http://127.0.0.1", "https://localhost") if phase == "dial" else server.url
    try:
        for _ in range(3):
            done = run_python(EXIT.format(phase=phase, url=url), "-W", "error")
            # CPython 3.12.1 itself dies now and then as it ends beside a daemon thread inside OpenSSL, with requests alone too.
            if sys.version_info[:2] != (3, 12) or done.returncode != -signal.SIGSEGV:
                break
    finally:
        release.set()
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "ready", "")
