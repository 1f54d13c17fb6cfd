"""Whether a session's shortcuts may stand for requests' own code: only while that is the code that they stand for.

Libraries that mock, record, trace or fake the file system replace methods of requests' classes and names in its modules.
Each of those that a shortcut leaves out is watched, as the lanes watch theirs; one difference, and the session runs
requests' own code, which runs all of them. The shortcuts were written against the versions in ``KNOWN``; any other
requests runs its own code as well.
"""

from __future__ import annotations

import http.cookiejar
import os
import posixpath
import re
import sys
import types
import urllib.request
from typing import Any

import requests
import requests.cookies
import requests.hooks
import requests.models
import requests.sessions
import requests.structures
import requests.utils

from holdfast._core import Environment, Watch
from holdfast._lanes import plain

__all__ = ["KNOWN", "environment", "preparing", "sending"]

KNOWN = ((2, 32), (2, 33), (2, 34))
"""The versions of requests that the shortcuts were compared with."""

_Session = requests.Session
_Request = requests.Request
_Prepared = requests.PreparedRequest
_Jar = http.cookiejar.CookieJar
_RequestsJar = requests.cookies.RequestsCookieJar
_Policy = http.cookiejar.DefaultCookiePolicy
_Dict = requests.structures.CaseInsensitiveDict

Watched = tuple[Any, tuple[str, ...], tuple[Any, ...]]


def _watch(owner: Any, *names: str) -> Watched:
    """Attributes of ``owner``; what somebody replaced before we came is never right."""
    # A name that this version of requests lacks was not replaced.
    there = tuple(name for name in names if hasattr(owner, name))
    values = tuple(plain(_home(owner, n), n) for n in there)
    return owner, there, tuple(v.__func__ if isinstance(v, staticmethod) else v for v in values)


def _home(owner: Any, name: str) -> Any:
    """The module or class that a name is from."""
    return next((c for c in owner.__mro__ if name in vars(c)), owner) if isinstance(owner, type) else owner


def _whole(owner: type) -> Watched:
    """Every method that a class defines."""
    return _watch(
        owner, *(name for name, value in vars(owner).items() if callable(value) or isinstance(value, property))
    )


def _imported(module: Any, *names: str) -> Watched:
    """Names that ``module`` has from elsewhere: each must be from there, and not from somebody who came before us."""
    there = tuple(name for name in names if hasattr(module, name))
    values = [getattr(module, name) for name in there]
    return module, there, tuple(value if _homely(value) else object() for value in values)


def _homely(value: Any) -> bool:
    """Whether a function or class is requests', urllib3's or the standard library's, and no wrapper of it."""
    if not isinstance(value, (type, types.FunctionType)):
        return not callable(value)
    home = value.__module__.partition(".")[0]
    return home in ("requests", "urllib3") or (home in sys.stdlib_module_names and home != "unittest")


_COOKIES = (
    *map(_whole, (_Jar, _RequestsJar, _Policy)),
    _imported(http.cookiejar, "DefaultCookiePolicy", "CookieJar"),
    _watch(requests.cookies, "extract_cookies_to_jar", "get_cookie_header", "merge_cookies", "MockRequest"),
    _watch(requests.cookies, "MockResponse", "RequestsCookieJar", "cookiejar_from_dict"),
    _imported(requests.cookies, "cookielib", "urlparse", "_is_prepared"),
)
_SEND = (
    _watch(_Session, "send", "get_adapter", "resolve_redirects", "get_redirect_target"),
    *map(_whole, requests.Session.__bases__),
    _imported(requests.sessions, "extract_cookies_to_jar", "dispatch_hook", "resolve_proxies", "timedelta", "Request"),
    _imported(requests.sessions, "urlparse", "_is_prepared"),
    _whole(requests.Response),
    *_COOKIES,
)
_PREPARE = (
    _watch(_Session, "request", "prepare_request", "merge_environment_settings"),
    *map(_whole, (_Request, _Prepared, *_Prepared.__bases__, _Dict)),
    _imported(requests.sessions, "Request", "PreparedRequest", "RequestsCookieJar", "cookiejar_from_dict", "cookielib"),
    _imported(requests.sessions, "merge_cookies", "get_netrc_auth", "get_environ_proxies", "CaseInsensitiveDict", "os"),
    _watch(requests.sessions, "merge_setting", "merge_hooks"),
    _imported(requests.sessions, "to_key_val_list", "OrderedDict", "Mapping", "_is_prepared"),
    _imported(requests.models, "parse_url", "requote_uri", "urlunparse", "unicode_is_ascii", "check_header_validity"),
    _imported(requests.models, "to_native_string", "CaseInsensitiveDict", "default_hooks", "get_cookie_header"),
    _imported(requests.models, "cookiejar_from_dict", "super_len", "builtin_str", "get_auth_from_url", "HTTPBasicAuth"),
    _imported(requests.models, "urlencode", "basestring", "to_key_val_list", "cookielib"),
    _watch(requests.utils, "_validate_header_part", "check_header_validity", "requote_uri", "unquote_unreserved"),
    _imported(
        requests.utils,
        "quote",
        "HEADER_VALIDATORS",
        "_HEADER_VALIDATORS_STR",
        "get_auth_from_url",
        "urlparse",
        "unquote",
    ),
    _watch(requests.hooks, "default_hooks", "HOOKS"),
    *_COOKIES,
)
_ENVIRONMENT = (
    _imported(requests.utils, "getproxies", "proxy_bypass", "os", "urlparse"),
    _watch(requests.utils, "get_environ_proxies", "should_bypass_proxies", "get_netrc_auth", "resolve_proxies"),
    _imported(requests.utils, "NETRC_FILES", "set_environ"),
    _watch(urllib.request, "getproxies", "getproxies_environment", "proxy_bypass", "proxy_bypass_environment"),
    (os, ("environ", "path", "stat"), (os.environ, posixpath, os.stat)),
    _imported(posixpath, "expanduser", "exists"),
)

_version = re.match(r"(\d+)\.(\d+)", requests.__version__)  # type: ignore[attr-defined]  # exported without saying so
_NEVER: Watched = (requests, ("Session",), (object(),))
"""What is never as it was."""
_known: tuple[Watched, ...] = () if _version and (int(_version[1]), int(_version[2])) in KNOWN else (_NEVER,)
# Elsewhere proxies also come from the system's settings.
_posix = (
    os.name == "posix"
    and getattr(requests.utils, "getproxies", None) is getattr(urllib.request, "getproxies_environment", ())
    and getattr(requests.utils, "proxy_bypass", None) is getattr(urllib.request, "proxy_bypass_environment", ())
    and tuple(requests.utils.NETRC_FILES) == (".netrc", "_netrc")
)
_plain: tuple[Watched, ...] = () if _posix else (_NEVER,)

preparing = Watch((*_known, *_PREPARE))
"""What a shortcut through ``request`` leaves out."""
sending = Watch((*_known, *_SEND))
"""What one through ``send`` does."""
environment = Environment(os.environ, Watch((*_known, *_plain, *_ENVIRONMENT)))
"""Whose bytes say all that requests would find in it, where that can be told."""
