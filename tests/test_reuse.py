"""Rules 6 to 14: who gets which connection, when it is closed, and what is sent again."""

from __future__ import annotations

import dataclasses
import errno
import gc
import pickle
import socket
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

import holdfast
from conftest import TLS, settle
from holdfast import CloseReason, Limits, _acquire, _attempt, _transport
from servers import Peer, Server, answer, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


def stats_of(client: requests.Session) -> holdfast.Statistics:
    return client.get_adapter("http://").statistics()  # type: ignore[attr-defined, no-any-return]


def test_sequential_requests_use_one_connection(lane: str, serve: Serve, session: Sessions) -> None:
    """Counted by the server."""
    server = serve()
    client = session()
    infos = [holdfast.connection_info(client.get(server.url)) for _ in range(5)]
    assert server.accepted == 1
    assert [info.requests_served for info in infos if info] == [1, 2, 3, 4, 5]
    assert [info.reused for info in infos if info] == [False, True, True, True, True]
    assert len({info.connection_id for info in infos if info}) == 1
    for info in infos:
        assert info is not None
        assert min(info.timings.send, info.timings.wait) > 0.0
        assert (info.timings.connect > 0.0) == (not info.reused)
        assert (info.timings.queued, info.timings.tls) == (0.0, 0.0)


@pytest.mark.parametrize("end", ["read", "close", "drop_after_read", "iterate"])
def test_a_streamed_body_gives_its_connection_back(end: str, lane: str, serve: Serve, session: Sessions) -> None:
    """At its end, even if nobody closes; on close, drained."""
    server = serve(ok(b"x" * 200_000))
    client = session()
    for _ in range(3):
        response = client.get(server.url, stream=True)
        assert stats_of(client).in_use == 1
        if end == "read":
            assert len(response.content) == 200_000
        elif end == "iterate":
            assert sum(map(len, response.iter_content(7777))) == 200_000
        elif end == "drop_after_read":
            response.raw.read()
            del response
        else:
            response.close()
        assert stats_of(client).in_use == 0
    assert server.accepted == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_reading_exactly_the_body_gives_the_connection_back(
    chunked: bool, lane: str, serve: Serve, session: Sessions
) -> None:
    """Without another read that would find nothing."""
    body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    server = serve(body if chunked else ok(b"abcde"))
    client = session()
    response = client.get(server.url, stream=True)
    assert (response.raw.read(4), stats_of(client).in_use) == (b"abcd", 1)
    assert (response.raw.read(1), stats_of(client).in_use) == (b"e", 0)
    assert response.raw.read(1) == b""


def test_a_dropped_response_is_recovered_and_warned_about(lane: str, serve: Serve, session: Sessions) -> None:
    """Counted in ``leaked``; the warning names the host; a waiter is served."""
    server = serve(answer(lambda head, body: ok(b"x" * 2_000_000 if b"/big" in head else b"ok")))
    client = session(limits=Limits(max_connections_per_host=1))
    response = client.get(server.url.replace("//", "//user:secret@") + "big?token=1", stream=True)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(client.get, server.url)
        assert settle(lambda: stats_of(client).waiting == 1)
        with pytest.warns(ResourceWarning, match=rf"http://127\.0\.0\.1:{server.port}/big$"):  # noqa: PT031  # the drop is two steps
            del response
            gc.collect()
        assert job.result(20).content == b"ok"
    stats = stats_of(client)
    assert (stats.leaked, stats.in_use) == (1, 0)


def test_a_fully_handled_response_warns_nobody(lane: str, serve: Serve, session: Sessions) -> None:
    """Read, closed or without a body: nothing leaked."""
    server = serve(answer(lambda head, body: ok(b"" if b"/empty" in head else b"body")))
    client = session()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        client.get(server.url)
        client.get(server.url + "empty", stream=True)
        client.get(server.url, stream=True).close()
        with client.get(server.url, stream=True) as response:
            response.raw.read(1)
        gc.collect()
    assert (stats_of(client).leaked, server.accepted) == (0, 1)


def close_idle(server: Server, client: requests.Session) -> None:
    """Makes the server close its idle connections, between the client's check and its write if the client is told not to look."""
    for peer in list(server.peers):
        peer.close()


@pytest.mark.parametrize("kind", ["fin", "rst"])
def test_a_dead_idle_connection_is_noticed_without_a_request(
    kind: str, lane: str, serve: Serve, session: Sessions
) -> None:
    """The count drops and the socket is closed within 2 s; here within generous time."""
    end = threading.Event()

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.send(ok())
        end.wait(20)
        peer.reset() if kind == "rst" else peer.close()

    server = serve(handle)
    client = session()
    client.get(server.url)
    assert stats_of(client).idle == 1
    end.set()
    assert settle(lambda: stats_of(client).idle == 0)
    assert dict(stats_of(client).closed) == {CloseReason.CLOSED_BY_SERVER: 1}


def test_a_connection_that_died_is_replaced_before_it_is_used(lane: str, serve: Serve, session: Sessions) -> None:
    """A POST is not lost to it."""
    server = serve()
    client = session()
    client.get(server.url)
    close_idle(server, client)
    assert server.wait_until(lambda s: s.open == 0)
    assert client.post(server.url, data=b"x").content == b"ok"
    assert dict(stats_of(client).closed) == {CloseReason.CLOSED_BY_SERVER: 1}


def test_unsolicited_bytes_close_the_connection_and_never_answer_a_request(
    lane: str, serve: Serve, session: Sessions
) -> None:
    """A 408 on an idle connection, say."""
    server = serve()
    client = session()
    client.get(server.url)
    server.peers[0].send(ok(b"poison", status=b"408 Request Timeout"))
    assert client.get(server.url).content == b"ok"
    assert server.accepted == 2
    assert stats_of(client).closed[CloseReason.UNSOLICITED_DATA] == 1


class Fickle:
    """Answers ``good`` requests on a connection, then ends it when the next one arrives, as a keep-alive race does."""

    def __init__(self, good: int, end: str = "close", before: bytes = b"") -> None:
        self.good = good
        self.end = end
        self.before = before

    def __call__(self, peer: Peer) -> None:
        while peer.read_request() is not None:
            if peer.number == 1 and peer.requests > self.good:
                peer.send(self.before)
                peer.reset() if self.end == "reset" else peer.close()
                return
            peer.send(ok())


@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize(
    ("method", "options", "again"),
    [
        ("GET", {}, True),
        ("HEAD", {}, True),
        ("OPTIONS", {}, True),
        ("POST", {"data": b"x"}, False),
        ("PUT", {"data": b"x"}, False),
        ("DELETE", {}, False),
        ("POST", {"data": b"x", "headers": {"Idempotency-Key": "1"}}, True),
        ("POST", {"data": b"x", "headers": {"x-idempotency-key": "1"}}, True),
        ("POST", {"data": "generator", "headers": {"Idempotency-Key": "1"}}, False),
    ],
)
def test_a_stale_connection_is_replaced_once_where_that_is_safe(
    method: str, options: dict[str, Any], again: bool, host: str, end: str, lane: str, serve: Serve, session: Sessions
) -> None:
    """Else the real error surfaces, and nothing is sent twice."""
    server = serve(Fickle(1, end))
    client = session()
    url = f"http://{host}:{server.port}/"
    client.get(url)
    if options.get("data") == "generator":
        options = {**options, "data": iter([b"x"])}
    if again:
        response = client.request(method, url, **options)
        info = holdfast.connection_info(response)
        assert response.status_code == 200
        assert info is not None
        assert (info.stale_retries, info.reused) == (1, False)
        assert (server.accepted, stats_of(client).stale_retries) == (2, 1)
    else:
        with pytest.raises(requests.exceptions.ConnectionError):
            client.request(method, url, **options)
        assert (len(server.requests), server.accepted) == (2, 1)
    stats = stats_of(client)
    assert stats.created == stats.idle + stats.in_use + sum(stats.closed.values())
    assert stats.in_use == 0


def test_a_stale_retry_rewinds_a_file(lane: str, serve: Serve, session: Sessions, tmp_path: Any) -> None:
    """From where it stood."""
    server = serve(Fickle(1))
    client = session()
    client.get(server.url)
    path = tmp_path / "body"
    path.write_bytes(b"skipped|the body")
    with path.open("rb") as file:
        file.seek(8)
        client.put(server.url, data=file, headers={"Idempotency-Key": "1"})
    assert [body for _, head, body in server.requests if head.startswith(b"PUT")][-1] == b"the body"


def test_a_fresh_connection_is_never_retried(lane: str, serve: Serve, session: Sessions) -> None:
    """Its failure is the server's answer."""
    server = serve(Fickle(0))
    with pytest.raises(requests.exceptions.ConnectionError, match="without response"):
        session().get(server.url)
    assert server.accepted == 1


def test_an_interim_response_counts_as_an_answer(lane: str, serve: Serve, session: Sessions) -> None:
    """After it nothing is sent again."""
    server = serve(Fickle(1, before=b"HTTP/1.1 102 Processing\r\n\r\n"))
    client = session()
    client.get(server.url)
    with pytest.raises(requests.exceptions.ConnectionError):
        client.get(server.url)
    assert server.accepted == 1


def test_a_stale_retry_works_at_limit_1(lane: str, serve: Serve, session: Sessions) -> None:
    """It needs no second permit."""
    server = serve(Fickle(1))
    client = session(limits=Limits(max_connections_per_host=1, acquire_timeout=5))
    assert [client.get(server.url).content for _ in range(3)] == [b"ok"] * 3


@pytest.mark.parametrize("scheme", ["ntlm", "Negotiate"])
@pytest.mark.parametrize("field", ["Authorization", "Proxy-Authorization"])
def test_connection_bound_authentication_is_never_shared(field: str, scheme: str, lane: str, serve: Serve) -> None:
    """The connection serves that adapter alone, which prefers it, and closes with it."""
    server = serve()
    mine, other = holdfast.Session(), holdfast.Session()
    mine.trust_env = other.trust_env = False
    number = [0]

    def connection(client: requests.Session, **headers: str) -> int:
        client.get(server.url, headers=headers)
        number[0] = server.requests[-1][0]
        return number[0]

    first = connection(mine, **{field: f"{scheme} abc"})
    assert connection(other) != first
    assert connection(mine, **{field: f"{scheme} def"}) == first
    mine.close()
    assert server.wait_until(lambda s: s.open == 1)
    assert connection(other) != first
    other.close()


def test_exhausted_descriptors_give_idle_connections_up_and_try_once_more(
    lane: str, serve: Serve, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EMFILE with something idle: the dial succeeds. With nothing idle: a clear error."""
    one, two = serve(), serve()
    client = session()
    client.get(one.url)
    real, failures = socket.socket, [1]

    class Scarce(real):  # type: ignore[valid-type, misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if (
                failures
                and kwargs.get("fileno") is None
                and len(args) == 3
                and threading.current_thread().name in ("MainThread", "holdfast-dial")
            ):
                failures.pop()
                raise OSError(errno.EMFILE, "Too many open files")
            super().__init__(*args, **kwargs)

    monkeypatch.setattr(socket, "socket", Scarce)
    assert client.get(two.url).content == b"ok"
    assert dict(stats_of(client).closed) == {CloseReason.EVICTED: 1}
    holdfast.close_idle_connections()
    failures.append(1)
    with pytest.raises(requests.exceptions.ConnectionError, match=r"Too many open files \(0 idle, 0 in use, 1 dialing"):
        client.get(two.url)


def test_close_idle_connections_closes_what_is_idle_now(lane: str, serve: Serve, session: Sessions) -> None:
    """What is in use comes back as usual."""
    server = serve(ok(b"x" * 100_000))
    client = session()
    busy = client.get(server.url, stream=True)
    client.get(server.url)
    assert (stats_of(client).idle, stats_of(client).in_use) == (1, 1)
    client.get_adapter("http://").close_idle_connections()  # type: ignore[attr-defined]
    assert (stats_of(client).idle, stats_of(client).in_use) == (0, 1)
    assert len(busy.content) == 100_000
    assert stats_of(client).idle == 1


def test_statistics_add_up_under_32_threads(lane: str, serve: Serve, session: Sessions) -> None:
    """Read while they change."""
    server = serve(answer(lambda head, body: ok(b"x" * 5000, *([b"Connection: close"] if b"/c" in head else []))))
    client = session(limits=Limits(max_connections_per_host=8, max_idle_per_host=3))
    stop = threading.Event()
    wrong: list[Any] = []

    def watch() -> None:
        while not stop.is_set():
            stats = holdfast.statistics()
            for level in (stats, *stats.transports, *(h for t in stats.transports for h in t.hosts)):
                if level.created != level.idle + level.in_use + sum(level.closed.values()):
                    wrong.append(level)
            for host in (h for t in stats.transports for h in t.hosts):
                if host.origin.endswith(f":{server.port}") and host.idle + host.in_use + host.dialing > 8:
                    wrong.append(host)

    def work(i: int) -> None:
        for j in range(15):
            response = client.get(server.url + "abc"[(i + j) % 3], stream=True)
            if j % 5 == 4:
                response.close()
            else:
                assert len(response.content) == 5000

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(32) as pool:
        list(pool.map(work, range(32)))
    stop.set()
    watcher.join()
    assert not wrong
    stats = stats_of(client)
    assert (stats.acquired, stats.in_use, stats.waiting) == (480, 0, 0)
    assert stats.closed[CloseReason.NOT_REUSABLE] == 160
    assert stats.closed[CloseReason.SHUTDOWN] == 0
    assert pickle.loads(pickle.dumps(stats)) == stats
    with pytest.raises(dataclasses.FrozenInstanceError):
        stats.idle = 3  # type: ignore[misc]


def test_a_connection_that_cannot_be_closed_costs_nobody_else_theirs(
    serve: Serve, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Expired, it is closed by the next caller, who gets another one all the same."""
    server = serve()
    client = session(
        limits=Limits(max_connections_per_host=1, acquire_timeout=5.0, idle_timeout=None, max_lifetime=None)
    )
    client.get(server.url)
    (slot,) = [slot for one in _transport.every() for slot in one._ledger.idle]
    close = slot.conn.close

    def fail() -> None:
        close()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(slot.conn, "close", fail)
    slot.good_until = 0.0
    assert client.get(server.url).content == b"ok"
    assert (server.accepted, stats_of(client).in_use) == (2, 0)


def test_28_short_sessions_use_one_port_each_no_more_than_the_limit(serve: Serve) -> None:
    """Fresh sessions share: the server accepts one connection."""
    server = serve()
    for _ in range(28):
        with holdfast.Session(limits=Limits(max_connections_per_host=3)) as client:
            client.trust_env = False
            assert client.get(server.url).content == b"ok"
    assert server.accepted == 1


def test_a_burst_opens_no_more_connections_than_there_are_callers(serve: Serve, tls: TLS) -> None:
    """While dials are slow, those that a returned connection has made needless serve whoever comes next."""
    server = serve(tls=tls.context)
    limits = Limits(max_idle_per_host=200, max_idle=200)
    with holdfast.mount(requests.Session(), shared=False, limits=limits) as client:
        client.trust_env = False

        def work(_: int) -> None:
            for _ in range(15):
                assert client.get(server.url, verify=tls.bundle).content == b"ok"

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(work, range(32)))
    assert server.accepted <= 32


def test_who_relies_on_a_dial_that_hangs_dials_for_himself(
    serve: Serve, tls: TLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another's dial that nobody waits for any more may never end: nobody waits for it for long."""
    hung, free, arrived = threading.Event(), threading.Event(), threading.Event()

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            if b" /held " in request[0]:
                arrived.set()
                assert hung.wait(30)
            peer.send(ok())

    server = serve(handle)
    monkeypatch.setattr(_acquire, "ADOPTING", 0.2)
    connect = _attempt.dial_twice
    dials: list[int] = []

    def dial(*args: Any) -> Any:
        dials.append(1)
        if len(dials) == 2:  # the second hangs, and its caller is served by the first's connection
            hung.set()
            assert free.wait(30)
        return connect(*args)

    monkeypatch.setattr(_attempt, "dial_twice", dial)
    monkeypatch.setattr(_acquire, "dial_twice", dial)
    with holdfast.mount(requests.Session(), shared=False) as client, ThreadPoolExecutor(3) as pool:
        client.trust_env = False
        first = pool.submit(client.get, server.url + "held")
        assert arrived.wait(30)
        second = pool.submit(client.get, server.url + "held")
        assert first.result(30).ok
        assert second.result(30).ok
        with client.get(server.url + "stays", stream=True) as one, client.get(server.url, timeout=20) as other:
            assert one.ok
            assert other.ok
        free.set()
    assert len(dials) <= 3
