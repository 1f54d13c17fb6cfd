"""Rules 18 to 20: nobody can tell the lanes apart, and whoever patches or overrides something is obeyed."""

from __future__ import annotations

import copy
import gzip
import http.client
import logging
import pickle
import threading
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import requests
import requests.adapters
import urllib3
import urllib3.connectionpool
from requests.adapters import HTTPAdapter

import holdfast
from holdfast import CloseReason, Limits, PooledAdapter, _fast_lane
from servers import Peer, Server, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


@pytest.fixture
def fast_runs(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What went through the fast lane."""
    seen: list[str] = []
    real = _fast_lane.run

    def run(adapter: Any, facade: Any, request: Any, *rest: Any) -> Any:
        seen.append(request.url)
        return real(adapter, facade, request, *rest)

    monkeypatch.setattr(_fast_lane, "run", run)
    return seen


def test_a_plain_call_takes_the_fast_lane(serve: Serve, session: Sessions, fast_runs: list[str]) -> None:
    """With and without body, query, cookies, auth and redirects."""
    server = serve()
    client = session()
    client.get(server.url, params={"a": "b c"}, cookies={"k": "v"}, auth=("u", "p"))
    client.post(server.url, json=[1])
    assert len(fast_runs) == 2


HOOKS = ["init_poolmanager", "proxy_manager_for", "cert_verify", "build_response", "request_url", "add_headers"]
HOOKS += ["get_connection_with_tls_context", "build_connection_pool_key_attributes", "proxy_headers"]
HOOKS = [name for name in HOOKS if hasattr(HTTPAdapter, name)]  # requests 2.32.2 has one less


@pytest.mark.parametrize("where", ["subclass", "instance"])
@pytest.mark.parametrize("hook", HOOKS)
def test_an_overridden_hook_is_called_and_the_pool_still_used(hook: str, where: str, serve: Serve) -> None:
    """A subclass moves here by changing its base class alone."""
    server = serve()
    calls: list[str] = []
    real = getattr(PooledAdapter, hook)

    def override(self: Any, *args: Any, **kwargs: Any) -> Any:
        calls.append(hook)
        return real(self, *args, **kwargs)

    if where == "subclass":
        adapter = type("Subclass", (PooledAdapter,), {hook: override})(shared=False)
    else:
        adapter = PooledAdapter(shared=False)
        setattr(adapter, hook, override.__get__(adapter))
    with requests.Session() as client:
        client.mount("http://", adapter)
        for _ in range(2):
            assert client.get(server.url).content == b"ok"
    if hook not in ("proxy_manager_for", "proxy_headers") and (hook, where) != ("init_poolmanager", "instance"):
        assert calls
    assert server.accepted == 1


def test_add_headers_and_request_url_reach_the_wire(serve: Serve) -> None:
    """What a hook does is seen by the server."""
    server = serve()

    class Subclass(PooledAdapter):
        def add_headers(self, request: Any, **kwargs: Any) -> None:
            assert kwargs["timeout"] == (3, 4)
            request.headers["X-Added"] = "yes"

        def request_url(self, request: Any, proxies: Any) -> str:
            return "/changed"

    with requests.Session() as client:
        client.mount("http://", Subclass(shared=False))
        client.get(server.url, timeout=(3, 4))
    assert server.requests[0][1].startswith(b"GET /changed HTTP/1.1\r\n")
    assert b"X-Added: yes" in server.requests[0][1]


def test_a_foreign_pool_manager_works_as_stock(serve: Serve) -> None:
    """``init_poolmanager`` that assigns its own, without calling super."""
    server = serve()

    class Subclass(PooledAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            self.poolmanager = urllib3.PoolManager(num_pools=1)

    with requests.Session() as client:
        client.mount("http://", Subclass())
        assert [client.get(server.url).content for _ in range(2)] == [b"ok"] * 2
    assert server.accepted == 1


class Lookalike:
    """A wrapper as wrapt makes them: it says that it equals what it wraps."""

    def __init__(self, wrapped: Any, call: Any) -> None:
        self._wrapped = wrapped
        self._call = call

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        return self if instance is None else self._call.__get__(instance, owner)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        return bool(self._wrapped == other)

    def __hash__(self) -> int:
        return hash(self._wrapped)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (requests.adapters.HTTPAdapter, "send"),
        (urllib3.connectionpool.HTTPConnectionPool, "urlopen"),
        (urllib3.connectionpool.HTTPConnectionPool, "_make_request"),
        (urllib3.connectionpool.HTTPConnectionPool, "_get_conn"),
        (urllib3.connectionpool.HTTPConnectionPool, "_put_conn"),
        (http.client.HTTPConnection, "putheader"),
        (http.client.HTTPConnection, "endheaders"),
        (http.client.HTTPConnection, "send"),
        (http.client.HTTPConnection, "getresponse"),
        (http.client.HTTPResponse, "begin"),
        (http.client, "parse_headers"),
        (urllib3.connection.HTTPConnection, "request"),
        (urllib3.connection.HTTPConnection, "getresponse"),
    ],
)
@pytest.mark.parametrize("kind", ["a function", "a lookalike"])
def test_a_patched_function_is_called(
    kind: str,
    owner: Any,
    name: str,
    serve: Serve,
    session: Sessions,
    monkeypatch: pytest.MonkeyPatch,
    fast_runs: list[str],
) -> None:
    """Tracers and recorders see the exchange, with a fresh and with a warm pool, and the pool still works."""
    server = serve()
    client = session()
    client.get(server.url)
    calls: list[int] = []
    real = getattr(owner, name)

    def call(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return real(*args, **kwargs)

    patched = call if kind == "a function" else Lookalike(real, call)
    if name not in ("_get_conn", "_put_conn"):  # ours override these two and need not call them
        monkeypatch.setattr(owner, name, patched)
        assert client.get(server.url).content == b"ok"
        assert calls
    else:
        monkeypatch.setattr(owner, name, patched)
        assert client.get(server.url).content == b"ok"
    assert len(fast_runs) == 1
    assert server.accepted == 1
    monkeypatch.undo()


def test_a_patched_adapter_send_can_answer_alone(
    serve: Serve, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ``responses`` does: nothing reaches the network, even with a warm pool."""
    server = serve()
    client = session()
    client.get(server.url)
    canned = requests.Response()
    canned.status_code = 299
    canned._content = b""
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", lambda self, request, **kwargs: canned)
    monkeypatch.setattr(requests.adapters.HTTPAdapter, "send", lambda *args, **kwargs: canned)
    assert client.get(server.url).status_code == 299
    assert len(server.requests) == 1


def test_a_foreign_connection_class_is_used_unconnected_and_never_pooled(
    serve: Serve, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As vcrpy does; a warm pool must not be used then."""
    server = serve()
    client = session()
    client.get(server.url)
    made: list[Any] = []

    class Foreign(urllib3.connection.HTTPConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(urllib3.connectionpool.HTTPConnectionPool, "ConnectionCls", Foreign)
    for _ in range(2):
        assert client.get(server.url).content == b"ok"
    stats = client.get_adapter("http://").statistics()  # type: ignore[attr-defined]
    assert (len(made), server.accepted, stats.idle, stats.in_use) == (2, 3, 1, 0)


def test_a_foreign_connection_takes_the_place_of_an_idle_one(
    serve: Serve, session: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit it would wait for ever beside a connection that it cannot use."""
    server = serve()
    client = session(limits=Limits(max_connections_per_host=1, acquire_timeout=5.0))
    client.get(server.url)

    class Foreign(urllib3.connection.HTTPConnection):
        pass

    monkeypatch.setattr(urllib3.connectionpool.HTTPConnectionPool, "ConnectionCls", Foreign)
    assert client.get(server.url).content == b"ok"
    stats = client.get_adapter("http://").statistics()  # type: ignore[attr-defined]
    assert stats.closed[CloseReason.EVICTED] == 1


def test_late_changes_of_connection_pool_kw_are_honoured(lane: str, serve: Serve, session: Sessions) -> None:
    """A source address set on the manager leads to a new connection."""
    server = serve()
    client = session()
    client.get(server.url)
    client.get_adapter("http://").poolmanager.connection_pool_kw["source_address"] = ("127.0.0.2", 0)  # type: ignore[attr-defined]
    response = client.get(server.url)
    info = holdfast.connection_info(response)
    assert info is not None
    assert info.local_address is not None
    assert info.local_address[0] == "127.0.0.2"
    assert server.accepted == 2


def test_pools_holds_this_adapters_view(lane: str, serve: Serve, session: Sessions) -> None:
    """``adapter.poolmanager.pools``, as subclasses and tests look at it."""
    server = serve()
    client = session()
    client.get(server.url)
    manager = client.get_adapter("http://").poolmanager  # type: ignore[attr-defined]
    pools = [manager.pools[key] for key in manager.pools.keys()]  # noqa: SIM118  # no dict: it has no iterator
    assert [(pool.host, pool.port) for pool in pools] == [("127.0.0.1", server.port)]
    assert isinstance(pools[0], urllib3.HTTPConnectionPool)


def test_urllib3s_debug_lines_are_logged(
    lane: str, serve: Serve, session: Sessions, caplog: pytest.LogCaptureFixture
) -> None:
    """The same two that people look for."""
    server = serve()
    with caplog.at_level(logging.DEBUG, "urllib3"):
        session().get(server.url + "x")
    assert [record.getMessage() for record in caplog.records] == [
        f"Starting new HTTP connection (1): 127.0.0.1:{server.port}",
        f'http://127.0.0.1:{server.port} "GET /x HTTP/1.1" 200 2',
    ]


def stock_and_ours(
    server: Server, client: requests.Session, **options: Any
) -> tuple[requests.Response, requests.Response]:
    with requests.Session() as stock:
        stock.trust_env = False
        return stock.get(server.url, **options), client.get(server.url, **options)


def test_a_response_is_as_stocks(lane: str, serve: Serve, session: Sessions) -> None:
    """Every attribute, pickled and copied ones too."""
    fields = [b"Content-Type: text/html; charset=latin-1", b"X-A: b", b"Set-Cookie: k=v"]
    server = serve(ok("d\xe9j\xe0".encode("latin-1"), *fields))
    expected, got = stock_and_ours(server, session())
    for name in (
        "status_code",
        "reason",
        "url",
        "encoding",
        "text",
        "content",
        "headers",
        "ok",
        "is_redirect",
        "history",
        "links",
    ):
        assert getattr(got, name) == getattr(expected, name), name
    assert got.cookies.get_dict() == expected.cookies.get_dict()
    assert repr(got) == repr(expected)
    for twin in (pickle.loads(pickle.dumps(got)), copy.copy(got)):
        assert type(twin) is requests.Response
        assert (twin.content, twin.encoding, twin.headers) == (expected.content, expected.encoding, expected.headers)
    assert b"holdfast" not in pickle.dumps(got)


def test_a_response_set_up_again_by_hand_behaves_as_stocks(lane: str, serve: Serve, session: Sessions) -> None:
    """What requests' own tests do to a response."""
    server = serve(ok(b"body"))
    for got in stock_and_ours(server, session()):
        got.status_code = 0
        got._content = False
        got._content_consumed = False
        assert got.content is None


def test_raw_is_as_urllib3s(lane: str, serve: Serve, session: Sessions) -> None:
    """What NTLM, Kerberos, CacheControl and the others touch."""
    server = serve(ok(b"0123456789", b"X-A: b"))
    expected, got = stock_and_ours(server, session(), stream=True)
    assert isinstance(got.raw, urllib3.HTTPResponse)
    for name in (
        "status",
        "version",
        "version_string",
        "reason",
        "headers",
        "length_remaining",
        "chunked",
        "closed",
        "enforce_content_length",
    ):
        assert getattr(got.raw, name) == getattr(expected.raw, name), name
    assert got.raw._original_response.msg.items() == expected.raw._original_response.msg.items()
    assert got.raw._original_response.getheader("x-a") == "b"
    assert got.raw._fp.fp.raw._sock.getpeername() == ("127.0.0.1", server.port)
    assert (got.raw.read(3), got.raw.tell(), got.raw.read1(2), got.raw.isclosed()) == (b"012", 3, b"34", False)
    assert (got.raw.read(), got.raw.read(), got.raw._fp.fp, got.raw.isclosed()) == (b"56789", b"", None, True)
    expected.close()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br-unknown"])
def test_decoding_is_urllib3s(coding: str, chunked: bool, lane: str, serve: Serve, session: Sessions) -> None:
    """Whole, streamed and raw."""
    text = b"text " * 5000
    packed = {"gzip": gzip.compress(text), "deflate": zlib.compress(text)}.get(coding, text)
    if chunked:
        pieces = [packed[i : i + 777] for i in range(0, len(packed), 777)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        server = serve(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Encoding: "
            + coding.encode()
            + b"\r\n\r\n"
            + body
        )
    else:
        server = serve(ok(packed, b"Content-Encoding: " + coding.encode()))
    client = session()
    assert client.get(server.url).content == text
    assert b"".join(client.get(server.url, stream=True).iter_content(100)) == text
    assert b"".join(client.get(server.url, stream=True).iter_content(None)) == text
    assert client.get(server.url, stream=True).raw.read(decode_content=False) == packed
    assert b"".join(client.get(server.url, stream=True).raw.stream(50, decode_content=False)) == packed
    assert server.accepted == 1


def test_a_chunk_is_handed_on_as_it_comes(lane: str, serve: Serve, session: Sessions) -> None:
    """``iter_content`` and ``iter_lines`` do not wait for a full buffer: server-sent events work."""
    import threading

    go = threading.Event()

    def handle(peer: Any) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nfirst\n\r\n")
        go.wait(20)
        peer.send(b"7\r\nsecond\n\r\n0\r\n\r\n")

    server = serve(handle)
    lines = session().get(server.url, stream=True).iter_lines(chunk_size=None)
    assert next(lines) == b"first"
    go.set()
    assert next(lines) == b"second"


def test_redirects_are_the_sessions_business(lane: str, serve: Serve, session: Sessions) -> None:
    """History, cookies and the final URL are as ever, on one connection."""
    from servers import answer

    def respond(head: bytes, body: bytes) -> bytes:
        if b" /end " in head:
            return ok(b"end")
        return ok(b"go on", b"Location: /end", b"Set-Cookie: seen=1", status=b"302 Found")

    server = serve(answer(respond))
    client = session()
    response = client.get(server.url)
    assert (response.content, [r.status_code for r in response.history]) == (b"end", [302])
    assert client.cookies.get_dict() == {"seen": "1"}
    assert b"Cookie: seen=1" in server.requests[1][1]
    assert server.accepted == 1


def test_connection_info_is_none_for_a_foreign_response() -> None:
    """And for one that was pickled."""
    assert holdfast.connection_info(requests.Response()) is None


def test_retries_keep_urllib3s_meaning(serve: Serve, session: Sessions) -> None:
    """``status_forcelist`` retries on the pool's connection, then raises stock's error."""
    server = serve(ok(status=b"503 Busy"))
    client = session(max_retries=urllib3.Retry(2, status_forcelist=[503]))
    with pytest.raises(requests.exceptions.RetryError):
        client.get(server.url)
    assert (len(server.requests), server.accepted) == (3, 1)
    assert client.get_adapter("http://").statistics().in_use == 0  # type: ignore[attr-defined]


def test_chunk_left_is_what_can_be_read_without_waiting(lane: str, serve: Serve, session: Sessions) -> None:
    """docker's client reads one byte, then that much, and so passes each chunk on as it comes."""
    go = threading.Event()

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        assert go.wait(20)
        peer.send(b"6\r\nsecond\r\n0\r\n\r\n")

    response = session().get(serve(handle).url, stream=True)
    reader = response.raw
    pieces = []
    while data := reader.read(1):
        pieces.append(data + reader.read(reader._fp.chunk_left))
        go.set()
    assert pieces == [b"first", b"second"]
