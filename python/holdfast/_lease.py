"""The right to one connection, held by whoever runs an exchange on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast import _leaks
from holdfast._config import HostLimits
from holdfast._slot import Slot
from holdfast._statistics import CloseReason

if TYPE_CHECKING:
    from holdfast._host_pool import HostPool
    from holdfast._transport import Transport

__all__ = ["Lease", "without_secrets"]


class Lease:
    """Exactly one way out is taken: the first. Dropped without one, it recovers itself."""

    __slots__ = ("host", "limits", "slot", "transport", "url")

    def __init__(self, transport: Transport, host: HostPool[Any], slot: Slot[Any], url: Any) -> None:
        self.transport: Transport | None = transport
        self.host = host
        self.slot = slot
        self.limits: HostLimits = host.limits
        self.url = url

    @property
    def conn(self) -> Any:
        """The connection."""
        return self.slot.conn

    @property
    def shown(self) -> str:
        """The URL that it was taken for, without secrets."""
        return without_secrets(str(self.url))

    def release(self) -> None:
        """The connection stands at the end of a message and may serve another."""
        transport = self.transport
        if transport is not None:
            transport.end(self, None)

    def discard(self, reason: CloseReason) -> None:
        """It does not, or must not; it is closed."""
        transport = self.transport
        if transport is not None:
            transport.end(self, reason)

    def drained(self, n: int) -> None:
        """Counts bytes that were read and dropped."""
        transport = self.transport
        if transport is not None:
            with transport._tidy, transport._lock:
                self.host.counters.drained_bytes += n

    def __del__(self) -> None:
        transport = self.transport
        if transport is not None:
            _leaks.forget(self)
            transport.orphan(self.host, self.slot, self.url)


def without_secrets(url: str) -> str:
    """``url`` without userinfo and query."""
    scheme, separator, rest = url.partition("?")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return scheme + separator + authority.rpartition("@")[2] + slash + path
