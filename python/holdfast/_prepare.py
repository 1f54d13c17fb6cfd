"""A request prepared as ``Session.prepare_request`` does, in its order, each step cut short where its outcome is plain.

Every shortcut first looks whether it applies, without touching anything; if not, requests' own function does the step.
The order is requests': it decides which of two errors surfaces. Sources: ``Session.prepare_request``,
``PreparedRequest.prepare`` and what they call, requests 2.32 to 2.34.
"""

from __future__ import annotations

import http.cookiejar
import threading
from typing import Any

import requests.models
import requests.sessions
from requests import PreparedRequest, Request
from requests.cookies import RequestsCookieJar
from requests.hooks import HOOKS, default_hooks
from requests.structures import CaseInsensitiveDict

from holdfast import _core
from holdfast._stock import environment

__all__ = ["pick", "plain_params", "prepare", "preparer", "put_body"]

_sessions: Any = requests.sessions
_models: Any = requests.models
_NO_HOOKS: dict[str, Any] = {"response": []}
_PLAIN_VALUES = frozenset((str, bytes, int, float, bool))
_FORM = "application/x-www-form-urlencoded"


def pick(given: Any, own: Any) -> Any:
    """``merge_setting``: what the call says, else what the session says; two mappings are merged."""
    if given is None:
        return own
    if own is None or type(given) in (bool, str, tuple):
        return given
    return _sessions.merge_setting(given, own)


preparer = _core.Preparer(
    PreparedRequest,
    CaseInsensitiveDict,
    RequestsCookieJar,
    http.cookiejar.DefaultCookiePolicy,
    dict(http.cookiejar.DefaultCookiePolicy().__dict__),
    HOOKS,
    threading,
    environment,
)
"""Does all of it in one step, where a session has nothing but headers and the call nothing out of the ordinary."""


def prepare(
    session: Any,
    method: Any,
    url: Any,
    headers: Any,
    files: Any,
    data: Any,
    params: Any,
    auth: Any,
    cookies: Any,
    hooks: Any,
    json: Any,
    found: int,
) -> tuple[PreparedRequest, bool]:
    """``session.prepare_request(Request(...))``, and whether the URL was plain; ``found`` is what the environment says."""
    if hooks is not None:
        hooks = Request(hooks=hooks).hooks  # rejects unknown events
    jar = session.cookies
    merged_jar = None if not cookies and preparer.plain_jar(jar) == {} else _merged_jar(jar, cookies)
    if session.trust_env and not auth and not session.auth:
        auth = _sessions.get_netrc_auth(url) if found & _core.ENVIRONMENT_NETRC else None
    store = _header_store(headers, session.headers)
    if store is None:
        headers = _sessions.merge_setting({} if headers is None else headers, session.headers, CaseInsensitiveDict)
    text = plain_params(params) if type(session.params) is dict and not session.params else None
    if text is None:
        params = _sessions.merge_setting(params, session.params)
    auth = pick(auth, session.auth)
    own_hooks = session.hooks
    if hooks is not None or type(own_hooks) is not dict or own_hooks != _NO_HOOKS:
        hooks = _sessions.merge_hooks(default_hooks() if hooks is None else hooks, own_hooks)

    request = PreparedRequest.__new__(PreparedRequest)
    request.__dict__ = {
        "method": method,
        "url": None,
        "headers": None,
        "_cookies": None,
        "body": None,
        "hooks": default_hooks(),
        "_body_position": None,
    }
    if type(method) is not str:
        request.prepare_method(method)
    normal = _put_url(request, url, params, text)
    if store is None:
        request.prepare_headers(headers)
    else:
        request.headers = fields = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
        fields._store = store  # type: ignore[assignment]  # a dict does all that it does with an OrderedDict
    if merged_jar is None and normal:
        request._cookies = preparer.empty_jar()
    else:
        request.prepare_cookies(RequestsCookieJar() if merged_jar is None else merged_jar)
    put_body(request, data, files, json)
    if auth is not None or not normal:
        request.prepare_auth(auth, url)
    if hooks is not None:
        request.prepare_hooks(hooks)
    return request, normal


def _merged_jar(jar: Any, cookies: Any) -> Any:
    cookies = cookies or {}
    if not isinstance(cookies, http.cookiejar.CookieJar):
        cookies = _sessions.cookiejar_from_dict(cookies)
    return _sessions.merge_cookies(_sessions.merge_cookies(RequestsCookieJar(), jar), cookies)


def _header_store(headers: Any, own: Any) -> dict[str, tuple[str, str]] | None:
    """The merged, valid store; None if something needs a closer look."""
    if type(own) is not CaseInsensitiveDict or (headers is not None and type(headers) is not dict):
        return None
    return _core.merge_headers(own._store, headers) if headers else _core.merge_headers(own._store)


def plain_params(params: Any) -> str | None:
    """What is put behind the URL's question mark; None if that takes requests' code to say."""
    if not params:
        return ""
    if type(params) is str:
        return params
    return _encoded(params) if type(params) is dict else None


def _encoded(pairs: dict[Any, Any]) -> str | None:
    """The form encoding of a dict whose keys and values are plain; None for any other."""
    plain: list[tuple[Any, Any]] = []
    for key, value in pairs.items():
        if type(key) not in _PLAIN_VALUES:
            return None
        for one in value if type(value) in (list, tuple) else (value,):
            if one is not None:
                if type(one) not in _PLAIN_VALUES:
                    return None
                plain.append((key, one))
    try:
        encoded: str = _models.urlencode([(_utf8(key), _utf8(value)) for key, value in plain], doseq=True)
    except UnicodeEncodeError:  # requests has its own moment for it
        return None
    return encoded


def _utf8(value: Any) -> Any:
    return value.encode("utf-8") if type(value) is str else value


def _put_url(request: PreparedRequest, url: Any, params: Any, text: str | None) -> bool:
    """``prepare_url``; whether the URL was a plain one, and so without credentials."""
    if text is not None and type(url) is str:
        normal = _core.plain_url(url)
        if normal is not None and text:
            normal = _core.plain_url(f"{normal}{'&' if '?' in normal else '?'}{text}")
        if normal is not None:
            request.url = normal
            return True
    request.prepare_url(url, params)
    return False


def put_body(request: PreparedRequest, data: Any, files: Any, json: Any) -> None:
    """``prepare_body``, without a body or with a plain form."""
    if files or (json is not None and not data):
        request.prepare_body(data, [] if files is None else files, json)
    elif not data:
        if request.method not in ("GET", "HEAD") and request.headers.get("Content-Length") is None:
            request.headers["Content-Length"] = "0"
    else:
        body = _encoded(data) if type(data) is dict else None
        if not body:
            request.prepare_body(data, [] if files is None else files, json)
            return
        request.headers["Content-Length"] = str(len(body))
        if "content-type" not in request.headers:
            request.headers["Content-Type"] = _FORM
        request.body = body
