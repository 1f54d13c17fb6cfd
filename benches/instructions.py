"""Instructions per call, counted by callgrind: what a change costs, told apart from what else the machine was doing.

``make bench-check`` compares them with ``instructions.json`` and fails where one has grown by more than 5 %;
``make bench-check ARGS=--write`` records them. Counts depend on how Python was built, so what is compared is each count
over that of a loop of plain Python counted beside it, per version of Python. The counts are of user space alone: system
calls and the server, which runs apart, are not in them.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

KNOWN = Path(__file__).with_suffix(".json")
MOST = 1.05
"""How much a count may grow."""
FEW, MANY = 40, 240
"""A count is the difference of two runs: what starting costs falls out."""


def loop(url: str) -> Callable[[], Any]:
    """What the others are measured in: calls, attributes, dicts and strings, as an interpreter spends its time."""

    class Thing:
        def __init__(self, n: int) -> None:
            self.n = n

        def name(self) -> str:
            return f"{self.n}:{len(str(self.n))}"

    return lambda: {Thing(i).name(): i for i in range(60)}


def session(url: str) -> Callable[[], Any]:
    import holdfast

    client = holdfast.Session()
    return lambda: client.get(url).content


def session_with_more(url: str) -> Callable[[], Any]:
    import holdfast

    client = holdfast.Session()
    more: Any = {"headers": {"X-Request": "1"}, "params": {"page": 2}, "timeout": 5}
    return lambda: client.get(url, **more).content


def posted(url: str) -> Callable[[], Any]:
    import holdfast

    client = holdfast.Session()
    return lambda: client.post(url, json={"name": "value"}).content


def mounted(url: str) -> Callable[[], Any]:
    import requests

    import holdfast

    client = holdfast.mount(requests.Session())
    return lambda: client.get(url).content


def adapter(url: str) -> Callable[[], Any]:
    import requests

    import holdfast

    own = holdfast.PooledAdapter()
    request = requests.Request("GET", url, headers={"User-Agent": "bench", "Accept": "*/*"}).prepare()
    return lambda: own.send(request).content


CASES = {
    "a loop of Python": loop,
    "holdfast.Session().get().content": session,
    "the same with headers, params, timeout": session_with_more,
    "holdfast.Session().post(json=).content": posted,
    "mount(requests.Session()).get().content": mounted,
    "PooledAdapter.send().content": adapter,
}


def serve() -> None:
    """One connection after another, in a process of its own: reads heads, writes the same answer."""
    import socket

    fields = "Content-Type: application/json\r\nServer: test\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
    answer = f"HTTP/1.1 200 OK\r\n{fields}Content-Length: 2\r\nConnection: keep-alive\r\n\r\n{{}}".encode()
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        while True:
            conn, _ = server.accept()
            with conn:
                while conn.recv(65536):
                    conn.sendall(answer)


def counted(case: str, calls: int, *, plainly: bool = False) -> int:
    """Instructions of a process that makes so many calls; 0 if it runs ``plainly``, without callgrind."""
    me = str(Path(__file__).resolve())
    with subprocess.Popen([sys.executable, me, "--serve"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/nowhere",
            "PYTHONHASHSEED": "0",
            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),
        }
        try:
            with tempfile.NamedTemporaryFile() as out:
                grind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out.name}"]
                command = [
                    *(() if plainly else grind),
                    sys.executable,
                    me,
                    "--case",
                    case,
                    "--calls",
                    str(calls),
                    "--port",
                    port,
                ]
                done = subprocess.run(
                    command, env=environment, capture_output=True, text=True, check=False, timeout=550
                )
                if done.returncode:
                    raise SystemExit(f"{case}: {done.stderr[-2000:]}")
                if plainly:
                    return 0
                total = re.search(r"Collected : (\d+)", done.stderr)
                assert total is not None
                return int(total[1])
        finally:
            server.kill()


def per_call(case: str) -> float:
    """Instructions per call."""
    counted(case, FEW, plainly=True)  # whatever the first run of all compiles is compiled
    return (counted(case, MANY) - counted(case, FEW)) / (MANY - FEW)


def check(write: bool) -> int:
    """Counts, compares, prints; 1 if something has grown too much."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        counts = dict(zip(CASES, pool.map(per_call, CASES), strict=True))
    unit = counts.pop("a loop of Python")
    version = "{}.{}".format(*sys.version_info)
    records: dict[str, dict[str, float]] = json.loads(KNOWN.read_text()) if KNOWN.exists() else {}
    known = records.get(version, {})
    grown = []
    print(f"CPython {sys.version.split()[0]}; instructions per call, and times those of a loop of Python ({unit:.0f})")
    for case, count in counts.items():
        now, before = count / unit, known.get(case)
        change = "" if before is None else f"{(now / before - 1) * 100:+6.1f} %"
        print(f"  {case:<42}{count:>10.0f}{now:>9.3f}{change:>10}")
        if before is not None and now > before * MOST:
            grown.append(case)
    if write:
        records[version] = {case: round(count / unit, 4) for case, count in counts.items()}
        KNOWN.write_text(json.dumps(dict(sorted(records.items())), indent=2) + "\n")
        return 0
    if not known:
        print(f"{KNOWN.name} has no record for Python {version}: make bench-check ARGS=--write makes one")
        return 1
    if grown:
        print(f"more than {(MOST - 1) * 100:.0f} % more instructions than recorded: {', '.join(grown)}")
    return 1 if grown else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="record the counts")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--calls", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--port", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve()
    if options.case is None:
        return check(options.write)
    call = CASES[options.case](f"http://127.0.0.1:{options.port}/")
    gc.disable()  # a full collection falls into one run or the other
    for _ in range(options.calls):
        call()
    sys.stdout.flush()
    os._exit(0)  # as is: what taking down costs varies


if __name__ == "__main__":
    sys.exit(main())
