"""``PooledAdapter``: one call of requests, through the fast lane where nobody can tell, else through stock ``send``."""

from __future__ import annotations

import operator
import socket
from typing import TYPE_CHECKING, Any, TypedDict

import urllib3.connection
from requests.adapters import HTTPAdapter
from requests.exceptions import InvalidURL
from requests.utils import select_proxy
from urllib3.exceptions import LocationValueError
from urllib3.util.retry import Retry

from holdfast import _core, _fast_lane, _lanes
from holdfast._adopt import adopt
from holdfast._binding import AdapterConfig, Binding
from holdfast._config import Limits, Timeouts, _check_seconds
from holdfast._connection import WireConnection
from holdfast._deadline import Exchange, current
from holdfast._dial import Resolver
from holdfast._errors import carried, surface
from holdfast._facade import Facade
from holdfast._statistics import Statistics
from holdfast._timeouts import for_urllib3, merge
from holdfast._trace import Trace
from holdfast._transport_cache import cache

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from requests import PreparedRequest, Response

__all__ = ["AdapterOptions", "PooledAdapter"]

WireConnection.own_wire = staticmethod(_lanes.wire_is_ours)


class _Default(int):
    """10, False: what ``HTTPAdapter``'s signature says, told apart from a value that the user gave."""


_TEN = _Default(10)
_NO = _Default(0)
_DEFAULT_LIMITS = Limits()
_DEFAULT_TIMEOUTS = Timeouts()

MOST_ROUTES = 256
"""Origins whose facade is remembered; a program that visits more starts over."""


class AdapterOptions(TypedDict, total=False):
    """``PooledAdapter``'s arguments, for the type checkers of those who pass them on."""

    pool_connections: int
    pool_maxsize: int
    max_retries: int | Retry
    pool_block: bool
    limits: Limits | None
    timeouts: Timeouts | None
    shared: bool
    ssl_context: ssl.SSLContext | None
    source_address: tuple[str, int] | None
    socket_options: list[tuple[int, int, int | bytes]] | None
    tcp_keepalive: bool | tuple[float, float, int] | None
    tcp_user_timeout: float | None
    resolver: Resolver | None
    trace: Trace | None


class PooledAdapter(HTTPAdapter):
    """A ``requests`` adapter whose connections are pooled, bounded, closed when idle and shared by the process.

    :param pool_connections: as for ``HTTPAdapter``, in place of ``limits``; with ``pool_maxsize`` it bounds what is kept
        idle over all hosts. This, ``pool_maxsize`` or ``pool_block`` beside ``limits``: ``ValueError``. None of them and
        no ``limits``: ``Limits()``.
    :param pool_maxsize: likewise: idle connections kept per host.
    :param pool_block: likewise: whether ``pool_maxsize`` is also the most that a host may have.
    :param max_retries: urllib3's ``Retry``, or a number of failed connects to try again, as for ``HTTPAdapter``.
    :param limits: how many connections, for how long; part of what makes two adapters share.
    :param timeouts: how long each phase of an exchange may take, where the call does not say.
    :param shared: whether adapters with equal settings share connections. False: private ones, closed with the adapter.
    :param ssl_context: a context of your own, for proxies too. One that brings CAs decides trust alone and is never
        changed. One without is adopted with the first pair of ``verify`` and ``cert``; another pair is a ``ValueError``.
    :param source_address: ``(host, port)`` to connect from (urllib3 ``source_address``).
    :param socket_options: ``setsockopt`` arguments, in place of urllib3's default, which switches Nagle's algorithm off.
    :param tcp_keepalive: True, or ``(idle, interval, count)`` in seconds and probes: TCP keep-alive probes.
    :param tcp_user_timeout: seconds that sent bytes may stay unacknowledged (RFC 5482; Linux).
    :param resolver: called as ``resolver(host, port)``, gives ``socket.getaddrinfo``'s tuples, in place of that.
    :param trace: hooks that are told what happens to each call and its connection; not part of what is shared.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_options"]  # noqa: RUF012  # as requests declares it

    _options: dict[str, Any]

    def __init__(  # the contract's signature
        self,
        pool_connections: int = _TEN,
        pool_maxsize: int = _TEN,
        max_retries: int | Retry = 0,
        pool_block: bool = _NO,  # type: ignore[assignment]  # a sentinel that reads as False
        *,
        limits: Limits | None = None,
        timeouts: Timeouts | None = None,
        shared: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        source_address: tuple[str, int] | None = None,
        socket_options: list[tuple[int, int, int | bytes]] | None = None,
        tcp_keepalive: bool | tuple[float, float, int] | None = None,
        tcp_user_timeout: float | None = None,
        resolver: Resolver | None = None,
        trace: Trace | None = None,
    ) -> None:
        given = [value for value in (pool_connections, pool_maxsize, pool_block) if not isinstance(value, _Default)]
        if given and limits is not None:
            raise ValueError("give either limits or pool_connections, pool_maxsize and pool_block, not both")
        if limits is None:
            limits = _limits_of(pool_connections, pool_maxsize, pool_block) if given else _DEFAULT_LIMITS
        for name, value, kind in (("limits", limits, Limits), ("timeouts", timeouts, Timeouts)):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name} must be holdfast.{kind.__name__}, not {type(value).__name__}")
        if resolver is not None and not callable(resolver):
            raise TypeError("resolver must be callable as resolver(host, port)")
        if trace is not None and not isinstance(trace, Trace):
            raise TypeError(f"trace must be a holdfast.Trace, not {type(trace).__name__}")
        self._options = {
            "limits": limits,
            "timeouts": timeouts or _DEFAULT_TIMEOUTS,
            "shared": bool(shared),
            "ssl_context": ssl_context,
            "source_address": source_address,
            "socket_options": _socket_options(socket_options, tcp_keepalive, tcp_user_timeout),
            "resolver": resolver,
            "trace": trace,
        }
        self._configure()
        super().__init__(int(pool_connections), int(pool_maxsize), max_retries, bool(pool_block))

    def _configure(self) -> None:
        options = self._options
        self._config = AdapterConfig(
            options["limits"],
            options["timeouts"],
            shared=options["shared"],
            resolver=options["resolver"],
            trace=options["trace"],
        )
        self._managers: dict[int, Any] = {}
        """The pool managers that give out facades, by identity: a wrapper equals what it wraps."""
        self._routes: dict[Any, tuple[Facade, dict[str, Any]]] = {}
        self._no_retries: Retry | None = None
        """The ``max_retries`` that was found to ask for nothing."""

    # -- requests' hooks --------------------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        if self._options["ssl_context"] is not None:
            raise TypeError("an adapter with an ssl_context cannot be pickled: an SSLContext is bound to its process")
        return super().__getstate__()

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self._options = state["_options"]
        self._configure()
        super().__setstate__(dict(state))

    def _pool_options(self) -> dict[str, Any]:
        names = ("ssl_context", "source_address", "socket_options")
        return {name: value for name in names if (value := self._options[name]) is not None}

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: Any) -> None:
        """Makes ``poolmanager``, whose pools draw on this adapter's transports."""
        super().init_poolmanager(connections, maxsize, block, **{**self._pool_options(), **pool_kwargs})
        adopt(self.poolmanager, self._config)
        self._managers[id(self.poolmanager)] = self.poolmanager

    def proxy_manager_for(self, proxy: str, **proxy_kwargs: Any) -> Any:
        """The pool manager for a proxy, likewise."""
        known = proxy in self.proxy_manager
        options = {} if known else self._pool_options()
        if "ssl_context" in options and proxy.lower().startswith("https"):
            options["proxy_ssl_context"] = options["ssl_context"]
        manager = super().proxy_manager_for(proxy, **{**options, **proxy_kwargs})
        if not known:
            adopt(manager, self._config)
        return manager

    def close(self) -> None:
        """Gives the adapter's share up. What other sessions share, and bodies still being read, stay as they are.

        A private adapter's idle connections are closed now, those in use when they come back. The adapter can be
        used again.
        """
        self._routes.clear()
        self._config.epoch += 1
        cache.leave(self._config.token)
        super().close()

    # -- looking and tidying ----------------------------------------------------------------------------------------

    def statistics(self) -> Statistics:
        """The transports that this adapter uses."""
        return cache.statistics(self._config.token)

    def close_idle_connections(self) -> None:
        """Closes the idle connections of this adapter's transports; others that share them lose them too."""
        cache.close_idle(self._config.token)

    # -- sending ----------------------------------------------------------------------------------------------------

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: Any = None,
        verify: bool | str | None = True,
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> Response:
        """Sends ``request``; the exceptions are requests', or ``holdfast``'s, which are subclasses of those."""
        if timeout is None:
            timeouts, bound = self._config.timeouts, None
        else:
            timeouts, bound = merge(self._config.timeouts, timeout)
        if self._nobody_can_tell() and (not proxies or not select_proxy(request.url, proxies)):  # type: ignore[arg-type]  # a prepared request has a URL
            route = self._route(request, verify, cert)
            if route is not None:
                facade, binding, target = route
                message = _fast_lane.prepare(request, target, facade.host_line)
                if message is not None:
                    exchange = Exchange(timeouts, bound, facade.host_line, request.url, self._config.trace)
                    return _fast_lane.run(self, facade, request, message, exchange, binding)
        return self._send_standard(
            request,
            stream,
            timeout,
            verify,
            cert,
            proxies,
            Exchange(timeouts, bound, "", request.url, self._config.trace),
        )

    def _send_standard(  # stock's signature and the exchange
        self,
        request: PreparedRequest,
        stream: bool,
        timeout: Any,
        verify: bool | str | None,
        cert: Any,
        proxies: Any,
        exchange: Exchange,
    ) -> Response:
        """Stock ``send`` over urllib3's ``urlopen``, on the same host pools."""
        headers = getattr(request, "headers", None)
        exchange.bound = headers is not None and _fast_lane.connection_bound(headers)
        exchange.host = _shown_host(getattr(request, "url", None))
        token = current.set(exchange)
        try:
            return super().send(request, stream, for_urllib3(timeout), verify, cert, proxies)  # type: ignore[arg-type]  # as they came
        except Exception as error:
            public = carried(error)
            if public is None:
                raise
            surface(public, request, error)
        finally:
            current.reset(token)

    def _nobody_can_tell(self) -> bool:
        """Whether nothing that the fast lane leaves out was changed by anybody: on the class, the instance, or globally."""
        return (
            _family.has(self, self.__dict__)
            and id(self.poolmanager) in self._managers
            and (self.max_retries is self._no_retries or self._asks_for_no_retries())
        )

    def _asks_for_no_retries(self) -> bool:
        retries = self.max_retries
        plain = type(retries) is Retry and retries.total == 0 and retries.read is False
        if plain and not retries.status_forcelist and retries.connect is None and retries.status is None:
            self._no_retries = retries
            return True
        return False

    def _route(self, request: PreparedRequest, verify: Any, cert: Any) -> tuple[Facade, Binding, str] | None:
        """The facade for a request, what it is bound to, and the target; None if URL or settings are not plain."""
        url = request.url
        parts = _core.split_url(url) if type(url) is str else None
        if parts is None:
            return None
        origin, target = parts
        key = (origin, verify, cert)
        try:
            known = self._routes.get(key)
        except TypeError:  # a cert given as a list
            return None
        if known is not None and known[1] == self.poolmanager.connection_pool_kw:
            binding = known[0].still_bound()
            # Files that changed or vanished: cert_verify looks first and has the words for it.
            if binding is not None:
                return known[0], binding, target
        try:
            found: Any = self.get_connection_with_tls_context(request, verify, None, cert)
        except (LocationValueError, InvalidURL):
            return None  # stock send has the exception for it
        self.cert_verify(found, request.url, verify, cert)  # type: ignore[arg-type]  # a prepared request has a URL
        if not isinstance(found, Facade) or found.foreign:
            return None
        binding = found.bind()
        if len(self._routes) >= MOST_ROUTES:
            self._routes.clear()
        self._routes[key] = found, dict(self.poolmanager.connection_pool_kw)
        return found, binding, target


_hooks_of = operator.attrgetter(*_lanes.HOOKS)
_own_hooks = _hooks_of(PooledAdapter)


def _overrides_no_hook(kind: type) -> bool:
    # Not equal ones: a tracer's wrapper says that it equals what it wraps.
    return all(found is own for found, own in zip(_hooks_of(kind), _own_hooks, strict=True))


_family = _core.Family(_lanes.HOOKS, _overrides_no_hook, _lanes.exchange)


def _limits_of(connections: int, maxsize: int, block: bool) -> Limits:
    """What a requests user expects of ``pool_*``: ``maxsize`` kept per host, and no more than that if blocking."""
    most = max(int(connections), 1) * max(int(maxsize), 0)
    return Limits(
        max_idle=max(most, Limits.max_idle) if isinstance(connections, _Default) else most,
        max_idle_per_host=int(maxsize),
        max_connections_per_host=int(maxsize) if block else None,
    )


def _socket_options(options: Any, keepalive: Any, user_timeout: float | None) -> list[Any] | None:
    """``socket_options`` with the two TCP options that people write by hand; None: urllib3's default as it is later."""
    if keepalive is None and user_timeout is None:
        return None if options is None else list(options)
    result = list(urllib3.connection.HTTPConnection.default_socket_options if options is None else options)
    if keepalive:
        result.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        if keepalive is not True:
            for name, value in zip(("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"), keepalive, strict=True):
                _check_seconds("PooledAdapter", "tcp_keepalive", value, zero=False, optional=False)
                if hasattr(socket, name):
                    result.append((socket.IPPROTO_TCP, getattr(socket, name), max(1, round(value))))
    elif keepalive is not None:
        result.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 0))
    if user_timeout is not None:
        _check_seconds("PooledAdapter", "tcp_user_timeout", user_timeout, zero=False, optional=False)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            result.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, max(1, round(user_timeout * 1000))))
    return result


def _shown_host(url: Any) -> str:
    """The host of ``url`` for a message, without credentials."""
    text = url.decode("latin-1") if isinstance(url, bytes) else str(url)
    return text.partition("://")[2].partition("/")[0].rpartition("@")[2] or text.partition("?")[0]
