"""One HTTP client in a process of its own: ``python clients.py NAME URL CA THREADS SECONDS`` prints its figures as JSON.

Each client is used as its own pages tell a user who wants it fast: one session, connections kept, the body as bytes.
"""

from __future__ import annotations

import asyncio
import http.client
import importlib.metadata
import io
import json
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

Get = Callable[[], Any]
"""One request; gives the body, or its length."""
LOCAL = threading.local()


def mine(make: Callable[[], Any]) -> Any:
    """What ``make`` makes, once per thread."""
    found = getattr(LOCAL, "client", None)
    if found is None:
        found = LOCAL.client = make()
    return found


def bare(url: str, ca: str) -> Get:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or 80
    message = f"GET {parts.path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: */*\r\n\r\n".encode()

    def connect() -> Any:
        sock = socket.create_connection((host, port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if parts.scheme == "https":
            sock = ssl.create_default_context(cafile=ca).wrap_socket(sock, server_hostname=host)
        return sock

    def get() -> int:
        sock = mine(connect)
        sock.sendall(message)
        data = sock.recv(65536)
        end = data.index(b"\r\n\r\n") + 4
        size = int(data[:end].lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        body = bytearray(size)
        view, got = memoryview(body), len(data) - end
        view[:got] = data[end:]
        while got < size:
            got += sock.recv_into(view[got:])
        return got

    return get


def pycurl(url: str, ca: str) -> Get:
    import pycurl

    def make() -> Any:
        curl = pycurl.Curl()
        curl.setopt(pycurl.URL, url)
        curl.setopt(pycurl.CAINFO, ca)
        curl.setopt(pycurl.ACCEPT_ENCODING, "gzip, deflate")
        return curl

    def get() -> bytes:
        curl, body = mine(make), io.BytesIO()
        curl.setopt(pycurl.WRITEDATA, body)
        curl.perform()
        return body.getvalue()

    return get


def primp(url: str, ca: str) -> Get:
    import primp

    client = primp.Client(ca_cert_file=ca)
    return lambda: client.get(url).content


def pyreqwest(url: str, ca: str) -> Get:
    from pyreqwest.client import SyncClientBuilder

    with open(ca, "rb") as file:
        client = SyncClientBuilder().add_root_certificate_pem(file.read()).gzip(True).build()
    return lambda: client.get(url).build().send().bytes()


def foghttp(url: str, ca: str) -> Get:
    import foghttp

    client = foghttp.Client(tls=foghttp.TLSConfig((ca,)))
    return lambda: client.get(url).content


def pyqwest(url: str, ca: str) -> Get:
    import pyqwest

    with open(ca, "rb") as file:
        client = pyqwest.SyncClient(pyqwest.SyncHTTPTransport(tls_ca_cert=file.read()))
    return lambda: client.get(url).content


def plain_http(url: str, ca: str) -> Get:
    parts = urlsplit(url)

    def make() -> Any:
        if parts.scheme == "https":
            return http.client.HTTPSConnection(parts.netloc, context=ssl.create_default_context(cafile=ca))
        return http.client.HTTPConnection(parts.netloc)

    def get() -> bytes:
        conn = mine(make)
        conn.request("GET", parts.path)
        return conn.getresponse().read()  # type: ignore[no-any-return]

    return get


def geventhttpclient(url: str, ca: str) -> Get:
    from geventhttpclient import HTTPClient

    parts = urlsplit(url)
    secure = parts.scheme == "https"
    more = {"ssl_options": {"ca_certs": ca}} if secure else {}
    client = HTTPClient(parts.hostname, parts.port, ssl=secure, concurrency=32, **more)
    return lambda: client.get(parts.path).read()


def curl_cffi(url: str, ca: str) -> Get:
    from curl_cffi import requests

    session = requests.Session(verify=ca)
    return lambda: session.get(url).content


def urllib3(url: str, ca: str) -> Get:
    import urllib3

    pool = urllib3.PoolManager(maxsize=32, ca_certs=ca)
    return lambda: pool.request("GET", url, headers={"Accept-Encoding": "gzip, deflate"}).data


def requests(url: str, ca: str) -> Get:
    import requests

    session = requests.Session()
    session.verify = ca
    for scheme in ("http://", "https://"):
        session.mount(scheme, requests.adapters.HTTPAdapter(pool_maxsize=32))
    # The environment's bundle would win over the session's.
    return lambda: session.get(url, verify=ca).content


def holdfast(url: str, ca: str) -> Get:
    import holdfast

    session = holdfast.Session(limits=holdfast.Limits(max_idle_per_host=32))
    return lambda: session.get(url, verify=ca).content


def holdfast_mounted(url: str, ca: str) -> Get:
    import requests

    import holdfast

    session = holdfast.mount(requests.Session(), limits=holdfast.Limits(max_idle_per_host=32))
    return lambda: session.get(url, verify=ca).content


def httpx(url: str, ca: str) -> Get:
    import httpx

    limits = httpx.Limits(max_connections=32, max_keepalive_connections=32)
    client = httpx.Client(verify=ssl.create_default_context(cafile=ca), limits=limits)
    return lambda: client.get(url).content


def niquests(url: str, ca: str) -> Get:
    import niquests

    session = niquests.Session(disable_http2=True, disable_http3=True, pool_maxsize=32)
    return lambda: session.get(url, verify=ca).content


CLIENTS: dict[str, tuple[Callable[[str, str], Get], str]] = {
    "bare socket": (bare, ""),
    "pycurl": (pycurl, "pycurl"),
    "primp": (primp, "primp"),
    "pyreqwest": (pyreqwest, "pyreqwest"),
    "holdfast.Session": (holdfast, "holdfast"),
    "holdfast, mounted": (holdfast_mounted, "holdfast"),
    "http.client": (plain_http, ""),
    "foghttp": (foghttp, "foghttp"),
    "pyqwest": (pyqwest, "pyqwest"),
    "geventhttpclient": (geventhttpclient, "geventhttpclient"),
    "curl_cffi": (curl_cffi, "curl_cffi"),
    "urllib3": (urllib3, "urllib3"),
    "requests": (requests, "requests"),
    "httpx": (httpx, "httpx"),
    "niquests": (niquests, "niquests"),
}
"""``aiohttp``, which has no blocking call, is measured by ``asynchronous``; Go by a program of its own."""
GREEN = frozenset(("geventhttpclient",))
"""What is made for greenlets, and gets them instead of threads."""


def measured(get: Get, threads: int, seconds: float) -> dict[str, float]:
    """Calls, wall time and CPU time of so many seconds, every thread asking as fast as it can."""
    counts = [0] * threads
    barrier = threading.Barrier(threads + 1)
    over = threading.Event()

    def work(i: int) -> None:
        for _ in range(max(3, 60 // threads)):
            size = get()
        assert size
        barrier.wait()
        done = 0
        while not over.is_set():
            get()
            done += 1
        counts[i] = done

    workers = [threading.Thread(target=work, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    began, used = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    over.set()
    for worker in workers:
        worker.join()
    return {"calls": sum(counts), "wall": time.perf_counter() - began, "cpu": time.process_time() - used}


def with_greenlets(get: Get, tasks: int, seconds: float) -> dict[str, float]:
    """The same with greenlets."""
    import gevent

    for _ in range(60):
        assert get()
    began, used = time.perf_counter(), time.process_time()

    def work() -> int:
        done = 0
        while time.perf_counter() < began + seconds:
            get()
            done += 1
        return done

    done = [job.get() for job in [gevent.spawn(work) for _ in range(tasks)]]
    return {"calls": sum(done), "wall": time.perf_counter() - began, "cpu": time.process_time() - used}


async def asynchronous(url: str, ca: str, tasks: int, seconds: float) -> dict[str, float]:
    """The same for aiohttp, with tasks instead of threads."""
    import aiohttp

    connector = aiohttp.TCPConnector(limit=32, ssl=ssl.create_default_context(cafile=ca))
    async with aiohttp.ClientSession(connector=connector) as session:

        async def get() -> int:
            async with session.get(url) as response:
                return len(await response.read())

        async def work(until: float) -> int:
            done = 0
            while time.perf_counter() < until:
                await get()
                done += 1
            return done

        for _ in range(60):
            assert await get()
        began, used = time.perf_counter(), time.process_time()
        works: list[Awaitable[int]] = [work(began + seconds) for _ in range(tasks)]
        done = await asyncio.gather(*works)
        return {"calls": sum(done), "wall": time.perf_counter() - began, "cpu": time.process_time() - used}


def version(distribution: str) -> str:
    """What really runs."""
    return importlib.metadata.version(distribution) if distribution else sys.version.partition(" ")[0]


def main() -> None:
    name, url, ca, threads, seconds = sys.argv[1:]
    if sys.platform == "linux" and (core := os.environ.get("CORE")):
        os.sched_setaffinity(0, {int(core)})
    if name == "aiohttp":
        found = asyncio.run(asynchronous(url, ca, int(threads), float(seconds)))
        used = version("aiohttp")
    else:
        make, distribution = CLIENTS[name]
        measure = with_greenlets if name in GREEN else measured
        found = measure(make(url, ca), int(threads), float(seconds))
        used = version(distribution)
    print(json.dumps({**found, "version": used}), flush=True)
    os._exit(0)  # some clients' threads would keep us


if __name__ == "__main__":
    main()
