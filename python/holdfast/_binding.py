"""What ties an adapter's facades to transports: the adapter's settings, and a facade's last look-up."""

from __future__ import annotations

from typing import Any

from holdfast import _files
from holdfast._config import Limits, Timeouts
from holdfast._dial import Resolver
from holdfast._trace import Trace
from holdfast._transport import Transport
from holdfast._transport_cache import Token

__all__ = ["AdapterConfig", "Binding"]


class AdapterConfig:
    """What an adapter's facades need to know of it. No reference to the adapter, which must be collectable."""

    __slots__ = ("__weakref__", "epoch", "limits", "resolver", "shared", "timeouts", "token", "trace")

    def __init__(
        self,
        limits: Limits,
        timeouts: Timeouts,
        *,
        shared: bool,
        resolver: Resolver | None,
        trace: Trace | None = None,
    ) -> None:
        self.limits = limits
        self.timeouts = timeouts
        self.shared = shared
        self.resolver = resolver
        self.trace = trace
        self.token = Token()
        self.epoch = 0
        """Grows when the adapter is closed: its facades look their transports up again."""


class Binding:
    """The transport that a facade's present settings lead to, and how to see that they still do."""

    __slots__ = ("hashed", "marks", "place", "snapshot", "tls", "transport")

    def __init__(
        self,
        snapshot: tuple[Any, ...],
        marks: list[tuple[str, _files.FileMark | None]],
        transport: Transport,
        place: tuple[str, str, int],
        tls: dict[str, Any],
        hashed: tuple[bytes, ...],
    ) -> None:
        self.snapshot = snapshot
        self.marks = marks
        self.transport = transport
        self.place = place
        self.tls = tls
        self.hashed = hashed

    def fresh(self) -> bool:
        """Whether the certificate files are what they were and the transport is in service."""
        for path, known in self.marks:
            if _files.mark(path) != known:
                return False
        return self.transport._ledger.shut is None  # `is_shut`, asked for every request
