"""Statistics by host, for metrics: few enough series, and sums that are the process's."""

from __future__ import annotations

import threading

from holdfast._statistics import COUNTERS, CloseReason, Counts, Statistics, by_reason

__all__ = ["OTHER", "HostSeries"]

OTHER = "other"
"""Hosts beyond the limit, and those whose transport is forgotten."""


class HostSeries:
    """Gives every host its own series, up to ``most``: the first that are seen keep theirs.

    Counts of one host are summed over transports. ``OTHER`` is what is missing to the process's totals, so that sums
    over all series never fall, whatever becomes of a host.
    """

    def __init__(self, most: int) -> None:
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise ValueError(f"max_hosts must be a whole number of at least 0, not {most!r}")
        self._most = most
        self._lock = threading.Lock()
        self._named: set[str] = set()  # guarded by _lock

    def name(self, origin: str) -> str:
        """The series of a host: its own, or ``OTHER``."""
        with self._lock:
            if origin not in self._named and len(self._named) < self._most:
                self._named.add(origin)
            return origin if origin in self._named else OTHER

    def read(self, statistics: Statistics) -> dict[str, Counts]:
        """The counts of each series."""
        parts: dict[str, list[Counts]] = {}
        for transport in statistics.transports:
            for host in transport.hosts:
                if self.name(host.origin) != OTHER:
                    parts.setdefault(host.origin, []).append(host)
        series = {origin: _sum(hosts) for origin, hosts in parts.items()}
        series[OTHER] = _rest(statistics, _sum(list(series.values())))
        return series


_FIELDS = ("idle", "in_use", "dialing", "waiting", *COUNTERS)


def _sum(parts: list[Counts]) -> Counts:
    closed: dict[CloseReason, int] = {}
    for part in parts:
        for reason, n in part.closed.items():
            closed[reason] = closed.get(reason, 0) + n
    return Counts(
        **{name: sum(getattr(part, name) for part in parts) for name in _FIELDS},
        oldest_wait_seconds=max((part.oldest_wait_seconds for part in parts), default=0.0),
        closed=by_reason(closed),
    )


def _rest(whole: Counts, named: Counts) -> Counts:
    return Counts(
        **{name: max(0, getattr(whole, name) - getattr(named, name)) for name in _FIELDS},
        closed=by_reason({reason: n - named.closed.get(reason, 0) for reason, n in whole.closed.items()}),
    )
