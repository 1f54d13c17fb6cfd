"""What the size of a pool costs: reuse, connections opened, latency and throughput, over sizes.

``make sweep`` prints the tables and draws ``docs/images/sweep.png``. 24 threads in bursts ask a TLS server that takes
10 ms for each answer; first the number of idle connections that are kept is swept, then the number that there may be.
"""

from __future__ import annotations

import argparse
import ssl
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import trustme

import holdfast
from holdfast import Limits

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from servers import Peer, Server, ok  # noqa: E402  # after the path

THREADS = 24
LATENCY = 0.01
SIZES = [1, 2, 4, 8, 12, 16, 20, 24, 32]


@dataclass
class Row:
    """One size's figures."""

    size: int
    reuse: float
    opened: int
    p50: float
    p99: float
    throughput: float


def handle(peer: Peer) -> None:
    while peer.read_request() is not None:
        time.sleep(LATENCY)
        peer.send(ok())


def measure(server: Server, bundle: str, size: int, limits: Limits, bursts: int) -> Row:
    """``bursts`` times all threads at once, each with three requests, then silence until the last is done."""
    before = server.accepted
    times: list[float] = []
    barrier = threading.Barrier(THREADS)
    with holdfast.Session(limits=limits, shared=False) as session:
        session.trust_env = False

        def work() -> None:
            for _ in range(bursts):
                barrier.wait(60)
                for _ in range(3):
                    began = time.perf_counter()
                    session.get(server.url, verify=bundle)
                    times.append(time.perf_counter() - began)

        threads = [threading.Thread(target=work) for _ in range(THREADS)]
        began = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        took = time.perf_counter() - began
        adapter = session.get_adapter("https://")
        assert isinstance(adapter, holdfast.PooledAdapter)
        stats = adapter.statistics()
    cuts = statistics.quantiles(times, n=100)
    reuse = stats.reused / stats.acquired
    return Row(size, reuse, server.accepted - before, cuts[49] * 1e3, cuts[98] * 1e3, len(times) / took)


def table(title: str, rows: list[Row]) -> None:
    print(f"\n{title}\n{'size':>6}{'reused':>9}{'opened':>8}{'p50 ms':>9}{'p99 ms':>9}{'requests/s':>12}")
    for row in rows:
        print(
            f"{row.size:6}{row.reuse:9.1%}{row.opened:8}{row.p50:9.1f}{row.p99:9.1f}{row.throughput:12.0f}", flush=True
        )


def draw(kept: list[Row], most: list[Row], path: Path) -> None:
    """Two panels of two: what is kept, and what there may be."""
    import matplotlib.pyplot as plt  # the tables do without

    plt.rcParams.update({"font.size": 9, "axes.spines.top": False, "svg.fonttype": "none"})
    figure, axes = plt.subplots(2, 2, figsize=(9, 5.4), sharex="col", layout="constrained")
    for column, (rows, name) in enumerate(((kept, "max_idle_per_host"), (most, "max_connections_per_host"))):
        sizes = [row.size for row in rows]
        top, bottom = axes[0][column], axes[1][column]
        if column == 0:
            top.plot(sizes, [row.opened for row in rows], "o-", color="#d1495b")
            top.set_ylabel("connections opened")
        else:
            top.plot(sizes, [row.throughput for row in rows], "o-", color="#2a9d8f")
            top.set_ylabel("requests per second")
        bottom.plot(sizes, [row.p99 for row in rows], "o-", color="#e9a03b", label="p99")
        bottom.plot(sizes, [row.p50 for row in rows], "o-", color="#5b8def", label="p50")
        bottom.set_ylabel("latency, ms")
        bottom.set_xlabel(name)
        bottom.legend(frameon=False)
        for axis in (top, bottom):
            axis.set_ylim(bottom=0)
            axis.axvline(THREADS, color="#888", linestyle=":", linewidth=1)
    figure.suptitle(f"{THREADS} threads in bursts, TLS, {LATENCY * 1e3:.0f} ms per answer; dotted: as many as threads")
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bursts", type=int, default=20, help="for each size")
    parser.add_argument("--picture", type=Path, help="draw here (needs matplotlib)")
    options = parser.parse_args()
    ca = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    with tempfile.TemporaryDirectory() as folder, Server(handle, tls=context) as server:
        bundle = str(Path(folder) / "ca.pem")
        ca.cert_pem.write_to_path(bundle)
        kept = [measure(server, bundle, n, Limits(max_idle_per_host=n), options.bursts) for n in SIZES]
        table("max_idle_per_host: how many are kept between bursts", kept)
        most = [
            measure(server, bundle, n, Limits(max_connections_per_host=n, max_idle_per_host=n), options.bursts)
            for n in SIZES
        ]
        table("max_connections_per_host: how many there may be", most)
    if options.picture:
        draw(kept, most, options.picture)


if __name__ == "__main__":
    main()
