"""Opening a socket under one deadline: DNS and TCP, the addresses of one name together.

urllib3's ``create_connection`` gives every address the whole timeout and cannot say how long DNS took; where
somebody has replaced it, theirs is used.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from urllib3.exceptions import LocationParseError
from urllib3.util import connection as urllib3_connection

from holdfast._config import Timeouts
from holdfast._eyeballs import UNDER_WAY, interleaved, race

if TYPE_CHECKING:
    from holdfast._trace import Tracer

__all__ = ["DialBudget", "Resolver", "is_numeric", "open_socket"]

Resolver = Callable[[str, int], Sequence[tuple[Any, ...]]]
"""Takes host and port, gives ``socket.getaddrinfo``'s tuples."""

_create_connection = urllib3_connection.create_connection

CONNECT, PROXY, TLS = "connect", "proxy_connect", "tls_handshake"


class DialBudget:
    """How long each phase of one dial may take. Made from the timeouts of the call that starts the dial.

    Written by the dialling thread, read by the one that waits for it; each attribute is set in one step.
    """

    __slots__ = (
        "_whole",
        "_whole_at",
        "at",
        "began",
        "dns",
        "error",
        "phase",
        "spent",
        "timeouts",
        "total_at",
        "tracer",
    )

    def __init__(
        self,
        timeouts: Timeouts,
        whole: float | None,
        total_at: float | None,
        since: float,
        tracer: Tracer | None = None,
    ) -> None:
        self.timeouts = timeouts
        self.tracer = tracer
        self.began = time.monotonic()
        self._whole = whole
        """A ``connect`` given for the call bounds all phases together, as in requests, and the queue before them:
        ``timeout=1`` never waits longer than a second to get going."""
        self._whole_at = None if whole is None else since + whole
        self.total_at = total_at
        self.phase = CONNECT
        self.at: float | None = None
        """When the present phase must have ended."""
        self.dns = 0.0
        self.spent: dict[str, float] = {}
        self.enter(CONNECT)

    def enter(self, phase: str) -> None:
        """The next phase begins."""
        now = time.monotonic()
        limit: float | None = None if self._whole_at is not None else getattr(self.timeouts, phase)
        ends = [at for at in (None if limit is None else now + limit, self._whole_at, self.total_at) if at is not None]
        self.phase = phase
        self.at = min(ends, default=None)

    def leave(self, phase: str, since: float) -> None:
        """Notes how long a phase took."""
        self.spent[phase] = self.spent.get(phase, 0.0) + time.monotonic() - since

    def left(self) -> float | None:
        """Seconds until the present phase must end; ``TimeoutError`` if that is now."""
        if self.at is None:
            return None
        left = self.at - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        return left

    @property
    def limit(self) -> str:
        """The limit of the present phase, for a message."""
        if self._whole is not None:
            return f"connect={self._whole:g}"
        return f"{self.phase}={getattr(self.timeouts, self.phase):g}"


def is_numeric(host: str) -> bool:
    """Whether ``host`` is an address, so that resolving it cannot block."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host.strip("[]").partition("%")[0])
            return True
        except OSError:
            pass
    return False


def open_socket(
    host: str,
    port: int,
    budget: DialBudget,
    source_address: tuple[str, int] | None,
    socket_options: Any,
    resolver: Resolver | None,
) -> socket.socket:
    """A connected socket; ``OSError`` of the last address that failed, ``TimeoutError`` at the end of the phase."""
    if urllib3_connection.create_connection is not _create_connection:
        return urllib3_connection.create_connection(
            (host, port), budget.left(), source_address=source_address, socket_options=socket_options
        )
    host = host.strip("[]") if host.startswith("[") else host
    try:
        host.encode("idna")
    except UnicodeError:
        raise LocationParseError(f"{host!r}, label empty or too long") from None
    addresses = _addresses(host, port, budget, resolver)
    if len(addresses) == 1:
        return _connect(addresses[0], budget, source_address, socket_options)
    sock = race(
        interleaved(addresses),
        lambda address: _start(address, source_address, socket_options),
        budget.left,
        told=lambda address, began, error: _tell_connect(budget, address, began, error),
    )
    sock.settimeout(budget.left())
    return sock


def _addresses(host: str, port: int, budget: DialBudget, resolver: Resolver | None) -> Sequence[tuple[Any, ...]]:
    started = time.monotonic()
    tracer = None if budget.tracer is None or is_numeric(host) else budget.tracer
    try:
        if resolver is not None:
            addresses = resolver(host, port)
        else:
            # Looked up at each call: tests and proxies replace it.
            addresses = socket.getaddrinfo(host, port, urllib3_connection.allowed_gai_family(), socket.SOCK_STREAM)
    except Exception as error:
        if tracer is not None:
            tracer.tell("dns", seconds=time.monotonic() - started, error=error)
        raise
    budget.dns = time.monotonic() - started
    if tracer is not None:
        tracer.tell("dns", seconds=budget.dns, address=tuple(address[4] for address in addresses))
    return addresses


def _tell_connect(budget: DialBudget, address: tuple[Any, ...], began: float, error: BaseException | None) -> None:
    if budget.tracer is not None:
        budget.tracer.tell("connect", address=address[4], seconds=time.monotonic() - began, error=error)


def _prepared(address: tuple[Any, ...], source_address: tuple[str, int] | None, socket_options: Any) -> socket.socket:
    family, kind, protocol, *_ = address
    sock = socket.socket(family, kind, protocol)
    try:
        for option in socket_options or ():
            sock.setsockopt(*option)
        if source_address:
            sock.bind(source_address)
    except BaseException:
        sock.close()
        raise
    return sock


def _connect(
    address: tuple[Any, ...], budget: DialBudget, source_address: tuple[str, int] | None, socket_options: Any
) -> socket.socket:
    left = budget.left()
    began = time.monotonic()
    sock = _prepared(address, source_address, socket_options)
    try:
        sock.settimeout(left)
        sock.connect(address[4])
    except BaseException as error:
        sock.close()
        _tell_connect(budget, address, began, error)
        raise
    _tell_connect(budget, address, began, None)
    return sock


def _start(address: tuple[Any, ...], source_address: tuple[str, int] | None, socket_options: Any) -> socket.socket:
    """A socket whose connect is under way."""
    sock = _prepared(address, source_address, socket_options)
    try:
        sock.setblocking(False)
        number = sock.connect_ex(address[4])
        if number not in UNDER_WAY:
            raise OSError(number, os.strerror(number))
    except BaseException:
        sock.close()
        raise
    return sock
