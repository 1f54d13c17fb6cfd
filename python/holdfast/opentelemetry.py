"""Metrics for OpenTelemetry (``pip install holdfast[opentelemetry]``), with the names of its semantic conventions.

``holdfast.opentelemetry.instrument()`` once, at the start. What has a counterpart among the conventions for HTTP clients
has its name; the rest begins with ``holdfast.``. Pool figures are read from ``statistics()`` when they are exported;
durations are measured as calls and connections end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation, get_meter_provider

from holdfast import _trace
from holdfast._install import statistics
from holdfast._series import OTHER, HostSeries
from holdfast._statistics import Counts
from holdfast._trace import Trace, TraceEvent

__all__ = ["instrument"]

_BOUNDARIES = {
    "http.client.connection.duration": [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 120, 300, 600],
    "http.client.request.time_in_queue": [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30],
}


def _attributes(origin: str) -> dict[str, Any]:
    """A host's, by the conventions; sums have none."""
    if origin == OTHER:
        return {"server.address": OTHER}
    parts = urlsplit(origin)
    return {"server.address": parts.hostname or "", "server.port": parts.port or 0, "url.scheme": parts.scheme}


class _Durations(Trace):
    """Histograms, which no snapshot can give."""

    def __init__(self, meter: Any, known: Callable[[str | None], str]) -> None:
        self._known = known
        self._lifetime, self._queue = (
            meter.create_histogram(name, unit="s", explicit_bucket_boundaries_advisory=_BOUNDARIES[name])
            for name in ("http.client.connection.duration", "http.client.request.time_in_queue")
        )

    def got_connection(self, event: TraceEvent) -> None:
        self._queue.record(event.seconds or 0.0, _attributes(self._known(event.host)))

    def closed(self, event: TraceEvent) -> None:
        if event.seconds is not None:
            self._lifetime.record(event.seconds, _attributes(self._known(event.host)))


def instrument(meter_provider: MeterProvider | None = None, *, max_hosts: int = 100) -> Callable[[], None]:
    """Exports the pools of the process through ``meter_provider``, the global one unless given.

    Hosts beyond the first ``max_hosts`` are ``server.address="other"`` together. Gives a function that ends the
    durations; the pool's figures go on as long as the provider does.

    - ``http.client.open_connections``, by ``http.connection.state``: ``active``, ``idle``.
    - ``http.client.active_requests``.
    - ``http.client.connection.duration``, ``http.client.request.time_in_queue``: histograms, in seconds.
    - ``holdfast.connections.created``, ``holdfast.connections.reused``, ``holdfast.connections.closed`` by ``reason``,
      ``holdfast.waiting``, ``holdfast.stale_retries``, ``holdfast.leaked``.
    """
    meter = (meter_provider or get_meter_provider()).get_meter("holdfast")
    series = HostSeries(max_hosts)

    def reading(values: Callable[[Counts], list[tuple[dict[str, Any], float]]]) -> Any:
        def read(options: CallbackOptions) -> Iterable[Observation]:
            for origin, counts in series.read(statistics()).items():
                for attributes, value in values(counts):
                    yield Observation(value, {**_attributes(origin), **attributes})

        return [read]

    def plain(name: str) -> Any:
        return reading(lambda counts: [({}, getattr(counts, name))])

    state = "http.connection.state"
    meter.create_observable_up_down_counter(
        "http.client.open_connections",
        reading(lambda counts: [({state: "active"}, counts.in_use), ({state: "idle"}, counts.idle)]),
        unit="{connection}",
        description="Connections that are active or idle.",
    )
    meter.create_observable_up_down_counter(
        "http.client.active_requests", plain("in_use"), unit="{request}", description="Requests under way."
    )
    meter.create_observable_up_down_counter(
        "holdfast.waiting",
        plain("waiting"),
        unit="{request}",
        description="Callers waiting because a limit is reached.",
    )
    for name, field, text in (
        ("holdfast.connections.created", "created", "Connections established."),
        ("holdfast.connections.reused", "reused", "Exchanges on a connection that had served before."),
        ("holdfast.stale_retries", "stale_retries", "Requests sent again because their connection was dead."),
        ("holdfast.leaked", "leaked", "Responses dropped neither read nor closed."),
    ):
        meter.create_observable_counter(name, plain(field), description=text)
    meter.create_observable_counter(
        "holdfast.connections.closed",
        reading(lambda counts: [({"reason": reason.value}, n) for reason, n in counts.closed.items()]),
        unit="{connection}",
        description="Connections closed, by reason.",
    )

    durations = _Durations(meter, lambda host: OTHER if host is None else series.name(host))
    _trace.observe(durations)
    return lambda: _trace.stop_observing(durations)
