"""RFC 9112 by example: what a response means, sent whole, byte by byte, and followed by a second request."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests

import holdfast
from holdfast import IncompleteBody, InvalidResponse
from servers import Peer, Server, ok
from wire_vectors import CHUNKED, CUT, VECTORS, Vector

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


def pieces(wire: bytes, how: str) -> list[bytes]:
    """``wire`` whole, byte by byte, or cut where chance says; long ones in fewer pieces, for the time it takes."""
    if how == "whole":
        return [wire]
    if how == "bytewise" and len(wire) <= 1000:
        return [wire[i : i + 1] for i in range(len(wire))]
    chance = random.Random(wire)
    cuts = sorted(chance.randrange(len(wire)) for _ in range(8))
    return [wire[a:b] for a, b in zip([0, *cuts], [*cuts, len(wire)], strict=True)]


def script(wire: bytes, *, ends: bool = False) -> Callable[[Peer], None]:
    """Sends ``wire`` to each request, split as its path says; a request for /second gets 'second'."""

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            path = request[0].split(b" ")[1].decode()
            if path == "/second":
                peer.send(ok(b"second"))
                continue
            for piece in pieces(wire, path[1:] or "whole"):
                peer.send(piece)
            if ends:
                return

    return handle


@pytest.mark.parametrize("vector", VECTORS, ids=[f"{one.section}-{one.name}" for one in VECTORS])
def test_vector(vector: Vector, lane: str, serve: Serve, session: Sessions) -> None:
    """However it is split: the answer or the error, and then the next request's own answer."""
    server = serve(script(vector.wire, ends=vector.ends))
    client = session()
    # What follows a message later than the next request was sent cannot be told from that one's answer (section 9.2).
    splits = ("whole",) if vector.section == "9.2" else ("whole", "bytewise", "random")
    for n, how in enumerate(splits):
        connections = server.accepted
        if vector.error:
            with pytest.raises(holdfast.HoldfastError) as caught:
                client.request(vector.method, server.url + how, timeout=30)
            assert vector.error in [kind.__name__ for kind in type(caught.value).__mro__], repr(caught.value)
            assert "127.0.0.1" in str(caught.value)
        else:
            response = client.request(vector.method, server.url + how, timeout=30)
            assert (response.status_code, response.content) == (vector.status, vector.body)
            assert {name: response.headers[name] for name in vector.fields} == vector.fields
        assert client.get(server.url + "second", timeout=30).content == b"second"
        assert server.accepted - connections == (1 if vector.kept and not vector.error else 2) - min(n, 1)


@pytest.mark.parametrize("vector", CUT[:18], ids=[one.name for one in CUT[:18]])
def test_a_cut_body_that_is_iterated(vector: Vector, lane: str, serve: Serve, session: Sessions) -> None:
    """``IncompleteBody``, a ``ChunkedEncodingError``, never a short success."""
    server = serve(script(vector.wire, ends=True))
    with session().get(server.url, stream=True) as response, pytest.raises(IncompleteBody) as caught:
        list(response.iter_content(2))
    assert isinstance(caught.value, requests.exceptions.ChunkedEncodingError)


def test_a_short_body_is_a_success_where_enforcement_is_switched_off(
    lane: str, serve: Serve, session: Sessions
) -> None:
    """``raw.enforce_content_length = False``, as urllib3 has it."""
    server = serve(script(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", ends=True))
    response = session().get(server.url, stream=True)
    response.raw.enforce_content_length = False
    assert response.content == b"hel"


def test_bytes_after_the_body_close_the_connection(lane: str, serve: Serve, session: Sessions) -> None:
    """They never become the next answer (RFC 9112 section 9.2)."""
    server = serve(script(ok(b"first") + ok(b"smuggled")))
    client = session()
    assert client.get(server.url).content == b"first"
    assert client.get(server.url + "second").content == b"second"
    assert server.accepted == 2


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_bytes_behind_a_drained_body_close_the_connection(
    framing: str, lane: str, serve: Serve, session: Sessions
) -> None:
    """Whether the drain came across them or not."""
    go = threading.Event()

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            if b"/second" in request[0]:
                peer.send(ok(b"second"))
                continue
            head = CHUNKED if framing == "chunked" else b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
            peer.send(head)
            go.wait(20)
            peer.send((b"5\r\nhello\r\n0\r\n\r\n" if framing == "chunked" else b"hello") + ok(b"smuggled"))

    server = serve(handle)
    client = session(limits=holdfast.Limits(drain_timeout=20.0))
    response = client.get(server.url, stream=True)
    go.set()
    response.close()
    assert client.get(server.url + "second").content == b"second"
    assert server.accepted == 2


def test_after_101_the_socket_belongs_to_the_response(lane: str, serve: Serve, session: Sessions) -> None:
    """``raw`` reads it, what came with the head first (RFC 9110 section 7.8)."""

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\nleft")
        peer.send(b"over")

    server = serve(handle)
    client = session()
    response = client.get(server.url, stream=True)
    assert response.status_code == 101
    assert response.raw.read(8, decode_content=False) == b"leftover"
    response.close()
    assert client.adapters["http://"].statistics().idle == 0


def test_repeated_fields_are_joined_as_stock_joins_them(lane: str, serve: Serve, session: Sessions) -> None:
    """In order, with a comma; the original pairs are in ``raw.headers``."""
    server = serve(ok(b"x", b"A: 1", b"B: 2", b"a: 3", b"Set-Cookie: c=1", b"Set-Cookie: d=2; Path=/"))
    with requests.Session() as stock:
        expected = stock.get(server.url)
    got = session().get(server.url)
    assert list(got.headers.items()) == list(expected.headers.items())
    assert got.raw.headers == expected.raw.headers
    assert list(got.raw.headers.iteritems()) == list(expected.raw.headers.iteritems())
    assert got.cookies.get_dict() == expected.cookies.get_dict() == {"c": "1", "d": "2"}


@pytest.mark.parametrize("where", ["method", "target", "name", "value"])
@pytest.mark.parametrize("bad", ["\r", "\n", "\0", "\r\nX: y", "\r\n folded"])
def test_cr_lf_and_nul_never_reach_the_wire(where: str, bad: str, lane: str, serve: Serve, session: Sessions) -> None:
    """Refused with a ``ValueError``, as http.client refuses them, or escaped (RFC 9110 section 5.5)."""
    server = serve()
    client = session()
    prepared = client.prepare_request(requests.Request("GET", server.url, headers={"X-Given": "v"}))
    if where == "method":
        prepared.method = f"GET{bad}"
    elif where == "target":
        prepared.url = f"{server.url}a{bad}b"
    elif where == "name":
        prepared.headers[f"X{bad}"] = "v"
    else:
        prepared.headers["X-Given"] = f"v{bad}"
    with contextlib.suppress(ValueError, requests.exceptions.RequestException):
        client.send(prepared)
    for _, head, _ in server.requests:
        lines = head.split(b"\r\n")
        assert not any(byte in head.replace(b"\r\n", b"") for byte in (b"\r", b"\n", b"\0"))
        assert {line.partition(b":")[0] for line in lines[1:]} == {
            b"Host", b"User-Agent", b"Accept-Encoding", b"Accept", b"Connection", b"X-Given"
        }  # fmt: skip


def test_the_request_is_stocks_byte_for_byte(lane: str, serve: Serve, session: Sessions) -> None:
    """Same line order, same framing, for the calls that people make."""
    server = serve()
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "a?b=%7e&c=d%20e", {}),
        ("POST", "p", {"data": {"k": "v"}}),
        ("POST", "p", {"json": {"k": "v"}}),
        ("PUT", "p", {"data": b"\0" * 100_000}),
        ("POST", "p", {"data": iter([b"a", b"bc"])}),
        ("DELETE", "p", {"headers": {"Accept-Encoding": "br", "Host": "other.example"}}),
        ("PATCH", "p", {"data": "t\u00e9xt"}),
        ("OPTIONS", "p", {"auth": ("user", "pass")}),
    ]
    with requests.Session() as stock:
        stock.trust_env = False
        for client in (stock, session()):
            for method, path, options in calls:
                again = (
                    {**options, "data": iter([b"a", b"bc"])}
                    if "data" in options and method == "POST" and not isinstance(options["data"], dict)
                    else options
                )
                assert client.request(method, server.url + path, **again).content == b"ok"
    seen = [(head, body) for _, head, body in server.requests]
    assert seen[: len(calls)] == seen[len(calls) :]


def test_the_header_limit_covers_interim_heads(lane: str, serve: Serve, session: Sessions) -> None:
    """A flood of 1xx ends at ``max_response_header_bytes``."""
    server = serve(script(b"HTTP/1.1 102 Processing\r\n\r\n" * 2000))
    client = session(limits=holdfast.Limits(max_response_header_bytes=4096))
    with pytest.raises(InvalidResponse, match="limit of"):
        client.get(server.url, timeout=20)


@pytest.mark.parametrize(("limit", "fits"), [(1, False), (62, False), (63, True), (64, True)])
def test_max_response_header_bytes_at_1_n_and_around(
    limit: int, fits: bool, lane: str, serve: Serve, session: Sessions
) -> None:
    """The head here has 63 bytes."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n" + b"A: 45678901234567890123\r\n\r\n"
    assert len(head) == 63
    server = serve(script(head + b"x"))
    client = session(limits=holdfast.Limits(max_response_header_bytes=limit))
    if fits:
        assert client.get(server.url).content == b"x"
    else:
        with pytest.raises(InvalidResponse, match=f"limit of {limit}"):
            client.get(server.url)


def test_trailers_count_into_the_header_limit(lane: str, serve: Serve, session: Sessions) -> None:
    """An endless trailer section ends there."""
    server = serve(script(CHUNKED + b"1\r\nx\r\n0\r\n" + b"T: x\r\n" * 1000 + b"\r\n"))
    client = session(limits=holdfast.Limits(max_response_header_bytes=512))
    with pytest.raises(InvalidResponse, match="limit"):
        client.get(server.url)
