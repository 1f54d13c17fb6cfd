"""Looking into a running pool: the periodic log line, and the finder of responses that nobody reads."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

import holdfast
from conftest import settle
from holdfast import Limits, Timeouts
from servers import Peer, Server, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


@pytest.fixture(autouse=True)
def switched_off() -> Iterator[None]:
    """Both, whatever a test did."""
    yield
    holdfast.log_statistics(None)
    holdfast.find_leaks(None)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.INFO, logger="holdfast"):
        yield caplog


def lines(log: pytest.LogCaptureFixture, name: str) -> list[Any]:
    """The figures that were logged of one transport."""
    found = [getattr(record, "holdfast", {}) for record in log.records]
    return [figures for figures in found if figures.get("transport") == name]


def test_a_line_per_transport_when_something_changed(
    serve: Serve, session: Sessions, log: pytest.LogCaptureFixture
) -> None:
    """With the figures of that moment, as text and as a dict; silence while nothing happens."""
    server = serve()
    client: Any = session()
    for _ in range(4):
        client.get(server.url)
    name = client.get_adapter("http://").statistics().transports[0].name
    holdfast.log_statistics(every=0.02)
    assert settle(lambda: bool(lines(log, name)))
    first = lines(log, name)[0]
    assert {key: first[key] for key in ("idle", "in_use", "total", "reuse_rate", "waits")} == {
        "idle": 1,
        "in_use": 0,
        "total": 1,
        "reuse_rate": 0.75,
        "waits": 0,
    }
    assert f"transport={name} " in log.text
    assert "reuse_rate=0.75" in log.text
    other: Any = session()
    other.get(server.url)
    other_name = other.get_adapter("http://").statistics().transports[0].name
    assert settle(lambda: bool(lines(log, other_name)))  # so several rounds are over
    assert len(lines(log, name)) == 1
    client.get(server.url)
    assert settle(lambda: len(lines(log, name)) == 2)


def test_logging_ends_and_begins_anew(serve: Serve, session: Sessions, log: pytest.LogCaptureFixture) -> None:
    """None leaves no thread; another pace replaces the first; nonsense is refused."""
    names = lambda: [thread.name for thread in threading.enumerate() if thread.name.startswith("holdfast-log")]  # noqa: E731
    holdfast.log_statistics(every=50)
    holdfast.log_statistics(every=0.02)
    assert len(names()) == 1
    client: Any = session()
    client.get(serve().url)
    assert settle(lambda: "transport=" in log.text)
    holdfast.log_statistics(None)
    assert names() == []
    for wrong in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=r"log_statistics\.every"):
            holdfast.log_statistics(every=wrong)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_logs_its_own_pools(serve: Serve, session: Sessions) -> None:
    """A server's workers are forked after the line was switched on."""
    server = serve()
    holdfast.log_statistics(every=0.02)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            seen = threading.Event()
            handler = logging.Handler()
            handler.emit = lambda record: seen.set() if "acquired=1 " in record.getMessage() else None  # type: ignore[method-assign]
            logger = logging.getLogger("holdfast")
            logger.addHandler(handler)
            logger.setLevel(logging.INFO)
            with holdfast.Session(shared=False) as client:
                client.trust_env = False
                client.get(server.url)
                status = 0 if seen.wait(20) else 1
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def leaks(log: pytest.LogCaptureFixture, where: str) -> list[str]:
    """What was told of a server's responses."""
    told = [record.getMessage() for record in log.records if "unread for" in record.getMessage()]
    return [text for text in told if where in text]


def test_a_body_left_unread_is_told_with_its_place(
    lane: str, serve: Serve, session: Sessions, log: pytest.LogCaptureFixture
) -> None:
    """Once, as a log line and as a ResourceWarning; without the URL's secrets; not what was closed."""
    holdfast.find_leaks(after=1.0)
    client = session()
    big, small = serve(ok(b"x" * 3_000_000)), serve()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        client.get(small.url + "closed", stream=True).close()
        line = sys._getframe().f_lineno + 1
        response = client.get(big.url + "path?token=s3cret", stream=True)
        assert settle(lambda: bool(leaks(log, "path")))
        # Another one, told rounds later: meanwhile the first is not told again.
        other = client.get(big.url + "other", stream=True)
        assert settle(lambda: bool(leaks(log, "other")))
    (text,) = leaks(log, "path")
    assert f"{__file__}:{line} in test_a_body_left_unread_is_told_with_its_place" in text
    assert f"{big.url}path unread for" in text
    assert "s3cret" not in text
    assert leaks(log, small.url) == []
    told = [warning for warning in caught if "path unread for" in str(warning.message)]
    assert [(warning.filename, warning.lineno, warning.category) for warning in told] == [
        (__file__, line, ResourceWarning)
    ]
    response.close()
    other.close()


def test_a_body_that_is_being_read_is_none(
    lane: str, serve: Serve, session: Sessions, log: pytest.LogCaptureFixture
) -> None:
    """However long it takes, as long as somebody reads."""

    def handle(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(14):
            peer.send(b"1\r\nx\r\n")
            time.sleep(0.25)
        peer.send(b"0\r\n\r\n")

    holdfast.find_leaks(after=2.5)
    server = serve(handle)
    with session().get(server.url, stream=True) as response:
        assert b"".join(response.iter_content(1)) == b"x" * 14
    assert leaks(log, server.url) == []


def test_nothing_is_kept_of_responses_that_are_over(serve: Serve, session: Sessions) -> None:
    """Read, closed, dropped or failed."""
    from holdfast import _leaks

    holdfast.find_leaks(after=60)
    client = session()
    server = serve(ok(b"x" * 100_000))
    for _ in range(3):
        client.get(server.url)
        client.get(server.url, stream=True).close()
    with pytest.warns(ResourceWarning, match="dropped"):
        client.get(server.url, stream=True)
    assert _leaks.held == {}
    with pytest.raises(ValueError, match=r"find_leaks\.after"):
        holdfast.find_leaks(after=0)


def test_presets() -> None:
    """The numbers of the tuning guide, each of which can be another."""
    assert (Limits.service().max_connections_per_host, Limits.service().max_idle_per_host) == (50, 20)
    assert (Limits.service().max_idle, Limits.service().idle_timeout) == (100, 90.0)
    timeouts = Timeouts.service(response_header=5)
    assert (timeouts.tls_handshake, timeouts.expect_continue, timeouts.total) == (10.0, 1.0, 30.0)
    assert timeouts.response_header == 5
    assert Limits.service(max_connections_per_host=8).max_connections_per_host == 8
