"""Libraries that watch every request, and therefore patch: each in a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

TWO_GETS = """
import requests
with requests.Session() as session:
    session.trust_env = False
    for _ in range(2):
        assert session.get(URL).text == "ok"
"""


def run(program: str, url: str, prelude: str, **variables: str) -> str:
    """What a program of its own prints; warm: the library comes after a first request."""
    text = f"URL = {url!r}\n{prelude}{program}"
    done = subprocess.run(
        [sys.executable, "-c", text],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **variables},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_sentry_sdk__traces(serve: Any, prelude: str) -> None:
    server = serve()
    program = f"""
import sentry_sdk
sent = []
class Keep(sentry_sdk.transport.Transport):
    def capture_envelope(self, envelope):
        sent.append(envelope)
sentry_sdk.init("http://key@127.0.0.1:9/1", traces_sample_rate=1.0, transport=Keep,
                trace_propagation_targets=[".*"])
with sentry_sdk.start_transaction(name="t"):
{TWO_GETS.replace(chr(10), chr(10) + "    ")}
spans = [span["op"] for envelope in sent for item in envelope.items if item.payload.json
         for span in item.payload.json.get("spans", [])]
print(spans.count("http.client"))
"""
    assert run(program, server.url, prelude).strip() == "2"
    assert all(b"sentry-trace" in head.lower() for _, head, _ in server.requests)
    assert server.accepted == 1


def check_ddtrace__traces(serve: Any, prelude: str) -> None:
    server = serve()
    program = "import ddtrace\nddtrace.patch(requests=True)\n" + TWO_GETS
    quiet = {"DD_TRACE_AGENT_URL": "http://127.0.0.1:9", "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false"}
    run(program, server.url, prelude, DD_REMOTE_CONFIGURATION_ENABLED="false", **quiet)
    assert [b"x-datadog-trace-id" in head.lower() for _, head, _ in server.requests] == [True, True]
    assert server.accepted == 1


def opentelemetry(kind: str) -> str:
    return f"""
from opentelemetry.instrumentation.{kind.lower()} import {kind}Instrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
spans, provider = InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
{TWO_GETS}
{kind}Instrumentor().instrument(tracer_provider=provider)
{TWO_GETS}
print(len(spans.get_finished_spans()))
{kind}Instrumentor().uninstrument()
{TWO_GETS}
print(len(spans.get_finished_spans()))
"""


def check_opentelemetry_instrumentation_requests__traces(serve: Any, prelude: str) -> None:
    server = serve()
    assert run(opentelemetry("Requests"), server.url, prelude).split() == ["2", "2"]
    assert sum(b"traceparent" in head.lower() for _, head, _ in server.requests) == 2


def check_opentelemetry_instrumentation_urllib3__traces(serve: Any, prelude: str) -> None:
    """Switched on after the first requests: a warm pool is watched, too."""
    server = serve()
    assert run(opentelemetry("URLLib3"), server.url, prelude).split() == ["2", "2"]
    assert sum(b"traceparent" in head.lower() for _, head, _ in server.requests) == 2


def check_locust__http_user(serve: Any, prelude: str) -> None:
    """Under gevent, ten users at once, each request reported."""
    server = serve()
    mounted = "holdfast.mount(user.client)" if prelude else "pass"
    program = f"""
import locust, gevent
from locust.env import Environment
class User(locust.HttpUser):
    host = URL
environment = Environment(user_classes=[User])
seen = []
environment.events.request.add_listener(lambda exception, **rest: seen.append(exception))
def work():
    user = User(environment)
    {mounted}
    for _ in range(5):
        with user.client.get("/", catch_response=True) as response:
            assert response.text == "ok"
gevent.joinall([gevent.spawn(work) for _ in range(10)], raise_error=True)
print(len(seen), seen.count(None))
"""
    late = "import locust\n" + prelude  # it patches for gevent first
    assert run(program, server.url, late).split() == ["50", "50"]
    assert len(server.requests) == 50
