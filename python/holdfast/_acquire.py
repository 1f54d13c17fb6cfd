"""Getting a connection: from the idle stack, from a dial, from somebody who returns one; whichever comes first.

Every wait here has an end, and every way out gives back what was granted meanwhile: a permit or a connection.
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import sys
import threading
import time
from typing import Any, Protocol

from holdfast._deadline import Exchange
from holdfast._dial import DialBudget
from holdfast._errors import AcquireTimeout, Carrier, QueueFull
from holdfast._host_pool import HostPool
from holdfast._lease import Lease
from holdfast._reaper import reaper
from holdfast._slot import QueueLimit, Slot, Waiter
from holdfast._statistics import CloseReason
from holdfast._transport import Transport

__all__ = ["Dialer", "acquire", "redial"]


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


def acquire(
    transport: Transport,
    place: tuple[str, str, int],
    exchange: Exchange,
    dialer: Dialer,
    owner: object,
    *,
    bound: bool = False,
    foreign: bool = False,
) -> Lease:
    """A connected connection to ``place`` that was alive a moment ago; a new one of somebody else's class if ``foreign``.

    ``bound``: the request authenticates the connection, so that from now on it is ``owner``'s alone. Raises
    ``AcquireTimeout``, ``QueueFull``, ``Cancelled`` and ``DeadlineExceeded`` (carried), or the dial's error.
    """
    while True:
        with transport._lock:
            host = transport._hosts.get(place) or transport.host(place)
            slot = None if foreign else host.take(time.monotonic(), owner, bound=bound)
            permit = slot is None and host.try_permit()
        if transport._ledger.doomed or transport._orphans:
            transport._after()
        if slot is None:
            slot = _obtain(transport, place, host, exchange, dialer, owner, permit)
        if slot.served == 1:
            break
        try:
            reason = CloseReason.EVICTED if foreign else slot.conn.dead()
        except BaseException:  # Ctrl-C, just here
            with transport._tidy, transport._lock:
                host.discard(slot, CloseReason.ERROR)
            raise
        if reason is None:
            break
        with transport._tidy, transport._lock:
            host.discard(slot, reason)
    if bound:
        slot.owner = owner
    return Lease(transport, host, slot, exchange.url)


def _obtain(
    transport: Transport,
    place: tuple[str, str, int],
    host: HostPool[Any],
    exchange: Exchange,
    dialer: Dialer,
    owner: object,
    permit: bool,
) -> Slot[Any]:
    """Dials, waits, or both; whichever gives a connection first."""
    began = time.monotonic()
    if permit and _inline(host, dialer, exchange):
        return _dial_inline(transport, host, exchange, dialer, began)
    gate = _Gate()
    waiter: Waiter[Any] = Waiter(gate.open, owner)
    try:
        with transport._tidy, transport._lock:
            if not permit:
                host = transport.host(place)  # one without connections may have been forgotten meanwhile
            host.join(waiter, began, permit=permit)
            waiter.permit = permit  # until a dial claims it: whatever happens before, `leave` gives it back
    except QueueLimit:
        _queue_full(transport, host, exchange)
    try:
        exchange.attach(gate.open)
        slot = _wait(transport, host, exchange, dialer, gate, waiter, began)
    except BaseException:
        with transport._tidy, transport._lock:
            host.leave(waiter, time.monotonic())
        raise
    finally:
        exchange.attach(None)
    return slot


def _wait(
    transport: Transport,
    host: HostPool[Any],
    exchange: Exchange,
    dialer: Dialer,
    gate: _Gate,
    waiter: Waiter[Any],
    began: float,
) -> Slot[Any]:
    """Until the waiter has a connection, its dial has failed, or a limit is reached."""
    attempt: _Attempt | None = None
    while True:
        if attempt is None and waiter.permit:
            exchange.queued = time.monotonic() - began  # from here on it is dialling
            attempt = _start(transport, host, exchange, dialer, gate, waiter, began)
        woken = gate.wait(_patience(host, exchange, began, attempt))
        if waiter.slot is not None:
            if attempt is None:
                exchange.queued = time.monotonic() - began
            # Handed over, and with that out of every queue: nobody else touches this waiter any more.
            return waiter.slot
        if attempt is not None and attempt.error is not None:
            raise attempt.error
        if exchange.cancelled or not woken:
            _give_up(transport, host, exchange, began, attempt)


def _patience(host: HostPool[Any], exchange: Exchange, began: float, attempt: _Attempt | None) -> float | None:
    """How long the present wait may be: the dial's phase, or the queue's limit, and the total."""
    if attempt is not None:
        return exchange.left(attempt.budget.at)
    limits = [at for at in (host.limits.acquire_timeout, exchange.dial_bound) if at is not None]
    return exchange.left(began + min(limits) if limits else None)


def _give_up(
    transport: Transport, host: HostPool[Any], exchange: Exchange, began: float, attempt: _Attempt | None
) -> None:
    """The wait is over without a connection; raises unless the dial has moved on to its next phase meanwhile."""
    exchange.check()
    now = time.monotonic()
    if attempt is not None:
        if attempt.budget.at is not None and now >= attempt.budget.at:
            raise attempt.timed_out()
        return
    left = _patience(host, exchange, began, None)
    if left:
        return
    limit = host.limits.acquire_timeout
    name = "acquire_timeout"
    if exchange.dial_bound is not None and (limit is None or exchange.dial_bound < limit):
        limit, name = exchange.dial_bound, "connect"
    text = f"no connection to {host.origin} within {limit:g} s ({name}; waited {now - began:.3f} s): {_counts(transport, host)}"
    exchange.fail(AcquireTimeout(text))


def _queue_full(transport: Transport, host: HostPool[Any], exchange: Exchange) -> None:
    limit = host.limits.max_waiting
    text = f"no connection to {host.origin}: {limit} callers are waiting already (max_waiting; waited 0.000 s): "
    exchange.fail(QueueFull(text + _counts(transport, host)))


def _counts(transport: Transport, host: HostPool[Any]) -> str:
    with transport._tidy, transport._lock:
        counts = host.snapshot(time.monotonic())
        held = transport._ledger.permits
    limits, ledger = host.limits, transport._ledger
    return (
        f"{counts.idle} idle, {counts.in_use} in use, {counts.dialing} dialing, {counts.waiting} waiting; "
        f"{held} connections in all; limits {limits.max_connections_per_host} per host, {ledger.max_connections} in all"
    )


def _inline(host: HostPool[Any], dialer: Dialer, exchange: Exchange) -> bool:
    """Whether a thread buys nothing: there is no DNS, and nobody can return a connection or cancel meanwhile."""
    if sys.is_finalizing() or dialer.foreign:
        return True
    return dialer.numeric and not exchange.scopes and not host.in_use and host.dialing == 1


def _dial_inline(
    transport: Transport, host: HostPool[Any], exchange: Exchange, dialer: Dialer, began: float
) -> Slot[Any]:
    budget = DialBudget(exchange.timeouts, exchange.dial_bound, exchange.total_at, began)
    conn = _dial_here(transport, host, exchange, dialer, budget)
    now = time.monotonic()
    with transport._tidy, transport._lock:
        slot = host.dialed(conn, now, None, tls=_is_tls(conn), seconds=now - budget.began)
    assert slot is not None  # without a waiter it is ours
    return slot


def _dial_here(
    transport: Transport, host: HostPool[Any], exchange: Exchange, dialer: Dialer, budget: DialBudget
) -> Any:
    """Dials in this thread; a failure frees the permit."""
    try:
        return _dial_twice(transport, host, dialer, budget)
    except BaseException as error:
        with transport._tidy, transport._lock:
            host.undialed()
        if not isinstance(error, Carrier):
            exchange.check()
        raise


def _dial_twice(transport: Transport, host: HostPool[Any], dialer: Dialer, budget: DialBudget) -> Any:
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
            error.args = (f"{error.args[0]} ({_counts(transport, host)})", *error.args[1:])
        raise


def _start(
    transport: Transport,
    host: HostPool[Any],
    exchange: Exchange,
    dialer: Dialer,
    gate: _Gate,
    waiter: Waiter[Any],
    began: float,
) -> _Attempt:
    """Dials for ``waiter``; the result goes to it or to the pool."""
    attempt = _Attempt(transport, host, dialer, gate, waiter, exchange, began)
    attempt.start()
    return attempt


def redial(transport: Transport, lease: Lease, exchange: Exchange, dialer: Dialer, reason: CloseReason) -> Any:
    """A stale retry: the lease's connection is replaced by a newly dialled one, on the same permit.

    Never by a pooled or a returned one: those may be as stale as the first.
    """
    slot, host = lease.slot, lease.host
    slot.conn.close()
    with transport._tidy, transport._lock:
        host.redial(reason)
    exchange.stale_retries += 1
    began = time.monotonic()
    try:
        if (dialer.numeric and not exchange.scopes) or sys.is_finalizing():
            budget = DialBudget(exchange.timeouts, exchange.dial_bound, exchange.total_at, began)
            conn = _dial_here(transport, host, exchange, dialer, budget)
        else:
            conn = _dial_alone(transport, host, exchange, dialer, began)
    except BaseException:
        lease.transport = None  # the permit is gone, and with it the lease
        raise
    now = time.monotonic()
    with transport._tidy, transport._lock:
        host.redialed(slot, conn, now, tls=_is_tls(conn), seconds=now - began)
    return conn


def _dial_alone(transport: Transport, host: HostPool[Any], exchange: Exchange, dialer: Dialer, began: float) -> Any:
    """Dials on a thread and waits for that dial only."""
    gate = _Gate()
    attempt = _Attempt(transport, host, dialer, gate, None, exchange, began)
    try:
        exchange.attach(gate.open)
        attempt.start()
        while True:
            woken = gate.wait(_patience(host, exchange, began, attempt))
            if attempt.conn is not None:
                return attempt.conn
            if attempt.error is not None:
                raise attempt.error
            if exchange.cancelled or not woken:
                _give_up(transport, host, exchange, began, attempt)
    except BaseException:
        attempt.abandon()
        raise
    finally:
        exchange.attach(None)


class _Gate:
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


class _Attempt:
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
        gate: _Gate,
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
        self.budget = DialBudget(exchange.timeouts, exchange.dial_bound, exchange.total_at, began)
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
            conn = _dial_twice(transport, self._host, self._dialer, self.budget)
        except BaseException as error:
            with transport._tidy, transport._lock:
                self._host.undialed()
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
                    self._host.waited(waiter, now)
        return self._claimed

    def _give(self, conn: Any) -> None:
        """To the waiter if it still waits, else to the pool. The lock is held."""
        now = time.monotonic()
        waiter: Waiter[Any] = self._waiter or Waiter(lambda: None)
        self._host.dialed(conn, now, waiter, tls=_is_tls(conn), seconds=now - self.budget.began)

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


def _is_tls(conn: Any) -> bool:
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
