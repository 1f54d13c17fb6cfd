"""Libraries that answer in the server's place: mocks, recorders, caches."""

from __future__ import annotations

from email.utils import formatdate
from pathlib import Path
from typing import Any

import betamax
import cachecontrol
import pytest
import requests
import requests_cache
import requests_mock
import responses
import vcr

import holdfast
from servers import answer, ok


def counting(*fields: bytes) -> Any:
    """A server's handler whose answers are numbered."""
    seen = []

    def handle(head: bytes, body: bytes) -> bytes:
        seen.append(head)
        if b"If-None-Match" in head:
            return b'HTTP/1.1 304 Not Modified\r\nETag: "one"\r\n\r\n'
        date = formatdate(usegmt=True).encode()
        return ok(b"answer %d" % len(seen), b"Date: " + date, *fields)

    return answer(handle)


def check_responses__answers_and_refuses(equip: Any, serve: Any) -> None:
    server = serve(b"")
    url = server.url
    server = serve()
    session = equip(requests.Session(), server.url)
    with responses.RequestsMock() as mock:
        mock.add(responses.GET, server.url + "mocked", json={"a": 1}, status=201)
        response = session.get(server.url + "mocked")
        assert (response.status_code, response.json()) == (201, {"a": 1})
        with pytest.raises(requests.ConnectionError):
            session.get(url)
        assert len(mock.calls) == 2
    assert session.get(server.url).content == b"ok"
    assert len(server.requests) == 1 + equip.warmed


def check_responses__passes_through(equip: Any, serve: Any) -> None:
    server = serve()
    session = equip(requests.Session(), server.url)
    with responses.RequestsMock() as mock:
        mock.add_passthru(server.url)
        assert session.get(server.url).content == b"ok"
    assert len(server.requests) == 1 + equip.warmed


def check_requests_mock__mocks_every_session(equip: Any, serve: Any) -> None:
    server = serve()
    session = equip(requests.Session(), server.url)
    with requests_mock.Mocker() as mock:
        mock.get(server.url + "a", text="mocked")
        mock.get(server.url + "b", real_http=True)
        assert session.get(server.url + "a").text == "mocked"
        assert session.get(server.url + "b").text == "ok"
        with pytest.raises(requests_mock.NoMockAddress):
            session.get(server.url + "c")
    assert session.get(server.url).text == "ok"
    assert len(server.requests) == 2 + equip.warmed


def check_requests_mock__is_an_adapter(equip: Any, serve: Any) -> None:
    session = equip(requests.Session())
    adapter = requests_mock.Adapter()
    session.mount("mock://", adapter)
    adapter.register_uri("GET", "mock://a.test/", text="data")
    assert session.get("mock://a.test/").text == "data"
    assert session.get(serve().url).text == "ok"


def check_vcrpy__records_and_replays(equip: Any, serve: Any, tmp_path: Path) -> None:
    server = serve(counting(b"Content-Type: text/plain"))
    session = equip(requests.Session(), server.url)
    seen = []
    for _ in range(2):
        with vcr.use_cassette(str(tmp_path / "tape.yaml")) as tape:
            seen.append([session.get(server.url + "x").text, session.post(server.url, data=b"body").text])
    assert tape.play_count == 2
    assert seen[0] == seen[1]
    assert len(server.requests) == 2 + equip.warmed
    assert session.get(server.url).text == f"answer {3 + equip.warmed}"


def check_betamax__records_and_replays(equip: Any, serve: Any, tmp_path: Path) -> None:
    server = serve(counting(b"Content-Type: text/plain"))
    session = equip(requests.Session(), server.url)
    seen = []
    for _ in range(2):
        with betamax.Betamax(session, cassette_library_dir=str(tmp_path)) as tape:
            tape.use_cassette("tape", record="once")
            seen.append(session.get(server.url).text)
    assert seen[0] == seen[1]
    assert len(server.requests) == 1 + equip.warmed
    assert isinstance(session.get_adapter(server.url), equip.base)


def check_cachecontrol__keeps_what_is_fresh(equip: Any, serve: Any) -> None:
    """Mixed in: the caching adapter on top of ours."""

    class Adapter(cachecontrol.CacheControlAdapter, equip.base):  # type: ignore[misc, name-defined]
        pass

    server = serve(counting(b"Cache-Control: max-age=100"))
    session = equip(requests.Session())
    session.mount("http://", Adapter())
    first, second = session.get(server.url), session.get(server.url)
    assert (first.text, second.text) == ("answer 1", "answer 1")
    assert (first.from_cache, second.from_cache) == (False, True)
    assert len(server.requests) == 1


def check_cachecontrol__revalidates(equip: Any, serve: Any) -> None:
    class Adapter(cachecontrol.CacheControlAdapter, equip.base):  # type: ignore[misc, name-defined]
        pass

    server = serve(counting(b'ETag: "one"', b"Cache-Control: no-cache"))
    session = equip(requests.Session())
    session.mount("http://", Adapter())
    assert [session.get(server.url).text for _ in range(2)] == ["answer 1"] * 2
    assert len(server.requests) == 2
    assert server.accepted == 1


def check_cachecontrol__wraps_a_session(equip: Any, serve: Any) -> None:
    server = serve(counting(b"Cache-Control: max-age=100"))
    session = cachecontrol.CacheControl(equip(requests.Session(), server.url))
    assert len({session.get(server.url + "x").text for _ in range(3)}) == 1
    with session.get(server.url + "y", stream=True) as streamed:
        assert b"".join(streamed.iter_content(3)).startswith(b"answer")
    assert session.get(server.url + "y").from_cache
    assert len(server.requests) == 2 + equip.warmed


def check_requests_cache__caches(equip: Any, serve: Any) -> None:
    server = serve(counting())
    session = equip(requests_cache.CachedSession(backend="memory"), server.url)
    first, second = session.get(server.url + "x"), session.get(server.url + "x")
    assert first.text == second.text
    assert (first.from_cache, second.from_cache) == (False, True)
    assert len(server.requests) == 1 + equip.warmed


def check_requests_cache__revalidates(equip: Any, serve: Any) -> None:
    server = serve(counting(b'ETag: "one"', b"Cache-Control: max-age=0"))
    session = equip(requests_cache.CachedSession(backend="memory", cache_control=True))
    assert {session.get(server.url).text for _ in range(2)} == {"answer 1"}
    assert len(server.requests) == 2


def check_requests_cache__mixes_in(equip: Any, serve: Any) -> None:
    base = requests.Session if equip.how == "stock" else holdfast.Session

    class Cached(requests_cache.CacheMixin, base):  # type: ignore[misc, valid-type]
        pass

    server = serve(counting())
    with Cached(backend="memory") as session:
        session.trust_env = False
        assert {session.get(server.url).text for _ in range(2)} == {"answer 1"}
    assert len(server.requests) == 1
