"""RFC 9112 by example: what a response means, sent whole, byte by byte, and followed by a second request."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import requests

import holdfast
from holdfast import IncompleteBody, InvalidResponse
from servers import Peer, Server, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


class Good(NamedTuple):
    """A response that is to be accepted."""

    section: str
    name: str
    response: bytes
    body: bytes
    kept: bool = True
    method: str = "GET"
    ends: bool = False
    """Whether the server closes after it."""


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

GOOD = [
    Good("6.3", "content_length", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    Good("6.3", "content_length_zero", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    Good(
        "6.3",
        "equal_lengths_in_two_lines",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        b"ab",
    ),
    Good("6.3", "equal_lengths_in_a_list", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nab", b"ab"),
    Good("6.3", "head_has_no_body", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", b"", method="HEAD"),
    Good("6.3", "204_has_no_body", b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    Good("6.3", "304_has_no_body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b""),
    Good("6.3", "until_close", b"HTTP/1.1 200 OK\r\n\r\nto the end", b"to the end", kept=False, ends=True),
    Good("7.1", "chunked", CHUNKED + b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    Good("7.1", "chunk_size_in_upper_case_with_zeros", CHUNKED + b"00A\r\n0123456789\r\n000\r\n\r\n", b"0123456789"),
    Good("7.1.1", "chunk_extensions", CHUNKED + b'3;a=b;c="d e"\r\nabc\r\n0;last\r\n\r\n', b"abc"),
    Good("7.1.2", "trailers_are_dropped", CHUNKED + b"1\r\nx\r\n0\r\nTrailer: 1\r\nOther: 2\r\n\r\n", b"x"),
    Good("7", "transfer_encoding_in_any_case", CHUNKED.replace(b"chunked", b"CHUNKED") + b"1\r\nx\r\n0\r\n\r\n", b"x"),
    Good(
        "7",
        "gzip_then_chunked_is_framed_as_chunked",
        CHUNKED.replace(b"chunked", b"gzip, chunked") + b"1\r\nx\r\n0\r\n\r\n",
        b"x",
    ),
    Good(
        "7",
        "identity_means_nothing",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\nx",
        b"x",
    ),
    Good(
        "6.1",
        "chunked_wins_over_length",
        CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 99\r\n\r\n") + b"1\r\nx\r\n0\r\n\r\n",
        b"x",
        kept=False,
    ),
    Good("6.1", "chunked_in_http_1_0", CHUNKED.replace(b"1.1", b"1.0") + b"1\r\nx\r\n0\r\n\r\n", b"x", kept=False),
    Good("9.3", "http_1_0_closes", b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x", kept=False),
    Good(
        "9.3", "http_1_0_keep_alive", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", b"x"
    ),
    Good(
        "9.6",
        "connection_close",
        b"HTTP/1.1 200 OK\r\nConnection: foo, Close\r\nContent-Length: 1\r\n\r\nx",
        b"x",
        kept=False,
    ),
    Good("2.2", "bare_line_feeds", b"HTTP/1.1 200 OK\nContent-Length: 1\nA: b\n\nx", b"x"),
    Good("5.2", "folded_line_is_one_space", b"HTTP/1.1 200 OK\r\nA: one\r\n  two\r\nContent-Length: 1\r\n\r\nx", b"x"),
    Good("4", "no_reason_phrase", b"HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx", b"x"),
    Good("4", "any_three_digits", b"HTTP/1.1 799 Odd\r\nContent-Length: 1\r\n\r\nx", b"x"),
    Good("4", "reason_in_latin_1", b"HTTP/1.1 200 D\xe9j\xe0\r\nContent-Length: 1\r\n\r\nx", b"x"),
    Good("5", "value_in_latin_1", b"HTTP/1.1 200 OK\r\nA: caf\xe9\r\nContent-Length: 1\r\n\r\nx", b"x"),
    Good("5.1", "empty_value", b"HTTP/1.1 200 OK\r\nA:\r\nContent-Length: 1\r\n\r\nx", b"x"),
    Good("2.3", "later_minor_version", b"HTTP/1.7 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x"),
    Good(
        "9110 15.2",
        "interim_responses_are_skipped",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
        b"x",
    ),
]

BAD = {
    "6.3 lengths_differ": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    "6.3 lengths_differ_in_a_list": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nxx",
    "6.3 length_with_sign": b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
    "6.3 length_negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nx",
    "6.3 length_hexadecimal": b"HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\nx",
    "6.3 length_empty": b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nx",
    "6.3 length_over_64_bits": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nx",
    "6.1 unknown_final_coding": CHUNKED.replace(b"chunked", b"chunked, br2") + b"0\r\n\r\n",
    "6.1 chunked_twice": CHUNKED.replace(b"chunked", b"chunked, chunked") + b"0\r\n\r\n",
    "7.1 chunk_size_without_digits": CHUNKED + b"\r\n\r\n",
    "7.1 chunk_size_with_letters": CHUNKED + b"g\r\nx\r\n0\r\n\r\n",
    "7.1 chunk_size_with_space": CHUNKED + b"1 \r\nx\r\n0\r\n\r\n",
    "7.1 chunk_size_with_sign": CHUNKED + b"+1\r\nx\r\n0\r\n\r\n",
    "7.1 chunk_size_with_prefix": CHUNKED + b"0x1\r\nx\r\n0\r\n\r\n",
    "7.1 chunk_size_with_bare_lf": CHUNKED + b"1\nx\r\n0\r\n\r\n",
    "7.1 chunk_size_overflow": CHUNKED + b"10000000000000000\r\nx\r\n0\r\n\r\n",
    "7.1 chunk_extension_with_bare_lf": CHUNKED + b"1;a\nx\r\n0\r\n\r\n",
    "7.1 chunk_line_over_64_kib": CHUNKED + b"1;" + b"a" * 70000 + b"\r\nx\r\n0\r\n\r\n",
    "7.1 chunk_data_without_crlf": CHUNKED + b"1\r\nxy\r\n0\r\n\r\n",
    "7.1 chunk_data_followed_by_bare_lf": CHUNKED + b"1\r\nx\n0\r\n\r\n",
    "5 bare_cr_in_value": b"HTTP/1.1 200 OK\r\nA: b\rc\r\nContent-Length: 1\r\n\r\nx",
    "5 nul_in_value": b"HTTP/1.1 200 OK\r\nA: b\0c\r\nContent-Length: 1\r\n\r\nx",
    "5 nul_in_name": b"HTTP/1.1 200 OK\r\nA\0: b\r\nContent-Length: 1\r\n\r\nx",
    "5 empty_name": b"HTTP/1.1 200 OK\r\n: b\r\nContent-Length: 1\r\n\r\nx",
    "5.1 space_before_colon": b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\nx",
    "5 line_without_colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 1\r\n\r\nx",
    "5 too_many_fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 300 + b"Content-Length: 1\r\n\r\nx",
    "5 head_over_the_limit": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 3_000_000,
    "4 garbage": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "4 blank_line_first": b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "4 two_digits": b"HTTP/1.1 20 OK\r\nContent-Length: 1\r\n\r\nx",
    "2.3 http_2": b"HTTP/2.0 200 OK\r\nContent-Length: 1\r\n\r\nx",
    "8 head_cut": b"HTTP/1.1 200 OK\r\nContent-",
}

CUT = {
    "6.3 body_shorter_than_promised": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
    "8 cut_in_a_chunk": CHUNKED + b"5\r\nhel",
    "8 cut_in_a_chunk_size": CHUNKED + b"5",
    "8 cut_before_the_last_chunk": CHUNKED + b"1\r\nx\r\n",
    "8 cut_in_the_trailers": CHUNKED + b"0\r\nTrailer: 1\r\n",
}


def script(response: bytes, *, trickle: bool = False, ends: bool = False) -> Callable[[Peer], None]:
    """Sends ``response`` to each request, one byte at a time if asked; a later request to another path gets 'second'."""

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            if b"/second" in request[0]:
                peer.send(ok(b"second"))
                continue
            step = 1 if trickle else len(response)
            for i in range(0, len(response), step):
                peer.send(response[i : i + step])
            if ends:
                return

    return handle


@pytest.mark.parametrize("trickle", [False, True], ids=["whole", "bytewise"])
@pytest.mark.parametrize("case", GOOD, ids=[f"{case.section}-{case.name}" for case in GOOD])
def test_accepted(case: Good, trickle: bool, lane: str, serve: Serve, session: Sessions) -> None:
    """The body is right, and the next request gets its own answer, on this connection or on another."""
    server = serve(script(case.response, trickle=trickle, ends=case.ends))
    client = session()
    assert client.request(case.method, server.url).content == case.body
    assert client.get(server.url + "second").content == b"second"
    assert server.accepted == (1 if case.kept else 2)


@pytest.mark.parametrize("name", BAD)
def test_rejected(name: str, lane: str, serve: Serve, session: Sessions) -> None:
    """``InvalidResponse``, a ``ConnectionError``, and the connection is closed."""
    server = serve(script(BAD[name], ends=name.startswith("8")))
    client = session()
    with pytest.raises(InvalidResponse, match=r"invalid response from 127\.0\.0\.1:\d+") as caught:
        client.get(server.url, timeout=20)
    assert isinstance(caught.value, requests.exceptions.ConnectionError)
    assert client.get(server.url + "second").content == b"second"
    assert server.accepted == 2


@pytest.mark.parametrize("name", CUT)
def test_cut(name: str, lane: str, serve: Serve, session: Sessions) -> None:
    """``IncompleteBody``, a ``ChunkedEncodingError``, never a short success."""
    server = serve(script(CUT[name], ends=True))
    client = session()
    with pytest.raises(IncompleteBody) as caught:
        client.get(server.url)
    assert isinstance(caught.value, requests.exceptions.ChunkedEncodingError)
    with client.get(server.url, stream=True) as response, pytest.raises(IncompleteBody):
        list(response.iter_content(2))
    assert client.get(server.url + "second").content == b"second"


def test_a_short_body_is_a_success_where_enforcement_is_switched_off(
    lane: str, serve: Serve, session: Sessions
) -> None:
    """``raw.enforce_content_length = False``, as urllib3 has it."""
    server = serve(script(CUT["6.3 body_shorter_than_promised"], ends=True))
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
