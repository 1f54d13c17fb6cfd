"""Metrics: what a scrape gives is what ``statistics()`` says, in few series, under the names that dashboards use."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest

import holdfast
import holdfast.opentelemetry
import holdfast.prometheus
from conftest import settle
from holdfast import Limits
from servers import Server, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]
MONITORING = Path(__file__).parent.parent / "examples" / "monitoring"


@pytest.fixture
def registry() -> CollectorRegistry:
    one = CollectorRegistry()
    one.register(holdfast.prometheus.Collector(max_hosts=1000))
    return one


def summed(registry: CollectorRegistry, name: str, **labels: str) -> float:
    """A metric's samples with these labels, together."""
    return sum(
        sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def test_a_scrape_is_the_statistics(serve: Serve, session: Sessions, registry: CollectorRegistry) -> None:
    """By host, and in sums over all of them, with what transports that are gone have counted."""
    server = serve(ok(b"x" * 1000))
    client = session()
    for _ in range(4):
        client.get(server.url)
    held = client.get(server.url, stream=True)
    host = {"host": f"http://127.0.0.1:{server.port}"}
    assert summed(registry, "holdfast_connections", state="in_use", **host) == 1
    held.close()
    assert summed(registry, "holdfast_connections", state="idle", **host) == 1
    assert summed(registry, "holdfast_leases_total", reused="true", **host) == 4
    assert summed(registry, "holdfast_leases_total", reused="false", **host) == 1
    stats = holdfast.statistics()
    for name, value in (
        ("holdfast_connections_created_total", stats.created),
        ("holdfast_connections_closed_total", sum(stats.closed.values())),
        ("holdfast_leases_total", stats.acquired),
        ("holdfast_stale_retries_total", stats.stale_retries),
        ("holdfast_leaked_responses_total", stats.leaked),
    ):
        assert summed(registry, name) == value
    assert b"# TYPE holdfast_connections_created_total counter" in generate_latest(registry)


def test_sums_never_fall_when_a_host_is_forgotten(serve: Serve, registry: CollectorRegistry) -> None:
    """A counter that falls is a restart to Prometheus."""
    server = serve()
    with holdfast.Session(shared=False) as client:
        client.trust_env = False
        client.get(server.url)
        before = summed(registry, "holdfast_leases_total")
    holdfast.close_idle_connections()
    assert summed(registry, "holdfast_leases_total") == before


def test_hosts_beyond_the_limit_share_a_series(serve: Serve, session: Sessions) -> None:
    """The first that are seen keep their own."""
    registry = CollectorRegistry()
    registry.register(holdfast.prometheus.Collector(max_hosts=2))
    client = session()
    for _ in range(5):
        client.get(serve().url)
    hosts = {sample.labels["host"] for family in registry.collect() for sample in family.samples}
    assert len(hosts) == 3
    assert "other" in hosts
    assert summed(registry, "holdfast_connections", state="idle") == holdfast.statistics().idle
    with pytest.raises(ValueError, match="max_hosts"):
        holdfast.prometheus.Collector(max_hosts=-1)


def test_registering_reads_nothing(serve: Serve) -> None:
    """And so costs no series."""
    registry = CollectorRegistry(auto_describe=False)
    collector = holdfast.prometheus.Collector()
    registry.register(collector)
    assert [family.samples for family in collector.describe()] == [[]] * len(list(collector.collect()))


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\bholdfast_\w+", text))


@pytest.mark.skipif(not MONITORING.is_dir(), reason="the examples are not here")
@pytest.mark.parametrize("page", ["dashboard.json", "alerts.yml"])
def test_dashboards_and_alerts_use_names_that_exist(page: str, registry: CollectorRegistry) -> None:
    """And labels that the samples have."""
    text = (MONITORING / page).read_text()
    if page.endswith("json"):
        json.loads(text)
    text = re.sub(r"^ *(#.*|description: .*|summary: .*)$", "", text, flags=re.MULTILINE)
    samples = [sample for family in registry.collect() for sample in family.samples]
    used = names_in(text)
    assert len(used) >= 4
    assert used <= {sample.name for sample in samples}
    labels = set(re.findall(r"(\w+)=~?\\?\"", text)) | {
        label for group in re.findall(r"by \(([^)]*)\)", text) for label in re.split(r", *", group)
    }
    known = {label for sample in samples for label in sample.labels} | {"job", "instance"}
    assert labels <= known | {"severity"}


@pytest.fixture
def exported() -> Iterator[Callable[[], dict[str, list[Any]]]]:
    """Reads what OpenTelemetry would export: data points by metric."""
    reader = InMemoryMetricReader()
    provider = MeterProvider(metric_readers=[reader])
    stop = holdfast.opentelemetry.instrument(provider, max_hosts=1000)

    def read() -> dict[str, list[Any]]:
        data: Any = reader.get_metrics_data()
        found: dict[str, list[Any]] = {}
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    found[metric.name] = list(metric.data.data_points)
        return found

    yield read
    stop()
    provider.shutdown()


def points(found: dict[str, list[Any]], name: str, port: int, **attributes: str) -> list[Any]:
    wanted = {"server.address": "127.0.0.1", "server.port": port, "url.scheme": "http"}
    wanted |= {key.replace("_", "."): value for key, value in attributes.items()}
    return [point for point in found.get(name, []) if wanted.items() <= point.attributes.items()]


def test_opentelemetry_has_the_conventions_names(serve: Serve, session: Sessions, exported: Any) -> None:
    """Gauges from the statistics, histograms as calls and connections end."""
    server = serve(ok(b"x" * 1000))
    client = session(limits=Limits(max_requests_per_connection=3))
    for _ in range(3):
        client.get(server.url)
    held = client.get(server.url, stream=True)
    found = exported()
    state = {"http_connection_state": "active"}
    assert [point.value for point in points(found, "http.client.open_connections", server.port, **state)] == [1]
    assert [point.value for point in points(found, "http.client.active_requests", server.port)] == [1]
    assert [point.value for point in points(found, "holdfast.connections.created", server.port)] == [2]
    assert [point.value for point in points(found, "holdfast.connections.reused", server.port)] == [2]
    (queue,) = points(found, "http.client.request.time_in_queue", server.port)
    assert queue.count == 4
    (lifetime,) = points(found, "http.client.connection.duration", server.port)
    assert (lifetime.count, lifetime.sum > 0) == (1, True)
    held.close()
    assert points(exported(), "holdfast.connections.closed", server.port, reason="max_requests")[0].value == 1


def test_opentelemetrys_durations_end_when_asked(serve: Serve, session: Sessions) -> None:
    """And a trace of the process beside them stays."""
    heard: list[str] = []

    class Trace(holdfast.Trace):
        def got_connection(self, event: holdfast.TraceEvent) -> None:
            heard.append(event.moment)

    provider = MeterProvider()
    stop = holdfast.opentelemetry.instrument(provider)
    holdfast.set_trace(Trace())
    stop()
    session().get(serve().url)
    holdfast.set_trace(None)
    assert heard == ["got_connection"]
    from holdfast import _trace

    assert settle(lambda: _trace.process == ())
    provider.shutdown()
