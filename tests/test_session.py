"""``holdfast.Session`` on real traffic, and the parts that its shortcuts are made of, beside requests' own."""

from __future__ import annotations

import inspect
import os
import pickle
import subprocess
import sys
import textwrap
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import requests.cookies
import requests.sessions
import requests.utils
from hypothesis import given, settings
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

import holdfast
from holdfast import _core, _stock
from servers import Server, answer, ok

Serve = Callable[..., Server]


class Recorder(requests.adapters.BaseAdapter):
    """Answers everything itself and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[requests.PreparedRequest, dict[str, Any]]] = []

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        self.calls.append((request, kwargs))
        response = requests.Response()
        response.status_code, response.url, response.request = 200, request.url or "", request
        response._content = b""
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def recorded() -> Iterator[tuple[holdfast.Session, Recorder]]:
    """A session whose requests go nowhere."""
    with holdfast.Session() as session:
        adapter = Recorder()
        session.mount("http://", adapter)
        yield session, adapter


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No proxy, no bundle, an empty home, which is given."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name.endswith("_CA_BUNDLE") or name == "NETRC":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


# -- on real traffic ------------------------------------------------------------------------------------------------------


def test_twenty_calls_are_one_connection(serve: Serve, bare_environment: Path) -> None:
    """Of every kind of call; counted by the server."""
    server = serve()
    with holdfast.Session(shared=False) as session:
        for _ in range(5):
            assert session.get(server.url).content == b"ok"
            assert session.get(server.url, params={"a": "b c"}, headers={"X-A": "1"}, timeout=5).text == "ok"
            assert session.post(server.url, json={"a": 1}).ok
            assert session.put(server.url, data={"f": "1"}).ok
    assert server.accepted == 1
    targets = [head.split(b" ")[1] for _, head, _ in server.requests[:4]]
    assert targets == [b"/", b"/?a=b+c", b"/", b"/"]
    assert [body for _, _, body in server.requests[2:4]] == [b'{"a": 1}', b"f=1"]


def test_cookies_redirects_and_hooks(serve: Serve, bare_environment: Path) -> None:
    """A cookie is kept though a hook takes its header away; a redirect is followed and remembered."""

    def reply(head: bytes, body: bytes) -> bytes:
        if b" /first " in head:
            return ok(b"", b"Location: /second", b"Set-Cookie: a=1", status=b"302 Found")
        return ok(head.partition(b"Cookie: ")[2].partition(b"\r\n")[0], b"Set-Cookie: b=2")

    server = serve(answer(reply))

    def drop(response: requests.Response, **kwargs: Any) -> None:
        response.headers.pop("Set-Cookie", None)

    with holdfast.Session(shared=False) as session:
        response = session.get(server.url + "first", hooks={"response": drop})
        assert [one.status_code for one in response.history] == [302]
        assert response.content == b"a=1"
        assert session.cookies.get_dict() == {"a": "1", "b": "2"}
        assert session.get(server.url).content == b"a=1; b=2"
        stopped = session.get(server.url + "first", allow_redirects=False)
        assert stopped.next is not None
        assert stopped.next.url == server.url + "second"


def test_a_session_pickles(serve: Serve, bare_environment: Path) -> None:
    """With its settings, and works afterwards."""
    server = serve()
    with holdfast.Session(shared=False) as session:
        session.headers["X-Mine"] = "1"
        with pickle.loads(pickle.dumps(session)) as copy:
            assert type(copy) is holdfast.Session
            assert copy.get(server.url).ok
    assert b"X-Mine: 1" in server.requests[0][1]


# -- whoever looks in -----------------------------------------------------------------------------------------------------


def test_it_has_requests_signatures() -> None:
    """For help(), and in the words for a wrong argument."""
    for name, method in inspect.getmembers(requests.sessions.Session, inspect.isfunction):
        if name != "__init__":
            own = inspect.signature(getattr(holdfast.Session, name)).parameters.values()
            stock = inspect.signature(method).parameters.values()
            assert [(p.name, p.kind, p.default) for p in own] == [(p.name, p.kind, p.default) for p in stock], name
    with holdfast.Session() as session, pytest.raises(TypeError, match=r"Session\.request\(\) missing 2 required"):
        session.request()  # type: ignore[call-arg]


@pytest.mark.parametrize("name", ["send", "request", "prepare_request", "get_adapter", "merge_environment_settings"])
def test_who_replaces_a_method_of_requests_is_called(
    name: str, recorded: tuple[holdfast.Session, Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As tracers and mocks do it; with the arguments as they were given, and no longer once it is undone."""
    session, _ = recorded
    original = getattr(requests.sessions.Session, name)
    seen: list[dict[str, Any]] = []

    def replaced(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs)
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(requests.sessions.Session, name, replaced)
        session.get("http://a.example/")
        with requests.sessions.Session() as stock:
            stock.mount("http://", Recorder())
            stock.get("http://a.example/")
        assert len(seen) == 2
        assert seen[0].keys() == seen[1].keys()
    session.get("http://a.example/")
    assert len(seen) == 2


def test_a_class_between_ours_and_requests_is_asked(bare_environment: Path) -> None:
    """Cooperative inheritance: what comes after us in the order of classes is not passed by."""
    seen: list[str] = []

    class Between(requests.Session):
        def request(self, *args: Any, **kwargs: Any) -> requests.Response:  # type: ignore[override]
            seen.append("request")
            return super().request(*args, **kwargs)

        def send(self, *args: Any, **kwargs: Any) -> requests.Response:
            seen.append("send")
            return super().send(*args, **kwargs)

    class Both(holdfast.Session, Between):
        pass

    with Both() as session:
        session.mount("http://", Recorder())
        session.get("http://a.example/")
    assert seen == ["request", "send"]


def test_another_version_of_requests_runs_its_own_code() -> None:
    """The shortcuts were written against known versions; elsewhere the session is requests' own, mounted."""
    code = """
        import requests
        requests.__version__ = "2.99.0"
        import holdfast
        from holdfast import _stock
        assert not _stock.preparing.unchanged() and not _stock.sending.unchanged()
        class Adapter(requests.adapters.BaseAdapter):
            def send(self, request, **kwargs):
                response = requests.Response()
                response.status_code, response.url, response._content = 200, request.url, b""
                return response
            def close(self): pass
        session = holdfast.Session()
        session.mount("http://", Adapter())
        assert session.get("http://a.example").url == "http://a.example/"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=60)


def test_install_leaves_somebody_elses_session_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache's or a recorder's class stays where it was put."""

    class Cached(requests.Session):
        pass

    monkeypatch.setattr(requests, "Session", Cached)
    monkeypatch.setattr(requests.sessions, "Session", Cached)
    holdfast.install(sessions=True)
    try:
        assert requests.Session is Cached
        assert type(requests.session()) is Cached
    finally:
        holdfast.uninstall()
    assert requests.Session is Cached


# -- the environment ------------------------------------------------------------------------------------------------------


def test_what_comes_into_the_environment_counts_from_the_next_call(
    recorded: tuple[holdfast.Session, Recorder], bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proxies, a CA bundle, a netrc file: set, changed and taken away again."""
    session, adapter = recorded

    def sent() -> tuple[Any, Any, Any]:
        session.get("http://a.example/")
        request, settings_ = adapter.calls[-1]
        return dict(settings_["proxies"]), settings_["verify"], request.headers.get("Authorization")

    assert sent() == ({}, True, None)
    monkeypatch.setenv("Http_Proxy", "http://p.example:1")
    assert sent() == ({"http": "http://p.example:1"}, True, None)
    monkeypatch.setenv("NO_PROXY", "a.example")
    assert sent() == ({}, True, None)
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.delenv("Http_Proxy")
    monkeypatch.setenv("CURL_CA_BUNDLE", "/curl\u00e9.pem")
    assert sent() == ({}, "/curl\u00e9.pem", None)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/own.pem")
    assert sent() == ({}, "/own.pem", None)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    monkeypatch.setenv("CURL_CA_BUNDLE", "")
    assert sent() == ({}, True, None)
    (bare_environment / "_netrc").write_text("machine a.example login u password p\n")
    assert sent()[2] == "Basic dTpw"
    (bare_environment / "_netrc").unlink()
    assert sent()[2] is None
    monkeypatch.setenv("NETRC", str(bare_environment / "elsewhere"))
    (bare_environment / "elsewhere").write_text("default login d password p\n")
    assert sent()[2] == "Basic ZDpw"
    session.trust_env = False
    assert sent() == ({}, True, None)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["a_proxy", "NO_PROXY", "_proxy", "xproxy", "HOME", "proxy_", "\u212a_pro\u017fy"]),
        st.text("x", max_size=2),
    )
)
def test_a_proxy_is_seen_where_urllib_sees_one(variables: dict[str, str]) -> None:
    """Nothing that ``getproxies_environment`` reads is overlooked."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            patch.delenv(name)
        for name, value in variables.items():
            patch.setenv(name, value)
        if urllib.request.getproxies_environment():
            assert _stock.environment.look(netrc=False) & _core.ENVIRONMENT_PROXY


# -- the parts ------------------------------------------------------------------------------------------------------------

TRIVIAL = st.text("ab.-_~%20AF/?&=+:@!$'()*,;#[] \u00e9\n\"<>", max_size=12)


@settings(max_examples=3000, deadline=None)
@given(
    st.sampled_from(["http://", "https://", "HTTP://", "ftp://", "//", "http:/"]),
    st.one_of(
        st.sampled_from(
            ["a.example", "a:80", "a:080", "a:0", "a:65536", "u@a", "[::1]", "A", "a..b", "*.a", ".a", "-a", "_a"]
        ),
        TRIVIAL,
    ),
    st.one_of(
        st.sampled_from(["", "/", "/a/./b", "/a/../b", "/.a", "/..", "//x", "/%41", "/%2f", "/%2F", "?x"]), TRIVIAL
    ),
    TRIVIAL,
)
def test_a_plain_url_is_one_that_requests_leaves_alone(scheme: str, authority: str, path: str, query: str) -> None:
    """Or gives a slash; whatever is told of a URL, ``prepare_url`` would have said the same."""
    url = f"{scheme}{authority}{path}{query}"
    found = _core.plain_url(url)
    if found is not None:
        request = requests.PreparedRequest()
        request.prepare_url(url, None)
        assert found == request.url
        assert requests.utils.get_auth_from_url(url) == ("", "")


names = st.one_of(
    st.sampled_from(["Accept", "accept", "X-A", "x-a", "Host"]), st.text("aZ-: \t\r\n\x1c\u00e9", max_size=3)
)
values = st.one_of(st.sampled_from(["v", "", None]), st.text("a :\t\r\n\x1c\x85\u00e9", max_size=3))


@settings(max_examples=2000, deadline=None)
@given(st.dictionaries(names, values, max_size=4), st.dictionaries(names, values, max_size=4))
def test_merged_headers_are_requests_own(own: dict[str, Any], more: dict[str, Any]) -> None:
    """The same fields in the same order, or none of our business: what requests rejects is never merged."""
    session_headers: CaseInsensitiveDict[Any] = CaseInsensitiveDict(own)
    found = _core.merge_headers(session_headers._store, more)
    if found is None:
        return
    request = requests.PreparedRequest()
    request.prepare_headers(requests.sessions.merge_setting(more, session_headers, dict_class=CaseInsensitiveDict))
    assert list(found.items()) == list(request.headers._store.items())


def test_a_watch_notices_whatever_is_replaced() -> None:
    """On a class, on a base of it, in a module, on an object: replaced, deleted, put back."""

    class Base:
        def method(self) -> None:
            pass

    class Derived(Base):
        pass

    module = type(sys)("module")
    module.name = original = object()  # type: ignore[attr-defined]
    thing = type("Thing", (), {})()
    thing.name = original
    watch = _core.Watch(
        ((Derived, ("method",), (Base.method,)), (module, ("name",), (original,)), (thing, ("name",), (original,)))
    )
    kept = Base.method
    for _ in range(3):
        assert watch.unchanged()
        assert watch.unchanged()
        for owner, name, value in ((Base, "method", kept), (module, "name", original), (thing, "name", original)):
            setattr(owner, name, lambda self: None)
            assert not watch.unchanged()
            delattr(owner, name)
            assert not watch.unchanged()
            setattr(owner, name, value)
            assert watch.unchanged()
        Derived.method = lambda self: None  # type: ignore[method-assign]
        assert not watch.unchanged()
        del Derived.method


def test_a_family_remembers_a_class_until_it_changes() -> None:
    """The judge is asked again after a change of the class or of a base, and the object's own dict always counts."""
    asked: list[type] = []

    class Base:
        plain = True

    class Derived(Base):
        pass

    def judge(kind: Any) -> bool:
        asked.append(kind)
        return bool(kind.plain)

    family = _core.Family(("own",), judge, _core.Watch(()))
    thing = Derived()
    assert family.has(thing, thing.__dict__)
    before = len(asked)
    assert family.has(thing, thing.__dict__)
    assert len(asked) == before
    Base.plain = False
    assert not family.has(thing, thing.__dict__)
    Base.plain = True
    assert family.has(thing, thing.__dict__)
    thing.own = 1  # type: ignore[attr-defined]
    assert not family.has(thing, thing.__dict__)


def test_each_request_has_a_jar_and_headers_of_its_own(recorded: tuple[holdfast.Session, Recorder]) -> None:
    """What is done to one request reaches neither the next nor the session."""
    session, adapter = recorded
    first = session.get("http://a.example/").request
    first.headers["X-Late"] = "1"
    first._cookies.set("a", "b")  # type: ignore[union-attr, attr-defined]
    first.hooks["response"].append(print)
    second = session.get("http://a.example/").request
    assert "X-Late" not in second.headers
    assert "X-Late" not in session.headers
    assert not second._cookies  # type: ignore[attr-defined]
    assert not session.cookies
    assert second.hooks == {"response": []}
    made, stock = adapter.calls[1][0]._cookies, requests.cookies.RequestsCookieJar()  # type: ignore[attr-defined]
    assert vars(made).keys() == vars(stock).keys()
    assert vars(made._policy) == vars(stock._policy)
