"""Every field of ``Limits``, at 0, 1, n and n + 1, proved by what the server saw."""

from __future__ import annotations

import dataclasses
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

import holdfast
from conftest import settle
from holdfast import AcquireTimeout, CloseReason, Limits, QueueFull
from servers import Peer, Server, answer, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


def transport_of(client: requests.Session) -> holdfast.Statistics:
    return client.get_adapter("http://").statistics()  # type: ignore[attr-defined, no-any-return]


class Held:
    """A handler that holds every answer back until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.waiting = threading.Semaphore(0)

    def __call__(self, peer: Peer) -> None:
        while peer.read_request() is not None:
            self.waiting.release()
            self.open.wait(30)
            peer.send(ok())


@pytest.mark.parametrize("limit", [1, 2, 5])
@pytest.mark.parametrize("callers", [1, 8])
def test_max_connections_per_host(limit: int, callers: int, lane: str, serve: Serve, session: Sessions) -> None:
    """Never more open at once, and everybody is served."""
    server = serve()
    client = session(limits=Limits(max_connections_per_host=limit))
    with ThreadPoolExecutor(callers) as pool:
        bodies = list(pool.map(lambda _: client.get(server.url).content, range(callers * 10)))
    assert bodies == [b"ok"] * (callers * 10)
    assert 1 <= server.most_open <= min(limit, callers)


@pytest.mark.parametrize("limit", [1, 2])
def test_max_connections_over_hosts(limit: int, lane: str, serve: Serve, session: Sessions) -> None:
    """Three servers share the limit; idle connections give way, so nobody waits."""
    servers = [serve() for _ in range(3)]
    client = session(limits=Limits(max_connections=limit))
    for _ in range(2):
        for server in servers:
            assert client.get(server.url).content == b"ok"
    stats = transport_of(client)
    assert stats.created == (6 if limit < 3 else 3)
    assert stats.closed == {CloseReason.EVICTED: 6 - limit}
    assert stats.idle == limit


@pytest.mark.parametrize(("limit", "idle"), [(0, 0), (1, 1), (3, 3), (5, 4)])
def test_max_idle_per_host(limit: int, idle: int, lane: str, serve: Serve, session: Sessions) -> None:
    """Of four connections used at once so many stay open."""
    held = Held()
    server = serve(held)
    client = session(limits=Limits(max_idle_per_host=limit))
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(client.get, server.url) for _ in range(4)]
        for _ in range(4):
            assert held.waiting.acquire(timeout=20)
        held.open.set()
        assert [job.result().content for job in jobs] == [b"ok"] * 4
    assert server.wait_until(lambda s: s.open == idle)
    assert transport_of(client).idle == idle


@pytest.mark.parametrize(("limit", "idle"), [(0, 0), (1, 1), (2, 2), (4, 3)])
def test_max_idle_over_hosts(limit: int, idle: int, lane: str, serve: Serve, session: Sessions) -> None:
    """One connection to each of three servers."""
    servers = [serve() for _ in range(3)]
    client = session(limits=Limits(max_idle=limit))
    for server in servers:
        client.get(server.url)
    assert transport_of(client).idle == idle
    for server, kept in zip(servers, [0] * (3 - idle) + [1] * idle, strict=True):
        assert server.wait_until(lambda s, kept=kept: s.open == kept)  # type: ignore[misc]


@pytest.mark.parametrize(("limit", "accepted"), [(1, 6), (2, 3), (5, 2), (6, 1)])
def test_max_requests_per_connection(limit: int, accepted: int, lane: str, serve: Serve, session: Sessions) -> None:
    """Six requests."""
    server = serve()
    client = session(limits=Limits(max_requests_per_connection=limit))
    for _ in range(6):
        client.get(server.url)
    assert server.accepted == accepted


@pytest.mark.parametrize(("limit", "accepted"), [(0, 3), (None, 1), (600.0, 1)])
def test_max_lifetime(limit: float | None, accepted: int, lane: str, serve: Serve, session: Sessions) -> None:
    """0 retires each connection after its first exchange."""
    server = serve()
    client = session(limits=Limits(max_lifetime=limit))
    for _ in range(3):
        client.get(server.url)
    assert server.accepted == accepted


def test_idle_timeout_closes_without_a_new_request(lane: str, serve: Serve, session: Sessions) -> None:
    """The server sees the end; the count drops by itself."""
    server = serve()
    client = session(limits=Limits(idle_timeout=0.2))
    client.get(server.url)
    assert server.wait_until(lambda s: s.open == 0)
    stats = transport_of(client)
    assert (stats.idle, dict(stats.closed)) == (0, {CloseReason.IDLE_TIMEOUT: 1})


def test_idle_timeout_0_keeps_nothing_for_long_and_none_keeps_for_ever(serve: Serve, session: Sessions) -> None:
    """0: a new connection each time."""
    server = serve()
    client = session(limits=Limits(idle_timeout=0))
    for _ in range(3):
        client.get(server.url)
    assert server.accepted == 3
    client = session(limits=Limits(idle_timeout=None))
    for _ in range(3):
        client.get(server.url)
    assert server.accepted == 4


def test_the_servers_keep_alive_hint_is_followed(lane: str, serve: Serve, session: Sessions) -> None:
    """``Keep-Alive: timeout=1`` closes after half a second, long before our 90."""
    server = serve(ok(b"x", b"Keep-Alive: timeout=1, max=5"))
    client = session()
    client.get(server.url)
    assert server.wait_until(lambda s: s.open == 0)
    assert dict(transport_of(client).closed) == {CloseReason.IDLE_TIMEOUT: 1}


@pytest.mark.parametrize("limit", [0, 0.1])
def test_acquire_timeout(limit: float, lane: str, serve: Serve, session: Sessions) -> None:
    """The error names host, limit, time and counts, and is what ``except ConnectTimeout`` catches."""
    held = Held()
    server = serve(held)
    client = session(limits=Limits(max_connections_per_host=1, acquire_timeout=limit))
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.get, server.url)
        assert held.waiting.acquire(timeout=20)
        with pytest.raises(
            AcquireTimeout, match=rf"127\.0\.0\.1:{server.port} within {limit:g} s.*1 in use.*limits 1 per host"
        ) as caught:
            client.get(server.url)
        held.open.set()
        assert job.result().content == b"ok"
    assert isinstance(caught.value, requests.exceptions.ConnectTimeout)
    assert caught.value.request.url == server.url
    assert server.accepted == 1
    assert transport_of(client).waiting == 0
    assert client.get(server.url).content == b"ok"


def test_a_connect_given_per_call_bounds_the_wait_too(lane: str, serve: Serve, session: Sessions) -> None:
    """``timeout=0.1`` never waits longer to get going, and the error says so."""
    held = Held()
    server = serve(held)
    client = session(limits=Limits(max_connections_per_host=1))
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.get, server.url)
        assert held.waiting.acquire(timeout=20)
        with pytest.raises(AcquireTimeout, match=r"within 0\.1 s \(connect"):
            client.get(server.url, timeout=0.1)
        held.open.set()
        assert job.result().content == b"ok"


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_max_waiting(limit: int, lane: str, serve: Serve, session: Sessions) -> None:
    """So many wait; the next fails at once."""
    held = Held()
    server = serve(held)
    client = session(limits=Limits(max_connections_per_host=1, max_waiting=limit))
    with ThreadPoolExecutor(limit + 1) as pool:
        jobs = [pool.submit(client.get, server.url) for _ in range(limit + 1)]
        assert held.waiting.acquire(timeout=20)
        assert settle(lambda: transport_of(client).waiting == limit)
        with pytest.raises(QueueFull, match=f"{limit} callers are waiting"):
            client.get(server.url)
        held.open.set()
        assert [job.result().content for job in jobs] == [b"ok"] * (limit + 1)
    assert server.accepted == 1


@pytest.mark.parametrize(("limit", "kept"), [(0, False), (1, False), (99_999, False), (100_000, True), (100_001, True)])
@pytest.mark.parametrize("chunked", [False, True])
def test_drain_bytes(limit: int, kept: bool, chunked: bool, lane: str, serve: Serve, session: Sessions) -> None:
    """Closing an unread body of 100,000 bytes saves the connection if so many may be read."""
    body = b"x" * 100_000
    if chunked:
        limit += 100 if kept else 0  # the framing counts too
        response = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n" + body + b"\r\n0\r\n\r\n"
    else:
        response = ok(body)
    gate = threading.Event()

    def handle(peer: Peer) -> None:
        while peer.read_request() is not None:
            # The head alone, so that no byte of body is in hand when the response is closed.
            end = response.index(b"\r\n\r\n") + 4
            peer.send(response[:end])
            gate.wait(20)
            peer.send(response[end:])

    server = serve(handle)
    client = session(limits=Limits(drain_bytes=limit, drain_timeout=20.0))
    response_1 = client.get(server.url, stream=True)
    gate.set()
    response_1.close()
    client.get(server.url)
    assert server.accepted == (1 if kept else 2)
    drained = transport_of(client).drained_bytes
    assert drained >= 100_000 if kept else drained <= limit + 65536


@pytest.mark.parametrize("limit", [0.0, 0.05])
def test_drain_timeout(limit: float, lane: str, serve: Serve, session: Sessions) -> None:
    """A body that does not come is not waited for any longer."""
    stop = threading.Event()

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n12345")
        stop.wait(20)

    server = serve(handle)
    client = session(limits=Limits(drain_timeout=limit))
    response = client.get(server.url, stream=True)
    started = time.monotonic()
    response.close()
    assert time.monotonic() - started < 10
    stop.set()
    assert dict(transport_of(client).closed) == {CloseReason.UNDRAINED_BODY: 1}


def test_per_host_overrides_win_by_how_specific_they_are(serve: Serve, session: Sessions) -> None:
    """scheme://host:port over host:port over host, field by field."""
    limits = Limits(
        max_connections_per_host=9,
        per_host={
            "EXAMPLE.org": {"max_idle_per_host": 1, "idle_timeout": 5.0, "max_waiting": 7},
            "example.org:8080": {"max_idle_per_host": 2, "idle_timeout": 6.0},
            "http://example.org:8080": {"max_idle_per_host": 3},
        },
    )
    found = limits.for_host("http", "example.org", 8080)
    assert (found.max_idle_per_host, found.idle_timeout, found.max_waiting, found.max_connections_per_host) == (
        3,
        6.0,
        7,
        9,
    )
    assert limits.for_host("https", "example.org", 443).max_idle_per_host == 1
    assert limits.for_host("http", "other.org", 8080).max_idle_per_host == 20
    one, two = serve(), serve()
    client = session(limits=Limits(per_host={f"127.0.0.1:{one.port}": {"max_requests_per_connection": 1}}))
    for _ in range(3):
        client.get(one.url)
        client.get(two.url)
    assert (one.accepted, two.accepted) == (3, 1)


def test_limits_are_frozen_values(serve: Serve) -> None:
    """Compared, hashed and pickled by value; nothing in them can be changed."""
    limits = Limits(per_host={"a": {"max_waiting": 1}})
    assert pickle.loads(pickle.dumps(limits)) == limits
    assert hash(limits) == hash(Limits(per_host={"A": {"max_waiting": 1}}))
    assert limits != Limits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        limits.max_idle = 3  # type: ignore[misc]
    with pytest.raises(TypeError):
        limits.per_host["b"] = {}  # type: ignore[index]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_connections", 0),
        ("max_connections", -1),
        ("max_connections", True),
        ("max_connections_per_host", 0),
        ("max_connections_per_host", 1.5),
        ("max_idle", -1),
        ("max_idle", None),
        ("max_idle_per_host", -1),
        ("idle_timeout", -0.1),
        ("idle_timeout", float("nan")),
        ("idle_timeout", "9"),
        ("max_lifetime", float("inf")),
        ("max_requests_per_connection", 0),
        ("acquire_timeout", -1),
        ("max_waiting", -1),
        ("drain_bytes", -1),
        ("drain_timeout", None),
        ("max_response_header_bytes", 0),
        ("per_host", {"a": {"max_idle": 1}}),
        ("per_host", {"a": {"max_waiting": -1}}),
        ("per_host", [1]),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(field: str, value: Any) -> None:
    """``ValueError`` naming the field."""
    with pytest.raises(ValueError, match=field if field != "per_host" else "per_host|max_waiting"):
        Limits(**{field: value})


def test_waiting_callers_are_served_alike(serve: Serve, session: Sessions) -> None:
    """32 threads on 4 connections: nobody starves, nothing is lost."""
    server = serve(answer(ok()))
    client = session(limits=Limits(max_connections_per_host=4))
    counts = [0] * 32
    start = threading.Barrier(32)

    def work(i: int) -> None:
        start.wait(20)
        for _ in range(20):
            assert client.get(server.url).content == b"ok"
            counts[i] += 1

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    assert counts == [20] * 32
    assert server.most_open <= 4
    stats = transport_of(client)
    assert stats.acquired == 640
    assert stats.reused == 640 - stats.created
    assert stats.created == stats.idle + stats.in_use + sum(stats.closed.values())
