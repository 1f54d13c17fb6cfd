"""The fault matrix: what a server does to a connection, in which phase, and what its user then sees.

``tests/test_faults.py`` runs every cell in both lanes; ``python tests/faults.py`` writes the table of docs/faults.md.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests

from conftest import settle
from holdfast import Limits, Timeouts
from servers import Peer, ok

Fault = Callable[[Peer], None]
Call = Callable[[requests.Session, str], requests.Response]

SHORT = 0.25
GARBAGE = b"\x16\x03\x01\x00\xffnot HTTP\0\r\n\r\n"
PATIENT = Timeouts(connect=30, tls_handshake=30, response_header=30, body_stall=30, total=60)
LIMITS = Limits(max_response_header_bytes=65536, drain_timeout=5.0)
UPLOAD = bytes(8 << 20)
"""More than the sockets' buffers hold, so that its writer waits for the reader."""


class Stage:
    """What a script and its driver tell each other."""

    def __init__(self) -> None:
        self.go = threading.Event()
        """The client has got as far as the phase."""
        self.done = threading.Event()
        """The server has done it."""
        self.over = threading.Event()
        """The client has its outcome."""
        self.dialled: Callable[[], bool] = lambda: False
        """Whether the client holds a connection."""


Script = Callable[[Peer, Stage], None]
Place = Callable[[], contextlib.AbstractContextManager[str]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """One fault in one phase, and what follows from it."""

    phase: str
    fault: str
    what: str
    """What the server does, for the reader of the table."""
    script: Script
    outcome: str
    """The error's class as the user sees it, or the status that he gets."""
    call: str = "GET"
    warm: bool = False
    """Whether the connection has served a request before."""
    tls: bool = False
    place: Place | None = None
    """Gives the URL, where that is no server that accepts."""
    timeouts: Timeouts = PATIENT
    sent: int = 1
    """How often the server was sent the request, on whichever connection."""
    kept: bool = False
    """Whether the connection serves on."""
    reason: str = ""
    """Why it was closed; empty where none was established, or it was kept."""

    @property
    def name(self) -> str:
        return f"{self.phase}-{self.fault}-{self.call}".replace(" ", "_")


# -- what servers do ----------------------------------------------------------------------------------------------------


def gone(peer: Peer) -> None:
    """Until the client ends the connection."""
    try:
        while peer.sock.recv(65536):
            pass
    except OSError:
        pass


def rst(peer: Peer) -> None:
    peer.reset()


def fin(peer: Peer) -> None:
    peer.close()


def half_close(peer: Peer) -> None:
    peer.sock.shutdown(socket.SHUT_WR)
    gone(peer)


def stall(peer: Peer) -> None:
    gone(peer)


def says(data: bytes) -> Fault:
    def fault(peer: Peer) -> None:
        peer.send(data)
        gone(peer)

    return fault


def for_ever(data: bytes) -> Fault:
    def fault(peer: Peer) -> None:
        while True:
            peer.sock.sendall(data)

    return fault


def trickle(data: bytes) -> Fault:
    """A byte now and then, faster than any silence would be noticed."""

    def fault(peer: Peer) -> None:
        pause = threading.Event()
        while True:
            for n in range(len(data)):
                peer.sock.sendall(data[n : n + 1])
                pause.wait(0.02)

    return fault


@contextlib.contextmanager
def refusing() -> Iterator[str]:
    """A port where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))  # and never listens: a connect is answered with RST
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/"


@contextlib.contextmanager
def full() -> Iterator[str]:
    """A listener whose backlog is full: a connect is not answered."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"


def at_once(fault: Fault) -> Script:
    return lambda peer, stage: fault(peer)


def once_dialled(fault: Fault) -> Script:
    """Not before the client's ``connect()`` is over: it could fail by a reset that comes sooner."""

    def script(peer: Peer, stage: Stage) -> None:
        settle(stage.dialled)
        fault(peer)

    return script


def after_request(fault: Fault, first: bytes = b"", *, warm: bool = False) -> Script:
    """Reads the request, sends ``first``, and when the client is past that, does it."""

    def script(peer: Peer, stage: Stage) -> None:
        if warm:
            peer.read_request()
            peer.send(ok())
        peer.read_request()
        peer.send(first)
        stage.go.wait(30)
        fault(peer)

    return script


def while_idle(fault: Fault) -> Script:
    def script(peer: Peer, stage: Stage) -> None:
        peer.read_request()
        peer.send(ok())
        stage.go.wait(30)
        if fault in (rst, fin):
            fault(peer)
            stage.done.set()
            return
        if fault is half_close:
            peer.sock.shutdown(socket.SHUT_WR)
        else:
            fault(peer)
        stage.done.set()
        gone(peer)

    return script


def send_only(data: bytes) -> Fault:
    return lambda peer: peer.send(data)


def during_upload(fault: Fault) -> Script:
    """Reads the head and what comes with it."""

    def script(peer: Peer, stage: Stage) -> None:
        while b"\r\n\r\n" not in peer.buffer:
            if not peer._more():
                return
        with peer.server.lock:
            peer.server.requests.append((peer.number, peer.buffer, b""))
        fault(peer)
        stage.over.wait(30)

    return script


def slow_reader(peer: Peer, stage: Stage) -> None:
    peer._more()
    with peer.server.lock:
        peer.server.requests.append((peer.number, peer.buffer, b""))
    while not stage.over.wait(0.02):
        peer.sock.recv(1000)
    gone(peer)


def deaf(peer: Peer, stage: Stage) -> None:
    """Reads no more than what comes first, as long as the client tries."""
    peer._more()
    with peer.server.lock:
        peer.server.requests.append((peer.number, peer.buffer, b""))
    stage.over.wait(30)
    gone(peer)


def flood_then_answer(peer: Peer) -> None:
    """Interim responses during the upload, then a proper end, and service as usual."""
    missing = len(UPLOAD) - len(peer.buffer.partition(b"\r\n\r\n")[2])
    while missing > 0:
        data = peer.sock.recv(1 << 20)
        if not data:
            return
        missing -= len(data)
        peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" if missing % 3 else b"")
    peer.buffer = b""
    peer.send(ok(b"late"))
    while peer.read_request() is not None:
        peer.send(ok(b"second"))


def slow_handshake(peer: Peer, context: ssl.SSLContext) -> None:
    """A real handshake, a byte at a time."""
    coming, going = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(coming, going, server_side=True)
    while True:
        with contextlib.suppress(ssl.SSLWantReadError):
            tls.do_handshake()
        pause = threading.Event()
        for byte in going.read():
            peer.sock.sendall(bytes([byte]))
            pause.wait(0.02)
        data = peer.sock.recv(65536)
        if not data:
            return
        coming.write(data)


# -- the cells ----------------------------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
ENDLESS = b"HTTP/1.1 200 OK\r\n\r\n"
PART = b"HTTP/1.1 200 OK\r\nContent-Le"
INTERIM = b"HTTP/1.1 102 Processing\r\n\r\n"
ANSWER_408 = b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
ANSWER_413 = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig"
SILENT = dataclasses.replace(PATIENT, response_header=SHORT)
STALLED = dataclasses.replace(PATIENT, body_stall=SHORT)
DEAF = dataclasses.replace(PATIENT, body_stall=1.0)
IN_ALL = dataclasses.replace(PATIENT, total=1.0)
DIALLING = dataclasses.replace(PATIENT, connect=SHORT)
HANDSHAKE = dataclasses.replace(PATIENT, tls_handshake=SHORT)


def cells() -> list[Cell]:
    """Every cell, by phase."""
    return [*_connect(), *_tls(), *_writing(), *_waiting(), *_head(), *_body(), *_idle()]


def _connect() -> list[Cell]:
    def cell(fault: str, what: str, outcome: str, place: Place, timeouts: Timeouts = PATIENT) -> Cell:
        return Cell(
            phase="connect",
            fault=fault,
            what=what,
            script=at_once(gone),
            outcome=outcome,
            place=place,
            timeouts=timeouts,
            sent=0,
        )

    return [
        cell("RST", "refuses the connection", "ConnectionError", refusing),
        cell("stall", "does not answer: its backlog is full", "ConnectTimeout", full, DIALLING),
    ]


def _tls() -> list[Cell]:
    def cell(fault: str, what: str, script: Script, outcome: str, timeouts: Timeouts = PATIENT) -> Cell:
        return Cell(
            phase="TLS handshake",
            fault=fault,
            what=what,
            script=script,
            outcome=outcome,
            tls=True,
            timeouts=timeouts,
            sent=0,
        )

    return [
        cell("RST", "resets after accept", at_once(rst), "ConnectionError"),
        cell("FIN", "closes after accept", at_once(fin), "SSLError"),
        cell("half-close", "ends its side, reads on", at_once(half_close), "SSLError"),
        cell("stall", "says nothing", at_once(stall), "TLSHandshakeTimeout", HANDSHAKE),
        cell("trickle", "a real handshake, a byte at a time", at_once(stall), "TLSHandshakeTimeout", HANDSHAKE),
        cell("garbage", "speaks no TLS", at_once(says(b"no TLS here\r\n" * 30)), "SSLError"),
        cell("early answer", "answers in plain HTTP", at_once(says(ok())), "SSLError"),
    ]


def _writing() -> list[Cell]:
    def head(fault: str, what: str, script: Script, outcome: str, **more: Any) -> Cell:
        given: dict[str, Any] = {"sent": 0, "reason": "closed_by_server", **more}
        return Cell(phase="writing the head", fault=fault, what=what, script=script, outcome=outcome, **given)

    def body(fault: str, what: str, script: Script, outcome: str, **more: Any) -> Cell:
        given: dict[str, Any] = {"call": "POST", "reason": "error", **more}
        return Cell(phase="writing the body", fault=fault, what=what, script=script, outcome=outcome, **given)

    early = says(ANSWER_413)
    return [
        head("RST", "resets after accept", once_dialled(rst), "ConnectionError"),
        head("FIN", "closes after accept", once_dialled(fin), "ConnectionError"),
        head("stall", "reads next to nothing of 8 MB", deaf, "DeadlineExceeded", call="BIG HEAD", sent=1, timeouts=dataclasses.replace(PATIENT, total=2.0), reason="timeout"),
        body("RST", "resets", during_upload(rst), "ConnectionError", reason="closed_by_server"),
        body("FIN", "closes", during_upload(fin), "ConnectionError", reason="closed_by_server"),
        body("half-close", "ends its side, reads on", during_upload(half_close), "ConnectionError", reason="closed_by_server"),
        body("stall", "stops reading", deaf, "BodyStallTimeout", timeouts=DEAF, reason="timeout"),
        body("trickle", "reads 1,000 bytes now and then", slow_reader, "DeadlineExceeded", timeouts=IN_ALL, reason="timeout"),
        body("garbage", "says what is no HTTP", during_upload(says(GARBAGE)), "InvalidResponse"),
        body("1xx flood", "102 for every piece, then 200", during_upload(flood_then_answer), "200", kept=True, reason=""),
        body("1xx flood", "102 without an end, reads nothing", during_upload(for_ever(INTERIM * 100)), "InvalidResponse"),
        body("early answer", "413 and reads on", during_upload(early), "413", reason="not_reusable"),
        body("early answer", "413 half, and no more", during_upload(says(ANSWER_413[:20])), "ResponseHeaderTimeout", timeouts=SILENT, reason="timeout"),
        body("endless head", "fields without an end", during_upload(for_ever(b"X: y\r\n" * 100)), "InvalidResponse"),
    ]  # fmt: skip


def _waiting() -> list[Cell]:
    def cell(fault: str, what: str, script: Script, outcome: str, **more: Any) -> Cell:
        given: dict[str, Any] = {"reason": "error", **more}
        return Cell(phase="waiting", fault=fault, what=what, script=script, outcome=outcome, **given)

    rows = []
    for fault, name, what in (
        (rst, "RST", "resets"),
        (fin, "FIN", "closes"),
        (half_close, "half-close", "ends its side, reads on"),
    ):
        rows += [
            cell(name, what, after_request(fault), "ConnectionError", reason="closed_by_server"),
            cell(name, f"{what}, on a reused connection", after_request(fault, warm=True), "200", warm=True, sent=2, reason="closed_by_server"),
            cell(name, f"{what}, on a reused connection", after_request(fault, warm=True), "ConnectionError", warm=True, call="POST", reason="closed_by_server"),
        ]  # fmt: skip
    return [
        *rows,
        cell("stall", "says nothing", after_request(stall), "ResponseHeaderTimeout", timeouts=SILENT, reason="timeout"),
        cell("stall", "says nothing, on a reused connection", after_request(stall, warm=True), "ResponseHeaderTimeout", warm=True, timeouts=SILENT, reason="timeout"),
        cell("trickle", "a head, a byte at a time", after_request(trickle(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000)), "ResponseHeaderTimeout", timeouts=SILENT, reason="timeout"),
        cell("garbage", "says what is no HTTP", after_request(says(GARBAGE)), "InvalidResponse"),
        cell("garbage", "the same on a reused connection", after_request(says(GARBAGE), warm=True), "InvalidResponse", warm=True),
        cell("1xx flood", "102 without an end", after_request(for_ever(INTERIM * 100)), "InvalidResponse"),
        cell("1xx", "103, then closes, on a reused connection", after_request(fin, INTERIM, warm=True), "ConnectionError", warm=True, reason="closed_by_server"),
        cell("1xx", "103, then nothing", after_request(stall, INTERIM), "ResponseHeaderTimeout", timeouts=SILENT, reason="timeout"),
    ]  # fmt: skip


def _head() -> list[Cell]:
    def cell(fault: str, what: str, then: Fault, outcome: str, **more: Any) -> Cell:
        given: dict[str, Any] = {"reason": "error", **more}
        script = after_request(then, PART, warm=given.get("warm", False))
        return Cell(phase="head half-way", fault=fault, what=what, script=script, outcome=outcome, **given)

    return [
        cell("RST", "resets", rst, "ConnectionError", reason="closed_by_server"),
        cell("FIN", "closes", fin, "InvalidResponse"),
        cell("FIN", "closes, on a reused connection", fin, "InvalidResponse", warm=True),
        cell("half-close", "ends its side, reads on", half_close, "InvalidResponse"),
        cell("stall", "says no more", stall, "ResponseHeaderTimeout", timeouts=SILENT, reason="timeout"),
        cell("trickle", "goes on, a byte at a time", trickle(b"ngth: 1\r\n" + b"X: y\r\n" * 1000), "ResponseHeaderTimeout", timeouts=SILENT, reason="timeout"),
        cell("garbage", "goes on with what is no head", says(b"\0" + GARBAGE), "InvalidResponse"),
        cell("endless head", "fields without an end", for_ever(b"ngth: 1\r\n" + b"X-Y: z\r\n" * 100), "InvalidResponse"),
        cell("endless head", "one field without an end", for_ever(b"x" * 1000), "InvalidResponse"),
    ]  # fmt: skip


def _body() -> list[Cell]:
    def cell(kind: str, first: bytes, fault: str, what: str, then: Fault, outcome: str, **more: Any) -> Cell:
        given: dict[str, Any] = {"reason": "error", "call": "GET, read later", **more}
        script = after_request(then, first)
        return Cell(phase=f"body half-way, {kind}", fault=fault, what=what, script=script, outcome=outcome, **given)

    rows = []
    for kind, first in (("Content-Length", HEAD + b"x" * 10), ("chunked", CHUNKED)):
        rows += [
            cell(kind, first, "RST", "resets", rst, "IncompleteBody"),
            cell(kind, first, "FIN", "closes", fin, "IncompleteBody"),
            cell(kind, first, "half-close", "ends its side, reads on", half_close, "IncompleteBody"),
            cell(kind, first, "stall", "says no more", stall, "BodyStallTimeout", timeouts=STALLED, reason="timeout"),
        ]
    return [
        *rows,
        cell("Content-Length", HEAD, "trickle", "a byte at a time", trickle(b"x"), "DeadlineExceeded", timeouts=IN_ALL, reason="timeout"),
        cell("Content-Length", HEAD, "stray bytes", "the body and then more", says(b"x" * 100_001), "200", reason="unsolicited_data"),
        cell("Content-Length", HEAD, "stray bytes", "a second answer behind the body", says(b"x" * 100_000 + ok(b"evil")), "200", reason="unsolicited_data"),
        cell("chunked", CHUNKED, "trickle", "a chunk at a time", trickle(b"1\r\nx\r\n"), "DeadlineExceeded", timeouts=IN_ALL, reason="timeout"),
        cell("chunked", CHUNKED, "garbage", "goes on with what is no chunk", says(GARBAGE), "InvalidResponse"),
        cell("chunked", CHUNKED, "stray bytes", "a second answer behind the body", says(b"0\r\n\r\n" + ok(b"evil")), "200", reason="unsolicited_data"),
        cell("chunked", CHUNKED, "endless body", "chunks without an end, closed by the reader", for_ever(b"5\r\nhello\r\n" * 1000), "200", call="GET, close unread", reason="undrained_body"),
        cell("chunked", CHUNKED, "endless body", "chunks without an end, read", for_ever(b"5\r\nhello\r\n" * 100), "DeadlineExceeded", timeouts=IN_ALL, reason="timeout"),
        cell("chunked", CHUNKED, "endless head", "trailers without an end", for_ever(b"0\r\n" + b"X: y\r\n" * 10_000), "InvalidResponse"),
        cell("chunked", CHUNKED, "endless head", "a chunk extension without an end", for_ever(b"5;" + b"x" * 70_000), "InvalidResponse"),
        cell("to the close", ENDLESS, "RST", "resets", rst, "IncompleteBody"),
        cell("to the close", ENDLESS, "FIN", "closes, which is its end", fin, "200", reason="not_reusable"),
        cell("to the close", ENDLESS, "half-close", "ends its side, which is its end", half_close, "200", reason="not_reusable"),
        cell("to the close", ENDLESS, "stall", "says no more", stall, "BodyStallTimeout", timeouts=STALLED, reason="timeout"),
        cell("to the close", ENDLESS, "endless body", "bytes without an end, read", for_ever(b"x" * 100), "DeadlineExceeded", timeouts=IN_ALL, reason="timeout"),
        cell("to the close", ENDLESS, "endless body", "bytes without an end, closed by the reader", for_ever(b"x" * 1000), "200", call="GET, close unread", reason="not_reusable"),
    ]  # fmt: skip


def _idle() -> list[Cell]:
    def cell(fault: str, what: str, then: Fault, reason: str, call: str = "GET") -> Cell:
        return Cell(
            phase="idle",
            fault=fault,
            what=what,
            script=while_idle(then),
            outcome="200",
            warm=True,
            call=call,
            reason=reason,
        )

    rows = []
    for call in ("GET", "POST"):
        rows += [
            cell("RST", "resets", rst, "closed_by_server", call),
            cell("FIN", "closes", fin, "closed_by_server", call),
            cell("half-close", "ends its side, reads on", half_close, "closed_by_server", call),
            cell("408", "says 408 and goes", send_only(ANSWER_408), "unsolicited_data", call),
            cell(
                "stray bytes", "sends an answer that nobody asked for", send_only(ok(b"evil")), "unsolicited_data", call
            ),
            cell("stray bytes", "sends one byte", send_only(b"\n"), "unsolicited_data", call),
            cell("garbage", "sends what is no HTTP", send_only(GARBAGE), "unsolicited_data", call),
        ]
    return rows


# -- the table ----------------------------------------------------------------------------------------------------------

INTRO = """\
# Faults, and what follows from them

What holdfast does when a server misbehaves: each row is a test that runs against a scripted server, in both lanes
(`pytest tests/test_faults.py`); the table is written from the tests (`python tests/faults.py docs/faults.md`).

- **Outcome**: the error that the caller catches (holdfast's own class, or requests'), or the status of the response.
  After `InvalidResponse` and `IncompleteBody` existing `except requests.ConnectionError` and
  `except requests.exceptions.ChunkedEncodingError` blocks work as before: see the bases in `holdfast`'s docstrings.
- **Sent**: how often the server was sent the request, over all connections. 2 is a stale retry: the connection had
  served before, ended without a byte of answer, and the request may be repeated.
- **Connection**: whether it serves on, or the `CloseReason` that it was closed and counted with; "-" where none came to be.

In every row the next request gets its own answer, and nothing is left behind: no lease, no permit, no socket and no
thread.
"""

LEFT_OUT = """\
## Combinations without a row

- Connecting with FIN, half-close, trickle, garbage and the rest: they need an accepted connection, and stand in the phase
  that follows.
- TLS handshake with 408, 1xx, an endless head or body: whatever is not TLS is garbage there.
- Writing the head with half-close, trickle, garbage, 1xx, early answer: a head is written in one piece into the socket's
  buffer, so that the server's answer, however early, is met while waiting (or while writing the body).
- An endless body while waiting, or half-way in a head: it is an endless head there.
- Early answers while waiting: that is an answer.
- Stalls and trickling while idle: silence is what idle connections do, and one byte is a stray byte.
"""


def render() -> str:
    """The page."""
    parts = [INTRO]
    phase = ""
    for cell in cells():
        if cell.phase != phase:
            phase = cell.phase
            parts.append(
                f"\n## {phase[0].upper()}{phase[1:]}\n\n| Fault | The server | Request | Outcome | Sent | Connection |\n| --- | --- | --- | --- | --- | --- |\n"
            )
        fate = "kept" if cell.kept else f"`{cell.reason}`" if cell.reason else "-"
        outcome = cell.outcome if cell.outcome.isdigit() else f"`{cell.outcome}`"
        parts.append(f"| {cell.fault} | {cell.what} | {cell.call} | {outcome} | {cell.sent} | {fate} |\n")
    return "".join(parts) + "\n" + LEFT_OUT


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render())
