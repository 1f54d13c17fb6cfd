"""Proxies for tests: HTTP forwarding, CONNECT and SOCKS5, with or without credentials, counting what they carried."""

from __future__ import annotations

import base64
import contextlib
import socket
import struct
import threading

from servers import Peer, Server


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def join(peer: Peer, upstream: socket.socket) -> None:
    """Carries bytes both ways until both ends have closed."""
    with upstream:
        back = threading.Thread(target=_pump, args=(upstream, peer.sock), daemon=True)
        back.start()
        _pump(peer.sock, upstream)
        back.join(10)


class HTTPProxy:
    """Forwards absolute-form requests and tunnels CONNECT; 407 without the expected credentials."""

    def __init__(self, user: str | None = None, connect_answer: bytes | None = None) -> None:
        self.expected = None if user is None else b"Basic " + base64.b64encode(user.encode())
        self.connect_answer = connect_answer
        self.heads: list[bytes] = []
        self.hold = threading.Event()

    def __call__(self, peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            head, body = request
            self.heads.append(head)
            if self.expected is not None and b"Proxy-Authorization: " + self.expected not in head:
                peer.send(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                continue
            method, target, _ = head.split(b"\r\n")[0].split(b" ")
            if method == b"CONNECT":
                if self.connect_answer is not None:
                    peer.send(self.connect_answer)
                    self.hold.wait(20)
                    return
                name, _, port = target.rpartition(b":")
                upstream = socket.create_connection((name.strip(b"[]").decode(), int(port)), 10)
                peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
                join(peer, upstream)
                return
            host, _, path = target.partition(b"://")[2].partition(b"/")
            name, _, port = host.partition(b":")
            with socket.create_connection((name.decode(), int(port or b"80")), 10) as upstream:
                lines = head.split(b"\r\n")[1:]
                kept = [line for line in lines if not line.lower().startswith((b"proxy-", b"connection:"))]
                upstream.sendall(
                    b"\r\n".join([method + b" /" + path + b" HTTP/1.1", *kept, b"Connection: close", b"", b""]) + body
                )
                answer = b""
                while data := upstream.recv(65536):
                    answer += data
                    if answer.partition(b"\r\n\r\n")[2]:
                        break
                peer.send(answer)


class SOCKSProxy:
    """SOCKS5 (RFC 1928) with CONNECT, with or without user and password (RFC 1929)."""

    def __init__(self, user: bytes | None = None) -> None:
        self.user = user
        self.targets: list[tuple[str, int]] = []

    def __call__(self, peer: Peer) -> None:
        sock = peer.sock
        _, n = sock.recv(2)
        sock.recv(n)
        sock.sendall(b"\x05\x00" if self.user is None else b"\x05\x02")
        if self.user is not None:
            sock.recv(1)
            user = sock.recv(sock.recv(1)[0])
            sock.recv(sock.recv(1)[0])
            sock.sendall(b"\x01\x00" if user == self.user else b"\x01\x01")
            if user != self.user:
                return
        kind = sock.recv(4)[3]
        host = socket.inet_ntoa(sock.recv(4)) if kind == 1 else sock.recv(sock.recv(1)[0]).decode()
        (port,) = struct.unpack("!H", sock.recv(2))
        self.targets.append((host, port))
        upstream = socket.create_connection((host, port), 10)
        sock.sendall(b"\x05\x00\x00\x01\0\0\0\0\0\0")
        join(peer, upstream)


def proxy_url(server: Server, scheme: str = "http", user: str | None = None) -> str:
    """The URL to give to requests."""
    return f"{scheme}://{user + '@' if user else ''}127.0.0.1:{server.port}"
