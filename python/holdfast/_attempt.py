"""One dial: on a thread of its own, with a permit that it claims, once more where the machine was exhausted."""

from __future__ import annotations

import contextlib
import contextvars
import errno
import threading
import time
from typing import Any, Protocol

from holdfast._deadline import Exchange
from holdfast._dial import DialBudget
from holdfast._host_pool import HostPool
from holdfast._reaper import reaper
from holdfast._slot import Waiter
from holdfast._statistics import CloseReason
from holdfast._transport import Transport

__all__ = ["Attempt", "Dialer", "Gate", "counts", "dial_twice", "is_tls"]


class Dialer(Protocol):
    """How a connection to one origin is made."""

    @property
    def numeric(self) -> bool:
        """Whether the host is an address, so that nothing has to be resolved."""

    @property
    def foreign(self) -> bool:
        """Whether its connections are somebody else's class: unconnected, and never shared."""

    def dial(self, budget: DialBudget) -> Any:
        """A connected connection, or the error that urllib3 would raise."""

    def timed_out(self, budget: DialBudget) -> Exception:
        """That error, for a dial whose phase is over though its thread is still in it."""


class Gate:
    """Wakes one thread. ``open`` may be called at any time, from any thread, and more than once."""

    __slots__ = ("_lock", "_opened")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._opened = threading.Lock()

    def open(self) -> None:
        # Releasing a lock that is free is an error, so only the first of several opens releases it; `wait` re-arms.
        if self._opened.acquire(blocking=False):
            self._lock.release()

    def wait(self, seconds: float | None) -> bool:
        """Whether it was opened within ``seconds``."""
        if not self._lock.acquire(timeout=-1 if seconds is None else min(seconds, threading.TIMEOUT_MAX)):
            return False
        self._opened.release()
        return True


class Attempt:
    """One dial on a thread. With a waiter its result goes to that or to the pool; without one, to whoever started it.

    The permit is not the attempt's before its thread *claims* it: until then it is given back by the waiter that
    leaves, or is handed a connection, or by ``abandon``; and the thread, should it start after all, finds nothing to do.
    """

    __slots__ = (
        *("_abandoned", "_claimed", "_dialer", "_gate", "_host", "_transport", "_waiter"),
        *("budget", "conn", "error"),
    )

    def __init__(
        self,
        transport: Transport,
        host: HostPool[Any],
        dialer: Dialer,
        gate: Gate,
        waiter: Waiter[Any] | None,
        exchange: Exchange,
        began: float,
    ) -> None:
        self._transport = transport
        self._host = host
        self._dialer = dialer
        self._gate = gate
        self._waiter = waiter
        self._claimed = self._abandoned = False  # guarded by the transport's lock
        self.budget = DialBudget(exchange.timeouts, exchange.dial_bound, exchange.total_at, began, exchange.tracer)
        self.conn: Any = None
        self.error: BaseException | None = None

    def start(self) -> None:
        """Runs on a thread of its own, in a copy of the caller's context."""
        run = contextvars.copy_context().run
        try:
            threading.Thread(target=run, args=(self.run,), name="holdfast-dial", daemon=True).start()
        except RuntimeError:
            self.run()  # no more threads, or the interpreter is ending

    def run(self) -> None:
        """Dials. The permit is held to the end, whether anybody still waits or not."""
        transport = self._transport
        if not self._claim():
            return
        try:
            conn = dial_twice(transport, self._host, self._dialer, self.budget)
        except BaseException as error:
            with transport._tidy, transport._lock:
                self._host.undialed(self._waiter, time.monotonic())
                self.error = error
            self._gate.open()
            return
        with transport._tidy, transport._lock:
            if self._waiter is None and not self._abandoned:
                self.conn = conn
            else:
                self._give(conn)
        self._gate.open()
        reaper.look_after(transport)

    def _claim(self) -> bool:
        """Whether there is a permit to dial with; from here on it is the attempt's."""
        waiter, now = self._waiter, time.monotonic()
        with self._transport._tidy, self._transport._lock:
            if waiter is None:
                self._claimed = not self._abandoned
            else:
                self._claimed, waiter.permit = waiter.permit, False
                if self._claimed:
                    waiter.dialing = True
                    self._host.waited(waiter, now)
        return self._claimed

    def _give(self, conn: Any) -> None:
        """To the waiter if it still waits, else to the pool. The lock is held."""
        now = time.monotonic()
        waiter: Waiter[Any] = self._waiter or Waiter(lambda: None)
        self._host.dialed(conn, now, waiter, tls=is_tls(conn), seconds=now - self.budget.began)

    def abandon(self) -> None:
        """Whoever started the dial no longer wants it: its connection goes to the pool, or its permit back."""
        with self._transport._tidy, self._transport._lock:
            self._abandoned = True
            conn, self.conn = self.conn, None
            if conn is not None:
                self._give(conn)
            elif not self._claimed:
                self._host.undialed()

    def timed_out(self) -> BaseException:
        """The error of a dial whose present phase took too long, though its thread is not back yet."""
        return self._dialer.timed_out(self.budget)


def dial_twice(transport: Transport, host: HostPool[Any], dialer: Dialer, budget: DialBudget) -> Any:
    """A dial; where the machine has run out of descriptors or ports, idle connections are given up and it is tried again.

    What is left then surfaces as urllib3's error, with the counts.
    """
    try:
        return dialer.dial(budget)
    except Exception as error:
        if not _exhausted(error):
            raise
        if transport.close_idle(CloseReason.EVICTED):
            with contextlib.suppress(Exception):
                return dialer.dial(budget)
        if error.args and isinstance(error.args[0], str):
            error.args = (f"{error.args[0]} ({counts(transport, host)})", *error.args[1:])
        raise


def counts(transport: Transport, host: HostPool[Any]) -> str:
    """The pool's state, for an error's text."""
    with transport._tidy, transport._lock:
        shot = host.snapshot(time.monotonic())
        held = transport._ledger.permits
    limits, ledger = host.limits, transport._ledger
    return (
        f"{shot.idle} idle, {shot.in_use} in use, {shot.dialing} dialing, {shot.waiting} waiting; "
        f"{held} connections in all; limits {limits.max_connections_per_host} per host, {ledger.max_connections} in all"
    )


def is_tls(conn: Any) -> bool:
    """Whether a connection has shaken hands."""
    facts = getattr(conn, "facts", None)  # a foreign connection has none
    return facts is not None and facts.tls_version is not None


def _exhausted(error: BaseException | None) -> bool:
    """Whether the machine, not the peer, refused: EMFILE, ENFILE, EADDRNOTAVAIL."""
    for _ in range(5):
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL):
            return True
        if error is None:
            return False
        error = error.__cause__
    return False
