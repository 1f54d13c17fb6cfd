"""Reconciles with five configurations, 50 times in a row and 50 times at once, on plain sessions and on holdfast.

``make provider`` runs it and prints what the server accepted, what was left in TIME_WAIT, and what it cost.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import trustme
import urllib3
from rich.console import Console
from rich.table import Table

import holdfast
from provider import LIMITS, ClientConfig, reconcile

ROUNDS = 50
THREADS = 16


@contextlib.contextmanager
def api(folder: Path) -> Iterator[tuple[str, Callable[[], int], dict[str, str]]]:
    """The server's URL, what it has accepted so far, and the files that clients may use."""
    ca = trustme.CA()
    files = {name: str(folder / f"{name}.pem") for name in ("ca", "bundle", "server", "client")}
    ca.cert_pem.write_to_path(files["ca"])
    Path(files["bundle"]).write_bytes(ca.cert_pem.bytes() + trustme.CA().cert_pem.bytes())
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(files["server"])
    ca.issue_cert("controller@example.org").private_key_and_cert_chain_pem.write_to_path(files["client"])
    command = [sys.executable, str(Path(__file__).with_name("server.py")), files["server"], files["ca"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        reading, writing = process.stdout, process.stdin

        def accepted() -> int:
            writing.write("\n")
            writing.flush()
            return int(reading.readline())

        try:
            yield f"https://127.0.0.1:{int(reading.readline())}", accepted, files
        finally:
            writing.close()
            process.wait(20)


def configurations(url: str, files: dict[str, str]) -> dict[str, ClientConfig]:
    """As resources come with them. The first two trust what the environment says, and mean the same."""
    return {
        "nothing said": ClientConfig(url),
        "verify=True": ClientConfig(url, verify=True),
        "a CA bundle": ClientConfig(url, verify=files["bundle"], timeout=5),
        "a client certificate": ClientConfig(url, verify=files["bundle"], client_cert=files["client"]),
        "verify=False": ClientConfig(url, verify=False, proxies={"no_proxy": "127.0.0.1"}, timeout=2),
    }


def time_wait(url: str) -> int:
    """Sockets of this machine in TIME_WAIT to the server's port."""
    port = f":{int(url.rpartition(':')[2]):04X}"
    try:
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    except OSError:
        return 0
    return sum(1 for row in rows if row[3] == "06" and port in (row[1][-5:], row[2][-5:]))


def measure(config: ClientConfig, accepted: Callable[[], int], *, pooled: bool, threads: int) -> tuple[int, int, float]:
    """Connections accepted, sockets left in TIME_WAIT, milliseconds of CPU a reconcile."""
    before, left, cpu = accepted(), time_wait(config.endpoint), time.process_time()
    with ThreadPoolExecutor(threads) as pool:
        # Each resource is new, so each reconcile reads and writes.
        names = [f"{os.urandom(6).hex()}" for _ in range(ROUNDS)]
        assert all(pool.map(lambda name: reconcile(config, name, {"size": 3}, pooled=pooled), names))
    cpu = (time.process_time() - cpu) / ROUNDS * 1e3
    return accepted() - before, max(0, time_wait(config.endpoint) - left), cpu


def main() -> None:
    warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
    table = Table(title=f"{ROUNDS} reconciles (GET and PUT) per configuration, a fresh client each")
    for column in ("configuration", "how", "connections", "", "TIME_WAIT", "", "CPU ms", ""):
        table.add_column(column, justify="left" if column in ("configuration", "how") else "right")
    table.add_row("", "", "requests", "holdfast", "requests", "holdfast", "requests", "holdfast", style="bold")
    with tempfile.TemporaryDirectory() as folder, api(Path(folder)) as (url, accepted, files):
        os.environ["REQUESTS_CA_BUNDLE"] = files["ca"]
        for name, config in configurations(url, files).items():
            for how, threads in (("one by one", 1), (f"{THREADS} at once", THREADS)):
                plain = measure(config, accepted, pooled=False, threads=threads)
                pooled = measure(config, accepted, pooled=True, threads=threads)
                pairs = zip(plain, pooled, strict=True)
                cells = [f"{one:.2f}" if isinstance(one, float) else str(one) for pair in pairs for one in pair]
                table.add_row(name, how, *cells)
        holdfast.close_idle_connections()
    Console(width=110).print(table)
    print(f"at most {LIMITS.max_connections_per_host} connections per host and configuration")


if __name__ == "__main__":
    main()
