"""``Session``: requests' own, without the detours between a call and its adapter.

A plain ``requests.Session`` spends far more on a call than the exchange itself costs: it decodes the environment twice,
parses a URL that needs no parsing, copies headers and cookies several times over. Here each of those steps is cut short
where its outcome is plain, and requests' own code runs wherever anybody could tell: with a method overridden in a
subclass or on the instance, a function of requests replaced, a setting out of the ordinary.
"""

from __future__ import annotations

import inspect
import os
from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import requests
import requests.models
import requests.sessions
from requests import PreparedRequest
from requests.cookies import extract_cookies_to_jar

from holdfast import _core, _environment, _stock
from holdfast._adapter import PooledAdapter
from holdfast._mount import MountOptions, mount
from holdfast._prepare import is_plain_jar, pick, prepare
from holdfast._response import FastResponse

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

        def request(self, *args, **kwargs):
            """``requests.Session.request``: prepares a request, sends it and follows its redirects."""
            if _stock.session_is_ours() and _preparing.has(self, self.__dict__):
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
            return super().request(
                method,
                url,
                params,
                data,
                headers,
                cookies,
                files,
                auth,
                timeout,
                allow_redirects,
                proxies,
                hooks,
                stream,
                verify,
                cert,
                json,
            )
        method = method.upper()
        data, params = data or {}, params or {}
        found = _environment.look(not auth and not self.auth) if self.trust_env else 0
        request, normal = prepare(self, method, url, headers, files, data, params, auth, cookies, hooks, json, found)
        own = self.proxies
        if proxies or own or type(own) is not dict or not normal or found & _environment.PROXY:
            settings = self.merge_environment_settings(request.url, proxies or {}, stream, verify, cert)  # type: ignore[arg-type]  # prepared: it has a URL
            return self.send(request, timeout=timeout, allow_redirects=allow_redirects, **settings)
        if found & _environment.BUNDLE and (verify is True or verify is None):
            verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or verify
        return self.send(
            request,
            timeout=timeout,
            allow_redirects=allow_redirects,
            proxies=OrderedDict(),
            stream=pick(stream, self.stream),
            verify=pick(verify, self.verify),
            cert=pick(cert, self.cert),
        )

    def send(self, request: PreparedRequest, **kwargs: Any) -> Response:
        """``requests.Session.send``: sends a prepared request and follows its redirects."""
        url: Any = getattr(request, "url", None)
        plain = type(request) is PreparedRequest and type(url) is str
        # A URL that nobody can parse fails in places that are left out below.
        if not plain or _core.plain_url(url) is None or not self._sends_plainly():
            return super().send(request, **kwargs)
        for name in ("stream", "verify", "cert"):
            if name not in kwargs:
                kwargs[name] = getattr(self, name)
        if "proxies" not in kwargs:
            kwargs["proxies"] = self._proxies_for(request)
        allow_redirects = kwargs.pop("allow_redirects", True)
        hooks = request.hooks
        adapter = self.get_adapter(url=url)
        clock = _sessions.preferred_clock
        began = clock()
        response = adapter.send(request, **kwargs)
        response.elapsed = timedelta(seconds=clock() - began)
        if type(hooks) is not dict or hooks.get("response"):
            response = _sessions.dispatch_hook("response", hooks, response, **kwargs)
        if type(response) is not FastResponse or not response.tells_nothing() or not is_plain_jar(self.cookies):
            for one in response.history:
                extract_cookies_to_jar(self.cookies, one.request, one.raw)
            extract_cookies_to_jar(self.cookies, request, response.raw)
        if type(response) is not FastResponse or response.status_code in _models.REDIRECT_STATI:
            response = self._redirected(response, request, allow_redirects, kwargs)
        if not kwargs["stream"]:
            response.content  # noqa: B018  # read, so that the connection goes back
        return response

    def _sends_plainly(self) -> bool:
        return _stock.send_is_ours() and _sending.has(self, self.__dict__)

    def _proxies_for(self, request: PreparedRequest) -> Any:
        """``resolve_proxies`` for a request that came without."""
        own = self.proxies
        plain = type(own) is dict and "no_proxy" not in own
        if plain and not (self.trust_env and _environment.look(netrc=False) & _environment.PROXY):
            return own.copy()
        return _sessions.resolve_proxies(request, own, self.trust_env)

    def _redirected(
        self, response: Response, request: PreparedRequest, allow_redirects: bool, kwargs: dict[str, Any]
    ) -> Response:
        """The last response of a chain of redirects, or ``response`` with its ``next``."""
        if allow_redirects:
            history = list(self.resolve_redirects(response, request, **kwargs))
            if history:
                history.insert(0, response)
                response = history.pop()
                response.history = history
        else:
            following: Any = self.resolve_redirects(response, request, yield_requests=True, **kwargs)
            response._next = next(following, response._next)
        return response


if not TYPE_CHECKING:
    # A wrong argument is told as requests tells it, and help() shows its signature.
    Session._request.__name__, Session._request.__qualname__ = "request", "Session.request"
    Session.request.__signature__ = inspect.signature(requests.Session.request)


def _prepares_as_requests(kind: type[Session]) -> bool:
    """Whether a subclass leaves to us how a request is prepared; what comes after us in its bases included."""
    names = ("prepare_request", "merge_environment_settings")
    own = all(getattr(kind, name) is getattr(requests.Session, name) for name in names)
    return own and super(Session, kind).request is requests.Session.request


def _sends_as_requests(kind: type[Session]) -> bool:
    """Likewise, what follows a response."""
    names = ("resolve_redirects", "get_redirect_target")
    own = all(getattr(kind, name) is getattr(requests.Session, name) for name in names)
    return own and super(Session, kind).send is requests.Session.send


_preparing = _core.Family(("prepare_request", "merge_environment_settings"), _prepares_as_requests)
_sending = _core.Family(("resolve_redirects", "get_redirect_target"), _sends_as_requests)
Session.__module__ = "holdfast"
