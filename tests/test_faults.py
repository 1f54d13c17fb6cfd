"""Every cell of the fault matrix, in both lanes; and docs/faults.md says what they say."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import faults
import holdfast
from conftest import TLS, settle
from faults import Cell, Stage
from servers import Peer, Server, ok

PAGE = Path(__file__).parent.parent / "docs" / "faults.md"


def call(client: requests.Session, url: str, kind: str, stage: Stage) -> requests.Response:
    """The request of a cell. Those that read later tell the server when the head is there."""
    if kind == "BIG HEAD":
        return client.get(url, headers={"X-Big": "x" * (8 << 20)})
    if kind == "POST":
        return client.post(url, data=faults.UPLOAD if not stage.done.is_set() else b"small")
    response = client.get(url, stream=True)
    stage.go.set()
    if kind == "GET, close unread":
        response.close()
    else:
        response.content  # noqa: B018  # reads the body
    return response


def outcome_of(cell: Cell, client: requests.Session, url: str, stage: Stage) -> str:
    """The status, or the error's class; an error of our own names the host."""
    try:
        return str(call(client, url, cell.call, stage).status_code)
    except requests.RequestException as error:
        failed = error
    finally:
        stage.over.set()
    assert str(failed)
    assert "127.0.0.1" in str(failed) or not isinstance(failed, holdfast.HoldfastError)
    kinds = [kind.__name__ for kind in type(failed).__mro__]
    return cell.outcome if cell.outcome in kinds else repr(failed)


@pytest.fixture
def places() -> Iterator[contextlib.ExitStack]:
    """Holds the places that a test connects to in vain."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.mark.parametrize("cell", faults.cells(), ids=lambda cell: cell.name)
def test_fault(
    cell: Cell, lane: str, serve: Callable[..., Server], session: Any, tls: TLS, places: contextlib.ExitStack
) -> None:
    """The error, the repetition and the connection's fate are the table's; the next request gets its own answer."""
    stage = Stage()

    def script(peer: Peer) -> None:
        if peer.number > 1:
            while peer.read_request() is not None:
                peer.send(ok(b"second"))
        elif cell.tls and cell.fault == "trickle":
            faults.slow_handshake(peer, tls.context)
        else:
            cell.script(peer, stage)

    server = serve(script)
    client = session(limits=faults.LIMITS, timeouts=cell.timeouts)
    url = server.url.replace("http:", "https:") if cell.tls else server.url
    stage.dialled = lambda: client.get_adapter(url).statistics().in_use > 0
    if cell.place is not None:
        url = places.enter_context(cell.place())
    if cell.warm:
        assert client.get(url, timeout=faults.PATIENT).content == b"ok"
    if cell.phase == "idle":
        stage.go.set()
        assert stage.done.wait(10)
    if cell.call not in ("GET, read later", "GET, close unread"):
        stage.go.set()
    began = time.monotonic()
    assert outcome_of(cell, client, url, stage) == cell.outcome
    assert time.monotonic() - began < 30
    stats = client.get_adapter(url).statistics()
    assert (stats.in_use, stats.dialing, stats.stale_retries) == (0, 0, int(cell.sent == 2))
    assert settle(lambda: len(server.requests) - int(cell.warm) == cell.sent), "how often it was sent"
    if not cell.tls and cell.place is None:
        assert client.get(url, timeout=faults.PATIENT).content == b"second"
        assert server.accepted == (1 if cell.kept else 2)
    stats = client.get_adapter(url).statistics()
    assert {reason.value: n for reason, n in stats.closed.items()} == ({cell.reason: 1} if cell.reason else {})
    client.close()
    assert settle(lambda: server.open == 0), "the server sees every connection end"


def test_the_page_says_what_the_tests_say() -> None:
    """After a change: python tests/faults.py docs/faults.md"""
    assert PAGE.read_text() == faults.render()
    assert holdfast.__name__ in PAGE.read_text()
