"""Trace hooks: each moment is told, once, in order, with what is known of it; and no hook breaks a request."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

import holdfast
from conftest import TLS, settle
from holdfast import CloseReason, Limits, PooledAdapter, Trace, TraceEvent
from servers import Peer, Server, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


class Recorder(Trace):
    """Keeps everything that it is told."""

    def __init__(self) -> None:
        self.events: list[TraceEvent] = []

    def moments(self) -> list[str]:
        return [event.moment for event in self.events]

    def of(self, moment: str) -> list[TraceEvent]:
        return [event for event in self.events if event.moment == moment]


def _recording(name: str) -> Any:
    def hook(self: Recorder, event: TraceEvent) -> None:
        assert event.moment == name
        self.events.append(event)

    return hook


HOOKS = [name for name in vars(Trace) if not name.startswith("_")]
for _name in HOOKS:
    setattr(Recorder, _name, _recording(_name))


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def process_trace(recorder: Recorder) -> Iterator[Recorder]:
    """Set for the process, and taken away."""
    holdfast.set_trace(recorder)
    yield recorder
    holdfast.set_trace(None)


FIRST = ["get_connection", "connect", "got_connection", "wrote_request", "first_response_byte", "put_idle"]
AGAIN = ["get_connection", "got_connection", "wrote_request", "first_response_byte", "put_idle"]


def test_the_moments_of_two_calls(lane: str, serve: Serve, session: Sessions, recorder: Recorder) -> None:
    """The first dials, the second does not; both name the transport, the host and the connection as statistics do."""
    server = serve()
    client = session(trace=recorder)
    info = holdfast.connection_info(client.get(server.url))
    assert recorder.moments() == FIRST
    assert info is not None
    got = recorder.of("got_connection")[0]
    assert (got.reused, got.connection, got.host) == (False, info.connection_id, f"http://127.0.0.1:{server.port}")
    adapter: Any = client.get_adapter("http://")
    assert {event.transport for event in recorder.events} == {adapter.statistics().transports[0].name}
    assert recorder.of("connect")[0].address == ("127.0.0.1", server.port)
    del recorder.events[:]
    client.get(server.url)
    assert recorder.moments() == AGAIN
    again = recorder.of("got_connection")[0]
    assert (again.reused, again.connection) == (True, info.connection_id)
    assert again.idle_seconds is not None
    assert again.idle_seconds > 0
    assert [event.at for event in recorder.events] == sorted(event.at for event in recorder.events)
    client.close()
    assert recorder.events[-1].reason is CloseReason.SHUTDOWN


def test_a_name_and_tls(lane: str, serve: Serve, session: Sessions, recorder: Recorder, tls: TLS) -> None:
    """``dns`` with all addresses, one ``connect`` for each that was tried, ``tls`` with its time."""
    server = serve(tls=tls.context)
    url = server.url.replace("127.0.0.1", "localhost")
    client = session(trace=recorder)
    client.get(url, verify=tls.bundle)
    assert [m for m in recorder.moments() if m in ("dns", "tls")] == ["dns", "tls"]
    assert ("127.0.0.1", server.port) in recorder.of("dns")[0].address
    assert recorder.of("connect")[-1].error is None
    assert (recorder.of("tls")[0].seconds or 0) > 0


def test_failures_are_told_with_their_error(
    lane: str, serve: Serve, session: Sessions, recorder: Recorder, tls: TLS
) -> None:
    """Of the name, of an address, of the handshake."""
    client = session(trace=recorder)

    def unknown(host: str, port: int) -> Any:
        raise OSError("no such name")

    with pytest.raises(requests.ConnectionError):
        session(trace=recorder, resolver=unknown).get("http://name.example/")
    assert str(recorder.of("dns")[0].error) == "no such name"
    with pytest.raises(requests.ConnectionError):
        client.get("http://127.0.0.1:1/")
    assert isinstance(recorder.of("connect")[0].error, ConnectionRefusedError)
    with pytest.raises(requests.exceptions.SSLError):
        client.get(serve(tls=tls.context).url)
    assert recorder.of("tls")[0].error is not None


def test_a_caller_that_waits_is_queued(lane: str, serve: Serve, session: Sessions, recorder: Recorder) -> None:
    """And told so before it waits."""
    server = serve()
    client = session(trace=recorder, limits=Limits(max_connections_per_host=1))
    held = client.get(server.url, stream=True)
    thread = threading.Thread(target=lambda: client.get(server.url).content)
    thread.start()
    assert settle(lambda: bool(recorder.of("queued")))
    held.close()
    thread.join(20)
    assert recorder.of("got_connection")[-1].reused
    assert (recorder.of("got_connection")[-1].seconds or 0) > 0


def test_interim_responses(lane: str, serve: Serve, session: Sessions, recorder: Recorder) -> None:
    """Each with its status."""

    def handle(peer: Peer) -> None:
        while peer.read_request() is not None:
            peer.send(b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok())

    session(trace=recorder).get(serve(handle).url)
    assert [event.status for event in recorder.of("got_1xx")] == [103, 102]
    assert recorder.moments().count("first_response_byte") == 1


def test_a_stale_connection(lane: str, serve: Serve, session: Sessions, recorder: Recorder) -> None:
    """``stale_retry`` and ``closed`` with the old connection's number, then the new one's."""

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.send(ok())
        if peer.number == 1:
            peer.read_request()
            peer.reset()
        else:
            peer.read_request()

    client = session(trace=recorder)
    server = serve(handle)
    client.get(server.url)
    client.get(server.url)
    first, retry, closed = recorder.of("got_connection")[0], recorder.of("stale_retry")[0], recorder.of("closed")[0]
    assert retry.connection == closed.connection == first.connection
    assert closed.reason is CloseReason.CLOSED_BY_SERVER
    assert recorder.of("put_idle")[-1].connection != first.connection


def test_draining(lane: str, serve: Serve, session: Sessions, recorder: Recorder) -> None:
    """With its size when it saved the connection, and before ``closed`` when it could not."""
    body = b"x" * 200_000
    client = session(trace=recorder, limits=Limits(drain_timeout=20))
    client.get(serve(ok(body)).url, stream=True).close()
    assert 0 < (recorder.of("drained")[0].size or 0) <= len(body)
    assert recorder.moments()[-1] == "put_idle"


def test_a_dropped_response(lane: str, serve: Serve, session: Sessions, recorder: Recorder) -> None:
    """``leaked``, and the reason of its connection's end."""
    client = session(trace=recorder)
    with pytest.warns(ResourceWarning):
        client.get(serve(ok(b"x" * 5_000_000)).url, stream=True)
    gc.collect()
    assert recorder.of("leaked")[0].connection == recorder.of("got_connection")[0].connection
    assert recorder.of("closed")[0].reason is CloseReason.UNDRAINED_BODY


@pytest.mark.parametrize("why", [CloseReason.NOT_REUSABLE, CloseReason.MAX_REQUESTS])
def test_a_connection_that_is_not_kept_is_not_put_idle(
    why: CloseReason, lane: str, serve: Serve, session: Sessions, recorder: Recorder
) -> None:
    """``closed`` in place of ``put_idle``, whether the server or a limit ends it."""
    answer = ok(b"ok", b"Connection: close") if why is CloseReason.NOT_REUSABLE else ok()
    limits = Limits(max_requests_per_connection=1 if why is CloseReason.MAX_REQUESTS else None)
    session(trace=recorder, limits=limits).get(serve(answer).url)
    assert recorder.of("put_idle") == []
    assert [event.reason for event in recorder.of("closed")] == [why]


@pytest.mark.parametrize("how", ["server", "idle_timeout", "limit"])
def test_the_end_of_an_idle_connection(how: str, serve: Serve, session: Sessions, recorder: Recorder) -> None:
    """Closed by whoever, it is told with its reason, in whatever thread that happens."""
    reasons = {
        "server": CloseReason.CLOSED_BY_SERVER,
        "idle_timeout": CloseReason.IDLE_TIMEOUT,
        "limit": CloseReason.IDLE_LIMIT,
    }

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.send(ok())
        if how != "server":
            peer.read_request()

    limits = {"idle_timeout": Limits(idle_timeout=0.05), "limit": Limits(max_idle_per_host=0)}
    client = session(trace=recorder, limits=limits.get(how))
    client.get(serve(handle).url)
    assert settle(lambda: bool(recorder.of("closed")))
    assert recorder.of("closed")[0].reason is reasons[how]
    assert recorder.of("closed")[0].connection == recorder.of("got_connection")[0].connection


def test_the_process_and_the_adapter_are_both_told(
    lane: str, serve: Serve, session: Sessions, process_trace: Recorder
) -> None:
    """One trace that is both hears everything once; without either nothing is told."""
    server, own = serve(), Recorder()
    session(trace=own).get(server.url)
    session().get(server.url)
    session(trace=process_trace).get(server.url)
    assert own.moments() == FIRST
    assert process_trace.moments() == FIRST * 3
    holdfast.set_trace(None)
    session().get(server.url)
    assert process_trace.moments() == FIRST * 3


def test_adapters_with_and_without_a_trace_share(serve: Serve, recorder: Recorder) -> None:
    """A trace is not part of what a connection is."""
    server = serve()
    for trace in (recorder, None):
        with holdfast.Session(trace=trace) as client:
            client.trust_env = False
            client.get(server.url)
    assert server.accepted == 1


def test_a_hook_that_raises_is_logged_once_and_breaks_nothing(
    lane: str, serve: Serve, session: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever it is."""

    class Broken(Trace):
        pass

    def hook(self: Broken, event: TraceEvent) -> None:
        raise RuntimeError("a hook of yours")

    for name in HOOKS:
        setattr(Broken, name, hook)
    server = serve()
    client = session(trace=Broken())
    with caplog.at_level(logging.ERROR, logger="holdfast"):
        for _ in range(3):
            assert client.get(server.url).content == b"ok"
    assert server.accepted == 1
    told = [record.getMessage().split(" ")[0] for record in caplog.records]
    assert sorted(told) == sorted({f"Broken.{name}" for name in FIRST})


def test_an_event_is_read_only(serve: Serve, session: Sessions, recorder: Recorder) -> None:
    """And shows what is known of its moment."""
    session(trace=recorder).get(serve().url)
    event = recorder.events[0]
    with pytest.raises(AttributeError):
        event.host = "another"
    assert repr(event).startswith("TraceEvent(moment='get_connection', at=")


def test_only_a_trace_will_do() -> None:
    """Said where it is given."""
    with pytest.raises(TypeError, match=r"holdfast\.Trace"):
        PooledAdapter(trace=print)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"holdfast\.Trace"):
        holdfast.set_trace(print)  # type: ignore[arg-type]
