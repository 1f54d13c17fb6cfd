"""Several addresses of one host (RFC 8305): their order, when each is tried, which one is used, and what becomes of the rest."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable
from typing import Any

import pytest
import requests

import faults
from conftest import settle
from holdfast import Timeouts
from holdfast._eyeballs import STAGGER, interleaved, race
from servers import Server

Serve = Callable[..., Server]
SIX, FOUR = socket.AF_INET6, socket.AF_INET
ENDLESS = 1000.0


def address(family: int, host: str, port: int = 80) -> tuple[Any, ...]:
    return (family, socket.SOCK_STREAM, 6, "", (host, port))


class Sock:
    """A connect with an outcome at a moment after its start; None: never."""

    def __init__(self, begun: float, after: float | None, number: int) -> None:
        self.at = None if after is None else begun + after
        self.number = number
        self.closed = False

    def getsockopt(self, *args: Any) -> int:
        return self.number

    def close(self) -> None:
        self.closed = True


class Net:
    """Addresses with what becomes of a connect to each, and a clock."""

    def __init__(self, *outcomes: tuple[float | None, int], limit: float = ENDLESS) -> None:
        self.outcomes = outcomes
        self.limit = limit
        self.clock = 0.0
        self.begun: list[float] = []
        self.socks: list[Sock] = []

    def start(self, address: tuple[Any, ...]) -> Any:
        self.begun.append(self.clock)
        after, number = self.outcomes[address[0]]
        if number < 0:
            raise OSError(-number, "at once")
        self.socks.append(Sock(self.clock, after, number))
        return self.socks[-1]

    def left(self) -> float:
        if self.clock >= self.limit:
            raise TimeoutError("timed out")
        return self.limit - self.clock

    def wait(self, socks: Iterable[Any], seconds: float | None) -> list[Any]:
        ends = [sock.at for sock in socks if sock.at is not None]
        until = min(ends, default=ENDLESS)
        if seconds is not None:
            until = min(until, self.clock + seconds)
        self.clock = max(self.clock, until)
        return [sock for sock in socks if sock.at is not None and sock.at <= self.clock]

    def run(self) -> Any:
        addresses = [(i,) for i in range(len(self.outcomes))]
        return race(addresses, self.start, self.left, self.wait, lambda: self.clock)


def test_families_take_turns_ipv6_first() -> None:
    """Within a family the resolver's order stays."""
    four = [address(FOUR, f"10.0.0.{i}") for i in range(3)]
    six = [address(SIX, "fd00::1")]
    assert interleaved([*four, *six]) == [six[0], *four]
    more = [address(SIX, f"fd00::{i}") for i in range(2)]
    assert interleaved([*four, *more]) == [more[0], four[0], more[1], four[1], four[2]]


def test_the_next_address_is_tried_after_the_stagger_and_losers_are_closed() -> None:
    """The first drops packets, the second is slow, the third answers."""
    net = Net((None, 0), (1.0, 0), (0.1, 0))
    winner = net.run()
    assert winner is net.socks[2]
    assert net.begun == [0.0, STAGGER, 2 * STAGGER]
    assert [sock.closed for sock in net.socks] == [True, True, False]


def test_an_early_address_may_still_win() -> None:
    """It is not given up when the next one is tried."""
    net = Net((0.3, 0), (1.0, 0))
    assert net.run() is net.socks[0]
    assert [sock.closed for sock in net.socks] == [False, True]


@pytest.mark.parametrize("number", [errno.ECONNREFUSED, -errno.EADDRNOTAVAIL])
def test_a_failure_is_followed_by_the_next_address_at_once(number: int) -> None:
    """Whether it comes at once or later."""
    net = Net((0.01, number), (0.01, number), (0.01, 0))
    assert net.run() is net.socks[-1]
    assert net.begun[-1] <= 0.02


def test_if_all_fail_the_last_error_is_raised() -> None:
    """With its class."""
    net = Net((0.1, errno.EHOSTUNREACH), (0.5, errno.ECONNREFUSED))
    with pytest.raises(ConnectionRefusedError):
        net.run()
    assert all(sock.closed for sock in net.socks)


def test_the_connect_timeout_bounds_all_together() -> None:
    """And nothing stays open."""
    net = Net((None, 0), (None, 0), (None, 0), limit=1.0)
    with pytest.raises(TimeoutError):
        net.run()
    assert net.clock == 1.0
    assert [sock.closed for sock in net.socks] == [True] * 3


def test_no_address_is_an_error() -> None:
    """As urllib3 says it."""
    with pytest.raises(OSError, match="empty list"):
        Net().run()


def test_an_address_that_drops_packets_does_not_cost_the_connect_timeout(serve: Serve, session: Any, lane: str) -> None:
    """On real sockets: the request ends long before the minute that the first address would take."""
    server = serve()
    with faults.full() as url:
        dead = int(url.rstrip("/").rpartition(":")[2])

        def resolver(host: str, port: int) -> list[tuple[Any, ...]]:
            return [address(FOUR, "127.0.0.1", dead), address(FOUR, "127.0.0.1", server.port)]

        client = session(resolver=resolver, timeouts=Timeouts(connect=60))
        assert client.get("http://two.test/").content == b"ok"
    assert server.accepted == 1


def test_ipv6_is_preferred_and_ipv4_used_where_nobody_listens_there(serve: Serve, session: Any, lane: str) -> None:
    """The same port on both loopback addresses."""
    four = serve()
    try:
        six = serve(host="::1")
    except OSError:
        pytest.skip("no IPv6 on the loopback interface")

    def resolver(host: str, port: int) -> list[tuple[Any, ...]]:
        return [address(FOUR, "127.0.0.1", four.port), address(SIX, "::1", six.port)]

    client = session(resolver=resolver)
    for _ in range(3):
        assert client.get("http://both.test/").content == b"ok"
    assert six.accepted == 1
    # A loser that had connected already is closed at once.
    assert settle(lambda: four.open == 0)
    six.stop()
    client.close()
    assert client.get("http://both.test/").content == b"ok"
    assert len(four.requests) == 1


def test_the_socket_of_a_race_has_its_options_and_its_source(serve: Serve, session: Any) -> None:
    """As that of a single address."""
    server = serve()

    def resolver(host: str, port: int) -> list[tuple[Any, ...]]:
        return [address(FOUR, "127.0.0.1", server.port)] * 2

    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    client: requests.Session = session(resolver=resolver, source_address=("127.0.0.7", 0), socket_options=options)
    response = client.get("http://both.test/", stream=True)
    sock = response.raw._fp.fp.raw._sock
    assert sock.getsockname()[0] == "127.0.0.7"
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert response.content == b"ok"
