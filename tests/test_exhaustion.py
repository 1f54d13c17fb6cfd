"""A machine that has run out: of descriptors, of ports, of a listener's backlog, of threads."""

from __future__ import annotations

import contextlib
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from conftest import settle
from holdfast import Limits, Timeouts
from servers import Server

Serve = Callable[..., Server]
IP_LOCAL_PORT_RANGE = 51
"""ip(7), Linux 6.3: the ports that one socket may be given, low and high in one word."""


def run_python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr


EMFILE = """
import os, resource, socket, requests, holdfast
one, other = {one!r}, {other!r}
client = holdfast.Session(); client.trust_env = False
held = [client.get(one, stream=True) for _ in range(4)]
for response in held:
    response.content
assert holdfast.statistics().idle == 4
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
fillers = []
try:
    while True:
        fillers.append(os.dup(0))
except OSError:
    pass
# Nothing is free, but four idle connections are: they give way, and the request succeeds.
assert client.get(other).content == b"ok"
assert holdfast.statistics().closed[holdfast.CloseReason.EVICTED] == 4
# Those descriptors are taken too: nothing is left to give.
kept = client.get(other, stream=True)
try:
    while True:
        fillers.append(os.dup(0))
except OSError:
    pass
for _ in range(3):
    try:
        client.get(one)
    except requests.ConnectionError as error:
        text = str(error)
        assert "Too many open files" in text and "in use" in text and "limits" in text, text
    else:
        raise SystemExit("no error")
stats = holdfast.statistics()
assert (stats.in_use, stats.dialing, stats.waiting) == (1, 0, 0), stats
assert kept.content == b"ok"
for filler in fillers:
    os.close(filler)
assert client.get(one).content == b"ok"
client.close()
holdfast.close_idle_connections()
print("done")
"""


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_descriptors(name: str, serve: Serve) -> None:
    """EMFILE: idle connections give way; what is left is a clear error with the counts, and it passes."""
    one, other = serve(), serve()
    run_python(EMFILE.format(one=one.url.replace("127.0.0.1", name), other=other.url.replace("127.0.0.1", name)))


def few_ports(count: int) -> list[tuple[int, int, bytes]]:
    """Socket options that leave ``count`` local ports, which nothing on this machine uses."""
    for low in range(40_000, 60_000, 50):  # inside of ip_local_port_range, else the option is ignored
        with contextlib.ExitStack() as stack:
            try:
                for port in range(low, low + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        option = (socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=I", low | (low + count - 1) << 16))
        with socket.socket() as probe:
            try:
                probe.setsockopt(*option)
            except OSError:
                pytest.skip("the kernel has no IP_LOCAL_PORT_RANGE (Linux 6.3)")
        return [option]
    pytest.skip("no free range of ports")


def test_ports(lane: str, serve: Serve, session: Any) -> None:
    """EADDRNOTAVAIL: a clear error with the counts; what is in use goes on, and a limit avoids it altogether."""
    server = serve()
    options = few_ports(4)
    client: requests.Session = session(socket_options=options)
    held = [client.get(server.url, stream=True) for _ in range(4)]
    for _ in range(3):
        with pytest.raises(requests.ConnectionError, match=r"Cannot assign requested address.*4 in use"):
            client.get(server.url)
    assert [response.content for response in held] == [b"ok"] * 4
    assert client.get(server.url).content == b"ok"
    assert server.accepted == 4


def test_a_limit_lives_with_few_ports(lane: str, serve: Serve, session: Any) -> None:
    """16 threads, 4 ports, limit 4: everybody is served."""
    server = serve()
    client: requests.Session = session(socket_options=few_ports(4), limits=Limits(max_connections_per_host=4))
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda _: client.get(server.url).content, range(400))) == [b"ok"] * 400
    assert server.accepted <= 4


def test_a_full_backlog_is_a_connect_timeout_and_no_more(lane: str, session: Any) -> None:
    """Nobody accepts: each caller fails within its time, with nothing left; then the server recovers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        client: requests.Session = session(timeouts=Timeouts(connect=0.3))
        with ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(client.get, url) for _ in range(16)]
            for job in jobs:
                with pytest.raises(requests.exceptions.ConnectTimeout):
                    job.result(30)
        stats = client.get_adapter(url).statistics  # type: ignore[attr-defined]
        assert settle(lambda: stats().dialing == stats().in_use == stats().idle == 0)
        for filler in fillers:
            filler.close()


def test_threads(lane: str, serve: Serve, session: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread can be had: dials run in the caller, the reaper waits for better times, requests succeed."""
    server = serve()
    url = server.url.replace("127.0.0.1", "localhost")
    client: requests.Session = session()
    begin = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("holdfast"):
            raise RuntimeError("can't start new thread")
        begin(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        held = client.get(url, stream=True)
        assert client.get(url).content == b"ok"
        assert held.content == b"ok"
    assert server.accepted == 2
    assert client.get(url).content == b"ok"
