"""``make gateway``: the gateway under gunicorn on 127.0.0.1:8080, an upstream of its own, and what to curl. Ctrl-C ends it."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HERE = Path(__file__).parent
PORT = int(os.environ.get("PORT", "8080"))


class Upstream(BaseHTTPRequestHandler):
    """``/``: which connection this is; ``/slow``: an answer after 2 s; ``/stream``: a line a second; ``/away``: a redirect."""

    protocol_version = "HTTP/1.1"
    numbers = itertools.count(1)

    def setup(self) -> None:
        super().setup()
        self.number = next(self.numbers)

    def do_GET(self) -> None:
        if self.path == "/slow":
            time.sleep(2)
        if self.path == "/stream":
            self._stream()
            return
        body = f"connection {self.number} upstream\n".encode()
        self.send_response(302 if self.path == "/away" else 200)
        if self.path == "/away":
            self.send_header("Location", "http://elsewhere.example/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for n in range(10):
                line = f"line {n}\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
                time.sleep(1)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            print("upstream: the client has gone, and so has the connection to here", flush=True)
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Silent."""


def main() -> None:
    upstream = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{PORT}/http/demo.example:{upstream.server_port}"
    print("The gateway forwards to demo.example, which is here, and to no other host. Try:\n")
    for path, what in (
        ("/", "twice: the same connection upstream"),
        ("/slow", "502: no head within 0.2 s"),
        ("/stream", "line by line; with Ctrl-C the upstream hears of it at once"),
        ("/away", "the redirect is passed on"),
    ):
        print(f"  curl -iN {base}{path:8}  # {what}")
    print(f"  curl -i  http://127.0.0.1:{PORT}/https/other.example/  # 403\n", flush=True)
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{PORT}", "-k", "gthread", "--threads", "16"]
    command += ["--log-level", "warning", "--chdir", str(HERE), "demo:application"]
    environment = {**os.environ, "GATEWAY_DEMO": str(upstream.server_port)}
    with subprocess.Popen(command, env=environment) as process:
        try:
            process.wait()
        except KeyboardInterrupt:
            process.wait(20)


if __name__ == "__main__":
    main()
