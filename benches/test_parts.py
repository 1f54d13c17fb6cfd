"""The parts by themselves: what an acquire costs at any queue length, a digest, a head, the choice of the lane."""

from __future__ import annotations

import http.client
import io
import os
import subprocess
import sys
import time
from typing import Any

import pytest
import requests
import requests.utils

from holdfast import PooledAdapter, _core, _identity
from holdfast._config import Limits
from holdfast._host_pool import HostPool, Ledger
from holdfast._prepare import preparer
from holdfast._slot import Waiter
from holdfast._stock import environment, preparing

HEAD = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 07:46:44 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 19\r\nConnection: keep-alive\r\n\r\n"
)
KNOWN = {"timer": time.process_time, "warmup": True}


@pytest.mark.benchmark(group="HostPool release + acquire with callers waiting", **KNOWN)
@pytest.mark.parametrize("waiting", ["10 waiting", "100 waiting", "1000 waiting", "10000 waiting"])
def test_acquire_release(benchmark: Any, waiting: str) -> None:
    limits = Limits(max_connections_per_host=1)
    ledger: Ledger[int] = Ledger(None, 100)
    host: HostPool[int] = HostPool("http://a:80", limits.for_host("http", "a", 80), ledger, lambda: 0.5)
    host.try_permit()
    slot = host.dialed(1, 0.0, None, tls=False, seconds=0.0)
    for _ in range(int(waiting.partition(" ")[0])):
        host.join(Waiter(lambda: None), 0.0, permit=False)
    calls = 1000
    benchmark.extra_info["calls"] = calls

    def steps() -> None:
        for _ in range(calls):
            host.release(slot, 1.0)  # type: ignore[arg-type]
            host.join(Waiter(lambda: None), 1.0, permit=False)

    benchmark(steps)


@pytest.mark.benchmark(group="parsing a head of six lines")
@pytest.mark.parametrize("who", ["holdfast", "stock"])
def test_head(benchmark: Any, who: str) -> None:
    if who == "holdfast":
        benchmark(_core.parse_head, HEAD, False, 1 << 20)
    else:
        benchmark(lambda: http.client.parse_headers(io.BufferedReader(io.BytesIO(HEAD[17:]))))  # type: ignore[arg-type]


URL = "http://a.example:8080/path/to/x.json?page=1"


@pytest.mark.benchmark(group="preparing a plain request")
@pytest.mark.parametrize("who", ["holdfast", "stock"])
def test_prepare(benchmark: Any, who: str) -> None:
    with requests.Session() as session:
        session.trust_env = False
        if who == "holdfast":
            assert benchmark(preparer.prepare, session.__dict__, "GET", URL, None, "") is not None
        else:
            benchmark(lambda: session.prepare_request(requests.Request("GET", URL)))


@pytest.mark.benchmark(group="what the environment says: proxies, a netrc file, a bundle")
@pytest.mark.parametrize("who", ["holdfast", "stock"])
def test_environment(benchmark: Any, who: str) -> None:
    with requests.Session() as session:
        if who == "holdfast":
            benchmark(environment.look, True)
        else:
            settings = session.merge_environment_settings
            benchmark(lambda: (requests.utils.get_netrc_auth(URL), settings(URL, {}, None, None, None)))


@pytest.mark.benchmark(group="whether requests' code is as it came")
def test_untouched(benchmark: Any) -> None:
    assert benchmark(preparing.unchanged)


@pytest.mark.benchmark(group="the bytes of a request")
def test_message(benchmark: Any) -> None:
    with requests.Session() as session:
        store: Any = session.headers._store
        assert benchmark(_core.build_message, "GET", "/path", "a.example", store, None, 65536) is not None


@pytest.mark.benchmark(group="digest of an adapter's settings")
def test_digest(benchmark: Any) -> None:
    settings = {
        "tls": {"cert_reqs": "CERT_REQUIRED", "assert_hostname": None},
        "limits": b"x" * 300,
        "contents": (b"y" * 32,),
    }
    benchmark(_identity.digest, settings)


@pytest.mark.benchmark(group="choosing the lane")
def test_lane(benchmark: Any) -> None:
    adapter = PooledAdapter()
    assert benchmark(adapter._nobody_can_tell)
    adapter.close()


@pytest.mark.benchmark(group="python -c 'import ...', wall time", min_rounds=5)
@pytest.mark.parametrize("module", ["requests", "holdfast"])
def test_import(benchmark: Any, module: str) -> None:
    # With bytecode, as an installed package has it, whatever this shell says.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    benchmark(lambda: subprocess.run([sys.executable, "-c", f"import requests, {module}"], check=True, env=env))
