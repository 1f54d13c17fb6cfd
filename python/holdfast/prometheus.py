"""A collector for ``prometheus_client`` (``pip install holdfast[prometheus]``): read from ``statistics()`` when scraped.

``REGISTRY.register(holdfast.prometheus.Collector())``. Nothing is counted twice and nothing runs between two scrapes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector as _Collector

from holdfast._install import statistics
from holdfast._series import HostSeries
from holdfast._statistics import CloseReason, Counts

__all__ = ["Collector"]

_Values = Callable[[Counts], Iterable[tuple[tuple[str, ...], float]]]


def _one(name: str) -> _Values:
    return lambda counts: [((), getattr(counts, name))]


_GAUGES: list[tuple[str, str, list[str], _Values]] = [
    (
        "holdfast_connections",
        "Connections now, by state: idle, in_use, dialing.",
        ["state"],
        lambda counts: [((state,), getattr(counts, state)) for state in ("idle", "in_use", "dialing")],
    ),
    ("holdfast_waiting_callers", "Callers waiting because a limit is reached.", [], _one("waiting")),
    (
        "holdfast_oldest_wait_seconds",
        "How long the caller at the head of the queue has been waiting.",
        [],
        _one("oldest_wait_seconds"),
    ),
]
_COUNTERS: list[tuple[str, str, list[str], _Values]] = [
    ("holdfast_connections_created", "Connections established.", [], _one("created")),
    (
        "holdfast_connections_closed",
        "Connections closed, by reason.",
        ["reason"],
        lambda counts: [((reason.value,), counts.closed.get(reason, 0)) for reason in CloseReason],
    ),
    (
        "holdfast_leases",
        "Exchanges, by whether their connection had served before.",
        ["reused"],
        lambda counts: [(("true",), counts.reused), (("false",), counts.acquired - counts.reused)],
    ),
    ("holdfast_waits", "Callers that had to wait for a limit.", [], _one("wait_count")),
    ("holdfast_wait_seconds", "How long they waited, in sum.", [], _one("wait_seconds")),
    ("holdfast_dial_seconds", "Time spent on DNS, TCP, CONNECT and TLS.", [], _one("dial_seconds")),
    ("holdfast_tls_handshakes", "TLS handshakes completed.", [], _one("tls_handshakes")),
    ("holdfast_stale_retries", "Requests sent again because their connection was dead.", [], _one("stale_retries")),
    ("holdfast_drained_bytes", "Bytes read and dropped to save connections.", [], _one("drained_bytes")),
    ("holdfast_leaked_responses", "Responses dropped neither read nor closed.", [], _one("leaked")),
]


class Collector(_Collector):
    """The pools of the process, by host.

    :param max_hosts: hosts with series of their own, the first that are seen; the others are ``host="other"`` together.
        So many hosts cost 28 series each. 0: only sums.
    """

    def __init__(self, max_hosts: int = 100) -> None:
        self._series = HostSeries(max_hosts)

    def describe(self) -> Iterable[Metric]:
        """Names only, so that registering reads nothing."""
        return [
            *(GaugeMetricFamily(name, text, labels=["host", *labels]) for name, text, labels, _ in _GAUGES),
            *(CounterMetricFamily(name, text, labels=["host", *labels]) for name, text, labels, _ in _COUNTERS),
        ]

    def collect(self) -> Iterable[Metric]:
        """One snapshot's figures."""
        series = self._series.read(statistics())
        families: list[tuple[Any, list[tuple[str, str, list[str], _Values]]]] = [
            (GaugeMetricFamily, _GAUGES),
            (CounterMetricFamily, _COUNTERS),
        ]
        for kind, table in families:
            for name, text, labels, values in table:
                family = kind(name, text, labels=["host", *labels])
                for host, counts in series.items():
                    for more, value in values(counts):
                        family.add_metric([host, *more], value)
                yield family
