"""A pytest plugin (``-p equipment``): what a check runs with, stock's adapter or ours on a cold or on a warm pool.

Names of checks begin with the library's distribution: ``def check_requests_cache__revalidates(equip, serve)``.
"""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path
from typing import Any

import pytest
import requests

import holdfast

HOW = ["stock", "cold", "warm"]
results: dict[str, dict[str, list[bool]]] = {}


class Equip:
    """Gives a session its transport."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.made: list[requests.Session] = []

    def __call__(self, session: Any, url: str | None = None) -> Any:
        """``session``, mounted; on a warm pool a connection to ``url`` is idle already."""
        self.made.append(session)
        session.trust_env = False
        if self.how != "stock":
            holdfast.mount(session, shared=False)
        if self.how == "warm" and url is not None:
            assert requests.Session.get(session, url).content is not None
        return session

    @property
    def warmed(self) -> int:
        """How many requests of the server's count are not the check's."""
        return int(self.how == "warm")

    @property
    def base(self) -> type[requests.adapters.HTTPAdapter]:
        """The adapter class."""
        return requests.adapters.HTTPAdapter if self.how == "stock" else holdfast.PooledAdapter


@pytest.fixture(params=HOW)
def equip(request: pytest.FixtureRequest) -> Any:
    one = Equip(request.param)
    yield one
    for session in one.made:
        session.close()


@pytest.fixture(params=["stock", "installed"])
def prelude(request: pytest.FixtureRequest) -> str:
    """What a program of its own begins with."""
    return "" if request.param == "stock" else "import holdfast; holdfast.install()\n"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--page", type=Path, help="writes the table here")
    parser.addoption(
        "--same-page", type=Path, help="fails unless the table there, but for versions, is the one of this run"
    )


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Any:
    outcome = yield
    report = outcome.get_result()
    if report.when != "call" and report.passed:
        return
    name, _, ids = item.name.removeprefix("check_").partition("[")
    library = name.partition("__")[0].replace("_", "-")
    side = "stock" if "stock" in ids else "holdfast"
    runs = results.setdefault(library, {"stock": [], "holdfast": []})[side]
    if report.when == "teardown" and runs:
        runs[-1] = False
    else:
        runs.append(report.passed)


def table() -> str:
    """One row per library."""
    rows = ["| library | version | checks | on stock | on holdfast |", "| --- | --- | --- | --- | --- |"]
    for library, sides in sorted(results.items()):
        passed = [f"{sum(runs)} of {len(runs)}" for runs in sides.values()]
        rows.append(
            f"| {library} | {importlib.metadata.version(library)} | {len(sides['stock'])} | {' | '.join(passed)} |"
        )
    return "\n".join(rows) + "\n"


def without_versions(page: str) -> str:
    """Each interpreter has its own newest version of a library."""
    return re.sub(r"^(\| [a-z0-9-]+ \|) [0-9a-z.]+ \|", r"\1 |", page, flags=re.M)


BEGIN, END = "<!-- libraries -->\n", "<!-- end -->\n"


def pytest_sessionfinish(session: pytest.Session) -> None:
    page = session.config.getoption("--page")
    same = session.config.getoption("--same-page")
    path = page or same
    if path is None:
        return
    text = path.read_text()
    head, _, rest = text.partition(BEGIN)
    new = head + BEGIN + table() + END + rest.partition(END)[2]
    if page:
        page.write_text(new)
    elif without_versions(new) != without_versions(text):
        session.exitstatus = 1
        print(f"\n{path} does not say what this run says:\n{table()}")
