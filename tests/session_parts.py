"""What the generated calls are made of: environments, sessions' settings, arguments, answers. Each drawn from a seed's rng."""

from __future__ import annotations

import http.cookiejar
import io
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
from requests.auth import HTTPBasicAuth, HTTPDigestAuth
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

Text = Callable[[Any], Any]


class Strange(str):
    """A str that is not a plain one."""

    __slots__ = ()


class Pair:
    """Iterates over pairs and is neither list nor mapping."""

    def __init__(self, *pairs: tuple[Any, Any]) -> None:
        self.pairs = pairs

    def __iter__(self) -> Iterator[Any]:
        return iter(self.pairs)


class Unequal(http.cookiejar.DefaultCookiePolicy):
    """A policy of one's own."""


def some(rng: random.Random, chance: float, values: list[Any], otherwise: Any = None) -> Any:
    """One of ``values`` now and then. A callable makes its value anew."""
    if rng.random() >= chance:
        return otherwise
    value = rng.choice(values)
    return value() if isinstance(value, type(lambda: 0)) and value.__name__ == "<lambda>" else value


# -- environment ----------------------------------------------------------------------------------------------------------

VARIABLES = [
    ("http_proxy", "http://proxy.example:3128"),
    ("HTTP_PROXY", "http://upper.example:3128"),
    ("Https_Proxy", "http://user:pw@mixed.example:3128"),
    ("ALL_PROXY", "socks5://socks.example"),
    ("all_proxy", ""),
    ("no_proxy", "a.example,.b.example"),
    ("NO_PROXY", "*"),
    ("no_proxy", "127.0.0.0/8"),
    ("_proxy", "x"),
    ("REQUESTS_CA_BUNDLE", "/bundle.pem"),
    ("CURL_CA_BUNDLE", "/curl.pem"),
    ("REQUESTS_CA_BUNDLE", ""),
    ("NETRC", "/nowhere"),
    ("NETRC", "{home}/.netrc"),
    ("HOME", "{home}"),
    ("HOME", "{home}/"),
    ("HOME", ""),
    ("HOME", "{home}/empty"),
    ("HOME", "{home}/broken"),
    ("REQUEST_METHOD", "GET"),
    ("TERM", "dumb"),
]


def environments(rng: random.Random, home: Path) -> tuple[dict[str, str], bool]:
    """Variables, and whether ``os.environ`` is some other mapping."""
    found = {"PATH": "/bin", "HOME": f"{home}/empty"}
    for _ in range(rng.choice([0, 0, 0, 1, 1, 2, 4])):
        name, value = rng.choice(VARIABLES)
        found[name] = value.format(home=home)
    if rng.random() < 0.05:
        del found["HOME"]
    return found, rng.random() < 0.03


# -- the session's settings -----------------------------------------------------------------------------------------------


def jars(rng: random.Random) -> Any:
    """Cookies as people give them."""
    jar = RequestsCookieJar(policy=Unequal() if rng.random() < 0.15 else None)
    for _ in range(rng.choice([0, 1, 1, 3])):
        domain = rng.choice(["", "a.example", ".example", "b.example"])
        more = rng.choice([{}, {"path": "/sub"}, {"secure": True}, {"expires": 1}, {"rest": {"HttpOnly": None}}])
        jar.set(rng.choice(["n", "m", "quo"]), rng.choice(["1", 'a"b', '"q"', ""]), domain=domain, **more)
    return jar


HEADER_VALUES = [
    "v",
    "",
    "caf\xe9",
    b"bytes",
    None,
    " lead",
    "a\nb",
    "x\r\n y",
    3,
    Strange("s"),
    "\u20ac",
    "tab\t",
    "\x1cx",
]
HEADER_NAMES = [
    "X-A",
    "x-a",
    "Accept",
    "User-Agent",
    "Host",
    "Cookie",
    "Content-Type",
    "content-length",
    "Authorization",
]
HEADER_NAMES += ["Content-Length", " X", "X:", "", "b\u00e9", Strange("S"), b"Bytes", "Transfer-Encoding", "\u0130"]


def fields(rng: random.Random, most: int = 3) -> dict[Any, Any]:
    """Header fields, valid ones mostly."""
    found = {}
    for _ in range(rng.randint(0, most)):
        plain = rng.random() < 0.8
        name = rng.choice(HEADER_NAMES[:9]) if plain else rng.choice(HEADER_NAMES)
        found[name] = rng.choice(HEADER_VALUES[:2]) if plain else rng.choice(HEADER_VALUES)
    return found


def settings_of(rng: random.Random, session: Any, log: list[Any], text: Text) -> None:
    """Changes a session as its users do."""
    if rng.random() < 0.35:
        for name, value in fields(rng).items():
            session.headers[name] = value
    if rng.random() < 0.08:
        session.headers = rng.choice([dict(fields(rng)), CaseInsensitiveDict(), None, OrderedDict(A="b"), {}])
    if rng.random() < 0.12:
        session.params = rng.choice([{"s": "1"}, {"a": None}, [("k", "v")], "raw=1", None, OrderedDict(z="y")])
    if rng.random() < 0.1:
        session.auth = rng.choice([("u", "p"), HTTPBasicAuth("a", "b"), _authenticator(log, text), "", ()])
    if rng.random() < 0.1:
        session.proxies = rng.choice([{"http": "http://own.example:1"}, {"no_proxy": "a.example"}, None, OrderedDict()])
    if rng.random() < 0.15:
        session.hooks = rng.choice(
            [{"response": [_hook(rng, log, text)]}, {}, {"response": []}, None, {"response": _hook(rng, log, text)}]
        )
    if rng.random() < 0.25:
        session.cookies = rng.choice([jars(rng), jars(rng), http.cookiejar.CookieJar(), {}, {"d": "1"}])
    if rng.random() < 0.02 and isinstance(session.cookies, RequestsCookieJar):
        session.cookies.extract_cookies = lambda *args: log.append("own extract_cookies")
    for name, chance, values in (
        ("verify", 0.1, [False, "/own.pem", None]),
        ("cert", 0.05, ["/c.pem", ("/c", "/k")]),
        ("stream", 0.08, [True, None]),
        ("trust_env", 0.2, [False, 0, 1]),
        ("max_redirects", 0.1, [0, 1, 2]),
    ):
        if rng.random() < chance:
            setattr(session, name, rng.choice(values))


def _authenticator(log: list[Any], text: Text) -> Any:
    def authenticate(request: Any) -> Any:
        log.append(("auth", text(request)))
        request.headers["X-Auth"] = "1"
        request.register_hook("response", lambda r, **kw: log.append(("late hook", sorted(kw))))
        return request

    return authenticate


def _hook(rng: random.Random, log: list[Any], text: Text) -> Any:
    way = rng.choice(["look", "look", "other", "drop", "history", "raise", "location"])

    def hook(response: Any, *args: Any, **kwargs: Any) -> Any:
        log.append(("hook", response.status_code, [(k, text(v)) for k, v in kwargs.items()], len(args)))
        if way == "drop":
            response.headers.pop("Set-Cookie", None)
        elif way == "location":
            response.headers["Location"] = "/hooked"
        elif way == "raise" and response.status_code >= 400:
            response.raise_for_status()
        elif way == "history":
            response.history = [response]
        elif way == "other":
            other = requests.Response()
            other.status_code, other.url, other.raw, other.request = (
                299,
                "http://other.example/",
                response.raw,
                response.request,
            )
            other._content = b"other"  # type: ignore[attr-defined]
            return other
        return None

    return hook


# -- the call -------------------------------------------------------------------------------------------------------------

URLS = [
    "http://a.example/",
    "http://a.example/path/x.json?q=1&r=%20",
    "https://a.example:8443/p",
    "http://127.0.0.1:8000/x",
]
ODD_URLS: list[Any] = [
    "http://a.example",
    "http://a.example?q=1",
    "http://a.example/?",
    "http://a.example/#frag",
    "http://a.example/p?x#frag",
    "HTTP://A.Example/Up",
    "http://A.example:080/",
    "http://a.example:0/",
    "http://a.example:/",
    "http://a.example:99999/",
    "http://user:p%40ss@a.example/",
    "http://@a.example/",
    "http://b\u00fccher.example/\u00fc",
    "http://a.example/a b",
    "http://a.example/%7Etilde/%zz/%2f/%C3%BC",
    "http://a.example/./x/../y",
    "http://a.example/.hidden/..x",
    "http://a.example//double",
    "http://a.example/x?y=[1]&z={2}&p|q",
    "http://a.example/sub/x",
    "http://[::1]:80/v6",
    "http://[::1/",
    "http://[fe80::1%25eth0]/",
    "http://*.example/",
    "http://.example/",
    "http://a_b.example/",
    "http://-a.example./",
    " http://a.example/lead",
    "http://a.example/trail ",
    "http://a.example/\n",
    "http:///nohost",
    "http://",
    "httpfoo://x/",
    "http+unix://%2Frun%2Fx.sock/p",
    "unknown://[broken",
    "mailto:x@a.example",
    "a.example/none",
    "",
    "://",
    b"http://a.example/bytes",
    b"\xff",
    Strange("http://a.example/strange"),
    Path("http:/x"),
    None,
    3,
    "http://a.example/\ud800",
    "https://a.example/?a=1?b=2",
    "http://a.example/%41%2D%7e",
    "http://xn--bcher-kva.example/",
    "http://1.2.3/",
    "http://a.example/;p=1,2;q",
    "http://a.example/'()*!$@:",
    'http://a.example/"<>^`',
    "http://a..example/",
]
PARAMS: list[Any] = [
    {"k": "v"},
    {"k": ["a", "b"], "n": None, "i": 3},
    {"f": 1.5, "t": True, "u": "\u00fc &"},
    {b"k": b"v"},
    [("a", "1"), ("a", "2")],
    (("t", "1"),),
    "raw=1&x",
    "sp ace",
    b"bytes=1",
    {},
    "",
    {"e": ""},
    {"o": object},
    {"g": ("x", None)},
    OrderedDict([("z", 1), ("y", 2)]),
    {"d": {"in": 1}},
    {Strange("s"): Strange("t")},
    {"#": "?/"},
    {1: 2},
    "%zz",
    3,
]
DATA: list[Any] = [
    {"k": "v"},
    {"k": ["a", None, 1]},
    {"n": None},
    [("a", "1")],
    "text \u00fc",
    b"bytes",
    {},
    "",
    b"",
    lambda: io.BytesIO(b"stream"),
    lambda: io.StringIO("text"),
    lambda: iter([b"a", b"b"]),
    lambda: Pair(("a", "b")),
    bytearray(b"array"),
    3,
    {"u": "\u00fc", "b": b"\xff"},
    Strange("odd"),
    OrderedDict(a="b"),
]
JSONS: list[Any] = [{"a": 1}, [], {}, "s", 0, float("nan"), {"x": object}, None, False]
FILES: list[Any] = [
    {"f": ("n.txt", b"data")},
    {"f": b"raw"},
    [("f", ("n", "text", "text/plain"))],
    {},
    {"f": None},
    3,
]


def options(rng: random.Random, log: list[Any], text: Text) -> dict[str, Any]:
    """Keyword arguments of a call; few at a time."""
    busy = rng.choice([0.0, 0.06, 0.06, 0.15, 0.3])
    makers: list[tuple[str, Callable[[], Any]]] = [
        ("params", lambda: rng.choice(PARAMS)),
        ("data", lambda: some(rng, 1.1, DATA)),
        ("json", lambda: rng.choice(JSONS)),
        ("files", lambda: rng.choice(FILES)),
        (
            "headers",
            lambda: rng.choice([fields(rng), fields(rng), CaseInsensitiveDict(A="b"), None, {}, [("a", "b")], 3]),
        ),
        ("cookies", lambda: rng.choice([{"c": "1"}, jars(rng), {}, None, [("a", "b")], http.cookiejar.CookieJar()])),
        (
            "auth",
            lambda: rng.choice(
                [("u", "p"), ["u", "p"], HTTPDigestAuth("u", "p"), _authenticator(log, text), "", ("one",)]
            ),
        ),
        ("timeout", lambda: rng.choice([1, (1, 2), None, 0.5])),
        ("allow_redirects", lambda: rng.choice([True, False, None, 1])),
        (
            "proxies",
            lambda: rng.choice([{"http": "http://call.example:2"}, {"no_proxy": "*"}, {}, None, {"https": "x"}]),
        ),
        (
            "hooks",
            lambda: rng.choice(
                [{"response": _hook(rng, log, text)}, {"response": [_hook(rng, log, text)]}, {}, {"bad": 1}]
            ),
        ),
        ("stream", lambda: rng.choice([True, False, None])),
        ("verify", lambda: rng.choice([True, False, None, "/call.pem", Path("/x")])),
        ("cert", lambda: rng.choice(["/k.pem", ("/a", "/b"), None])),
    ]
    return {name: make() for name, make in makers if rng.random() < busy}


def calls(rng: random.Random, log: list[Any], text: Text, seed: int) -> Iterator[Callable[[Any], Any]]:
    """One to three calls on a session."""
    for _ in range(rng.choice([1, 1, 2, 3])):
        url = rng.choice(URLS) if rng.random() < 0.6 else rng.choice(ODD_URLS)
        given = options(rng, log, text)
        way = rng.random()
        if way < 0.45:
            verb = rng.choice(["get", "get", "get", "post", "put", "patch", "delete", "head", "options"])
            yield lambda session, v=verb, u=url, g=given: getattr(session, v)(u, **g)
        elif way < 0.7:
            method = rng.choice(["GET", "get", "POST", "Put", "PURGE", "x\u00df", b"get", None, Strange("GET"), 3])
            yield lambda session, m=method, u=url, g=given: session.request(m, u, **g)
        elif way < 0.75:
            order = ["params", "data", "headers", "cookies", "files", "auth", "timeout", "allow_redirects", "proxies"]
            values = [given.get(name) for name in order]
            yield lambda session, u=url, v=values: session.request("GET", u, *v)
        else:
            yield _through_prepare(rng, url, given)
        log.append(("arguments", [(name, text(value)) for name, value in given.items()]))


def _through_prepare(rng: random.Random, url: Any, given: dict[str, Any]) -> Callable[[Any], Any]:
    """A request that is prepared and sent by hand, somewhat changed in between."""
    sending = ("timeout", "allow_redirects", "proxies", "stream", "verify", "cert")
    prepared_with = {name: value for name, value in given.items() if name not in sending}
    sent_with = {name: value for name, value in given.items() if name in sending}
    change = rng.choice(["", "", "url", "broken", "headers", "method", "unprepared", "hooks", "alone"])

    def call(session: Any) -> Any:
        request = requests.Request("POST" if "data" in given else "GET", url, **prepared_with)
        prepared: Any = request.prepare() if change == "alone" else session.prepare_request(request)
        if change == "url":
            prepared.url = "http://A.example/Changed"
        elif change == "broken":
            prepared.url = "http://[broken"
        elif change == "headers":
            prepared.headers["X-Late"] = "1"
        elif change == "method":
            prepared.method = "purge"
        elif change == "unprepared":
            prepared = request
        elif change == "hooks":
            prepared.hooks = None
        return session.send(prepared, **sent_with)

    return call


# -- the answers ----------------------------------------------------------------------------------------------------------

LOCATIONS = [
    "/relative",
    "http://b.example/other",
    "https://a.example/secure",
    "http://a.example:81/port",
    "//c.example/scheme",
    "?query",
    "#fragment",
    "http://a.example/sp ace",
    "http://[broken",
    "unknown://x/",
    "",
    "http://user:pw@a.example/",
    "/\u00fc".encode().decode("latin-1"),
    "HTTP://A.EXAMPLE/UP",
    "http://a.example/sub/y",
]
COOKIES = [
    "k=1",
    "k=2; Path=/sub",
    "d=3; Domain=.example",
    "e=4; Max-Age=0",
    "s=5; Secure",
    'q="6"',
    "bad",
    "x=7; Domain=evil.test",
]


class Script:
    """The answers to a session's requests, in order."""

    def __init__(self, rng: random.Random, answers: list[bytes], eager: bool) -> None:
        self.answers = answers
        self.eager = eager
        self.at = 0
        self.drops_cookies = rng.random() < 0.04
        self.failing = rng.random() < 0.03

    def fails(self) -> bool:
        """Whether the adapter raises."""
        return self.failing and self.at == 1

    def next_reply(self) -> bytes:
        """One answer; the last one for ever."""
        answer = self.answers[min(self.at, len(self.answers) - 1)]
        self.at += 1
        return answer


def replies(rng: random.Random) -> list[bytes]:
    """Some redirects, and what comes at their end."""
    found = []
    for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2, 3])):
        found.append(_reply(rng, rng.choice([301, 302, 303, 307, 308, 300, 304]), rng.choice(LOCATIONS)))
    found.append(_reply(rng, rng.choice([200, 200, 200, 204, 404, 500, 401]), None))
    return found


def _reply(rng: random.Random, status: int, location: str | None) -> bytes:
    body = rng.choice([b"", b"hello", b'{"a": 1}'])
    lines = [f"HTTP/1.1 {status} Word", f"Content-Length: {0 if status in (204, 304) else len(body)}"]
    if location is not None and rng.random() < 0.95:
        lines.append(f"{rng.choice(['Location', 'location', 'LOCATION'])}: {location}")
    for _ in range(rng.choice([0, 0, 1, 2])):
        lines.append(f"Set-Cookie: {rng.choice(COOKIES)}")
    if rng.random() < 0.3:
        lines.append("Content-Type: text/plain; charset=utf-8")
    if rng.random() < 0.1:
        lines += ["X-Twice: 1", "x-twice: 2"]
    head = "\r\n".join([*lines, "", ""]).encode("latin-1")
    return head + (b"" if status in (204, 304) else body)
