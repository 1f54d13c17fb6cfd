"""A service's client, as a typed program writes it: everything public is used, each with the type that it must have."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

import requests
from typing_extensions import assert_type

import holdfast


def clients() -> list[requests.Session]:
    """The three ways onto a session."""
    limits = holdfast.Limits(max_connections_per_host=50, per_host={"slow.example": {"acquire_timeout": 9.5}})
    timeouts = holdfast.Timeouts(connect=5, response_header=None, total=30.0)
    plain = requests.Session()
    mounted = assert_type(holdfast.mount(plain, limits=limits, timeouts=timeouts, unix_sockets=True), requests.Session)
    own = holdfast.Session(limits=limits, max_retries=3)
    adapter = holdfast.PooledAdapter(
        limits=limits,
        timeouts=timeouts,
        shared=False,
        ssl_context=ssl.create_default_context(),
        source_address=("127.0.0.1", 0),
        socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        tcp_keepalive=(30, 10, 3),
        tcp_user_timeout=20,
        resolver=lambda host, port: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
    )
    mounted.mount("https://api.example/", adapter)
    return [mounted, own]


class Traced(holdfast.PooledAdapter):
    """A subclass with requests' own hook."""

    def add_headers(self, request: requests.PreparedRequest, **kwargs: object) -> None:
        request.headers["X-Trace"] = "1"


def calls(session: requests.Session, scope: holdfast.CancelScope) -> float | None:
    """Bounds, errors, and what is known of a response."""
    try:
        with holdfast.deadline(2.5), scope:
            response = session.get("https://api.example/", timeout=3)
    except holdfast.AcquireTimeout as error:
        refused: requests.exceptions.ConnectTimeout = error
        print(refused)
        return None
    except (holdfast.DeadlineExceeded, holdfast.Cancelled, holdfast.IncompleteBody):
        return None
    info = assert_type(holdfast.connection_info(response), holdfast.ConnectionInfo | None)
    if info is None:
        return None
    print(assert_type(info.reused, bool))
    return assert_type(info.timings.connect, float)


def figures() -> int:
    """Statistics are frozen and typed on every level."""
    stats = assert_type(holdfast.statistics(), holdfast.Statistics)
    for transport in stats.transports:
        assert_type(transport, holdfast.TransportStatistics)
        for host in transport.hosts:
            closed: Mapping[holdfast.CloseReason, int] = assert_type(host, holdfast.HostStatistics).closed
            print(host.origin, closed.get(holdfast.CloseReason.IDLE_TIMEOUT, 0), assert_type(host.wait_seconds, float))
    return assert_type(stats.idle + stats.in_use, int)


class Watching(holdfast.Trace):
    """A hook of one's own."""

    def closed(self, event: holdfast.TraceEvent) -> None:
        print(event.reason, assert_type(event.seconds, float | None), assert_type(event.connection, int | None))


def main() -> None:
    """All of it."""
    holdfast.install(limits=holdfast.Limits(max_idle=10))
    holdfast.set_trace(Watching())
    holdfast.find_leaks(after=30.0)
    holdfast.log_statistics(every=None)
    scope = holdfast.CancelScope()
    for session in clients():
        calls(session, scope)
    scope.cancel()
    figures()
    holdfast.close_idle_connections()
    holdfast.uninstall()
    holdfast.set_trace(None)
    holdfast.find_leaks(None)


if __name__ == "__main__":
    main()
