"""Callers who go past ``send``: urllib3's own interface on ``adapter.poolmanager``, and what people read off ``raw``."""

from __future__ import annotations

import http.client
import logging
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests
import urllib3
from urllib3.exceptions import DecodeError, EmptyPoolError, ReadTimeoutError

from conftest import TLS, settle
from holdfast import AcquireTimeout, Limits, PooledAdapter
from servers import Peer, Server, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


def manager(client: requests.Session) -> Any:
    """The pool manager of a session's adapter."""
    adapter: Any = client.get_adapter("http://")
    return adapter.poolmanager


@pytest.fixture
def silent(serve: Serve) -> Server:
    """A server that takes a request and says nothing."""

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.server.stopping.wait(20)

    return serve(handle)


@pytest.mark.parametrize("timeout", [0.1, urllib3.Timeout(read=0.1)], ids=["number", "Timeout"])
def test_urlopen_keeps_its_timeout(timeout: Any, silent: Server, session: Sessions) -> None:
    """Given per call, as a number or as urllib3's own."""
    with pytest.raises(ReadTimeoutError):
        manager(session()).urlopen("GET", silent.url, timeout=timeout, retries=False)


def test_a_pool_keeps_the_timeout_that_it_was_made_with(silent: Server, session: Sessions) -> None:
    """``connection_pool_kw``, which is where an adapter subclass puts it."""
    pools = manager(session())
    pools.connection_pool_kw["timeout"] = 0.1
    with pytest.raises(ReadTimeoutError):
        pools.urlopen("GET", silent.url, retries=False)


def test_pool_timeout_bounds_the_wait_for_a_connection(serve: Serve, session: Sessions) -> None:
    """urllib3's ``EmptyPoolError``, which is our ``AcquireTimeout`` too, with its words."""
    server = serve()
    pools = manager(session(limits=Limits(max_connections_per_host=1)))
    held = pools.urlopen("GET", server.url, preload_content=False)
    with pytest.raises(EmptyPoolError, match=r"pool_timeout; waited .* 1 in use") as caught:
        pools.urlopen("GET", server.url, pool_timeout=0.05)
    assert isinstance(caught.value.__cause__, AcquireTimeout)
    held.close()
    assert pools.urlopen("GET", server.url, pool_timeout=5).data == b"ok"


def test_a_dial_is_audited(serve: Serve, session: Sessions, lane: str) -> None:
    """``http.client.connect`` (PEP 578), once per connection."""
    server = serve()
    seen: list[Any] = []
    watching = True

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if watching and event == "http.client.connect":
            seen.append(args[1:])

    sys.addaudithook(hook)  # for ever: nothing takes a hook away
    client = session()
    client.get(server.url)
    client.get(server.url)
    watching = False
    assert seen == [("127.0.0.1", server.port)]


def test_the_connection_can_be_asked_until_the_body_ends(serve: Serve, session: Sessions, tls: TLS, lane: str) -> None:
    """The usual ways to a peer's address and certificate; afterwards None, as the connection is somebody else's."""
    server = serve(tls=tls.context)
    response = session().get(server.url, stream=True, verify=tls.bundle)
    raw: Any = response.raw
    assert raw._connection.sock.getpeername() == ("127.0.0.1", server.port)
    assert raw.connection.sock.getpeercert()["subjectAltName"]
    assert raw._fp.fp.raw._sock is raw.connection.sock
    assert raw._pool.host == "127.0.0.1"
    assert response.content == b"ok"
    assert raw._connection is None


def test_shutdown_wakes_a_reader_but_never_the_next_user(serve: Serve, session: Sessions, lane: str) -> None:
    """After the body's end the socket may be somebody else's: an error, with urllib3's words."""

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab")
        peer.server.stopping.wait(20)

    client = session()
    stalled: Any = client.get(serve(handle).url, stream=True).raw
    assert stalled.read1(2) == b"ab"

    def wake() -> None:
        assert settle(lambda: bool(stalled._reader._busy))
        stalled.shutdown()

    waker = threading.Thread(target=wake)
    waker.start()
    with pytest.raises((urllib3.exceptions.HTTPError, OSError, http.client.HTTPException)):
        stalled.read(8)
    waker.join()
    done = client.get(serve().url).raw
    with pytest.raises(RuntimeError, match="already been released"):
        done.shutdown()


class _Bad(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if '"GET ' in record.getMessage():
            raise RuntimeError("a handler that fails")


@pytest.fixture
def bad_handler() -> Any:
    """A log handler that raises as soon as the answer is logged, which urllib3 does with the answer in hand."""
    logger = logging.getLogger("urllib3.connectionpool")
    level, handler = logger.level, _Bad()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_a_failure_behind_the_head_leaves_the_pooled_connection_alone(
    serve: Serve, session: Sessions, bad_handler: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The body was over before the failure: ``urlopen`` closes what it thinks is its connection, but it is the pool's."""
    monkeypatch.setattr(PooledAdapter, "_nobody_can_tell", lambda self: False)
    server = serve(ok(b""))
    client = session()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="a handler that fails"):
            client.get(server.url)
    adapter: Any = client.get_adapter("http://")
    stats = adapter.statistics()
    assert (server.accepted, stats.idle, stats.in_use, stats.reused) == (1, 1, 0, 2)


def test_a_body_that_cannot_be_decoded_leaves_the_pool_in_order(serve: Serve, session: Sessions) -> None:
    """With urllib3's preload the body is read, and refused, inside of ``urlopen``."""
    server = serve(ok(b"garbage", b"Content-Encoding: gzip"))
    client: Any = session()
    pools = manager(client)
    for _ in range(3):
        with pytest.raises(DecodeError):
            pools.urlopen("GET", server.url)
    stats = client.get_adapter("http://").statistics()
    assert (server.accepted, stats.idle, stats.in_use) == (1, 1, 0)


def test_an_early_answer_reaches_a_patched_http_client(
    serve: Serve, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What comes during an upload is for the patched reader, not for the core: it would be missing there."""
    answered = threading.Event()

    def handle(peer: Peer) -> None:
        peer.sock.recv(65536)
        peer.send(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nmuch")
        answered.set()
        while peer.sock.recv(1 << 20):
            pass

    server = serve(handle)
    real = http.client.HTTPResponse.begin

    def begin(self: Any) -> None:
        real(self)

    monkeypatch.setattr(http.client.HTTPResponse, "begin", begin)

    def pieces() -> Any:
        yield b"x" * 65536
        assert answered.wait(10)
        for _ in range(4):
            yield b"x" * 65536

    response = session().post(server.url, data=pieces())
    assert (response.status_code, response.content) == (413, b"much")
