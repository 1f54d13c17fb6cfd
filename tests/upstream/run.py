"""requests' own test suite on stock and on both lanes; fails if a test that passes on stock fails on holdfast.

``make suite`` runs it. The tests come from the sdist, fetched by hash; nothing in them is changed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

import requests

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "requirements" / "suite-source.txt"
RUNS = {
    "stock": ([], {}),
    "fast lane": (["-p", "adapter_swap"], {}),
    "standard lane": (["-p", "adapter_swap"], {"HOLDFAST_LANE": "standard"}),
}
LIMIT = 600.0
"""Seconds for one run of the suite; it takes about one minute."""


def fetch(folder: Path) -> Path:
    """The unpacked sdist."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    command = [
        "download",
        "--no-deps",
        "--no-build-isolation",
        "--no-binary",
        "requests",
        "--require-hashes",
        "-d",
        str(folder),
    ]
    subprocess.run([*pip, *command, "-r", str(SOURCE)], check=True, timeout=300)
    (archive,) = folder.glob("requests-*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    unpacked = folder / archive.name.removesuffix(".tar.gz")
    if unpacked.name != f"requests-{requests.__version__}":
        raise SystemExit(f"the tests are those of {unpacked.name}, and requests {requests.__version__} is installed")
    return unpacked


def outcomes(source: Path, name: str) -> dict[str, str]:
    """What became of each test."""
    plugins, variables = RUNS[name]
    report = source / f"{name.replace(' ', '-')}.xml"
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    environment |= {"PYTHONPATH": str(HERE), **variables}
    # -o: the installed requests is tested, not the sdist's own folder.
    command = [sys.executable, "-m", "pytest", "-q", "-o", "pythonpath=", *plugins, f"--junitxml={report}", "tests"]
    with (source / "log.txt").open("w") as log:
        subprocess.run(command, cwd=source, env=environment, stdout=log, stderr=log, check=False, timeout=LIMIT)
    if not report.exists():
        raise SystemExit(f"{name}: the suite did not run\n{(source / 'log.txt').read_text()[-4000:]}")
    found = {}
    for case in ET.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        outcome = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        found[f"{case.get('classname')}.{case.get('name')}"] = outcome
    return found


def main() -> int:
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="holdfast-suite-") as folder:
        source = fetch(Path(folder))
        results = {name: outcomes(source, name) for name in RUNS}
    stock = results["stock"]
    print(f"requests {requests.__version__}, its own tests")
    worse = []
    for name, found in results.items():
        counts = [sum(1 for outcome in found.values() if outcome == kind) for kind in ("passed", "failed", "skipped")]
        print("{:14} {:4} passed, {} failed, {} skipped".format(name, *counts))
        worse += [f"{test} on the {name}" for test in stock if stock[test] == "passed" != found.get(test)]
    both = [test for test in stock if all(found.get(test) == "failed" for found in results.values())]
    for test in both:
        print(f"fails on stock and on holdfast: {test}")
    for test in worse:
        print(f"passes on stock, not {test}", file=sys.stderr)
    return int(bool(worse) or not any(outcome == "passed" for outcome in stock.values()))


if __name__ == "__main__":
    sys.exit(main())
