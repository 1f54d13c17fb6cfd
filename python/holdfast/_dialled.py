"""A connection from its dial to its end: urllib3's ``connect`` with a deadline for each phase, and the idle check."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import select
import socket
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import urllib3.connection
from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
)

from holdfast import _core
from holdfast._dial import CONNECT, PROXY, TLS, DialBudget, Resolver, open_socket
from holdfast._errors import ProxyConnectTimeout, TLSHandshakeTimeout, carry
from holdfast._statistics import CloseReason

__all__ = ["DeadlineSocket", "DialledConnection", "Facts", "readable"]

_numbers = itertools.count(1)
_inherited = 0
"""Connections up to this number were dialled by the process that forked this one."""
_PLAIN_RECV_INTO = socket.socket.recv_into
# gevent's patched class lives elsewhere; on Windows the core reads no sockets.
_IS_PLAIN = socket.socket.__module__ == "socket" and hasattr(_core, "read_exact")


def _selected(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


readable: Callable[[int], bool] = getattr(_core, "readable", _selected)
"""Whether the descriptor has bytes, an end of file or an error to report right now."""


def _forked() -> None:
    global _inherited  # noqa: PLW0603  # one value per process
    _inherited = next(_numbers)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class Facts(NamedTuple):
    """What stays true of a connection once it is established."""

    number: int
    local_address: Any
    remote_address: Any
    tls_version: str | None
    tls_cipher: str | None
    dns: float
    connect: float
    tls: float


class _DeadlineIO(socket.SocketIO):
    """A socket's file that gives each receive what the exchange has left, for a patched http.client and for CONNECT."""

    def __init__(self, sock: socket.socket, left: Callable[[], float | None]) -> None:
        super().__init__(sock, "r")
        sock._io_refs += 1  # type: ignore[attr-defined]  # as socket.makefile does: closing the socket waits for us
        self._left = left

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._left())  # type: ignore[attr-defined]  # SocketIO's own
        return super().readinto(buffer)


class DeadlineSocket:
    """A socket whose ``makefile`` reads under a deadline."""

    def __init__(self, sock: Any, left: Callable[[], float | None]) -> None:
        self._socket = sock
        self._left = left

    def makefile(self, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(self._socket, socket.socket):
            return self._socket.makefile(*args, **kwargs)  # TLS in TLS has no SocketIO
        return io.BufferedReader(_DeadlineIO(self._socket, self._left))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class DialledConnection(urllib3.connection.HTTPConnection):
    """The socket's life: dialled, idle, interrupted."""

    # Slots keep what is ours out of the dict that http.client's attributes fill: half of an idle connection's memory.
    __slots__ = ("_phase_began", "_timeout", "budget", "direct", "facts", "fd", "resolver", "through", "tunnel")

    facts: Facts

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.resolver: Resolver | None = None
        self.tunnel: tuple[str, int | None, Any, str] | None = None
        """Host, port, headers and scheme of a CONNECT, kept because ``close`` forgets them."""
        self.budget: DialBudget | None = None
        self.fd = -1
        self.direct = False
        """Whether the core may read the descriptor itself: a plain, unpatched socket."""
        self.through = False
        """Whether a proxy has opened its tunnel: from there on a failure is the origin's."""
        self._timeout: float | None = None

    def __str__(self) -> str:
        # urllib3's name: it stands in messages that people search for.
        secure = isinstance(self, urllib3.connection.HTTPSConnection)
        return f"{'HTTPSConnection' if secure else 'HTTPConnection'}(host={self.host!r}, port={self.port!r})"

    # -- dialling ---------------------------------------------------------------------------------------------------

    def dial(self, budget: DialBudget) -> None:
        """Connects: DNS, TCP, CONNECT, TLS, each within its part of ``budget``. Errors are urllib3's."""
        self.budget = budget
        try:
            if self.tunnel is not None:
                host, port, headers, scheme = self.tunnel
                self.set_tunnel(host, port=port, headers=headers, scheme=scheme)
            self.connect()
            if budget.phase == TLS:
                budget.leave(TLS, self._phase_began)
                self._tell_tls(budget, None)
            self._established(budget)
        except TimeoutError as error:
            if budget.phase == TLS:
                self._tell_tls(budget, error)
                self._tls_timed_out(budget, error)
            raise
        except BaseException as error:
            self.close()
            if budget.phase == TLS:
                self._tell_tls(budget, error)
            raise
        finally:
            self.budget = None

    def _tell_tls(self, budget: DialBudget, error: BaseException | None) -> None:
        if budget.tracer is not None:
            budget.tracer.tell("tls", seconds=time.monotonic() - self._phase_began, error=error)

    def _established(self, budget: DialBudget) -> None:
        sock: Any = self.sock
        self.fd = sock.fileno()
        self.direct = _IS_PLAIN and type(sock) is socket.socket and type(sock).recv_into is _PLAIN_RECV_INTO
        self._timeout = sock.gettimeout()
        cipher = sock.cipher() if hasattr(sock, "cipher") else None
        self.facts = Facts(
            number=next(_numbers),
            local_address=_address(sock, "getsockname"),
            remote_address=_address(sock, "getpeername"),
            tls_version=sock.version() if hasattr(sock, "version") else None,
            tls_cipher=cipher[0] if cipher else None,
            dns=budget.dns,
            connect=budget.spent.get(CONNECT, 0.0) - budget.dns + budget.spent.get(PROXY, 0.0),
            tls=budget.spent.get(TLS, 0.0),
        )

    def _tls_timed_out(self, budget: DialBudget, error: TimeoutError) -> None:
        self.close()
        took = time.monotonic() - budget.began
        text = f"TLS handshake with {self.host}:{self.port} timed out after {took:.3f} s ({budget.limit} s)"
        raise carry(TLSHandshakeTimeout(text)) from error

    def _new_conn(self) -> socket.socket:
        """DNS and TCP, under one deadline; then the next phase's timeout is set on the socket."""
        budget = self.budget
        if budget is None:
            return super()._new_conn()
        self._phase_began = time.monotonic()
        try:
            sock = self._open(budget)
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            text = f"Connection to {self.host} timed out. (connect timeout={budget.limit.partition('=')[2]})"
            raise ConnectTimeoutError(self, text) from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
        sys.audit("http.client.connect", self, self.host, self.port)
        budget.leave(CONNECT, self._phase_began)
        secure = isinstance(self, urllib3.connection.HTTPSConnection)
        if secure or self.tunnel is not None:
            plain_proxy = self.tunnel is not None and self.tunnel[3] == "http"
            budget.enter(PROXY if plain_proxy else TLS)
            self._phase_began = time.monotonic()
            sock.settimeout(budget.left())
        return sock

    def _open(self, budget: DialBudget) -> socket.socket:
        return open_socket(
            self._dns_host,
            self.port,
            budget,
            self.source_address,
            self.socket_options,
            self.resolver,
        )

    def _tunnel(self) -> None:
        """CONNECT under ``proxy_connect``, however slowly the proxy's answer trickles; then TLS's turn."""
        budget = self.budget
        if budget is None:
            super()._tunnel()
            return
        if budget.phase == TLS:
            budget.leave(TLS, self._phase_began)
        budget.enter(PROXY)
        began = time.monotonic()
        sock = self.sock
        self.sock = DeadlineSocket(sock, budget.left)
        try:
            sock.settimeout(budget.left())
            super()._tunnel()
        except TimeoutError as error:
            took = time.monotonic() - began
            text = f"proxy {self.host}:{self.port} did not answer CONNECT within {took:.3f} s ({budget.limit} s)"
            raise carry(ProxyConnectTimeout(text)) from error
        finally:
            if self.sock is not None:
                self.sock = sock
        self.through = True
        budget.leave(PROXY, began)
        budget.enter(TLS)
        self._phase_began = time.monotonic()
        sock.settimeout(budget.left())

    def become(self, other: DialledConnection) -> None:
        """Takes the socket of ``other``, which was dialled for the same place: urllib3 goes on with the object it has."""
        for name in ("sock", "fd", "direct", "facts", "_timeout", "is_verified", "proxy_is_verified"):
            setattr(self, name, getattr(other, name))
        for name in ("_has_connected_to_proxy", "_tunnel_host", "_tunnel_port", "_tunnel_scheme"):
            setattr(self, name, getattr(other, name))
        other.sock = None
        self._idle_state()

    def _idle_state(self) -> None:
        """http.client's state machine, where its own ``getresponse`` would have moved it."""
        self._HTTPConnection__state = "Idle"
        self._HTTPConnection__response = None

    # -- while idle -------------------------------------------------------------------------------------------------

    def dead(self) -> CloseReason | None:
        """Why the idle connection must not be used again; None if it may. Never waits."""
        sock: Any = self.sock
        if sock is None:
            return CloseReason.ERROR
        pending = getattr(sock, "pending", None)
        if not readable(self.fd) and not (pending is not None and pending()):
            return None
        try:
            if self._wait_at_most(0.0).recv(1):
                return CloseReason.UNSOLICITED_DATA
        except (BlockingIOError, ssl.SSLWantReadError):
            return None  # TLS: a session ticket or another record without data
        except (OSError, ValueError):
            pass
        return CloseReason.CLOSED_BY_SERVER

    def _wait_at_most(self, seconds: float | None) -> Any:
        sock: Any = self.sock
        if seconds != self._timeout:
            sock.settimeout(seconds)
            self._timeout = seconds
        return sock

    @property
    def inherited(self) -> bool:
        """Whether it is the parent's, who goes on using it: a forked child closes its copy and does nothing else."""
        return self.facts.number <= _inherited

    def interrupt(self) -> None:
        """Wakes whoever reads or writes: called by others than the holder, so it closes nothing."""
        sock = self.sock
        if isinstance(sock, socket.socket) and not self.inherited:
            # Not SSLSocket.shutdown, which would drop the TLS object under the reader's hands.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(sock, socket.SHUT_RDWR)


def _address(sock: Any, which: str) -> Any:
    try:
        address = getattr(sock, which)()
    except (OSError, AttributeError):
        return None
    return tuple(address[:2]) if isinstance(address, tuple) else address
