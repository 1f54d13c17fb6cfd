"""``Session``: requests' own, without the detours between a call and its adapter.

A plain ``requests.Session`` spends far more on a call than the exchange itself costs: it decodes the environment twice,
parses a URL that needs no parsing, copies headers and cookies several times over. Here each of those steps is cut short
where its outcome is plain, and requests' own code runs wherever anybody could tell: with a method overridden in a
subclass or on the instance, a function of requests replaced, a setting out of the ordinary.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import requests
import requests.models
import requests.sessions
from requests import PreparedRequest
from requests.cookies import extract_cookies_to_jar

from holdfast import _core, _stock
from holdfast._adapter import PooledAdapter
from holdfast._core import find_adapter
from holdfast._mount import MountOptions, mount
from holdfast._prepare import pick, plain_params, prepare, preparer, put_body
from holdfast._response import FastResponse
from holdfast._stock import environment

if TYPE_CHECKING:
    from requests import Response
    from typing_extensions import Unpack

__all__ = ["Session"]

_sessions: Any = requests.sessions
_models: Any = requests.models


class Session(requests.Session):
    """A ``requests.Session`` that is mounted, and whose own cost per call is cut as well.

    It takes ``mount``'s keyword arguments. Everything else is ``requests.Session``'s, to the order of the headers and
    of the errors; subclass, patch and pickle it as that.
    """

    def __init__(self, **options: Unpack[MountOptions]) -> None:
        super().__init__()
        if options or not isinstance(self.adapters.get("https://"), PooledAdapter):
            mount(self, **options)

    if not TYPE_CHECKING:  # the types are requests' own

        def request(self, *args: Any, **kwargs: Any) -> Response:
            """``requests.Session.request``: prepares a request, sends it and follows its redirects."""
            if _preparing.has(self, self.__dict__):
                return self._request(*args, **kwargs)
            # As they came: who replaced it may tell a default from what was given.
            return super().request(*args, **kwargs)

    def _request(  # requests' signature
        self,
        method: str,
        url: Any,
        params: Any = None,
        data: Any = None,
        headers: Any = None,
        cookies: Any = None,
        files: Any = None,
        auth: Any = None,
        timeout: Any = None,
        allow_redirects: bool = True,
        proxies: Any = None,
        hooks: Any = None,
        stream: bool | None = None,
        verify: Any = None,
        cert: Any = None,
        json: Any = None,
    ) -> Response:
        if isinstance(url, bytes):  # versions of requests differ in when they decode it
            first = (method, url, params, data, headers, cookies, files, auth, timeout, allow_redirects)
            return super().request(*first, proxies, hooks, stream, verify, cert, json)
        method = method.upper()
        data, params = data or {}, params or {}
        state = self.__dict__
        whole = None
        if not (cookies or auth or hooks) and type(method) is str:
            text = plain_params(params) if params else ""
            if text is not None:
                whole = preparer.prepare(state, method, url, headers, text)
        if whole is None:
            found = environment.look(not auth and not self.auth) if self.trust_env else 0
            request, normal = prepare(
                self, method, url, headers, files, data, params, auth, cookies, hooks, json, found
            )
        else:
            (request, found), normal = whole, True
            if data or files or json is not None or method != "GET":
                put_body(request, data, files, json)
        own = self.proxies
        if proxies or own or type(own) is not dict or not normal or found & _core.ENVIRONMENT_PROXY:
            settings = self.merge_environment_settings(request.url, proxies or {}, stream, verify, cert)  # type: ignore[arg-type]  # prepared: it has a URL
            return self.send(request, timeout=timeout, allow_redirects=allow_redirects, **settings)
        if found & _core.ENVIRONMENT_BUNDLE and (verify is True or verify is None):
            verify = environment.bundle() or verify
        proxies = OrderedDict()
        stream, verify, cert = pick(stream, self.stream), pick(verify, self.verify), pick(cert, self.cert)
        if _direct.has(self, state):
            settings = {"timeout": timeout, "proxies": proxies, "stream": stream, "verify": verify, "cert": cert}
            return self._carry(request, find_adapter(self.adapters, request.url), allow_redirects, settings)  # type: ignore[arg-type]  # likewise
        return self.send(
            request,
            timeout=timeout,
            allow_redirects=allow_redirects,
            proxies=proxies,
            stream=stream,
            verify=verify,
            cert=cert,
        )

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """``requests.Session.send``: sends a prepared request and follows its redirects."""
        url: Any = getattr(request, "url", None)
        # A URL that nobody can parse fails in places that are left out below.
        plain = type(request) is PreparedRequest and type(url) is str and _core.plain_url(url) is not None
        if not plain or not _sending.has(self, self.__dict__):
            return super().send(request, **kwargs)
        for name in ("stream", "verify", "cert"):
            if name not in kwargs:
                kwargs[name] = getattr(self, name)
        if "proxies" not in kwargs:
            kwargs["proxies"] = self._proxies_for(request)
        return self._carry(request, None, kwargs.pop("allow_redirects", True), kwargs)

    def _carry(
        self, request: PreparedRequest, adapter: Any, allow_redirects: Any, settings: dict[str, Any]
    ) -> Response:
        """Sends it through ``adapter`` (None: the session's) and does what follows a response."""
        hooks = request.hooks
        if adapter is None:
            adapter = self.get_adapter(url=request.url)  # type: ignore[arg-type]  # a plain one, or we would not be here
        clock = _sessions.preferred_clock
        began = clock()
        response: Any = adapter.send(request, **settings)
        response.elapsed = timedelta(0, clock() - began)
        if type(hooks) is not dict or hooks.get("response"):
            response = _sessions.dispatch_hook("response", hooks, response, **settings)
        fast = type(response) is FastResponse
        if not fast or not response.tells_nothing() or preparer.plain_jar(self.cookies) is None:
            for one in response.history:
                extract_cookies_to_jar(self.cookies, one.request, one.raw)
            extract_cookies_to_jar(self.cookies, request, response.raw)
        if not fast or response.status_code in _models.REDIRECT_STATI:
            response = self._redirected(response, request, allow_redirects, settings)
        if not settings["stream"]:
            response.content  # noqa: B018  # read, so that the connection goes back
        return response  # type: ignore[no-any-return]  # an adapter's

    def _proxies_for(self, request: PreparedRequest) -> Any:
        """``resolve_proxies`` for a request that came without."""
        own = self.proxies
        plain = type(own) is dict and "no_proxy" not in own
        if plain and not (self.trust_env and environment.look(netrc=False) & _core.ENVIRONMENT_PROXY):
            return own.copy()
        return _sessions.resolve_proxies(request, own, self.trust_env)

    def _redirected(
        self, response: Response, request: PreparedRequest, allow_redirects: Any, settings: dict[str, Any]
    ) -> Response:
        """The last response of a chain of redirects, or ``response`` with its ``next``."""
        if allow_redirects:
            history = list(self.resolve_redirects(response, request, **settings))
            if history:
                history.insert(0, response)
                response = history.pop()
                response.history = history
        else:
            following: Any = self.resolve_redirects(response, request, yield_requests=True, **settings)
            response._next = next(following, response._next)
        return response


if not TYPE_CHECKING:
    # A wrong argument is told as requests tells it, and help() shows its signature.
    Session._request.__name__, Session._request.__qualname__ = "request", "Session.request"
    Session.request.__signature__ = inspect.signature(requests.Session.request)


def _leaves(names: tuple[str, ...], call: str) -> Callable[[type], bool]:
    """Whether a class leaves methods to requests, and has nobody between us and requests who has his own ``call``."""

    def judge(kind: Any) -> bool:
        if kind.__getattribute__ is not object.__getattribute__ or any(
            _SETTINGS & vars(c).keys() for c in kind.__mro__
        ):
            return False  # settings that are not what the session's dict says
        stock = all(getattr(kind, name) is getattr(requests.Session, name) for name in names)
        return stock and getattr(super(Session, kind), call) is getattr(requests.Session, call)

    return judge


def _is_direct(kind: Any) -> bool:
    """Whether ``request`` may do what ``send`` and ``get_adapter`` do."""
    found: Any = kind.get_adapter
    return _sends_plainly(kind) and kind.send is Session.send and found is requests.Session.get_adapter


_SETTINGS = frozenset(requests.Session.__attrs__)
_PREPARING = ("prepare_request", "merge_environment_settings")
_SENDING = ("resolve_redirects", "get_redirect_target")
_sends_plainly = _leaves(_SENDING, "send")
_preparing = _core.Family(_PREPARING, _leaves(_PREPARING, "request"), _stock.preparing)
_sending = _core.Family(_SENDING, _sends_plainly, _stock.sending)
_direct = _core.Family((*_SENDING, "send", "get_adapter"), _is_direct, _stock.sending)
Session.__module__ = "holdfast"
