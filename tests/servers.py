"""Servers for tests: real sockets on the loopback range, scripted to the byte, with counts of what they accepted."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

Handler = Callable[["Peer"], None]


class Peer:
    """The server's side of one connection."""

    def __init__(self, server: Server, sock: socket.socket, number: int) -> None:
        self.server = server
        self.sock = sock
        self.number = number
        self.buffer = b""
        self.requests = 0

    def read_request(self) -> tuple[bytes, bytes] | None:
        """Head and body of the next request; None when the client has closed."""
        while b"\r\n\r\n" not in self.buffer:
            if not self._more():
                return None
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        body = b""
        fields = {k.strip().lower(): v.strip() for k, _, v in (x.partition(b":") for x in head.split(b"\r\n")[1:])}
        if b"content-length" in fields:
            length = int(fields[b"content-length"])
            while len(self.buffer) < length and self._more():
                pass
            body, self.buffer = self.buffer[:length], self.buffer[length:]
        elif fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            body = self._read_chunked()
        self.requests += 1
        with self.server.lock:
            self.server.requests.append((self.number, head, body))
        return head, body

    def _read_chunked(self) -> bytes:
        body = b""
        while True:
            while b"\r\n" not in self.buffer and self._more():
                pass
            size, _, self.buffer = self.buffer.partition(b"\r\n")
            n = int(size.split(b";")[0] or b"0", 16)
            while len(self.buffer) < n + 2 and self._more():
                pass
            body, self.buffer = body + self.buffer[:n], self.buffer[n + 2 :]
            if n == 0:
                return body

    def _more(self) -> bool:
        try:
            data = self.sock.recv(65536)
        except OSError:
            return False
        self.buffer += data
        return bool(data)

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            self.sock.sendall(data)

    def reset(self) -> None:
        """Ends the connection with RST."""
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


def ok(body: bytes = b"ok", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """A response with Content-Length."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def answer(response: bytes | Callable[[bytes, bytes], bytes]) -> Handler:
    """Answers each request of a connection alike."""

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            peer.send(response if isinstance(response, bytes) else response(*request))

    return handle


class Server:
    """Listens on a port of its own and runs ``handler`` on a thread per connection."""

    def __init__(
        self,
        handler: Handler | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        path: Path | None = None,
    ) -> None:
        self.handler: Handler = handler or answer(ok())
        self.tls = tls
        self.host = host
        self.lock = threading.Lock()
        self.requests: list[tuple[int, bytes, bytes]] = []
        self.accepted = 0
        self.open = 0
        self.most_open = 0
        self.peers: list[Peer] = []
        self.stopping = threading.Event()
        self.closed = threading.Condition(self.lock)
        self.path = path
        """A unix socket's, in place of host and port."""
        family = socket.AF_UNIX if path else socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.socket(family, socket.SOCK_STREAM)
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(str(path) if path else (host, 0))
        self.listener.listen(512)
        self.port: int = 0 if path else self.listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, name="server-accept", daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        if self.path:
            return f"http+unix://{quote(str(self.path), safe='')}/"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}/"

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            with self.lock:
                self.accepted += 1
                self.open += 1
                self.most_open = max(self.most_open, self.open)
                peer = Peer(self, sock, self.accepted)
                self.peers.append(peer)
            thread = threading.Thread(target=self._serve, args=(peer,), name="server-peer", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, peer: Peer) -> None:
        try:
            if self.tls is not None:
                peer.sock = self.tls.wrap_socket(peer.sock, server_side=True)
            if self.path is None:
                peer.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.handler(peer)
        except (OSError, ValueError):
            pass
        finally:
            peer.close()
            with self.closed:
                self.open -= 1
                self.closed.notify_all()

    def wait_until(self, condition: Callable[[Server], bool], seconds: float = 10.0) -> bool:
        """Whether ``condition`` came true within generous time."""
        with self.closed:
            return self.closed.wait_for(lambda: condition(self), seconds)

    def stop(self) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            peers = list(self.peers)
        for peer in peers:
            peer.close()
        for thread in [self._accepting, *self._threads]:
            thread.join(10)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()


@contextlib.contextmanager
def serving(handler: Handler | bytes | None = None, **options: Any) -> Iterator[Server]:
    """A server for one block; bytes are the answer to everything."""
    with Server(answer(handler) if isinstance(handler, bytes) else handler, **options) as server:
        yield server
