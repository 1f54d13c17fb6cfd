"""``http+unix://``: the same pool over unix sockets."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

import holdfast
from conftest import settle
from holdfast import Limits, Timeouts
from servers import Peer, Server, answer, ok

Serve = Callable[..., Server]
pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no unix sockets on this system")


@pytest.fixture
def client(session: Any) -> Callable[..., requests.Session]:
    return lambda **options: session(unix_sockets=True, **options)


def test_requests_share_a_connection_and_name_localhost(serve: Serve, client: Any, tmp_path: Path) -> None:
    """Path, query and body arrive; the Host field is no path."""
    server = serve(answer(lambda head, body: ok(head.split(b" ")[1] + b" " + body)), path=tmp_path / "a.sock")
    one = client()
    assert one.get(server.url + "x/y?z=1").text == "/x/y?z=1 "
    assert one.post(server.url, data=b"body").text == "/ body"
    assert one.get(server.url, headers={"Host": "named.test"}).ok
    assert server.accepted == 1
    hosts = [line for _, head, _ in server.requests for line in head.split(b"\r\n") if line.startswith(b"Host:")]
    assert hosts == [b"Host: localhost", b"Host: localhost", b"Host: named.test"]


def test_connection_info_has_the_path(serve: Serve, client: Any, tmp_path: Path) -> None:
    """Where another connection has host and port."""
    server = serve(path=tmp_path / "a.sock")
    response = client().get(server.url)
    assert holdfast.connection_info(response).remote_address == str(tmp_path / "a.sock")


def test_paths_that_differ_in_case_are_two_sockets(serve: Serve, client: Any, tmp_path: Path) -> None:
    """A host would be lower-cased."""
    upper, lower = serve(b"", path=tmp_path / "A.sock"), serve(path=tmp_path / "a.sock")
    upper.handler = answer(ok(b"upper"))
    one = client()
    assert [one.get(server.url).text for server in (upper, lower, upper)] == ["upper", "ok", "upper"]
    assert (upper.accepted, lower.accepted) == (1, 1)


def test_limits_and_timeouts_hold(serve: Serve, client: Any, tmp_path: Path) -> None:
    """A limit per socket, a bound on the head, a stale connection replaced, an idle one noticed."""
    server = serve(path=tmp_path / "a.sock")
    one = client(limits=Limits(max_connections_per_host=2))
    with ThreadPoolExecutor(8) as pool:
        assert {r.text for r in pool.map(lambda _: one.get(server.url), range(40))} == {"ok"}
    assert server.most_open <= 2
    for peer in server.peers:
        peer.close()
    assert one.get(server.url).text == "ok"
    silent = serve(lambda peer: peer.sock.recv(65536) and server.stopping.wait(20), path=tmp_path / "silent.sock")
    with pytest.raises(holdfast.ResponseHeaderTimeout):
        client(timeouts=Timeouts(response_header=0.1)).get(silent.url)
    server.stopping.set()


def test_bodies_are_streamed_and_drained(serve: Serve, client: Any, tmp_path: Path) -> None:
    """Large, chunked and closed unread."""

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            if b"GET /chunked" in request[0]:
                peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
            else:
                peer.send(ok(b"x" * 3_000_000))

    server = serve(handle, path=tmp_path / "a.sock")
    one = client()
    assert len(one.get(server.url).content) == 3_000_000
    assert one.get(server.url + "chunked").text == "abc"
    one.get(server.url + "chunked", stream=True).close()
    assert one.get(server.url + "chunked").text == "abc"
    assert server.accepted == 1


def test_no_proxy_stands_before_it(serve: Serve, client: Any, tmp_path: Path) -> None:
    """Not even one for all schemes."""
    server = serve(path=tmp_path / "a.sock")
    proxies = {"all": "http://127.0.0.1:9", "http": "http://127.0.0.1:9"}
    assert client().get(server.url, proxies=proxies).text == "ok"


def test_a_path_where_nobody_listens_is_a_connection_error(client: Any, tmp_path: Path) -> None:
    """As a refused port."""
    with pytest.raises(requests.ConnectionError, match="No such file"):
        client().get(f"http+unix://{str(tmp_path / 'none').replace('/', '%2F')}/")


def test_it_is_off_unless_asked_for(session: Any) -> None:
    """As the contract says: on request."""
    with pytest.raises(requests.exceptions.InvalidSchema):
        session().get("http+unix://%2Fnone/")


def test_sessions_take_it_too(serve: Serve, tmp_path: Path) -> None:
    """And close what they opened."""
    server = serve(path=tmp_path / "a.sock")
    with holdfast.Session(unix_sockets=True, shared=False) as one:
        assert one.get(server.url).text == "ok"
    assert settle(lambda: server.open == 0)
