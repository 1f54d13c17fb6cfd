"""urllib3's pools and pool managers as requests sees them, over our transports.

``adapter.poolmanager.pools`` holds facades. A facade has a urllib3 pool's attributes (``cert_verify`` and subclasses
set them), but no connections: it finds the transport that fits them and draws on its host pool. The standard lane is
urllib3's own ``urlopen`` on a facade; traps that this met are told where they were.
"""

from __future__ import annotations

import copy
import functools
import http.client
import os
import ssl
import sys
import threading
import weakref
from typing import Any, ClassVar

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.connection import (
    HTTPConnection,
    HTTPSConnection,
    _wrap_proxy_error,  # what urlopen uses, which cannot wrap before it has a connection
)
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ClosedPoolError, ConnectTimeoutError, NewConnectionError, SSLError
from urllib3.exceptions import TimeoutError as PoolTimeoutError
from urllib3.util.proxy import connection_requires_http_tunnel
from urllib3.util.request import _FAILEDTELL, set_file_position
from urllib3.util.retry import Retry
from urllib3.util.ssl_match_hostname import CertificateError
from urllib3.util.timeout import _DEFAULT_TIMEOUT

from holdfast import _files, _identity, _tls
from holdfast._acquire import acquire, redial
from holdfast._backoff import bounded
from holdfast._binding import AdapterConfig, Binding
from holdfast._config import Limits
from holdfast._connection import PlainConnection, TLSConnection, WireConnection, socks_connections
from holdfast._deadline import Exchange, current
from holdfast._dial import PROXY, TLS, DialBudget, Resolver, is_numeric
from holdfast._errors import Carrier, ProxyConnectTimeout, TLSHandshakeTimeout, carry
from holdfast._fork import renew_lock
from holdfast._lease import Lease
from holdfast._stale import may_repeat, reason_for
from holdfast._statistics import CloseReason
from holdfast._timeouts import merge
from holdfast._transport_cache import cache

__all__ = ["Facade", "HTTPFacade", "HTTPSFacade"]

BASIC_TLS = (
    "cert_reqs",
    "ca_certs",
    "ca_cert_dir",
    "cert_file",
    "key_file",
    "key_password",
    "ssl_version",
    "ssl_minimum_version",
    "ssl_maximum_version",
    "assert_hostname",
    "assert_fingerprint",
)
"""What urllib3's https pool keeps as attributes."""
MORE_TLS = ("ssl_context", "server_hostname", "ca_cert_data")
"""What it keeps in ``conn_kw``."""
DIAL_ERRORS = (
    OSError,
    NewConnectionError,
    PoolTimeoutError,
    SSLError,
    CertificateError,
    http.client.HTTPException,
)
"""What ``urlopen`` would wrap as a proxy's."""
LOADS = 3
"""How often certificate files are loaded again because they changed meanwhile."""
PLAIN_KEYWORDS = ("socket_options", "source_address", "_socks_options")
INERT_KEYWORDS = ("blocksize", "proxy", "proxy_config")
"""Of no meaning for a socket's identity, or encoded apart."""


class Facade(HTTPConnectionPool):
    """What http and https facades have in common: a ``Dialer`` for the transport, a pool for urllib3."""

    connections: ClassVar[dict[Any, Any]] = {
        HTTPConnection: PlainConnection,
        HTTPSConnection: TLSConnection,
    }
    """Our classes for urllib3's."""
    config: AdapterConfig
    requested: dict[str, Any]
    """The TLS keywords that the pool was asked for: urllib3 drops them for http, but they are part of the identity."""
    binding: Binding | None = None
    host_line: str = ""

    def settle(self, config: AdapterConfig, requested: dict[str, Any]) -> None:
        """Called once by the pool manager, after urllib3's ``__init__``."""
        self.config = config
        self.requested = requested
        self._visiting: weakref.WeakKeyDictionary[Any, Lease] = weakref.WeakKeyDictionary()
        self._numeric = is_numeric(self.proxy.host if self.proxy is not None and self.proxy.host else self.host)
        name = self.host.rstrip(".")
        name = f"[{name}]" if ":" in name else name
        default = 443 if self.scheme == "https" else 80
        self.host_line = name if self.port in (None, default) else f"{name}:{self.port}"

    def __str__(self) -> str:
        # urllib3's name: it stands in messages that people search for.
        kind = "HTTPSConnectionPool" if self.scheme == "https" else "HTTPConnectionPool"
        return f"{kind}(host={self.host!r}, port={self.port!r})"

    @property
    def numeric(self) -> bool:
        """Whether the host to dial is an address, so that nothing has to be resolved."""
        return self._numeric

    # -- which transport --------------------------------------------------------------------------------------------

    def _snapshot(self) -> tuple[Any, ...]:
        return (
            self.config.epoch,
            self.conn_kw,
            self.proxy_headers,
            HTTPConnection.default_socket_options,
        )

    def bind(self) -> Binding:
        """The transport and the place in it, looked up again when a setting or a certificate file has changed."""
        return self.still_bound() or self._rebind(self.binding)

    def still_bound(self) -> Binding | None:
        """What it was bound to, if nothing has changed since."""
        binding = self.binding
        return binding if binding is not None and binding.snapshot == self._snapshot() and binding.fresh() else None

    def _rebind(self, old: Binding | None) -> Binding:
        snapshot = tuple(copy.copy(part) for part in self._snapshot())
        tls = self._tls_settings()
        paths = [str(path) for name in _tls.FILES if (path := tls.get(name))]
        marks = [(path, _files.mark(path)) for path in paths]
        hashed = _tls.file_hashes(tls)
        private = not self.config.shared
        try:
            digest = _identity.digest(self._identity(tls, hashed))
        except _identity.Unencodable:
            # Not comparable, so never shared: this facade's own.
            private, digest = True, _identity.digest({"own": os.urandom(16)})
        transport = cache.obtain(digest, self.config.limits, self.config.token, private=private)
        changed = old is not None and old.snapshot == snapshot and old.transport is not transport
        if changed and old is not None and not old.transport.is_shut:
            cache.retire(old.transport, CloseReason.TLS_CHANGED)
        # For http the files matter for the identity alone, so they are not looked at for each request.
        self.binding = Binding(snapshot, marks if self.scheme == "https" else [], transport, self._place(), tls, hashed)
        return self.binding

    def _place(self) -> tuple[str, str, int]:
        return self.scheme, self.host.lower(), self.port or (443 if self.scheme == "https" else 80)

    def _tls_settings(self) -> dict[str, Any]:
        """As ``cert_verify`` would have set them had this been https."""
        tls = {name: self.requested.get(name) for name in (*BASIC_TLS, *MORE_TLS)}
        if tls["cert_reqs"] in ("CERT_REQUIRED", None) and not (tls["ca_certs"] or tls["ca_cert_dir"]):
            tls["ca_certs"] = DEFAULT_CA_BUNDLE_PATH
        return tls

    def _identity(self, tls: dict[str, Any], hashed: tuple[bytes, ...]) -> dict[str, Any]:
        """Everything that changes what a connection is or may do (the contents of files instead of their names)."""
        unknown = [name for name in self.conn_kw if name not in (*MORE_TLS, *PLAIN_KEYWORDS, *INERT_KEYWORDS)]
        if unknown:
            raise _identity.Unencodable(f"unknown pool keywords: {unknown}")
        context = tls.get("ssl_context")
        identity: dict[str, Any] = {
            "tls": {name: value for name, value in tls.items() if name not in (*_tls.FILES, "ssl_context")},
            "files": [bool(tls.get(name)) for name in _tls.FILES],
            "contents": hashed,
            "context": None if context is None else _tls.Adoption.of(context).token,
            "keylog": os.environ.get("SSLKEYLOGFILE"),
            "socket_options": self._socket_options(),
            "source_address": self.conn_kw.get("source_address"),
            "socks": self.conn_kw.get("_socks_options"),
            "resolver": None if self.config.resolver is None else _resolver_token(self.config.resolver),
            "limits": _encoded(self.config.limits),
            "private": None if self.config.shared else _token_number(self.config.token),
        }
        if self.proxy is not None:
            proxy_config = self.proxy_config
            identity["proxy"] = {
                "url": self.proxy.url,
                "headers": dict(self.proxy_headers),
                "forwarding": not self._tunnels(),
                "context": None
                if proxy_config is None or proxy_config.ssl_context is None
                else _tls.Adoption.of(proxy_config.ssl_context).token,
                "assertions": None
                if proxy_config is None
                else [proxy_config.assert_hostname, proxy_config.assert_fingerprint],
            }
        return identity

    def _socket_options(self) -> Any:
        if "socket_options" in self.conn_kw:
            return self.conn_kw["socket_options"]
        return HTTPConnection.default_socket_options

    def _forwards(self) -> bool:
        """Whether requests go to the proxy as they are: the pool is then the proxy's own, and its scheme the proxy's."""
        if self.proxy is None:
            return False
        proxy = self.proxy.scheme, (self.proxy.host or "").strip("[]").lower(), self.proxy.port
        own = (self.scheme, self.host.strip("[]").lower(), self.port) == proxy
        return own or not connection_requires_http_tunnel(self.proxy, self.proxy_config, self.scheme)

    def _tunnels(self) -> bool:
        return self.proxy is not None and not self._forwards()

    # -- dialling (a Dialer) ----------------------------------------------------------------------------------------

    @property
    def ConnectionCls(self) -> Any:
        """Ours for urllib3's own; what somebody else has put there stays as it is (vcrpy)."""
        known = self.__dict__.get("_connection_cls", super().ConnectionCls)
        return self.connections.get(known) or socks_connections().get(known, known)

    @ConnectionCls.setter
    def ConnectionCls(self, value: Any) -> None:
        self.__dict__["_connection_cls"] = value

    @property
    def foreign(self) -> bool:
        """Whether connections are of somebody else's class."""
        kind = self.ConnectionCls
        return not (isinstance(kind, type) and issubclass(kind, WireConnection))

    def dial(self, budget: DialBudget) -> Any:
        """A connected connection; proxy errors wrapped, which ``urlopen`` could not do without a connection."""
        if self.foreign:
            return super()._new_conn()
        conn: Any = super()._new_conn()
        conn.resolver = self.config.resolver
        if "socket_options" not in self.conn_kw:
            conn.socket_options = self._socket_options()
        if self._tunnels():
            scheme = "https" if self.proxy is not None and self.proxy.scheme == "https" else "http"
            conn.tunnel = (self._tunnel_host, self.port, self.proxy_headers, scheme)
        try:
            if isinstance(conn, HTTPSConnection):
                conn.ssl_context = self._frozen()
            conn.dial(budget)
        except DIAL_ERRORS as error:
            if conn.proxy is None or conn.through or isinstance(error, Carrier):
                raise
            told = SSLError(error) if isinstance(error, (ssl.SSLError, CertificateError)) else error
            raise _wrap_proxy_error(told, conn.proxy.scheme) from error
        return conn

    def timed_out(self, budget: DialBudget) -> Exception:
        """What the dial will raise when its thread comes back from where it is stuck."""
        if budget.phase == TLS:
            return carry(
                TLSHandshakeTimeout(f"TLS handshake with {self.host}:{self.port} timed out ({budget.limit} s)")
            )
        if budget.phase == PROXY:
            return carry(
                ProxyConnectTimeout(f"proxy did not answer CONNECT for {self.host}:{self.port} ({budget.limit} s)")
            )
        seconds = budget.limit.partition("=")[2]
        error = ConnectTimeoutError(self, f"Connection to {self.host} timed out. (connect timeout={seconds})")
        return error if self.proxy is None else _wrap_proxy_error(error, self.proxy.scheme)

    def _frozen(self) -> Any:
        """The TLS context of the transport, built by whoever dials first."""
        for _ in range(LOADS):
            binding = self.bind()
            transport = binding.transport
            with transport.tls_lock:
                if transport.tls is None:
                    transport.tls = _tls.build(binding.tls, binding.hashed)
                if transport.tls is not None:
                    return transport.tls
        raise SSLError("the certificate files keep changing while they are read")

    # -- urllib3's side ---------------------------------------------------------------------------------------------

    def urlopen(self, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """urllib3's, in an exchange, with a back-off that knows the deadline."""
        exchange = current.get()
        retries = kwargs.get("retries")
        if exchange is not None:
            if isinstance(retries, Retry) and retries.total != 0:
                kwargs["retries"] = bounded(retries)
            return super().urlopen(method, url, *args, **kwargs)
        token = current.set(exchange_for(self, kwargs.get("timeout", _DEFAULT_TIMEOUT)))
        try:
            return self.urlopen(method, url, *args, **kwargs)
        finally:
            current.reset(token)

    def _get_conn(self, timeout: float | None = None) -> Any:
        """A leased, connected connection. ``timeout`` is urllib3's ``pool_timeout``, which requests never gives."""
        if self.pool is None:
            raise ClosedPoolError(self, "Pool is closed.")
        exchange = current.get()
        if exchange is None:  # called by itself, outside of urlopen
            exchange = exchange_for(self, _DEFAULT_TIMEOUT)
        exchange.pool_timeout = timeout
        binding = self.bind()
        lease = acquire(
            binding.transport,
            binding.place,
            exchange,
            self,
            self.config.token,
            bound=exchange.bound,
            foreign=self.foreign,
        )
        conn = lease.conn
        if isinstance(conn, WireConnection):
            exchange.lease = lease
            conn.exchange = exchange
            conn.begin(exchange, lease.limits.max_response_header_bytes)
        else:
            self._visiting[conn] = lease
        return conn

    def _put_conn(self, conn: Any) -> None:
        """Responses end their leases by themselves; what comes here is a failed exchange or a foreign connection."""
        exchange = current.get()
        lease: Any = None if exchange is None else exchange.lease
        if lease is not None and (conn is None or lease.conn is conn):
            assert exchange is not None  # the lease was its
            exchange.lease = None
            exchange.attach(None)
            lease.conn.exchange = None
            lease.discard(exchange.failure or reason_for(None))
        elif conn is not None and conn in self._visiting:
            lease = self._visiting.pop(conn)
            conn.close()
            lease.discard(reason_for(None))

    def _make_request(self, conn: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """urllib3's; a stale connection is replaced and the request sent once more, on the same permit.

        The same object is dialled again: ``urlopen`` has told the response about it already.
        """
        exchange = current.get()
        lease: Any = None if exchange is None else exchange.lease
        if exchange is None or lease is None or not isinstance(conn, WireConnection):
            return super()._make_request(conn, method, url, *args, **kwargs)
        body = kwargs.get("body")
        position = set_file_position(body, None)
        try:
            return self._ask(lease, exchange, method, url, *args, **kwargs)
        except BaseException as error:
            if exchange.lease is not lease:
                raise
            if exchange.cancelled:
                exchange.check()
            rewindable = position is not _FAILEDTELL and (
                position is not None or isinstance(body, (bytes, str, type(None)))
            )
            if not rewindable or not may_repeat(error, lease, conn, method, kwargs.get("headers")):
                raise
        set_file_position(body, position)
        fresh = redial(lease.transport, lease, exchange, self, exchange.failure)
        conn.become(fresh)
        lease.slot.conn = conn
        conn.begin(exchange, lease.limits.max_response_header_bytes)
        return self._ask(lease, exchange, method, url, *args, **kwargs)

    def _ask(self, lease: Lease, exchange: Exchange, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        """urllib3's ``_make_request``, once."""
        try:
            return super()._make_request(lease.conn, method, url, *args, **kwargs)
        except BaseException as error:
            exchange.failure = reason_for(error)
            if exchange.lease is not lease:
                # A response has it already, and something failed behind its head: urllib3's preload, a log handler,
                # Ctrl-C. If the body is over, the connection is back in the pool, where urlopen must not close it.
                lease.discard(exchange.failure)
                exchange.parted = lease.conn
            raise


class HTTPFacade(Facade):
    """http."""


class HTTPSFacade(Facade, HTTPSConnectionPool):
    """https."""

    def _snapshot(self) -> tuple[Any, ...]:
        return (
            self.config.epoch,
            self.conn_kw,
            self.proxy_headers,
            HTTPConnection.default_socket_options,
            self.cert_reqs,
            self.ca_certs,
            self.ca_cert_dir,
            self.cert_file,
            self.key_file,
            self.key_password,
            self.ssl_version,
            self.ssl_minimum_version,
            self.ssl_maximum_version,
            self.assert_hostname,
            self.assert_fingerprint,
        )

    def _tls_settings(self) -> dict[str, Any]:
        tls = {name: getattr(self, name) for name in BASIC_TLS}
        tls.update((name, self.conn_kw.get(name)) for name in MORE_TLS)
        if self._forwards() and self.proxy_config is not None:
            # The certificate is the proxy's, and so is what it must say (before urllib3 2.8: what the pool says).
            for name in ("assert_hostname", "assert_fingerprint"):
                wanted = getattr(self.proxy_config, name)
                tls[name] = tls[name] if wanted is None else wanted
        return tls


def exchange_for(facade: Facade, timeout: Any) -> Exchange:
    """An exchange for a caller who came past the adapter, with urllib3's timeout."""
    timeouts, bound = merge(facade.config.timeouts, facade._get_timeout(timeout))
    return Exchange(timeouts, bound, facade.host_line, trace=facade.config.trace)


@functools.lru_cache(maxsize=64)
def _encoded(limits: Limits) -> bytes:
    """Limits are values, and a program has few of them: every new session needs these bytes."""
    return _identity.encode({name: getattr(limits, name) for name in Limits.__dataclass_fields__})


_tokens: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()  # guarded by _tokens_lock
_tokens_lock = threading.Lock()
renew_lock(sys.modules[__name__], "_tokens_lock")


def _token_number(thing: Any) -> int:
    """A number that stands for ``thing`` while it lives and for nothing else ever."""
    # Of several threads that ask first, one makes the number: two would mean two transports with a limit each.
    with _tokens_lock:
        number = _tokens.get(thing)
        if number is None:
            number = _tokens[thing] = int.from_bytes(os.urandom(8), "big")
    return number


def _resolver_token(resolver: Resolver) -> int:
    try:
        return _token_number(resolver)
    except TypeError:
        raise _identity.Unencodable("this resolver cannot be told from others") from None
