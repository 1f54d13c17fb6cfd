"""Takes the picture of the debug page for the docs: a few pools at work, Debian's chromium, ``docs/images/debug-page.png``."""

from __future__ import annotations

import itertools
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import holdfast  # noqa: E402  # after the path
from holdfast import Limits, debug  # noqa: E402
from servers import Peer, Server, ok  # noqa: E402


class Silent(WSGIRequestHandler):
    """No line per request."""

    def log_message(self, *args: object) -> None:
        pass


def handle(peer: Peer) -> None:
    """Answers after a few milliseconds; every fiftieth answer is the connection's last."""
    for n in itertools.count(1):
        if peer.read_request() is None:
            return
        time.sleep(random.uniform(0.005, 0.06))
        last = n % 50 == 0
        peer.send(ok(b"x" * 2000, *([b"Connection: close"] if last else [])))
        if last:
            return


def main() -> None:
    stop = threading.Event()
    servers = [Server(handle) for _ in range(3)]
    service = holdfast.Session(limits=Limits.service(max_connections_per_host=6), shared=False)
    batch = holdfast.Session(limits=Limits(max_connections_per_host=2, max_requests_per_connection=20), shared=False)

    def work(session: holdfast.Session, server: Server) -> None:
        while not stop.is_set():
            session.get(server.url)

    plan = [(service, servers[0])] * 8 + [(service, servers[1])] * 3 + [(batch, servers[2])] * 5
    threads = [threading.Thread(target=work, args=one) for one in plan]
    for session in (service, batch):
        session.trust_env = False
    for thread in threads:
        thread.start()
    with make_server("127.0.0.1", 0, debug.app, handler_class=Silent) as page, tempfile.TemporaryDirectory() as profile:
        serving = threading.Thread(target=page.serve_forever, args=(0.05,))
        serving.start()
        time.sleep(5)
        picture = ROOT / "docs" / "images" / "debug-page.png"
        command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
        command += [f"--user-data-dir={profile}", "--window-size=1180,1010", "--virtual-time-budget=2500"]
        subprocess.run(
            [*command, f"--screenshot={picture}", f"http://127.0.0.1:{page.server_port}/"],
            check=True,
            timeout=100,
            capture_output=True,
        )
        page.shutdown()
        serving.join()
    stop.set()
    for thread in threads:
        thread.join()
    for server in servers:
        server.stop()


if __name__ == "__main__":
    main()
