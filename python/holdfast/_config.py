"""What a user may set: ``Limits`` and ``Timeouts``. Frozen, validated once, compared by value."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NoReturn

__all__ = ["HostLimits", "Limits", "Timeouts"]


def _refuse(owner: str, field: str, value: object, rule: str) -> NoReturn:
    raise ValueError(f"{owner}.{field} must be {rule}, not {value!r}")


def _check_count(owner: str, field: str, value: object, least: int, *, optional: bool) -> None:
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        _refuse(owner, field, value, f"a whole number of at least {least}" + (" or None" if optional else ""))


def _check_seconds(owner: str, field: str, value: object, *, zero: bool, optional: bool = True) -> None:
    if value is None and optional:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0 or (value == 0 and not zero):  # type: ignore[arg-type, operator]  # `number` says so
        rule = "a finite number of seconds, " + ("not negative" if zero else "above 0")
        _refuse(owner, field, value, rule + (", or None" if optional else ""))


class _Overrides(dict[str, dict[str, Any]]):
    """``per_host`` as it is kept: read-only, hashable by content, picklable."""

    def _read_only(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("Limits.per_host is read-only; make new Limits with dataclasses.replace()")

    __setitem__ = __delitem__ = __ior__ = _read_only
    clear = pop = popitem = setdefault = update = _read_only

    def __hash__(self) -> int:  # type: ignore[override]  # unlike a dict's, ours never changes
        return hash(tuple(sorted((key, tuple(sorted(fields.items()))) for key, fields in self.items())))

    def __reduce__(self) -> tuple[Any, ...]:
        return _Overrides, (dict(self),)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class HostLimits:
    """The limits of one host, ``Limits.per_host`` applied. The fields are those of ``Limits``."""

    max_connections_per_host: int | None
    max_idle_per_host: int
    idle_timeout: float | None
    max_lifetime: float | None
    max_requests_per_connection: int | None
    acquire_timeout: float | None
    max_waiting: int | None
    drain_bytes: int
    drain_timeout: float
    max_response_header_bytes: int


_HOST_FIELDS = tuple(field.name for field in dataclasses.fields(HostLimits))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How many connections a transport may hold, for how long, and what a caller may wait or read for one.

    Durations are seconds. Limits are part of a transport's identity: adapters with equal limits (and equal TLS and
    proxy settings) share connections, others never do. ``ValueError`` names the field that makes no sense.
    """

    max_connections: int | None = None
    """Connections over all hosts of the transport: dialling + in use + idle. None: unlimited.

    When it is reached and another host holds idle connections, the least recently used of those is closed at once
    to make room. (libcurl ``CURLMOPT_MAX_TOTAL_CONNECTIONS``.)"""
    max_connections_per_host: int | None = None
    """The same for one scheme, host and port. None: unlimited. (Go ``Transport.MaxConnsPerHost``.)"""
    max_idle: int = 100
    """Idle connections kept over all hosts; beyond it the least recently used is closed. (Go ``MaxIdleConns``.)"""
    max_idle_per_host: int = 20
    """Idle connections kept per host; 0 keeps none. (Go ``MaxIdleConnsPerHost``, urllib3 ``maxsize``.)"""
    idle_timeout: float | None = 90.0
    """An idle connection is closed after so long, by itself. None: never. (Go ``IdleConnTimeout``.)

    A server's ``Keep-Alive: timeout=N`` shortens it for that connection."""
    max_lifetime: float | None = 600.0
    """A connection older than this, less up to 10 % of jitter, is closed once it is idle. None: never.

    It makes a program follow a changed DNS answer. (libcurl ``CURLOPT_MAXLIFETIME_CONN``.)"""
    max_requests_per_connection: int | None = None
    """A connection is closed after so many exchanges. None: unlimited. (nginx ``keepalive_requests``.)"""
    acquire_timeout: float | None = 30.0
    """Longest wait for a connection when a limit is reached; then ``AcquireTimeout``. 0: no wait. None: no bound.

    The caller's own dial is bounded by ``Timeouts`` instead. (httpx ``Timeout.pool``.)"""
    max_waiting: int | None = None
    """Callers that may wait for one host; the next one gets ``QueueFull`` at once. None: no bound."""
    drain_bytes: int = 262144
    """What closing an unread body may read to save its connection. 0: nothing, the connection is closed."""
    drain_timeout: float = 0.05
    """How long it may read for that."""
    max_response_header_bytes: int = 1 << 20
    """Size of all interim heads and the final one together, and of a chunked body's trailer section.

    (Go ``MaxResponseHeaderBytes``, 1 MiB as well.)"""
    per_host: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)
    """``{"host" or "host:port" or "scheme://host:port": {field: value}}``: other values for some host.

    Every field but ``max_connections``, ``max_idle`` and ``per_host`` may be given; of several keys that fit, the
    most specific wins, field by field."""

    @classmethod
    def service(cls, **changes: Any) -> Limits:
        """What suits a service that calls others: at most 50 connections per host, of which 20 are kept; 100 over all.

        ``changes`` are fields with other values. docs/tuning.md says where the numbers come from.
        """
        return cls(
            **{
                "max_connections_per_host": 50,
                "max_idle_per_host": 20,
                "max_idle": 100,
                "idle_timeout": 90.0,
                **changes,
            }
        )

    def __post_init__(self) -> None:
        _check_count("Limits", "max_connections", self.max_connections, 1, optional=True)
        _check_count("Limits", "max_idle", self.max_idle, 0, optional=False)
        self._check_host_fields("Limits", {name: getattr(self, name) for name in _HOST_FIELDS})
        if not isinstance(self.per_host, Mapping):
            _refuse("Limits", "per_host", self.per_host, "a mapping of hosts to mappings of fields")
        overrides: dict[str, dict[str, Any]] = {}
        for key, fields in self.per_host.items():
            where = f"Limits.per_host[{key!r}]"
            if not isinstance(key, str) or not key or not isinstance(fields, Mapping):
                _refuse("Limits", "per_host", {key: fields}, "a mapping of hosts to mappings of fields")
            for name in fields:
                if name not in _HOST_FIELDS:
                    raise ValueError(f"{where}: {name!r} is not a per-host field of Limits")
            self._check_host_fields(where, fields)
            overrides[key.lower()] = dict(fields)
        object.__setattr__(self, "per_host", _Overrides(overrides))

    @staticmethod
    def _check_host_fields(owner: str, fields: Mapping[str, Any]) -> None:
        for name, value in fields.items():
            if name in ("max_connections_per_host", "max_requests_per_connection"):
                _check_count(owner, name, value, 1, optional=True)
            elif name == "max_waiting":
                _check_count(owner, name, value, 0, optional=True)
            elif name in ("max_idle_per_host", "drain_bytes"):
                _check_count(owner, name, value, 0, optional=False)
            elif name == "max_response_header_bytes":
                _check_count(owner, name, value, 1, optional=False)
            else:
                _check_seconds(owner, name, value, zero=True, optional=name != "drain_timeout")

    def for_host(self, scheme: str, host: str, port: int) -> HostLimits:
        """The limits that hold for one origin."""
        fields = {name: getattr(self, name) for name in _HOST_FIELDS}
        if self.per_host:
            name = host.strip("[]").lower()
            names = (name, f"[{name}]") if ":" in name else (name,)
            keys = [*names, *(f"{n}:{port}" for n in names), *(f"{scheme}://{n}:{port}" for n in names)]
            for key in keys:
                fields.update(self.per_host.get(key, {}))
        return HostLimits(**fields)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeouts:
    """How long each phase of an exchange may take, in seconds; None: no bound.

    Timeouts belong to the exchange, never to the connection, so they do not split pools. ``ValueError`` names the
    field that makes no sense.
    """

    connect: float | None = 30.0
    """DNS and TCP, all addresses together; then ``requests.exceptions.ConnectTimeout``. (Go ``net.Dialer.Timeout``.)"""
    tls_handshake: float | None = 10.0
    """The TLS handshake; then ``TLSHandshakeTimeout``. (Go ``TLSHandshakeTimeout``.)"""
    proxy_connect: float | None = 60.0
    """A proxy's answer to CONNECT; then ``ProxyConnectTimeout``."""
    response_header: float | None = None
    """From the request fully written to the final head complete, however it trickles; then ``ResponseHeaderTimeout``.

    (Go ``ResponseHeaderTimeout``.)"""
    body_stall: float | None = None
    """Longest silence between two pieces of body, sent or received; then ``BodyStallTimeout``."""
    total: float | None = None
    """From ``send`` to the last body byte, waiting, dialling, retries and a streamed body included; then
    ``DeadlineExceeded``. (Go ``Client.Timeout``.)"""
    expect_continue: float = 1.0
    """How long a request with ``Expect: 100-continue`` waits for 100 before its body is sent anyway.

    (Go ``ExpectContinueTimeout``; RFC 9110 section 10.1.1.)"""

    @classmethod
    def service(cls, **changes: Any) -> Timeouts:
        """What suits a service that calls others: 5 s to connect, 30 s in all; a body that streams longer needs another.

        ``changes`` are fields with other values. docs/tuning.md says where the numbers come from.
        """
        return cls(**{"connect": 5.0, "tls_handshake": 10.0, "expect_continue": 1.0, "total": 30.0, **changes})

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            wait = field.name == "expect_continue"
            _check_seconds("Timeouts", field.name, getattr(self, field.name), zero=wait, optional=not wait)
