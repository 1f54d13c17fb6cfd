"""The test suites of requests and of urllib3's pools on stock and on ours; fails if what passes on stock fails on ours.

``make suite`` runs it. The tests come from the sdists, fetched by hash; nothing in them is changed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from left_out import URLLIB3

HERE = Path(__file__).parent
SOURCES = HERE.parent.parent / "requirements" / "suite-source.txt"
LIMIT = 900.0
"""Seconds for one run of a suite; each takes about one minute."""


@dataclass(frozen=True)
class Suite:
    """What to run of a project's tests, how often, and what does not apply."""

    project: str
    title: str
    arguments: list[str]
    runs: dict[str, tuple[list[str], dict[str, str]]]
    """Plugins and environment variables of each run; the first is stock's."""
    left_out: dict[str, str] = field(default_factory=dict)


SUITES = [
    Suite(
        "requests",
        "requests'",
        # The installed requests is tested, not the sdist's own folder.
        ["-o", "pythonpath=", "tests"],
        {
            "stock": ([], {}),
            "fast lane": (["-p", "adapter_swap"], {}),
            "standard lane": (["-p", "adapter_swap"], {"HOLDFAST_LANE": "standard"}),
            "holdfast.Session": (["-p", "session_swap"], {}),
        },
    ),
    Suite(
        "urllib3",
        "urllib3's",
        # h2: urllib3's experimental HTTP/2 replaces the connection classes. Its probe waits for ever if one thread of a test
        # makes two attempts, as it does where they fail at once. The warnings: the tests drop responses unread, and the
        # proxy that they bring needs a changed hypercorn, without which its threads fail.
        [
            *("-o", "addopts=", "-k", "not h2 and not http2_probe_blocked", "-p", "no:httpbin", "--timeout", "60"),
            *("-W", "ignore:response dropped:ResourceWarning", "-W", "ignore::pytest.PytestUnraisableExceptionWarning"),
            *("-W", "ignore::pytest.PytestUnhandledThreadExceptionWarning", "test/with_dummyserver"),
        ],
        {"stock": ([], {}), "our pools": (["-p", "pool_swap"], {})},
        URLLIB3,
    ),
]


def fetch(folder: Path) -> None:
    """Unpacks the sdists into ``folder``."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    download = ["download", "--no-deps", "--no-build-isolation", "--no-binary", ":all:", "--require-hashes"]
    subprocess.run([*pip, *download, "-d", str(folder), "-r", str(SOURCES)], check=True, timeout=300)
    for archive in folder.glob("*.tar.gz"):
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")


def outcomes(source: Path, suite: Suite, name: str, only: str = "") -> dict[str, str]:
    """What became of each test, or of those whose name is ``only``."""
    plugins, variables = suite.runs[name]
    report = source / f"{name.replace(' ', '-')}.xml"
    report.unlink(missing_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment |= {"PYTHONPATH": str(HERE), **variables}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, f"--junitxml={report}"]
    command += suite.arguments
    if only:
        command += ["-k", only]
    # A test's thread that waits for ever keeps pytest from ending; its report is there all the same.
    with (source / "log.txt").open("w") as log, contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run(command, cwd=source, env=environment, stdout=log, stderr=log, check=False, timeout=LIMIT)
    if not report.exists():
        raise SystemExit(f"{name}: the suite did not run\n{(source / 'log.txt').read_text()[-4000:]}")
    found = {}
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        key = f"{case.get('classname')}.{case.get('name')}"
        # An error when a test is taken down is a second case of the same name.
        found[key] = "failed" if "failed" in (outcome, found.get(key)) else outcome
    return {key: outcome for key, outcome in found.items() if bare(key) not in suite.left_out}


def bare(test: str) -> str:
    """``test_name`` of ``package.Class.test_name[parameters]``."""
    return test.partition("[")[0].rpartition(".")[2]


def passes_later(source: Path, suite: Suite, name: str, test: str) -> bool:
    """Whether one of two more runs lets ``test`` pass: some of these tests depend on a few milliseconds."""
    print(f"again, it failed on the {name}: {test}")
    return any(outcomes(source, suite, name, bare(test)).get(test) == "passed" for _ in range(2))


def compare(folder: Path, suite: Suite) -> bool:
    """Runs and prints; whether ours is no worse than stock."""
    installed = version(suite.project)
    source = folder / f"{suite.project}-{installed}"
    if not source.is_dir():
        raise SystemExit(f"{SOURCES.name} does not name the sources of {suite.project} {installed}, which is installed")
    results = {name: outcomes(source, suite, name) for name in suite.runs}
    stock = results.pop("stock")
    worse: list[str] = []
    for name, found in results.items():
        passed = [sum(1 for outcome in run.values() if outcome == "passed") for run in (stock, found)]
        print(f"| {suite.title} own tests, {name} | {installed} | {len(stock)} | {passed[0]} | {passed[1]} |")
        worse += [
            f"{test} on the {name}"
            for test in stock
            if stock[test] == "passed" != found.get(test) and not passes_later(source, suite, name, test)
        ]
    for test in stock:
        if stock[test] == "failed" and all(found.get(test) == "failed" for found in results.values()):
            print(f"fails on stock and on holdfast: {test}")
    for test in worse:
        print(f"passes on stock, not {test}", file=sys.stderr)
    return not worse and any(outcome == "passed" for outcome in stock.values())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=[suite.project for suite in SUITES])
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory(prefix="holdfast-suite-") as folder:
        fetch(Path(folder))
        good = [compare(Path(folder), suite) for suite in SUITES if only in (None, suite.project)]
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
