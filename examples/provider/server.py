"""The API that resources live on: TLS, keep-alive, in a process of its own.

Prints its port, then for each line that it reads the number of connections it has accepted. Ends with its input.
"""

from __future__ import annotations

import json
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Handler(BaseHTTPRequestHandler):
    """``/resources/NAME`` is what was put there, ``{}`` before; ``/broken`` is a body that ends half-way."""

    protocol_version = "HTTP/1.1"
    server: API

    def do_GET(self) -> None:
        if self.path == "/broken":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 1000)
            self.close_connection = True
            return
        peer = self.connection.getpeercert() if isinstance(self.connection, ssl.SSLSocket) else None
        state = (
            {"client": peer["subject"] if peer else None}
            if self.path == "/whoami"
            else self.server.state.get(self.path, {})
        )
        self._answer(json.dumps(state).encode())

    def do_PUT(self) -> None:
        self.server.state[self.path] = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(b"{}")

    def _answer(self, body: bytes) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self.wfile.write(head.encode() + body)

    def log_message(self, *args: object) -> None:
        """Silent."""


class API(ThreadingHTTPServer):
    """Counts what it accepts."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, certificate: str, client_ca: str | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.state: dict[str, Any] = {}
        self.accepted = 0
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate)
        if client_ca:
            self.context.load_verify_locations(client_ca)
            self.context.verify_mode = ssl.CERT_OPTIONAL

    def get_request(self) -> Any:
        sock, address = super().get_request()
        self.accepted += 1
        return sock, address

    def finish_request(self, request: Any, client_address: Any) -> None:
        # The handshake is the connection's own thread's, so that a slow one holds nobody up.
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of ours."""


def main() -> None:
    api = API(*sys.argv[1:])
    threading.Thread(target=api.serve_forever, daemon=True).start()
    print(api.server_port, flush=True)
    for _ in sys.stdin:
        print(api.accepted, flush=True)


if __name__ == "__main__":
    main()
