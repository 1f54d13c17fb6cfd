"""Calls of a session, generated from a seed, made once on requests' own class and once on ours, and all that can be seen.

What an adapter, a hook, an authenticator, a replaced function, an overridden method and the caller see is written down as
plain values; two classes behave alike if they leave the same record. Nothing touches the network: the adapter answers
from a script, with requests' own response for requests' class and mostly with the fast lane's for ours.
"""

from __future__ import annotations

import contextlib
import http.client
import http.cookiejar
import io
import os
import random
import re
import types
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import requests
import requests.adapters
import requests.auth
import requests.cookies
import requests.hooks
import requests.models
import requests.sessions
import requests.structures
import requests.utils
import urllib3
from requests.cookies import extract_cookies_to_jar

import holdfast
from holdfast import _core
from holdfast._body import Body
from holdfast._deadline import Exchange
from holdfast._response import FastResponse
from session_parts import Script, calls, environments, replies, settings_of

STOCK = requests.sessions.Session
Log = list[Any]


def _jar(kind: str, jar: Any, depth: int) -> Any:
    # `_now` is when a jar was last asked, which nobody sees; a jar that nothing is in need not be asked.
    return kind, sorted(vars(jar).keys() - {"_now"}), [sorted(vars(c).items(), key=str) for c in jar]


def _mapping(kind: str, mapping: Any, depth: int) -> Any:
    return kind, [(text_of(k), text_of(v, depth + 1)) for k, v in mapping.items()]


def _sequence(kind: str, values: Any, depth: int) -> Any:
    return kind, [text_of(one, depth + 1) for one in values]


def _printed(kind: str, value: Any, depth: int) -> Any:
    return kind, re.sub(r"0x[0-9a-f]+|boundary=\w+", "", str(value))


LOOKS: tuple[tuple[Any, Callable[[str, Any, int], Any]], ...] = (
    ((str, int, float, bytes), lambda kind, value, depth: (kind, value)),
    (http.cookiejar.CookieJar, _jar),
    ((requests.structures.CaseInsensitiveDict, dict), _mapping),
    ((list, tuple), _sequence),
    (requests.PreparedRequest, lambda kind, value, depth: request_seen(value)),
    (requests.Response, lambda kind, value, depth: ("Response", value.status_code, value.url)),
    (types.FunctionType, lambda kind, value, depth: (kind, value.__name__)),
)


def text_of(value: Any, depth: int = 0) -> Any:
    """What is visible of a value, as something that compares and prints."""
    if depth > 4:
        return "..."
    if value is None or type(value) in (str, int, float, bool, bytes):
        return value
    look = next((look for kinds, look in LOOKS if isinstance(value, kinds)), _printed)
    return look(type(value).__name__, value, depth)


def request_seen(request: requests.PreparedRequest) -> Any:
    """A prepared request to the last attribute."""
    seen = {name: text_of(value) for name, value in vars(request).items() if name != "_body_position"}
    if isinstance(request.body, bytes):
        seen["body"] = re.sub(rb"[0-9a-f]{32}", b"boundary", request.body)
    seen["headers"] = text_of(request.headers)
    seen["headers"] = re.sub(r"boundary=[0-9a-f]{32}", "boundary", repr(seen["headers"]))
    position = request._body_position  # type: ignore[attr-defined]
    return (
        type(request).__name__,
        list(seen.items()),
        position if isinstance(position, int) else type(position).__name__,
    )


class _Lease:
    """A connection that nobody has."""

    def release(self) -> None:
        pass

    def discard(self, reason: Any) -> None:
        pass


class _Wire(io.BytesIO):
    def makefile(self, *args: Any) -> Any:
        return self


class ScriptedAdapter(requests.adapters.HTTPAdapter):
    """Answers from a script and writes down what it was given."""

    def __init__(self, log: Log, script: Script, fast: bool) -> None:
        super().__init__()
        self.log = log
        self.script = script
        self.fast = fast

    def send(self, request: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        self.log.append(("adapter", request_seen(request), [(k, text_of(v)) for k, v in kwargs.items()]))
        if self.script.fails():
            raise requests.exceptions.ConnectTimeout("scripted", request=request)
        data = self.script.next_reply()
        if request.method == "HEAD":
            data = data[: data.index(b"\r\n\r\n") + 4]
        response = self._fast(request, data) if self._is_fast(request) else self._stock(request, data)
        if self.script.drops_cookies:
            response.headers.pop("Set-Cookie", None)
        return response

    def _is_fast(self, request: Any) -> bool:
        """The fast lane takes no other URLs."""
        return self.fast and type(request.url) is str and _core.plain_url(request.url) is not None

    def _stock(self, request: Any, data: bytes) -> requests.Response:
        reply = http.client.HTTPResponse(_Wire(data), method=request.method)  # type: ignore[arg-type]
        reply.begin()
        raw = urllib3.HTTPResponse(
            reply,
            headers=urllib3._collections.HTTPHeaderDict(reply.msg.items()),
            status=reply.status,
            reason=reply.reason,
            preload_content=False,
            original_response=reply,
            request_method=request.method,
            decode_content=False,
        )
        return self.build_response(request, raw)

    def _fast(self, request: Any, data: bytes) -> requests.Response:
        head = _core.parse_head(data, request.method == "HEAD", 1 << 20)
        assert head is not None
        exchange = Exchange(holdfast.Timeouts(), None, "scripted")
        lease: Any = _Lease()
        nobody: Any = types.SimpleNamespace(sock=None)
        body = Body(lease, exchange, nobody, head, data[head[5] :], request.method, (0, 0.0, 1 << 20))
        response = FastResponse(request, "/", body, self, nobody, None)
        if self.script.eager:
            # requests' adapter fills them at once, and somebody listens to how.
            response.cookies = jar = requests.cookies.RequestsCookieJar()
            extract_cookies_to_jar(jar, request, response.raw)
            del response.raw
        return response


class Visitor:
    """Wraps functions and methods so that each call of them is written down."""

    def __init__(self, log: Log) -> None:
        self.log = log

    def around(self, name: str, function: Any) -> Any:
        log = self.log

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            log.append(("called", name, len(args), sorted(kwargs)))
            return function(*args, **kwargs)

        wrapper.__name__ = getattr(function, "__name__", name)
        return wrapper


def replaceable() -> list[tuple[Any, str]]:
    """What libraries replace: the functions and methods that lie on a session's way."""
    found: list[tuple[Any, str]] = []
    modules = (requests.sessions, requests.models, requests.utils, requests.cookies, requests.hooks)
    for module in modules:
        found += [
            (module, name)
            for name, value in sorted(vars(module).items())
            if isinstance(value, types.FunctionType) and name not in LEFT_OUT
        ]
    classes = (
        STOCK,
        requests.sessions.SessionRedirectMixin,
        requests.Request,
        requests.PreparedRequest,
        requests.models.RequestEncodingMixin,
        requests.models.RequestHooksMixin,
        requests.structures.CaseInsensitiveDict,
        requests.cookies.RequestsCookieJar,
        http.cookiejar.CookieJar,
        http.cookiejar.DefaultCookiePolicy,
    )
    for owner in classes:
        found += [
            (owner, name)
            for name, value in sorted(vars(owner).items())
            if isinstance(value, types.FunctionType) and name not in LEFT_OUT
        ]
    found += [(urllib.request, n) for n in ("getproxies", "getproxies_environment", "proxy_bypass")]
    return found


LEFT_OUT = frozenset(
    # What this harness itself calls to look, and class machinery.
    (
        "cast",
        "overload",
        "__iter__",
        "__repr__",
        "__class_getitem__",
        "__getstate__",
        "__setstate__",
        "items",
        "__str__",
        "__len__",
        "__getitem__",
    )
)
METHODS = tuple(
    name
    for owner in (requests.sessions.SessionRedirectMixin, STOCK)
    for name, value in vars(owner).items()
    if isinstance(value, types.FunctionType) and not name.startswith("__")
)


def subclass(base: type, name: str, log: Log) -> type:
    """A subclass that overrides one method, and says when it is called."""

    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        log.append(("method", name, [text_of(a) for a in args], [(k, text_of(v)) for k, v in kwargs.items()]))
        return getattr(super(kind, self), name)(*args, **kwargs)

    kind: type = type("Sub", (base,), {name: method})
    return kind


@contextlib.contextmanager
def surroundings(rng: random.Random, log: Log, home: Path) -> Iterator[Any]:
    """An environment, and perhaps one replaced function, whose owner is given."""
    variables, mapping = environments(rng, home)
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.dict(os.environ, variables, clear=True))
        if mapping:
            stack.enter_context(mock.patch.object(os, "environ", dict(variables)))
        owner = name = None
        if rng.random() < 0.12:
            owner, name = rng.choice(REPLACEABLE)
            raw = vars(owner)[name]
            wrapper = Visitor(log).around(name, getattr(owner, name))
            stack.enter_context(
                mock.patch.object(owner, name, staticmethod(wrapper) if isinstance(raw, staticmethod) else wrapper)
            )
        yield owner, name


RESPONSE_CODE = (
    (requests.structures.CaseInsensitiveDict, "__setitem__"),
    (requests.structures.CaseInsensitiveDict, "__init__"),
    (requests.models, "cookiejar_from_dict"),
    (requests.models, "iter_slices"),
    (requests.utils, "_parse_content_type_header"),
    (requests.utils, "get_encoding_from_headers"),
)
COOKIE_CODE = ("requests.cookies", "RequestsCookieJar", "CookieJar", "DefaultCookiePolicy")
REPLACEABLE = replaceable()


def odd_class(base: Any, rng: random.Random, log: Log) -> Any:
    """A subclass whose settings are not in its sessions' dict, or whose attributes are looked up in its own way."""
    name = rng.choice(STOCK.__attrs__)
    hidden = f"_own_{name}"

    def read(self: Any) -> Any:
        log.append(("read", name))
        return self.__dict__[hidden]

    def write(self: Any, value: Any) -> None:
        self.__dict__[hidden] = value
        self.__dict__[name] = None

    def look(self: Any, what: str) -> Any:
        if what == name:
            log.append(("looked up", name))
        return object.__getattribute__(self, what)

    parts: list[dict[str, Any]] = [{name: property(read, write)}, {"__getattribute__": look}, {name: None}]
    return type("Odd", (base,), rng.choice(parts))


def session_for(ours: bool, rng: random.Random, log: Log) -> Any:
    """A session of one class or the other, of a subclass, or with a method of its own."""
    base: Any = holdfast.Session if ours else STOCK
    way = rng.random()
    name = rng.choice(METHODS)
    if way < 0.12:
        return subclass(base, name, log)()
    if way < 0.17:
        return odd_class(base, rng, log)()
    session = base()
    if way < 0.25:
        setattr(session, name, Visitor(log).around(name, getattr(session, name)))
    return session


def one_call(seed: int, ours: bool, home: Path) -> Log:
    """The record of the call that belongs to ``seed``, on one class or the other."""
    rng = random.Random(seed)
    log: Log = []
    fast = rng.random() < 0.8
    with surroundings(rng, log, home) as replaced:
        session = session_for(ours, rng, log)
        log.clear()  # a session of ours mounts its own adapters, by `mount`, once requests' are there
        # How a response is made is the adapter's business, and tested elsewhere.
        fast = fast and replaced not in RESPONSE_CODE
        script = Script(rng, replies(rng), eager=getattr(replaced[0], "__name__", "") in COOKIE_CODE)
        adapter = ScriptedAdapter(log, script, ours and fast)
        for prefix in list(session.adapters):
            session.adapters[prefix] = adapter
        if rng.random() < 0.1:
            session.mount("http://a.example/sub", ScriptedAdapter(log, script, ours and fast))
        settings_of(rng, session, log, text_of)
        for call in calls(rng, log, text_of, seed):
            _make(session, call, log)
            log.append(
                ("session", [(name, text_of(getattr(session, name))) for name in STOCK.__attrs__ if name != "adapters"])
            )
    return log


def _make(session: Any, call: Callable[[Any], Any], log: Log) -> None:
    try:
        result = call(session)
    except Exception as error:  # whatever it is, it must be the same
        log.append(("raised", type(error).__name__, [text_of(a) for a in error.args], _about(error)))
        return
    if isinstance(result, requests.Response):
        log.append(("response", _response_seen(result)))
    else:
        log.append(("result", text_of(result)))


def _about(error: Exception) -> Any:
    request = getattr(error, "request", None)
    return text_of(request) if isinstance(request, requests.PreparedRequest) else type(request).__name__


def _response_seen(response: requests.Response) -> Any:
    following = response.next
    return {
        "status": response.status_code,
        "headers": text_of(response.headers),
        "url": response.url,
        "content": response.content,
        "history": [(one.status_code, one.url, text_of(one.cookies), len(one.history)) for one in response.history],
        "cookies": text_of(response.cookies),
        "elapsed": type(response.elapsed).__name__,
        "request": request_seen(response.request),
        "next": following if following is None else request_seen(following),
        "encoding": response.encoding,
        "reason": response.reason,
        "redirect": (response.is_redirect, response.is_permanent_redirect),
        "consumed": response._content_consumed,  # type: ignore[attr-defined]
    }


def _apart(one: Any, other: Any) -> str:
    """The innermost place where two records differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        one, other = list(one.items()), list(other.items())
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        return next(_apart(a, b) for a, b in zip(one, other, strict=True) if a != b)
    return f"\n  requests: {one!r}\n  ours:     {other!r}"


def difference(seed: int, home: Path) -> str | None:
    """How the two records of a seed differ; None if they do not."""
    stock, ours = one_call(seed, False, home), one_call(seed, True, home)
    if stock == ours:
        return None
    for one, other in zip(stock, ours, strict=False):
        if one != other:
            return f"seed {seed}, {one[0]}: " + _apart(one, other)
    return f"seed {seed}: {len(stock)} entries and {len(ours)}: {(stock + ours)[-1]!r}"
