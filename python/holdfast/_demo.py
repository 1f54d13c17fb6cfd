"""``holdfast demo``: the same requests first as plain ``requests.get()``, then after ``holdfast.install()``.

Needs the ``cli`` extra (rich, and trustme for the embedded server's certificate).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests
import trustme
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import holdfast

__all__ = ["run"]


@dataclasses.dataclass
class Result:
    """What one round of requests cost."""

    opened: int
    time_wait: int | None
    cpu_ms: float
    seconds: float
    latencies: list[float]
    closed: int = 0

    def percentile(self, p: int) -> float:
        """Milliseconds."""
        if len(self.latencies) == 1:
            return self.latencies[0] * 1e3
        return statistics.quantiles(self.latencies, n=100, method="inclusive")[p - 1] * 1e3


class Target:
    """Where the requests go, and how many connections it has seen."""

    def __init__(self, url: str, verify: str | bool, accepted: Callable[[], int], counted_by: str) -> None:
        self.url = url
        self.verify = verify
        self.accepted = accepted
        self.counted_by = counted_by
        parts = urllib.parse.urlsplit(url)
        self.port = parts.port or (443 if parts.scheme == "https" else 80)


class _DialCount(logging.Handler):
    """Counts urllib3's "Starting new connection" lines, where the server can't be asked."""

    def __init__(self) -> None:
        super().__init__()
        self.n = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.n += record.msg.startswith("Starting new")


@contextlib.contextmanager
def embedded_server() -> Iterator[Target]:
    """A real TLS keep-alive server in another process."""
    with tempfile.TemporaryDirectory() as folder:
        ca, bundle, cert = trustme.CA(), Path(folder, "ca.pem"), Path(folder, "server.pem")
        ca.cert_pem.write_to_path(str(bundle))
        ca.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(str(cert))
        command = [sys.executable, "-m", "holdfast._demo_server", str(cert)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin is not None  # both were asked for
            assert process.stdout is not None
            stdin, stdout = process.stdin, process.stdout

            def ask() -> int:
                stdin.write("\n")
                stdin.flush()
                return int(stdout.readline())

            yield Target(f"https://127.0.0.1:{int(stdout.readline())}/", str(bundle), ask, "connections accepted")
            stdin.close()


@contextlib.contextmanager
def given_server(url: str) -> Iterator[Target]:
    """The user's server; one request shows whether it can be used."""
    count, logger = _DialCount(), logging.getLogger("urllib3.connectionpool")
    level = logger.level
    requests.get(url, timeout=10).content  # noqa: B018  # an error here ends the demo with one line
    logger.addHandler(count)
    logger.setLevel(logging.DEBUG)
    propagate, logger.propagate = logger.propagate, False
    try:
        yield Target(url, True, lambda: count.n, "connections opened")
    finally:
        logger.removeHandler(count)
        logger.setLevel(level)
        logger.propagate = propagate


def time_wait(port: int) -> int | None:
    """Sockets of this machine in TIME_WAIT towards ``port``; None where the system does not say."""
    n = 0
    try:
        for name in ("tcp", "tcp6"):
            for line in Path("/proc/net", name).read_text().splitlines()[1:]:
                fields = line.split()
                n += fields[3] == "06" and int(fields[2].rpartition(":")[2], 16) == port
    except OSError:
        return None
    return n


def measure(target: Target, total: int, threads: int, tick: Callable[[], Any]) -> Result:
    """``total`` times ``requests.get()``."""

    def one(_: int) -> float:
        began = time.perf_counter()
        requests.get(target.url, verify=target.verify, timeout=30).raise_for_status()
        took = time.perf_counter() - began
        tick()
        return took

    before, waiting = target.accepted(), time_wait(target.port)
    cpu, began = time.process_time(), time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        latencies = list(pool.map(one, range(total)))
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    after = time_wait(target.port)
    left = None if after is None or waiting is None else max(0, after - waiting)
    return Result(target.accepted() - before, left, cpu * 1e3 / total, seconds, latencies)


def table(plain: Result, pooled: Result, total: int, threads: int, target: Target) -> Table:
    """Both results side by side."""
    shown = Table(title=f"{total} x requests.get({target.url!r}), {threads} thread(s)", box=box.ROUNDED)
    shown.add_column("")
    shown.add_column("requests", justify="right")
    shown.add_column("after holdfast.install()", justify="right", style="bold")
    shown.add_column("", justify="right", style="dim")

    def row(name: str, value: Callable[[Result], float | None], form: str, *, more: bool = False) -> None:
        a, b = value(plain), value(pooled)
        ratio = ""
        if a and b:
            ratio = f"{b / a:.1f}x" if more else f"1/{a / b:.1f}" if a >= b else f"{b / a:.1f}x"
        shown.add_row(name, *("?" if v is None else format(v, form) for v in (a, b)), ratio)

    row(target.counted_by, lambda r: r.opened, ",d")
    row("sockets left in TIME_WAIT", lambda r: r.time_wait, ",d")
    row("CPU per request (ms)", lambda r: r.cpu_ms, ".2f")
    for p in (50, 90, 99):
        row(f"latency p{p} (ms)", lambda r, p=p: r.percentile(p), ".2f")  # type: ignore[misc]
    row("requests per second", lambda r: len(r.latencies) / r.seconds, ",.0f", more=True)
    return shown


def pool_table(stats: holdfast.Statistics) -> Table:
    """The pool's own view."""
    shown = Table(title="holdfast.statistics()", box=box.ROUNDED)
    for name in ("host", "idle", "in use", "created", "reused", "TLS", "closed"):
        shown.add_column(name, justify="left" if name in ("host", "closed") else "right", no_wrap=name == "host")
    for host in (host for transport in stats.transports for host in transport.hosts):
        closed = ", ".join(f"{n} {reason}" for reason, n in host.closed.items()) or "none"
        counts = (host.idle, host.in_use, host.created, host.reused, host.tls_handshakes)
        shown.add_row(host.origin, *map(str, counts), closed)
    return shown


def run(url: str | None, total: int, threads: int) -> None:
    """The whole demo. requests' exceptions come through: the command line has one line for each."""
    console = Console()
    source = embedded_server() if url is None else given_server(url)
    with source as target, Progress(console=console, transient=True) as progress:
        rounds = []
        for name, prepare in (("requests", holdfast.uninstall), ("holdfast", holdfast.install)):
            prepare()
            task = progress.add_task(name, total=total)
            rounds.append(measure(target, total, threads, lambda task=task: progress.advance(task)))  # type: ignore[misc]
        stats = holdfast.statistics()
        holdfast.uninstall()
    console.print(table(rounds[0], rounds[1], total, threads, target))
    console.print(pool_table(stats))
    holdfast.close_idle_connections()
