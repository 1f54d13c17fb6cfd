"""What a hostile peer, a careless caller or a curious reader must not get: SECURITY.md's promises, one by one."""

from __future__ import annotations

import contextlib
import gzip
import io
import logging
import pickle
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

import holdfast
from conftest import TLS
from holdfast import CloseReason, Limits, PooledAdapter
from proxies import HTTPProxy
from servers import Peer, Server, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]
SECRETS = ("s3cret-user", "s3cret-password", "s3cret-token", "s3cret-cookie", "s3cret-query", "s3cret-key")


# -- requests: where one ends and the next begins ------------------------------------------------------------------------


def pieces() -> Iterator[bytes]:
    yield b"abc"
    yield b"def"


AMBIGUOUS: dict[str, dict[str, Any]] = {
    "length without a body": {"method": "GET", "headers": {"Content-Length": "50"}},
    "length of a body that is shorter": {"method": "POST", "data": b"abc", "late": {"Content-Length": "50"}},
    "length of a body that is longer": {"method": "POST", "data": b"abcdef", "late": {"Content-Length": "3"}},
    "length in other digits": {"method": "POST", "data": b"abc", "late": {"Content-Length": "+3"}},
    "chunked, but it is not": {"method": "POST", "data": b"abc", "late": {"Transfer-Encoding": "chunked"}},
    "chunked, but there is no body": {"method": "GET", "late": {"Transfer-Encoding": "chunked"}},
    "length beside chunks": {"method": "POST", "data": pieces, "late": {"Content-Length": "6"}},
    "length beside chunks, wrong": {"method": "POST", "data": pieces, "late": {"Content-Length": "60"}},
    "length in bytes, wrong": {"method": "POST", "data": b"abc", "late": {b"Content-Length": b"50"}},
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_a_request_whose_end_is_in_doubt_is_its_connections_last(
    name: str, lane: str, serve: Serve, session: Sessions
) -> None:
    """The server may wait for more, or have read more: nobody else's request follows on that connection."""

    def handle(peer: Peer) -> None:
        while b"\r\n\r\n" not in peer.buffer:
            if not peer._more():
                return
        path = peer.buffer.split(b" ")[1]
        peer.send(ok(path))
        while peer._more():  # whatever else comes is this request's, as far as this server can tell
            pass

    server = serve(handle)
    client = session()
    case = dict(AMBIGUOUS[name])
    late = case.pop("late", {})
    if callable(case.get("data")):
        case["data"] = case["data"]()
    prepared = client.prepare_request(requests.Request(url=server.url + "first", **case))
    prepared.headers.update(late)
    with contextlib.suppress(requests.RequestException, ValueError):  # refused unsent is as good
        assert client.send(prepared).content == b"/first"
    assert client.get(server.url + "second", timeout=20).content == b"/second"
    assert server.accepted == 2 or len(server.requests) == 0
    assert not any(b"/second" in peer.buffer and b"/first" in peer.buffer for peer in server.peers)


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("data", [None, b"", b"abc", "text", {"a": "b"}, pieces, io.BytesIO])
def test_a_request_whose_end_is_clear_keeps_its_connection(
    data: Any, method: str, lane: str, serve: Serve, session: Sessions
) -> None:
    """All that requests makes by itself."""
    server = serve()
    client = session()
    for _ in range(3):
        body = data() if data is pieces else data(b"abc") if data is io.BytesIO else data
        assert client.request(method, server.url, data=body).content == b"ok"
    assert server.accepted == 1


@pytest.mark.parametrize("bad", ["\r\nX: y", "\nX: y", "\rX", "\0", "\r\n y"])
@pytest.mark.parametrize("where", ["value", "name", "method", "url", "host"])
def test_nothing_is_injected_into_a_prepared_request(
    where: str, bad: str, lane: str, serve: Serve, session: Sessions
) -> None:
    """Even where requests' own checks are gone round: the request fails, and no byte of it is sent."""
    server = serve()
    client = session()
    prepared = client.prepare_request(requests.Request("GET", server.url))
    if where == "value":
        prepared.headers["A"] = "b" + bad
    elif where == "name":
        prepared.headers["A" + bad] = "b"
    elif where == "method":
        prepared.method = "GET" + bad
    elif where == "url":
        prepared.url = server.url + "a" + bad
    else:
        prepared.headers["Host"] = "b" + bad
    try:
        client.send(prepared)
    except (requests.RequestException, ValueError):
        assert not server.requests
    else:
        # A URL may be quoted instead.
        assert where == "url"
        assert len(server.requests) == 1
        assert b"X: y" not in server.requests[0][1].split(b"\r\n")


# -- responses -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("chunked", [False, True])
def test_draining_never_decompresses(
    coding: str, chunked: bool, lane: str, serve: Serve, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 MB of zeros in 50 KB: closing unread reads the 50 KB, and the connection lives."""
    plain = bytes(50 << 20)
    bomb = gzip.compress(plain, 9) if coding == "gzip" else zlib.compress(plain, 9)
    field = b"Content-Encoding: " + coding.encode()
    framed = b"%x\r\n" % len(bomb) + bomb + b"\r\n0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + field + b"\r\n\r\n"
    server = serve(head + framed if chunked else ok(bomb, field))
    client = session(limits=Limits(drain_timeout=10.0))

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("decompressed")

    monkeypatch.setattr(zlib, "decompressobj", never)
    for _ in range(3):
        client.get(server.url, stream=True).close()
    with client.get(server.url, stream=True):
        pass
    assert server.accepted == 1
    stats = client.get_adapter("http://").statistics()  # type: ignore[attr-defined]
    assert stats.drained_bytes <= 4 * len(framed)


def test_a_bomb_is_decompressed_in_pieces_that_the_reader_asks_for(lane: str, serve: Serve, session: Sessions) -> None:
    """urllib3's guard: ``iter_content`` gives no more than it was asked for."""
    bomb = gzip.compress(bytes(50 << 20), 9)
    server = serve(ok(bomb, b"Content-Encoding: gzip"))
    with session().get(server.url, stream=True) as response:
        first = next(response.iter_content(1000))
        assert len(first) == 1000


def test_a_split_response_never_answers_the_next_request(lane: str, serve: Serve, session: Sessions) -> None:
    """Two answers to one request, in one segment: the second is nobody's."""
    evil = ok(b"evil", b"Set-Cookie: session=evil")
    server = serve(lambda peer: [peer.send(ok() + evil) for _ in iter(peer.read_request, None)])
    client = session()
    for _ in range(5):
        assert client.get(server.url).content == b"ok"
    assert not client.cookies
    stats = client.get_adapter("http://").statistics()  # type: ignore[attr-defined]
    assert stats.closed[CloseReason.UNSOLICITED_DATA] >= 4


# -- secrets -------------------------------------------------------------------------------------------------------------


def leaked(*texts: str) -> list[str]:
    return [secret for secret in SECRETS for text in texts if secret in text]


def test_no_secret_in_logs_reprs_statistics_pickles_and_errors(
    lane: str, serve: Serve, session: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """A password in a URL, a proxy's password, tokens, cookies: nothing of it is shown by anything of ours."""
    server = serve()
    proxy = serve(HTTPProxy("s3cret-user:s3cret-password"))
    client = session(limits=Limits(max_connections_per_host=1, acquire_timeout=0.05))
    client.headers["Authorization"] = "Bearer s3cret-token"
    client.cookies.set("a", "s3cret-cookie")
    client.proxies = {"http": proxy.url.replace("://", "://s3cret-user:s3cret-password@")}
    adapter: Any = client.get_adapter("http://")
    url = server.url + "?key=s3cret-query"
    with caplog.at_level(logging.DEBUG):
        held = client.get(url, stream=True)
        shown = [
            repr(adapter.statistics()),
            repr(holdfast.statistics()),
            repr(holdfast.connection_info(held)),
            repr(adapter),
            repr(held.raw),
            repr(holdfast.Limits()),
        ]
        with pytest.raises(holdfast.AcquireTimeout) as caught:
            client.get(url)
        shown += [str(caught.value), repr(caught.value)]
        held.close()
        with pytest.warns(ResourceWarning) as warned:
            client.get(url, stream=True)
        shown += [str(one.message) for one in warned]
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("holdfast")]
    assert leaked(*shown, *ours) == []
    # urllib3's debug line shows the target, as stock's does, and no header.
    theirs = [record.getMessage() for record in caplog.records]
    assert [secret for secret in leaked(*theirs) if secret != "s3cret-query"] == []
    assert leaked(pickle.dumps(adapter).decode("latin-1")) == []


def test_names_of_transports_tell_nothing(serve: Serve) -> None:
    """Keyed with a key of this process: a name is no oracle for a guessed password."""
    names = set()
    for _ in range(2):
        with holdfast.Session(shared=False) as client:
            client.trust_env = False
            client.get(serve().url)
            names |= {transport.name for transport in holdfast.statistics().transports}
    assert len(names) == 2
    assert all(re.fullmatch(r"[0-9a-f]{12}", name) for name in names)


@pytest.mark.parametrize("secure", [False, True])
def test_proxy_credentials_never_reach_an_origin(
    secure: bool, lane: str, serve: Serve, session: Sessions, tls: TLS
) -> None:
    """Not by a tunnel, not by forwarding, not after a redirect, not when the proxy is switched off."""
    origin = serve(tls=tls.context) if secure else serve()
    proxy = serve(HTTPProxy("s3cret-user:s3cret-password"))
    client = session()
    client.verify = tls.bundle
    address = proxy.url.replace("://", "://s3cret-user:s3cret-password@")
    client.proxies = {"http": address, "https": address}
    assert client.get(origin.url).content == b"ok"
    client.proxies = {}
    assert client.get(origin.url).content == b"ok"
    assert origin.accepted == 2, "the proxied connection was not used for the direct request"
    assert leaked(*[head.decode("latin-1") for _, head, _ in origin.requests]) == []
    assert not any(b"proxy-authorization" in head.lower() for _, head, _ in origin.requests)


def test_an_adapters_credentials_stay_its_own(serve: Serve) -> None:
    """Two sessions with different proxy credentials share nothing, in either order."""
    origin = serve()
    proxy = serve(HTTPProxy(None))
    heads: list[bytes] = proxy.handler.heads  # type: ignore[attr-defined]
    sessions = []
    for user in ("one:1", "two:2", "one:1"):
        client = holdfast.Session()
        client.trust_env = False
        client.proxies = {"http": proxy.url.replace("://", f"://{user}@")}
        client.get(origin.url)
        sessions.append(client)
    credentials = [re.findall(rb"Proxy-Authorization: Basic (\S+)", head) for head in heads]
    assert credentials[0] == credentials[2] != credentials[1]
    assert proxy.accepted == 2
    for client in sessions:
        client.close()


# -- isolation over TLS --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(True, False), (False, True)])
def test_verification_is_isolated_in_both_orders(order: tuple[bool, bool], lane: str, serve: Serve, tls: TLS) -> None:
    """A connection that nobody verified serves no request that asks for it, whoever came first."""
    server = serve(tls=tls.context)
    clients = []
    for verify in (*order, *order):
        client = requests.Session()
        client.trust_env = False
        client.mount("https://", PooledAdapter())
        client.verify = tls.bundle if verify else False
        assert client.get(server.url).content == b"ok"
        clients.append(client)
    assert server.accepted == 2
    for client in clients:
        client.close()


def test_another_bundle_is_another_trust(lane: str, serve: Serve, tls: TLS, tmp_path: Any) -> None:
    """A live, verified connection is no reason to skip the verification that a stricter session asks for."""
    (tmp_path / "other").mkdir()
    other = TLS(tmp_path / "other")
    server = serve(tls=tls.context)
    with holdfast.Session() as trusting, holdfast.Session() as strict:
        for client, bundle in ((trusting, tls.bundle), (strict, other.bundle)):
            client.trust_env = False
            client.verify = bundle
        assert trusting.get(server.url).content == b"ok"
        with pytest.raises(requests.exceptions.SSLError):
            strict.get(server.url)
        assert trusting.get(server.url).content == b"ok"
    assert len(server.requests) == 2


@pytest.mark.parametrize("scheme", ["NTLM", "Negotiate"])
def test_a_connection_that_authentication_was_bound_to_is_one_sessions(scheme: str, lane: str, serve: Serve) -> None:
    """Nobody else is ever somebody on it, and it ends with its session."""
    server = serve()
    with holdfast.Session() as mine, holdfast.Session() as other:
        for client in (mine, other):
            client.trust_env = False
        mine.get(server.url, headers={"Authorization": f"{scheme} s3cret-token"})
        assert mine.get(server.url).content == b"ok"
        assert other.get(server.url).content == b"ok"
        assert [number for number, _, _ in server.requests] == [1, 1, 2]
        mine.close()
        assert other.get(server.url).content == b"ok"
        assert [number for number, _, _ in server.requests] == [1, 1, 2, 2]
