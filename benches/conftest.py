"""What the benchmarks share, and the table of ratios at the end.

Client and server share one core where the system can pin them, so that waking another core is billed to nobody.
"""

from __future__ import annotations

import os
import platform
import ssl
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
import urllib3

import holdfast
from bench_server import Site, serving


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One server for all benchmarks, plain and TLS."""
    with serving(tmp_path_factory.mktemp("site")) as found:
        yield found


@pytest.fixture
def adapters() -> Iterator[Callable[[str], Any]]:
    """Adapters by name; closed afterwards. ``standard`` is holdfast with the fast lane switched off."""
    made: list[Any] = []

    def make(name: str, **options: Any) -> Any:
        if name == "stock":
            adapter: Any = requests.adapters.HTTPAdapter()
        else:
            adapter = holdfast.PooledAdapter(shared=False, **options)
            if name == "standard":
                adapter._nobody_can_tell = lambda: False
        made.append(adapter)
        return adapter

    yield make
    for adapter in made:
        adapter.close()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Refuses figures of a replaced urllib3 (niquests installs one under its name)."""
    if "urllib3_future" in sys.modules or "future" in getattr(urllib3, "__file__", ""):
        pytest.exit("urllib3 was replaced by another distribution; the figures would be its own")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """The table: each case with its ratio to stock and to the bare loop of its group."""
    session = getattr(config, "_benchmarksession", None)
    rows = [bench for bench in session.benchmarks if bench.stats.data] if session else []
    if not rows:
        return
    write = terminalreporter.write_line
    write("")
    write(
        f"{platform.python_implementation()} {platform.python_version()}, requests {requests.__version__}, ",
    )
    write(
        f"urllib3 {urllib3.__version__}, holdfast {holdfast.__version__}, {ssl.OPENSSL_VERSION}, {platform.machine()}, {os.cpu_count()} cores"
    )
    write("Median per call. 'x stock': how many times stock's time; 'x bare': likewise for the bare socket loop.")
    groups: dict[str, dict[str, float]] = {}
    for bench in rows:
        case = bench.name.partition("[")[2].rstrip("]") or bench.name
        groups.setdefault(bench.group or "", {})[case] = bench.stats.median / bench.extra_info.get("calls", 1)
    for group, cases in groups.items():
        write(f"\n{group}")
        for case, seconds in sorted(cases.items(), key=lambda item: item[1]):
            ratios = "".join(
                f"{seconds / cases[base]:9.2f} x {base}" for base in ("stock", "bare") if base in cases and base != case
            )
            write(f"  {case:<24}{seconds * 1e6:12.2f} us{ratios}")
