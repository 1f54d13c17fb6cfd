"""The server that is benchmarked against: nginx if it is installed, else a small threaded Python server.

The figures are the client's CPU time, so the server's speed matters little, but name it when you quote them.
"""

from __future__ import annotations

import contextlib
import gzip
import http.server
import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trustme

SMALL = b'{"id": 1, "name": "small"}'
JSON = json.dumps([{"id": i, "name": f"item {i}", "tags": ["a", "b"]} for i in range(2000)]).encode()[:100_000]

CONF = """
worker_processes 1; daemon off; pid {root}/nginx.pid; error_log {root}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 600; default_type application/json;
  client_body_temp_path {root}/b; proxy_temp_path {root}/p; fastcgi_temp_path {root}/f;
  uwsgi_temp_path {root}/u; scgi_temp_path {root}/s;
  ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/cert.pem;
  server {{
    listen 127.0.0.1:{plain}; listen 127.0.0.1:{tls} ssl;
    root {root}/www; gzip_static off;
    location = /gzip {{ add_header Content-Encoding gzip; }}
  }}
}}
"""


class Site:
    """Where the benchmarked URLs are."""

    def __init__(self, plain: str, tls: str, bundle: str, server: str) -> None:
        self.plain = plain
        self.tls = tls
        self.bundle = bundle
        self.server = server


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _files(root: Path) -> None:
    www = root / "www"
    www.mkdir()
    (www / "small").write_bytes(SMALL)
    for name, size in (("10k", 10 << 10), ("1m", 1 << 20), ("10m", 10 << 20), ("64m", 64 << 20)):
        (www / name).write_bytes(os.urandom(1024) * (size // 1024))
    (www / "gzip").write_bytes(gzip.compress(JSON))


class _Handler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def end_headers(self) -> None:
        if self.path == "/gzip":
            self.send_header("Content-Encoding", "gzip")
        super().end_headers()

    def log_message(self, *args: Any) -> None:
        pass


def _python_servers(root: Path, ports: list[int]) -> None:
    """The fallback, in a process of its own."""
    for port, secure in zip(ports, (False, True), strict=True):
        handler: Any = lambda *args, **kwargs: _Handler(*args, directory=str(root / "www"), **kwargs)  # noqa: E731
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(root / "cert.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


@contextlib.contextmanager
def serving(root: Path) -> Iterator[Site]:
    """A server for plain and TLS, with its files below ``root``, on the same core as this process."""
    root.chmod(0o755)
    for parent in list(root.parents)[:2]:
        parent.chmod(0o755)  # nginx drops to another user
    _files(root)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(root / "ca.pem"))
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(root / "cert.pem"))
    plain, tls = _free_port(), _free_port()
    nginx = shutil.which("nginx")
    if nginx:
        (root / "nginx.conf").write_text(CONF.format(root=root, plain=plain, tls=tls))
        command = [nginx, "-p", str(root), "-e", str(root / "error.log"), "-c", str(root / "nginx.conf")]
        version = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=True).stderr.split("/")[-1]
        name = f"nginx {version.strip()}"
    else:
        code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import bench_server, pathlib; "
        code += f"bench_server._python_servers(pathlib.Path({str(root)!r}), [{plain}, {tls}])"
        command, name = [sys.executable, "-c", code], "Python's http.server"
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    if cores:
        os.sched_setaffinity(0, {min(cores)})  # inherited by the server
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            for _ in range(200):
                try:
                    socket.create_connection(("127.0.0.1", tls), 1).close()
                    break
                except OSError:
                    time.sleep(0.05)
            yield Site(f"http://127.0.0.1:{plain}/", f"https://127.0.0.1:{tls}/", str(root / "ca.pem"), name)
        finally:
            process.terminate()
            if cores:
                os.sched_setaffinity(0, cores)
