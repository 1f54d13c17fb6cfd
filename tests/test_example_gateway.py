"""The gateway of examples/externalproxy, behind gunicorn: streams, slow and dead upstreams, clients that leave, and its list."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from conftest import settle
from servers import Peer, Server, answer, ok
from test_real_servers import NGINX, Nginx

TESTS = Path(__file__).parent
if not (TESTS.parent / "examples" / "externalproxy").is_dir():
    pytest.skip("the examples are not here", allow_module_level=True)

Serve = Callable[..., Server]


class Front:
    """A running gateway."""

    def __init__(self, port: int) -> None:
        self.port = port

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def ask(
        self, path: str, method: str = "GET", body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request on a connection of its own."""
        connection = self.connect()
        try:
            connection.putrequest(method, path, skip_accept_encoding=True)
            fields = {name.replace("_", "-"): value for name, value in headers.items()}
            if body is not None:
                fields["Content-Length"] = str(len(body))
            for name, value in fields.items():
                connection.putheader(name, value)
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        finally:
            connection.close()


@pytest.fixture
def gateway() -> Iterator[Callable[..., Front]]:
    """Starts gateways under gunicorn, one process with many threads; ended by their process ids."""
    running: list[subprocess.Popen[bytes]] = []

    def start(*upstreams: Server, allow: list[str] | None = None, threads: int = 8, **settings: Any) -> Front:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        known = [f"http://upstream.example:{one.port}" for one in upstreams]
        given = {
            "allow": known if allow is None else allow,
            "local": ["upstream.example"],
            "timeouts": {"connect": 5, "response_header": 10, **settings.pop("timeouts", {})},
            "limits": settings.pop("limits", {}),
        }
        assert not settings
        command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}", "-k", "gthread", "-w", "1"]
        command += ["--threads", str(threads), "--log-level", "critical", "apps.gateway_app:application"]
        process = subprocess.Popen(command, cwd=TESTS, env={**os.environ, "GATEWAY": json.dumps(given)})
        running.append(process)

        def answers() -> bool:
            assert process.poll() is None
            try:
                return Front(port).ask("/")[0] == 400
            except OSError:
                return False

        assert settle(answers, 30)
        return Front(port)

    yield start
    for process in running:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def at(server: Server, path: str = "/") -> str:
    """The gateway's path for an upstream."""
    return f"/http/upstream.example:{server.port}{path}"


def test_five_requests_are_one_connection_upstream(serve: Serve, gateway: Any) -> None:
    """Counted by the upstream, though each client brings a connection of its own."""
    upstream = serve()
    front = gateway(upstream)
    for n in range(5):
        assert front.ask(at(upstream, f"/path?n={n}"))[::2] == (200, b"ok")
    assert upstream.accepted == 1
    assert upstream.requests[4][1].startswith(b"GET /path?n=4 HTTP/1.1\r\n")


@pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian: nginx-light)")
def test_five_requests_are_one_connection_to_nginx(tmp_path: Path, gateway: Any) -> None:
    """By nginx's own number of the connection."""
    nginx = Nginx(tmp_path, 30)
    try:
        front = gateway(allow=[f"http://upstream.example:{nginx.port}"])
        numbers = {front.ask(f"/http/upstream.example:{nginx.port}/connection")[2] for _ in range(5)}
        assert len(numbers) == 1
        big = front.ask(f"/http/upstream.example:{nginx.port}/big")[2]
        assert big == b"0123456789abcdef" * 65536
    finally:
        nginx.process.terminate()
        nginx.process.wait(20)


def test_hop_by_hop_fields_stay_behind_in_both_directions(serve: Serve, gateway: Any) -> None:
    """Those of the list, and those that Connection names."""
    fields = [b"Connection: X-Private", b"X-Private: 1", b"Keep-Alive: timeout=9", b"X-Public: 2", b"Set-Cookie: a=b"]
    upstream = serve(ok(b"ok", *fields))
    front = gateway(upstream)
    status, got, _ = front.ask(
        at(upstream), Connection="X-Mine", X_Mine="1", TE="trailers", X_Yours="2", Proxy_Authorization="x"
    )
    assert (status, got["x-public"], got["set-cookie"]) == (200, "2", "a=b")
    assert not {"x-private", "keep-alive"} & got.keys()
    head = upstream.requests[0][1].lower()
    assert b"x-yours: 2" in head
    assert b"via: 1.1 externalproxy" in head
    assert b"host: upstream.example:%d" % upstream.port in head
    assert not any(name in head for name in (b"x-mine", b"\nte:", b"proxy-authorization", b"cookie"))
    # Nor is one client's cookie another's.
    front.ask(at(upstream))
    assert b"cookie" not in upstream.requests[1][1].lower()


def test_bodies_stream_both_ways(serve: Serve, gateway: Any) -> None:
    """The upstream has the first piece before the client has sent the last, and the other way round."""
    steps: list[str] = []
    more = threading.Event()

    def handle(peer: Peer) -> None:
        while b"first" not in peer.buffer:
            if not peer._more():
                return
        steps.append("upstream has the first piece")
        more.set()
        while b"last" not in peer.buffer:
            if not peer._more():
                return
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        assert more.wait(20)
        peer.send(b"3\r\ntwo\r\n0\r\n\r\n")

    upstream = serve(handle)
    connection = gateway(upstream).connect()

    def pieces() -> Iterator[bytes]:
        yield b"first" * 20_000
        assert more.wait(20)
        more.clear()
        steps.append("client sends the last piece")
        yield b"last"

    connection.request(
        "POST", at(upstream), body=pieces(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
    )
    response = connection.getresponse()
    assert response.read1(100) == b"one"
    more.set()
    assert response.read() == b"two"
    connection.close()
    assert steps == ["upstream has the first piece", "client sends the last piece"]


def test_a_slow_upstream_is_a_502_well_before_it_answers(serve: Serve, gateway: Any) -> None:
    """0.2 s for its head; its body may take its time."""

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            if b"/slow" in request[0]:
                peer.server.stopping.wait(20)
                return
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
            for letter in (b"b", b"o", b"d", b"y"):
                time.sleep(0.3)
                peer.send(letter)

    upstream = serve(handle)
    front = gateway(upstream, timeouts={"response_header": 0.2})
    began = time.monotonic()
    status, _, body = front.ask(at(upstream, "/slow"))
    assert (status, b"ResponseHeaderTimeout" in body) == (502, True)
    assert time.monotonic() - began < 10
    assert front.ask(at(upstream, "/body"))[::2] == (200, b"body")


def test_a_body_that_stalls_is_bounded(serve: Serve, gateway: Any) -> None:
    """The client's stream ends, short, and the upstream's connection with it."""

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        peer.server.stopping.wait(30)

    upstream = serve(handle)
    front = gateway(upstream, timeouts={"body_stall": 0.2})
    with pytest.raises(http.client.IncompleteRead):
        front.ask(at(upstream))


@pytest.mark.parametrize("case", ["refused", "garbage"])
def test_a_dead_upstream_is_a_502(case: str, serve: Serve, gateway: Any) -> None:
    """Without a word of where it is."""
    upstream = serve(b"garbage\r\n\r\n")
    front = gateway(upstream)
    if case == "refused":
        upstream.stop()
    status, _, body = front.ask(at(upstream))
    assert status == 502
    assert b"127.0.0.1" not in body


def test_a_redirect_is_passed_on(serve: Serve, gateway: Any) -> None:
    """Even to a host that is not allowed; nobody follows it here."""
    upstream = serve(ok(b"", b"Location: http://169.254.169.254/latest", status=b"302 Found"))
    front = gateway(upstream)
    status, fields, _ = front.ask(at(upstream))
    assert (status, fields["location"]) == (302, "http://169.254.169.254/latest")
    assert len(upstream.requests) == 1


def test_other_statuses_and_methods(serve: Serve, gateway: Any) -> None:
    """HEAD has no body, 304 neither, an encoded body comes as it is."""

    def reply(head: bytes, body: bytes) -> bytes:
        if head.startswith(b"HEAD"):
            return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
        if b"/304" in head:
            return b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"
        return ok(body, b"Content-Encoding: gzip", b"X-Method: " + head.partition(b" ")[0])

    upstream = serve(answer(reply))
    front = gateway(upstream)
    assert front.ask(at(upstream), "HEAD")[0] == 200
    assert front.ask(at(upstream, "/304"))[::2] == (304, b"")
    status, fields, body = front.ask(at(upstream), "PUT", b"\x1f\x8bnot really")
    assert (status, fields["content-encoding"], fields["x-method"], body) == (200, "gzip", "PUT", b"\x1f\x8bnot really")


BYPASSES = [
    "/http/other.example/",
    "/http/upstream.example@other.example/",
    "/http/user:pw@upstream.example:{port}/",
    "/http/upstream.example:{port}@other.example/",
    "/http/UPSTREAM.example:{port}/",
    "/http/upstream.example.:{port}/",
    "/http/upstream%2eexample:{port}/",
    "/http/upstream.example%00.other.example/",
    "/http/upstream.example:{port}%2f@other.example/",
    "/http/upstream.example\\@other.example/",
    "/http/127.0.0.1:{port}/",
    "/http/2130706433:{port}/",
    "/http/0x7f.1:{port}/",
    "/http/[::1]:{port}/",
    "/http/[::ffff:127.0.0.1]:{port}/",
    "/http/localhost:{port}/",
    "/https/upstream.example:{port}/",
    "/http/upstream.example/",
    "/http//upstream.example:{port}/",
    "/ftp/upstream.example:{port}/",
    "//http/upstream.example:{port}/",
    "/http/upstream.example:{port}0/",
    "/http/upstream.example:99999/",
    "http://other.example/http/upstream.example:{port}/",
]


def test_the_list_cannot_be_bypassed(serve: Serve, gateway: Any) -> None:
    """One spelling for each place, and nothing near it."""
    upstream = serve()
    front = gateway(upstream)
    for path in BYPASSES:
        status, _, body = front.ask(path.format(port=upstream.port))
        assert status in (400, 403), (path, status, body)
    assert upstream.requests == []
    assert front.ask(at(upstream, "/a/../b?http://other.example/"))[0] == 200
    assert upstream.requests[0][1].startswith(b"GET /a/../b?http://other.example/ HTTP/1.1\r\n")


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_name_that_is_allowed_but_leads_inside_is_not_dialled(name: str, serve: Serve, gateway: Any) -> None:
    """A record that points to an address inside: the addresses that are looked at are those that are dialled."""
    upstream = serve()
    front = gateway(allow=[f"http://{name}:{upstream.port}"])
    assert front.ask(f"/http/{name}:{upstream.port}/")[0] == 502
    assert upstream.accepted == 0


def test_the_address_that_was_checked_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is public for the check and inside for the dial has only one look-up to lie in."""
    sys.path.insert(0, str(TESTS.parent / "examples" / "externalproxy"))
    try:
        import gateway as module
    finally:
        del sys.path[0]
    asked: list[str] = []
    answers = iter([("203.0.113.9", 80), ("127.0.0.1", 80)])

    def getaddrinfo(host: str, port: int, *rest: Any, **more: Any) -> Any:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", next(answers))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(module.ipaddress, "ip_address", lambda text: _Global())
    dialled: list[Any] = []

    def connect(self: Any, address: Any) -> None:
        dialled.append(address)
        raise ConnectionRefusedError(111, "refused")

    monkeypatch.setattr(socket.socket, "connect", connect)
    app = module.Gateway(["http://rebinding.example"])
    started: list[Any] = []
    environ = {"REQUEST_METHOD": "GET", "RAW_URI": "/http/rebinding.example/", "wsgi.input": None}
    b"".join(app(environ, lambda status, fields: started.append(status)))
    assert started == ["502 Bad Gateway"]
    assert (asked, dialled) == (["rebinding.example"], [("203.0.113.9", 80)])


class _Global:
    is_global = True


@pytest.mark.parametrize("phase", ["head", "body"])
def test_a_client_that_leaves_ends_the_exchange_upstream(phase: str, serve: Serve, gateway: Any) -> None:
    """Within a second, though the upstream says nothing that could be written to it."""
    waiting, ended = threading.Event(), threading.Event()

    def handle(peer: Peer) -> None:
        peer.read_request()
        if phase == "body":
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome")
        waiting.set()
        peer.read_request()  # ends with the connection
        ended.set()

    upstream = serve(handle)
    connection = gateway(upstream).connect()
    connection.request("GET", at(upstream))
    assert waiting.wait(20)
    if phase == "body":
        assert connection.getresponse().read1(4) == b"some"
    began = time.monotonic()
    assert connection.sock is not None
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()
    assert ended.wait(20)
    assert time.monotonic() - began < 5  # the contract says one second; machines are busy


def test_200_streams_at_once(serve: Serve, gateway: Any) -> None:
    """All are under way before any is over; each gets its own bytes; the pool is bounded."""
    arrived = threading.Barrier(200, timeout=90)

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            mark = request[0].split(b" ")[1].rpartition(b"/")[2]
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            peer.send(b"%x\r\n%s\r\n" % (len(mark), mark))
            arrived.wait()
            for _ in range(20):
                peer.send(b"%x\r\n%s\r\n" % (len(mark), mark))
            peer.send(b"0\r\n\r\n")

    upstream = serve(handle)
    front = gateway(upstream, threads=220)
    with ThreadPoolExecutor(200) as pool:
        got = list(pool.map(lambda n: front.ask(at(upstream, f"/{n}"))[::2], range(200)))
    assert got == [(200, str(n).encode() * 21) for n in range(200)]
    assert upstream.accepted == 200
    # 10 are kept: the rest is closed as it comes back.
    assert upstream.wait_until(lambda server: server.open <= 10)


def test_a_full_pool_is_a_503(serve: Serve, gateway: Any) -> None:
    """At once, for those who come when the queue is full."""
    waiting = threading.Event()

    def handle(peer: Peer) -> None:
        peer.read_request()
        waiting.set()
        peer.server.stopping.wait(30)

    upstream = serve(handle)
    front = gateway(upstream, limits={"max_connections_per_host": 1, "max_waiting": 0})
    holding = front.connect()
    holding.request("GET", at(upstream))
    assert waiting.wait(20)
    assert front.ask(at(upstream))[0] == 503
    holding.close()
