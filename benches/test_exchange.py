"""Whole exchanges: the stock adapter and a bare socket loop in the same group and the same run."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

import holdfast
from bench_server import Site
from holdfast import Limits

FIELDS = {"User-Agent": "bench", "Accept": "*/*", "Accept-Encoding": "gzip, deflate", "Connection": "keep-alive"}
CPU = {"timer": time.process_time, "warmup": True, "warmup_iterations": 20, "min_rounds": 20}
Adapters = Callable[..., Any]


def prepared(url: str) -> requests.PreparedRequest:
    return requests.Request("GET", url, headers=FIELDS).prepare()


def bare_connection(site: Site, secure: bool) -> socket.socket:
    url = site.tls if secure else site.plain
    sock = socket.create_connection(("127.0.0.1", int(url.rstrip("/").rpartition(":")[2])))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if secure:
        sock = ssl.create_default_context(cafile=site.bundle).wrap_socket(sock, server_hostname="127.0.0.1")
    return sock


def bare_loop(sock: socket.socket, path: str) -> Callable[[], int]:
    """Sends the same bytes and receives the answer into one buffer: what no client can beat."""
    lines = [f"GET /{path} HTTP/1.1", "Host: 127.0.0.1", *(f"{k}: {v}" for k, v in FIELDS.items()), "", ""]
    message = "\r\n".join(lines).encode()
    sock.sendall(message)
    head = b""
    while b"\r\n\r\n" not in head:
        head += sock.recv(65536)
    size = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]) + head.index(b"\r\n\r\n") + 4
    got = len(head)
    while got < size:
        got += len(sock.recv(1 << 20))

    def loop() -> int:
        sock.sendall(message)
        buffer = bytearray(size)
        view, got = memoryview(buffer), 0
        while got < size:
            got += sock.recv_into(view[got:])
        return got

    return loop


def exchange(
    benchmark: Any, site: Site, adapters: Adapters, who: str, path: str, secure: bool = False, calls: int = 100
) -> None:
    """``calls`` exchanges per round."""
    if who == "bare":
        with bare_connection(site, secure) as sock:
            one: Callable[[], Any] = bare_loop(sock, path)
            _repeat(benchmark, one, calls)
        return
    adapter = adapters(who)
    request = prepared((site.tls if secure else site.plain) + path)
    verify = site.bundle
    _repeat(benchmark, lambda: adapter.send(request, verify=verify).content, calls)


def _repeat(benchmark: Any, one: Callable[[], Any], calls: int) -> None:
    benchmark.extra_info["calls"] = calls

    def many() -> None:
        for _ in range(calls):
            one()

    benchmark(many)


WHO = ["bare", "holdfast", "standard", "stock"]


@pytest.mark.benchmark(group="small keep-alive GET, adapter.send().content, CPU", **CPU)
@pytest.mark.parametrize("who", WHO)
def test_small(benchmark: Any, site: Site, adapters: Adapters, who: str) -> None:
    exchange(benchmark, site, adapters, who, "small")


@pytest.mark.benchmark(group="the same while somebody looks in, CPU", **CPU)
@pytest.mark.parametrize("who", ["holdfast", "with a Trace", "with find_leaks", "with log_statistics", "stock"])
def test_looked_into(benchmark: Any, site: Site, adapters: Adapters, who: str) -> None:
    adapter = adapters("stock" if who == "stock" else who, **({"trace": holdfast.Trace()} if "Trace" in who else {}))
    if "leaks" in who:
        holdfast.find_leaks(30)
    if "log" in who:
        holdfast.log_statistics(30)
    request = prepared(site.plain + "small")
    try:
        _repeat(benchmark, lambda: adapter.send(request, verify=site.bundle).content, 100)
    finally:
        holdfast.find_leaks(None)
        holdfast.log_statistics(None)


@pytest.mark.benchmark(group="the same over TLS, CPU", **CPU)
@pytest.mark.parametrize("who", WHO)
def test_small_tls(benchmark: Any, site: Site, adapters: Adapters, who: str) -> None:
    exchange(benchmark, site, adapters, who, "small", secure=True)


@pytest.mark.benchmark(group="10 KiB, CPU", **CPU)
@pytest.mark.parametrize("who", WHO)
def test_10k(benchmark: Any, site: Site, adapters: Adapters, who: str) -> None:
    exchange(benchmark, site, adapters, who, "10k")


@pytest.mark.benchmark(group="1 MiB, CPU", **CPU)
@pytest.mark.parametrize("who", WHO)
def test_1m(benchmark: Any, site: Site, adapters: Adapters, who: str) -> None:
    exchange(benchmark, site, adapters, who, "1m", calls=10)


@pytest.mark.benchmark(group="10 MiB, CPU", **CPU)
@pytest.mark.parametrize("who", WHO)
def test_10m(benchmark: Any, site: Site, adapters: Adapters, who: str) -> None:
    exchange(benchmark, site, adapters, who, "10m", calls=2)


@pytest.mark.benchmark(group="gzip JSON of 100 KB, CPU", **CPU)
@pytest.mark.parametrize("who", ["holdfast", "standard", "stock"])
def test_gzip(benchmark: Any, site: Site, adapters: Adapters, who: str) -> None:
    exchange(benchmark, site, adapters, who, "gzip", calls=20)


def session_of(who: str) -> requests.Session:
    limits = Limits(max_idle_per_host=32)
    if who == "holdfast.Session":
        return holdfast.Session(shared=False, limits=limits)
    session = requests.Session()
    if who == "holdfast":
        return holdfast.mount(session, shared=False, limits=limits)
    for scheme in ("http://", "https://"):  # else it would drop what 32 threads bring back
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=32))
    return session


@pytest.mark.benchmark(group="small session.get().content, CPU", **CPU)
@pytest.mark.parametrize("who", ["holdfast.Session", "holdfast", "stock"])
def test_session(benchmark: Any, site: Site, who: str) -> None:
    with session_of(who) as client:
        _repeat(benchmark, lambda: client.get(site.plain + "small", verify=site.bundle).content, 50)


@pytest.mark.benchmark(group="small session.get over TLS, CPU", **CPU)
@pytest.mark.parametrize("who", ["holdfast.Session", "holdfast", "stock"])
def test_session_tls(benchmark: Any, site: Site, who: str) -> None:
    with session_of(who) as client:
        _repeat(benchmark, lambda: client.get(site.tls + "small", verify=site.bundle).content, 50)


@pytest.mark.benchmark(
    group="20 new sessions over TLS, one GET each, per session, CPU", timer=time.process_time, min_rounds=3
)
@pytest.mark.parametrize("who", ["holdfast", "stock"])
def test_new_sessions(benchmark: Any, site: Site, who: str) -> None:
    benchmark.extra_info["calls"] = 20

    def twenty() -> None:
        for _ in range(20):
            with holdfast.Session() if who == "holdfast" else requests.Session() as client:
                assert client.get(site.tls + "small", verify=site.bundle).content

    benchmark(twenty)


@pytest.mark.benchmark(group="draining 64 MiB, CPU", timer=time.process_time, min_rounds=5)
@pytest.mark.parametrize("who", ["holdfast", "stock"])
def test_drain(benchmark: Any, site: Site, adapters: Adapters, who: str) -> None:
    adapter = adapters(
        who, **({"limits": Limits(drain_bytes=1 << 30, drain_timeout=60.0)} if who == "holdfast" else {})
    )
    request = prepared(site.plain + "64m")

    def drain() -> None:
        response = adapter.send(request, stream=True)
        if who == "holdfast":
            response.close()
        else:
            response.raw.drain_conn()

    benchmark(drain)


@pytest.mark.parametrize("threads", [1, 8, 32])
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("who", ["holdfast.Session", "holdfast", "stock"])
@pytest.mark.benchmark(timer=time.perf_counter, min_rounds=5)
def test_threads(benchmark: Any, site: Site, who: str, secure: bool, threads: int) -> None:
    benchmark.group = f"session.get from {threads} thread(s){', TLS' if secure else ''}, wall time per request"
    benchmark.name = f"test_threads[{who}]"
    calls = 640
    benchmark.extra_info["calls"] = calls
    with session_of(who) as client, ThreadPoolExecutor(threads) as pool:
        url = (site.tls if secure else site.plain) + "small"

        def work(_: int) -> None:
            for _ in range(calls // threads):
                assert client.get(url, verify=site.bundle).content

        def many() -> None:
            list(pool.map(work, range(threads)))

        many()  # connections are there
        benchmark(many)


@pytest.mark.parametrize("limit", ["limit 8", "limit 32"])
@pytest.mark.parametrize("through", ["session.get()", "adapter.send()"])
@pytest.mark.benchmark(timer=time.perf_counter, min_rounds=5)
def test_limit(benchmark: Any, site: Site, adapters: Adapters, limit: str, through: str) -> None:
    benchmark.group = f"32 threads, {through}, wall time per request"
    benchmark.name = f"test_limit[{limit}]"
    adapter = adapters("holdfast", limits=Limits(max_connections_per_host=int(limit.split()[1]), max_idle_per_host=32))
    request = prepared(site.plain + "small")
    calls = 1600
    benchmark.extra_info["calls"] = calls
    client = requests.Session()
    client.mount("http://", adapter)
    one = (lambda: client.get(site.plain + "small")) if "session" in through else (lambda: adapter.send(request))
    waits: dict[int, list[float]] = {i: [] for i in range(32)}

    def work(i: int) -> None:
        for _ in range(calls // 32):
            began = time.perf_counter()
            assert one().content
            waits[i].append(time.perf_counter() - began)

    with ThreadPoolExecutor(32) as pool:
        benchmark(lambda: list(pool.map(work, range(32))))
    means = [sum(each) / len(each) for each in waits.values()]
    benchmark.extra_info["slowest thread's mean over all threads' mean"] = max(means) / (sum(means) / len(means))
    print(
        f"\n{through}, {limit}: slowest thread's mean time is {max(means) / (sum(means) / len(means)):.2f} x the mean of all"
    )
