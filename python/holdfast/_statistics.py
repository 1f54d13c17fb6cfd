"""What can be seen: frozen snapshots of the counts, and how one response travelled."""

from __future__ import annotations

import dataclasses
import enum
from collections import Counter
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["CloseReason", "ConnectionInfo", "HostStatistics", "Statistics", "Timings", "TransportStatistics"]


class CloseReason(str, enum.Enum):
    """Why a connection was closed."""

    IDLE_TIMEOUT = "idle_timeout"
    """Idle for ``Limits.idle_timeout``, or for as long as the server's ``Keep-Alive`` said."""
    CLOSED_BY_SERVER = "closed_by_server"
    """The peer closed it while it was idle, or before it answered a request on it."""
    MAX_LIFETIME = "max_lifetime"
    """Older than ``Limits.max_lifetime``."""
    MAX_REQUESTS = "max_requests"
    """Served ``Limits.max_requests_per_connection`` exchanges."""
    IDLE_LIMIT = "idle_limit"
    """``Limits.max_idle`` or ``max_idle_per_host`` reached."""
    EVICTED = "evicted"
    """Idle, and gave way to a caller at ``Limits.max_connections``, or on request."""
    NOT_REUSABLE = "not_reusable"
    """HTTP said so: ``Connection: close``, HTTP/1.0, a body that ends with its connection, an upgrade."""
    UNDRAINED_BODY = "undrained_body"
    """The body was dropped, and what was left was more than ``Limits.drain_bytes`` or ``drain_timeout`` allow."""
    UNSOLICITED_DATA = "unsolicited_data"
    """Bytes came that no request had asked for."""
    TIMEOUT = "timeout"
    """A timeout ended the exchange."""
    CANCELLED = "cancelled"
    """A ``CancelScope`` ended the exchange."""
    ERROR = "error"
    """The exchange failed otherwise."""
    TLS_CHANGED = "tls_changed"
    """A certificate file that it was made under has changed."""
    SHUTDOWN = "shutdown"
    """Its transport was closed."""

    def __str__(self) -> str:
        return self.value


COUNTERS = (
    "created",
    "reused",
    "acquired",
    "wait_count",
    "wait_seconds",
    "dial_seconds",
    "tls_handshakes",
    "stale_retries",
    "drained_bytes",
    "leaked",
)
"""The fields that only ever grow."""


class Counters:
    """The growing counts of one host, changed under its transport's lock."""

    __slots__ = (*COUNTERS, "closed")

    def __init__(self) -> None:
        self.created = self.reused = self.acquired = self.wait_count = 0
        self.tls_handshakes = self.stale_retries = self.drained_bytes = self.leaked = 0
        self.wait_seconds = self.dial_seconds = 0.0
        self.closed: dict[CloseReason, int] = {}

    def add(self, other: Counters) -> None:
        """Adds the counts of ``other``."""
        for name in COUNTERS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, n in other.closed.items():
            self.closed[reason] = self.closed.get(reason, 0) + n


def by_reason(closed: Mapping[CloseReason, int]) -> Mapping[CloseReason, int]:
    """A read-only copy that gives 0 for what never occurred."""
    return MappingProxyType(Counter(closed))


# Comparison and repr are written once below: generated for each class they double the time that this module takes
# to import.
class _Record:
    """What a frozen dataclass would generate."""

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # some hold mappings

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in self.__dict__.items())
        return f"{type(self).__name__}({fields})"


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Counts(_Record):
    """The counts that a host, a transport and the process have in common.

    ``created == idle + in_use + sum(closed.values())`` holds at every level.
    """

    idle: int = 0
    """Connections waiting for a request."""
    in_use: int = 0
    """Connections serving one, until its body is read, drained or dropped."""
    dialing: int = 0
    """Connections being established."""
    waiting: int = 0
    """Callers waiting because a limit is reached."""
    created: int = 0
    """Connections established, ever."""
    reused: int = 0
    """Leases of a connection that had served before."""
    acquired: int = 0
    """Leases given."""
    wait_count: int = 0
    """Callers that had to wait for a limit, ever."""
    wait_seconds: float = 0.0
    """How long they waited, in sum."""
    oldest_wait_seconds: float = 0.0
    """How long the caller at the head of the queue has been waiting."""
    dial_seconds: float = 0.0
    """Time spent on DNS, TCP, CONNECT and TLS."""
    tls_handshakes: int = 0
    """TLS handshakes completed."""
    stale_retries: int = 0
    """Requests sent again because the server had closed the idle connection."""
    drained_bytes: int = 0
    """Bytes read and dropped to save connections."""
    leaked: int = 0
    """Responses dropped neither read nor closed, and recovered by the garbage collector."""
    closed: Mapping[CloseReason, int] = dataclasses.field(default_factory=lambda: by_reason({}))
    """Connections closed, by reason; a reason that never occurred counts 0 and is not among the keys."""

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "closed": dict(self.closed)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, closed=by_reason(state["closed"]))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class HostStatistics(Counts):
    """One origin of a transport."""

    origin: str = ""
    """``"https://host:443"``."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TransportStatistics(Counts):
    """One transport: the connections that adapters with equal settings share."""

    name: str = ""
    """The first 12 hex digits of the settings' digest; no secret can be guessed from it."""
    hosts: tuple[HostStatistics, ...] = ()
    """Its origins; the transport's own counts also cover those it has forgotten."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Statistics(Counts):
    """Several transports. Process totals also cover forgotten transports, so they never fall."""

    transports: tuple[TransportStatistics, ...] = ()


def total(parts: Iterable[Counts], forgotten: Counters | None = None) -> dict[str, Any]:
    """The counts of ``parts`` together, as keyword arguments."""
    sums: dict[str, Any] = dict.fromkeys(("idle", "in_use", "dialing", "waiting", *COUNTERS), 0)
    oldest = 0.0
    closed: dict[CloseReason, int] = {}
    if forgotten is not None:
        sums.update((name, getattr(forgotten, name)) for name in COUNTERS)
        closed.update(forgotten.closed)
    for part in parts:
        for name in sums:
            sums[name] += getattr(part, name)
        oldest = max(oldest, part.oldest_wait_seconds)
        for reason, n in part.closed.items():
            closed[reason] = closed.get(reason, 0) + n
    return {**sums, "oldest_wait_seconds": oldest, "closed": by_reason(closed)}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Timings(_Record):
    """Where one exchange's time went, in seconds; 0.0 for what did not happen."""

    queued: float = 0.0
    """Waiting for a connection or for the right to dial one."""
    dns: float = 0.0
    """Resolving the name, if this exchange was the connection's first."""
    connect: float = 0.0
    """TCP, and CONNECT through a proxy, likewise."""
    tls: float = 0.0
    """The TLS handshake, likewise."""
    send: float = 0.0
    """Writing the request."""
    wait: float = 0.0
    """From there to the head of the response."""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class ConnectionInfo(_Record):
    """How a response travelled, as ``holdfast.connection_info`` gives it."""

    reused: bool
    """Whether the connection had served before."""
    idle_seconds: float
    """How long it had been idle before this exchange."""
    connection_id: int
    """A number that no other connection of this process has had."""
    requests_served: int
    """Exchanges on this connection so far, this one included."""
    local_address: tuple[str, int] | str | None
    """``(host, port)``, or a unix socket's path."""
    remote_address: tuple[str, int] | str | None
    """The peer's: the proxy's if there is one."""
    tls_version: str | None
    """Such as ``"TLSv1.3"``; None without TLS."""
    tls_cipher: str | None
    """OpenSSL's name of the cipher suite."""
    stale_retries: int
    """How often the request was sent again because an idle connection had been closed: 0 or 1."""
    timings: Timings
    """Where the time went."""


for _name in __all__:
    globals()[_name].__module__ = "holdfast"
