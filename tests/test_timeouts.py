"""Every field of ``Timeouts``, the four forms of ``timeout=``, ``deadline`` and ``CancelScope``, in each phase."""

from __future__ import annotations

import contextvars
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import urllib3

import holdfast
from conftest import TLS
from holdfast import (
    BodyStallTimeout,
    Cancelled,
    CancelScope,
    CloseReason,
    DeadlineExceeded,
    Limits,
    ResponseHeaderTimeout,
    Timeouts,
    TLSHandshakeTimeout,
)
from servers import Peer, Server, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]
SHORT = 0.15
ROOMY = 0.75
"""For limits that cover a first part which has to succeed, on a busy machine too."""
GENEROUS = 10.0


class Stall:
    """Sends ``first`` in answer to each request and then nothing until it is let go."""

    def __init__(self, first: bytes = b"", trickle: bytes = b"") -> None:
        self.first = first
        self.trickle = trickle
        self.go = threading.Event()
        self.arrived = threading.Event()

    def __call__(self, peer: Peer) -> None:
        while peer.read_request() is not None:
            peer.send(self.first)
            self.arrived.set()
            while self.trickle and not self.go.wait(0.02):
                peer.send(self.trickle)
            self.go.wait(30)


@pytest.fixture
def stall(serve: Serve) -> Iterator[Callable[..., Stall]]:
    made: list[Stall] = []

    def make(*args: Any, **kwargs: Any) -> Stall:
        made.append(Stall(*args, **kwargs))
        return made[-1]

    yield make
    for one in made:
        one.go.set()


@pytest.fixture
def blackhole() -> Iterator[tuple[str, int]]:
    """An address where connecting hangs: a listener whose backlog is full."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    yield listener.getsockname()
    for one in (*fillers, listener):
        one.close()


def ends_within(
    seconds: float, kind: type[BaseException], call: Callable[[], Any], match: str | None = None
) -> BaseException:
    started = time.monotonic()
    with pytest.raises(kind, match=match) as caught:
        call()
    assert time.monotonic() - started < seconds
    return caught.value


def reasons(client: requests.Session) -> dict[CloseReason, int]:
    return dict(client.get_adapter("http://").statistics().closed)  # type: ignore[attr-defined]


@pytest.mark.parametrize("trickle", [b"", b"A"], ids=["silent", "trickling"])
@pytest.mark.parametrize("how", ["adapter", "number", "tuple", "urllib3", "holdfast"])
def test_response_header(how: str, trickle: bytes, lane: str, serve: Serve, session: Sessions, stall: Any) -> None:
    """However the head trickles, whichever way the limit was given."""
    server = serve(stall(b"HTTP/1.1 200 OK\r\nX: ", trickle=trickle))
    client = session(timeouts=Timeouts(response_header=SHORT) if how == "adapter" else None)
    timeout: Any = {
        "adapter": None,
        "number": SHORT,
        "tuple": (5, SHORT),
        "urllib3": urllib3.Timeout(read=SHORT),
        "holdfast": Timeouts(response_header=SHORT),
    }[how]
    error = ends_within(
        GENEROUS, ResponseHeaderTimeout, lambda: client.get(server.url, timeout=timeout), "response_header"
    )
    assert isinstance(error, requests.exceptions.ReadTimeout)
    assert f"127.0.0.1:{server.port}" in str(error)
    assert reasons(client) == {CloseReason.TIMEOUT: 1}


@pytest.mark.parametrize("read", ["content", "iter_content", "raw.read"])
def test_body_stall(read: str, lane: str, serve: Serve, session: Sessions, stall: Any) -> None:
    """``iter_content`` and ``content`` raise it; ``raw.read`` raises urllib3's with it as cause."""
    server = serve(stall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123"))
    client = session(timeouts=Timeouts(body_stall=SHORT))
    response = client.get(server.url, stream=True)
    if read == "raw.read":
        error = ends_within(GENEROUS, urllib3.exceptions.ReadTimeoutError, lambda: response.raw.read(9))
        assert isinstance(error.__cause__, BodyStallTimeout)
    else:
        call = (lambda: response.content) if read == "content" else (lambda: list(response.iter_content(9)))
        error = ends_within(GENEROUS, BodyStallTimeout, call, "body_stall")
        assert isinstance(error, requests.exceptions.ReadTimeout)
        assert isinstance(error, requests.exceptions.ConnectionError)
    assert reasons(client) == {CloseReason.TIMEOUT: 1}


def test_total_covers_a_trickling_streamed_body(lane: str, serve: Serve, session: Sessions, stall: Any) -> None:
    """No piece stalls, yet the whole ends."""
    server = serve(stall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", trickle=b"x"))
    client = session(timeouts=Timeouts(total=ROOMY, body_stall=5))
    response = client.get(server.url, stream=True)
    ends_within(GENEROUS, DeadlineExceeded, lambda: list(response.iter_content(10)), "total of 0.75 s")
    assert reasons(client) == {CloseReason.TIMEOUT: 1}


def test_total_covers_the_wait_for_a_connection(lane: str, serve: Serve, session: Sessions, stall: Any) -> None:
    """Queueing counts."""
    server = serve(stall())
    client = session(limits=Limits(max_connections_per_host=1))
    with ThreadPoolExecutor(1) as pool:
        scope = CancelScope()
        with scope:
            job = pool.submit(contextvars.copy_context().run, client.get, server.url)
        assert server.handler.arrived.wait(20)  # type: ignore[attr-defined]
        ends_within(GENEROUS, DeadlineExceeded, lambda: client.get(server.url, timeout=Timeouts(total=SHORT)))
        scope.cancel()
        with pytest.raises(Cancelled):
            job.result()


def test_urllib3s_total_is_total(lane: str, serve: Serve, session: Sessions, stall: Any) -> None:
    """``Timeout(total=...)`` binds the body too."""
    server = serve(stall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", trickle=b"x"))
    response = session().get(server.url, stream=True, timeout=urllib3.Timeout(total=ROOMY))
    ends_within(GENEROUS, DeadlineExceeded, lambda: response.content)


@pytest.mark.parametrize("how", ["adapter", "number", "tuple"])
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_connect(how: str, name: str, lane: str, blackhole: tuple[str, int], session: Sessions) -> None:
    """Stock's ``ConnectTimeout``, with stock's words."""
    client = session(timeouts=Timeouts(connect=SHORT) if how == "adapter" else None)
    timeout: Any = {"adapter": None, "number": SHORT, "tuple": (SHORT, 5)}[how]
    url = f"http://{name}:{blackhole[1]}/"
    error = ends_within(GENEROUS, requests.exceptions.ConnectTimeout, lambda: client.get(url, timeout=timeout))
    assert "timed out. (connect timeout=0.15)" in str(error)


def test_connect_covers_dns(lane: str, session: Sessions) -> None:
    """A resolver that hangs does not hold the caller; its permit comes back when it ends."""
    go = threading.Event()

    def resolver(host: str, port: int) -> list[Any]:
        go.wait(30)
        raise socket.gaierror("nothing")

    client = session(resolver=resolver, timeouts=Timeouts(connect=SHORT))
    ends_within(GENEROUS, requests.exceptions.ConnectTimeout, lambda: client.get("http://name.invalid/"))
    assert client.get_adapter("http://").statistics().dialing == 1  # type: ignore[attr-defined]
    go.set()


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_tls_handshake(name: str, lane: str, serve: Serve, session: Sessions, stall: Any, tls: TLS) -> None:
    """A server that accepts and says nothing."""
    go = threading.Event()
    server = serve(lambda peer: go.wait(30) and None)
    client = session(timeouts=Timeouts(tls_handshake=SHORT))
    url = f"https://{name}:{server.port}/"
    error = ends_within(GENEROUS, TLSHandshakeTimeout, lambda: client.get(url, verify=tls.bundle), "tls_handshake=0.15")
    go.set()
    assert isinstance(error, requests.exceptions.ConnectTimeout)


@pytest.mark.parametrize(
    "timeout", [0, -1, True, "5", float("nan") * 0 if False else "nan", (1, 2, 3), (1,), (0, 1), [1, 2]]
)
def test_a_bad_timeout_is_stocks_value_error(timeout: Any, lane: str, serve: Serve, session: Sessions) -> None:
    """Same class and words as the stock adapter."""
    server = serve()
    with requests.Session() as stock, pytest.raises(ValueError) as expected:  # noqa: PT011  # compared below
        stock.get(server.url, timeout=timeout)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        session().get(server.url, timeout=timeout)
    assert type(caught.value) is type(expected.value)
    assert str(caught.value) == str(expected.value)


@pytest.mark.parametrize("field", list(Timeouts.__dataclass_fields__))
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), "1", True])
def test_timeouts_that_make_no_sense_are_refused_by_name(field: str, value: Any) -> None:
    """``ValueError`` naming the field."""
    with pytest.raises(ValueError, match=field):
        Timeouts(**{field: value})


def test_of_nested_deadlines_the_earlier_wins(lane: str, serve: Serve, session: Sessions, stall: Any) -> None:
    """An inner block cannot stretch an outer one."""
    server = serve(stall())
    client = session()
    with holdfast.deadline(SHORT), holdfast.deadline(60):
        ends_within(GENEROUS, DeadlineExceeded, lambda: client.get(server.url), "total of 0.15 s")


def test_a_deadline_binds_a_body_read_after_its_block_in_another_thread(
    lane: str, serve: Serve, session: Sessions, stall: Any
) -> None:
    """The exchange keeps it."""
    server = serve(stall(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n", trickle=b"x"))
    with holdfast.deadline(ROOMY):
        response = session().get(server.url, stream=True)
    with ThreadPoolExecutor(1) as pool:
        ends_within(GENEROUS, DeadlineExceeded, lambda: pool.submit(lambda: response.content).result())


def test_a_deadline_counts_retries_and_their_back_off(serve: Serve, session: Sessions) -> None:
    """``Retry`` sleeps no longer than the deadline allows."""
    server = serve(ok(status=b"503 Busy"))
    retries = urllib3.Retry(5, status_forcelist=[503], backoff_factor=100)
    client = session(max_retries=retries)
    with holdfast.deadline(ROOMY):
        ends_within(GENEROUS, DeadlineExceeded, lambda: client.get(server.url))
    assert server.accepted == 1


@pytest.mark.parametrize("phase", ["backoff", "before"])
def test_cancel_ends_a_request_that_is_not_on_the_wire(phase: str, lane: str, serve: Serve, session: Sessions) -> None:
    """Between two retries, and before the start. The phases on the wire: test_interruptions."""
    server = serve(ok(status=b"503 Busy"))
    client = session(max_retries=urllib3.Retry(5, status_forcelist=[503], backoff_factor=100))
    scope = CancelScope()
    with ThreadPoolExecutor(1) as pool:
        if phase == "before":
            scope.cancel()
        with scope:
            job = pool.submit(contextvars.copy_context().run, client.get, server.url)
        timer = threading.Timer(SHORT, scope.cancel)
        timer.start()
        ends_within(GENEROUS, Cancelled, lambda: job.result(20), "cancelled")
        timer.join()
    assert scope.cancelled


def test_a_cancelled_streamed_body_ends_for_its_reader(lane: str, serve: Serve, session: Sessions, stall: Any) -> None:
    """The scope binds the body after the block."""
    server = serve(stall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n123"))
    scope = CancelScope()
    client = session()
    with scope:
        response = client.get(server.url, stream=True)
    timer = threading.Timer(SHORT, scope.cancel)
    timer.start()
    ends_within(GENEROUS, Cancelled, lambda: list(response.iter_content(9)))
    timer.join()
    assert reasons(client) == {CloseReason.CANCELLED: 1}


def test_expect_continue_waits_for_100_but_not_for_ever(serve: Serve, session: Sessions) -> None:
    """102 and 103 do not release the body (RFC 9110 section 10.1.1)."""
    log: list[str] = []

    def handle(peer: Peer) -> None:
        for mode in ("continue", "silent"):
            while b"\r\n\r\n" not in peer.buffer and peer._more():
                pass
            head, _, peer.buffer = peer.buffer.partition(b"\r\n\r\n")
            assert b"Expect: 100-continue" in head
            peer.sock.settimeout(0.1)
            peer.send(b"HTTP/1.1 102 Processing\r\n\r\n")
            try:
                peer._more()
            finally:
                log.append("early" if peer.buffer else "waited")
            peer.sock.settimeout(20)
            if mode == "continue":
                peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            while len(peer.buffer) < 4 and peer._more():
                pass
            log.append(peer.buffer[:4].decode())
            peer.buffer = peer.buffer[4:]
            peer.send(ok())

    server = serve(handle)
    client = session(timeouts=Timeouts(expect_continue=0.4))
    for _ in range(2):
        assert client.post(server.url, data=b"body", headers={"Expect": "100-continue"}).content == b"ok"
    assert log == ["waited", "body", "waited", "body"]
    assert server.accepted == 1


@pytest.mark.parametrize("data", ["bytes", "iterator"])
def test_an_early_answer_ends_the_upload_and_is_delivered(
    data: str, lane: str, serve: Serve, session: Sessions
) -> None:
    """A 413 during an upload; that connection is not reused (RFC 9112 section 9.5)."""
    pieces: list[int] = []

    def handle(peer: Peer) -> None:
        while b"\r\n\r\n" not in peer.buffer and peer._more():
            pass
        peer.send(ok(b"too much", b"Connection: close", status=b"413 Content Too Large"))
        peer.sock.settimeout(20)
        while peer._more() and len(peer.buffer) < 1 << 28:
            peer.buffer = b""

    def upload() -> Iterator[bytes]:
        for i in range(2000):
            pieces.append(i)
            yield b"x" * 65536

    server = serve(handle)
    client = session()
    response = client.post(server.url, data=upload() if data == "iterator" else b"x" * (128 << 20), timeout=20)
    assert (response.status_code, response.content) == (413, b"too much")
    assert len(pieces) < 2000
    assert client.get_adapter("http://").statistics().idle == 0  # type: ignore[attr-defined]


def test_cancelling_a_finished_request_leaves_its_connections_next_user_alone(
    lane: str, serve: Serve, session: Sessions
) -> None:
    """The connection serves somebody else by then."""
    arrived, go = threading.Event(), threading.Event()

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            if request[0].startswith(b"POST"):
                arrived.set()
                go.wait(20)
            peer.send(ok())

    server = serve(handle)
    client = session()
    scope = CancelScope()
    with scope:
        finished = client.get(server.url)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.post, server.url, data=b"x")
        assert arrived.wait(20)
        scope.cancel()
        go.set()
        assert job.result(20).content == b"ok"
    assert (finished.content, server.accepted) == (b"ok", 1)
