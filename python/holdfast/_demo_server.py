"""The demo's server: TLS, keep-alive, a thread per connection, in a process of its own.

Speaks with its parent over pipes: prints its port, then the number of accepted connections for each line it reads,
and ends when its input does, so it never outlives the demo.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import sys
import threading

ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 27\r\n\r\n" + b'{"message":"hold me fast!"}'
)


class Counter:
    """How many connections were accepted."""

    def __init__(self) -> None:
        self.n = 0


def _serve(sock: socket.socket, context: ssl.SSLContext) -> None:
    with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as peer:
        buffer = b""
        while data := peer.recv(65536):
            buffer += data
            while b"\r\n\r\n" in buffer:
                _, _, buffer = buffer.partition(b"\r\n\r\n")
                peer.sendall(ANSWER)


def _accept(listener: socket.socket, context: ssl.SSLContext, counter: Counter) -> None:
    while True:
        sock, _ = listener.accept()
        counter.n += 1
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_serve, args=(sock, context), daemon=True).start()


def main(certificate: str) -> None:
    """Runs until standard input ends."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    counter = Counter()
    threading.Thread(target=_accept, args=(listener, context, counter), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(counter.n, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
