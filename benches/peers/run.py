"""Other HTTP clients beside ours, each in a process of its own, in one run: ``make peers``.

Every client asks the same server for the same files. On one core, client and server share it, so that waking another core
is billed to nobody; on two, each has one. A row is one client; what it can't do is left empty.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from bench_server import Site, serving  # noqa: E402  # after the path that it is on

ORDER = [
    "bare socket",
    "pycurl",
    "Go",
    "primp",
    "pyreqwest",
    "holdfast.Session",
    "holdfast, mounted",
    "http.client",
    "foghttp",
    "pyqwest",
    "aiohttp",
    "geventhttpclient",
    "curl_cffi",
    "urllib3",
    "requests",
    "httpx",
    "niquests",
]
LIMIT = 20.0
"""Seconds for one measurement, the start of a process included."""
SIZES = ["small", "small over TLS", "10 KiB", "1 MiB", "10 MiB", "gzip"]
PATHS = {"10 KiB": "10k", "1 MiB": "1m", "10 MiB": "10m", "gzip": "gzip"}


class Runner:
    """Starts clients and reads their figures."""

    def __init__(self, site: Site, pythons: dict[str, str], go: str | None, seconds: float) -> None:
        self.site = site
        self.pythons = pythons
        self.go = go
        self.seconds = seconds
        self.versions: dict[str, str] = {}

    def run(
        self, name: str, path: str, *, secure: bool = False, threads: int = 1, core: int = 0
    ) -> dict[str, Any] | None:
        """One measurement; None if the client can't be had."""
        url = (self.site.tls if secure else self.site.plain) + path
        arguments = [url, self.site.bundle, str(threads), str(self.seconds)]
        if name == "Go":
            if self.go is None:
                return None
            command = ["taskset", "-c", str(core), self.go, *arguments]
        else:
            python = self.pythons.get(name, self.pythons["*"])
            command = [python, str(HERE / "clients.py"), name, *arguments]
        environment = {k: v for k, v in os.environ.items() if not k.endswith("_CA_BUNDLE")} | {"CORE": str(core)}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=LIMIT)
        except subprocess.TimeoutExpired:
            print(f"{name}, {path}, {threads}: no figures within {LIMIT:g} s", file=sys.stderr)
            return None
        if done.returncode or not done.stdout.strip():
            print(f"{name}, {path}, {threads}: {done.stderr.strip()[-200:]}", file=sys.stderr)
            return None
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        self.versions[name] = found["version"]
        return found


def table(title: str, columns: list[str], rows: dict[str, list[str]]) -> str:
    """A table in Markdown."""
    lines = [f"**{title}**", "", f"| client | {' | '.join(columns)} |", f"| --- |{' ---: |' * len(columns)}"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows.items()]
    return "\n".join(lines)


def cpu(found: dict[str, Any] | None) -> str:
    return "" if found is None else f"{found['cpu'] / found['calls'] * 1e6:.1f}"


def rate(found: dict[str, Any] | None) -> str:
    return "" if found is None else f"{found['calls'] / found['wall']:,.0f}"


def built_go(folder: Path) -> str | None:
    """The Go program, if there is a compiler."""
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        return None
    out = folder / "peer"
    subprocess.run([go, "build", "-o", str(out), "."], cwd=HERE / "go", check=True, timeout=300)
    return str(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="of the peers' environment")
    parser.add_argument("--niquests", required=True, help="of the environment whose urllib3 niquests replaces")
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--only", nargs="*", default=ORDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        site_root = root / "site"
        site_root.mkdir()
        root.chmod(0o755)
        with serving(site_root) as site:
            pythons = {"*": options.python, "niquests": options.niquests}
            runner = Runner(site, pythons, built_go(root), options.seconds)
            report(runner, options.only)


def report(runner: Runner, names: list[str]) -> None:
    """Measures and prints."""
    cores = sorted(os.sched_getaffinity(0))
    both = os.cpu_count() or 1
    sizes: dict[str, list[str]] = {}
    threads: dict[str, list[str]] = {}
    apart: dict[str, list[str]] = {}
    for name in names:
        sizes[name] = [cpu(runner.run(name, PATHS.get(size, "small"), secure="TLS" in size)) for size in SIZES]
        threads[name] = [
            rate(runner.run(name, "small", secure=secure, threads=n)) for secure in (False, True) for n in (1, 8, 32)
        ]
        if both > 1:
            apart[name] = [
                rate(runner.run(name, "small", secure=secure, threads=n, core=1))
                for secure in (False, True)
                for n in (1, 8, 32)
            ]
        print(f"{name} {runner.versions.get(name, 'could not be measured')}", file=sys.stderr, flush=True)
    columns = [f"{kind}, {n}" for kind in ("plain", "TLS") for n in (1, 8, 32)]
    print(
        f"CPython {platform.python_version()}, {runner.site.server}, {platform.machine()}, core {cores[0]} and its neighbour\n"
    )
    print(table("CPU microseconds per call, client and server on one core", SIZES, sizes), end="\n\n")
    print(table("Requests per second by threads (tasks), client and server on one core", columns, threads), end="\n\n")
    if apart:
        print(table("Requests per second by threads (tasks), each on a core of its own", columns, apart), end="\n\n")
    print("Versions: " + ", ".join(f"{name} {version}" for name, version in runner.versions.items()) + ".")


if __name__ == "__main__":
    main()
