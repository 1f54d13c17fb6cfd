"""What Python's limited API would cost: the same core built both ways, measured in turns.

``make abi`` builds a wheel for this Python alone and one for all from 3.10 on (abi3), and runs this over both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CHILD = r"""
import http.server, json, multiprocessing, sys, time, timeit

HEAD = (b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Sat, 01 Jan 2022 00:00:00 GMT\r\nContent-Type: application/json\r\n"
        b"Content-Length: 26\r\nConnection: keep-alive\r\nETag: \"5f5\"\r\nAccept-Ranges: bytes\r\nX-Id: 4a\r\n\r\n")

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.wfile.write(HEAD + b"x" * 26)
    def log_message(self, *args):
        pass

def serve(pipe):
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_port)
    server.serve_forever()

if __name__ == "__main__":
    import requests, holdfast
    from holdfast import _core

    here, there = multiprocessing.Pipe()
    process = multiprocessing.Process(target=serve, args=(there,), daemon=True)
    process.start()
    url = f"http://127.0.0.1:{here.recv()}/path"
    fields = {name.lower(): (name, "value") for name in ("Accept", "User-Agent", "Accept-Encoding", "Connection")}
    decoder = b"5\r\nhello\r\n" * 200 + b"0\r\n\r\n"
    found = {
        "parse_head": min(timeit.repeat(lambda: _core.parse_head(HEAD, False, 1 << 20), number=20000)) / 20000,
        "build_message": min(
            timeit.repeat(lambda: _core.build_message("GET", "/path", "host", fields, None, 65536), number=20000)
        )
        / 20000,
        "split_url": min(timeit.repeat(lambda: _core.split_url(url), number=20000)) / 20000,
        "chunked body of 200 chunks": min(
            timeit.repeat(lambda: _core.ChunkedDecoder(1000).feed(decoder, 0), number=2000)) / 2000,
    }
    adapter = holdfast.PooledAdapter()
    request = requests.Session().prepare_request(requests.Request("GET", url))
    for _ in range(200):
        adapter.send(request).content
    began = time.process_time()
    for _ in range(2000):
        adapter.send(request).content
    found["adapter.send().content, CPU"] = (time.process_time() - began) / 2000
    process.kill()
    process.join()
    print(json.dumps(found))
"""
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheels", nargs="+", type=Path)
    wheels = parser.parse_args().wheels
    found: dict[Path, list[dict[str, float]]] = {wheel: [] for wheel in wheels}
    with tempfile.TemporaryDirectory(prefix="holdfast-abi-") as folder:
        child = Path(folder) / "child.py"
        child.write_text(CHILD)
        for wheel in wheels:
            zipfile.ZipFile(wheel).extractall(Path(folder) / wheel.stem)
        for _ in range(ROUNDS):
            for wheel in wheels:
                # In front of the editable install, which is on the path as well.
                environment = {**os.environ, "PYTHONPATH": str(Path(folder) / wheel.stem)}
                done = subprocess.run(
                    [sys.executable, str(child)], env=environment, check=True, timeout=300, capture_output=True
                )
                found[wheel].append(json.loads(done.stdout))
    print(f"CPython {sys.version.split()[0]}, median of {ROUNDS} runs, microseconds")
    kinds = ["abi3" if "-abi3-" in wheel.name else "this version" for wheel in wheels]
    print("{:32}".format("") + "".join(f"{kind:>16}" for kind in kinds) + "  ratio")
    for name in found[wheels[0]][0]:
        medians = [statistics.median(run[name] for run in found[wheel]) * 1e6 for wheel in wheels]
        print(f"{name:32}" + "".join(f"{one:16.3f}" for one in medians) + f"{medians[-1] / medians[0]:7.2f}")
    sizes = [wheel.stat().st_size for wheel in wheels]
    print("{:32}".format("wheel, bytes") + "".join(f"{size:16}" for size in sizes) + f"{sizes[-1] / sizes[0]:7.2f}")


if __name__ == "__main__":
    main()
