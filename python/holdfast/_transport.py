"""One set of settings: its hosts, their connections, one lock over all counts, and every wait for a connection.

The lock guards the ledger and every ``HostPool``; dialling, closing and draining happen outside it. Finalizers never
wait for it: they put what they found into a deque, try the lock without blocking, and if somebody holds it, he empties
the deque after he has let go.
"""

from __future__ import annotations

import contextlib
import contextvars
import random
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from holdfast._config import HostLimits, Limits
from holdfast._deadline import Exchange
from holdfast._dial import DialBudget
from holdfast._errors import AcquireTimeout, Carrier, QueueFull
from holdfast._host_pool import HostPool, Ledger, QueueLimit, Slot, Waiter
from holdfast._reaper import reaper
from holdfast._statistics import CloseReason, Counters, TransportStatistics, total

__all__ = ["Dialer", "Lease", "Transport"]

QUIET_HOSTS = 256
"""Hosts without any connection that are remembered; beyond it they are folded into the transport's counts."""


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


class Lease:
    """The right to one connection, held by whoever runs an exchange. Exactly one way out is taken: the first."""

    __slots__ = ("host", "limits", "slot", "transport", "url")

    def __init__(self, transport: Transport, host: HostPool[Any], slot: Slot[Any], url: Any) -> None:
        self.transport: Transport | None = transport
        self.host = host
        self.slot = slot
        self.limits: HostLimits = host.limits
        self.url = url

    @property
    def conn(self) -> Any:
        """The connection."""
        return self.slot.conn

    def release(self) -> None:
        """The connection stands at the end of a message and may serve another."""
        transport = self.transport
        if transport is not None:
            transport.end(self, None)

    def discard(self, reason: CloseReason) -> None:
        """It does not, or must not; it is closed."""
        transport = self.transport
        if transport is not None:
            transport.end(self, reason)

    def drained(self, n: int) -> None:
        """Counts bytes that were read and dropped."""
        transport = self.transport
        if transport is not None:
            with transport._locked:
                self.host.counters.drained_bytes += n

    def __del__(self) -> None:
        transport = self.transport
        if transport is not None:
            transport.orphan(self.host, self.slot, self.url)


class _Section:
    """``with`` holds a transport's lock; on the way out it closes what the pools gave up."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __enter__(self) -> None:
        transport = self._transport
        transport._lock.acquire()
        if transport._orphans:
            transport._adopt()

    def __exit__(self, *exc: object) -> None:
        transport = self._transport
        doomed = transport._take_doomed()
        transport._lock.release()
        if doomed is not None or transport._orphans:
            transport._after(doomed)


class Transport:
    """The connections that adapters with equal settings share."""

    def __init__(self, digest: str, limits: Limits) -> None:
        self.digest = digest
        self.name = digest[:12]
        self.limits = limits
        self.users: weakref.WeakSet[Any] = weakref.WeakSet()
        """Tokens of the adapters that use it. Weak, so that an adapter that is never closed counts while it lives."""
        self.private = False
        """Whether it belongs to one adapter alone and closes with it."""
        self.tls: Any = None
        """The frozen TLS context, built by the first dial. Guarded by tls_lock."""
        self.tls_lock = threading.Lock()
        self.last_used = time.monotonic()
        self.on_quiet: Callable[[Transport], None] | None = None
        """Told, outside the lock, when the last connection is gone."""
        self._lock = threading.Lock()
        self._locked = _Section(self)
        self._ledger: Ledger[Any] = Ledger(limits.max_connections, limits.max_idle)  # guarded by _lock
        self._hosts: dict[tuple[str, str, int], HostPool[Any]] = {}  # guarded by _lock
        self._forgotten = Counters()  # guarded by _lock
        self._orphans: deque[tuple[HostPool[Any], Slot[Any]]] = (
            deque()
        )  # appended to by finalizers, emptied under _lock
        _all.add(self)

    # -- the lock ---------------------------------------------------------------------------------------------------

    def _take_doomed(self) -> list[Any] | None:
        ledger = self._ledger
        if not ledger.doomed:
            return None
        doomed, ledger.doomed = ledger.doomed, []
        return doomed

    def _after(self, doomed: list[Any] | None) -> None:
        """What is done once the lock is free."""
        if doomed is not None:
            for conn in doomed:
                conn.close()
            if self.on_quiet is not None and not self._ledger.permits:
                self.on_quiet(self)
        if self._orphans:
            # A finalizer found the lock taken, by us: it left the work to whoever let go.
            self.sweep()

    def _adopt(self) -> None:
        """Ends the leases that finalizers found. The lock is held."""
        while self._orphans:
            host, slot = self._orphans.popleft()
            host.counters.leaked += 1
            host.discard(slot, CloseReason.UNDRAINED_BODY)

    def sweep(self) -> None:
        """Ends orphaned leases now, unless somebody else holds the lock and so will."""
        if self._lock.acquire(blocking=False):
            try:
                self._adopt()
                doomed = self._take_doomed()
            finally:
                self._lock.release()
            self._after(doomed)

    def orphan(self, host: HostPool[Any], slot: Slot[Any], url: Any) -> None:
        """A lease was collected. Called by the garbage collector, at any point of any thread."""
        self._orphans.append((host, slot))
        if sys.is_finalizing():
            return
        self.sweep()
        import warnings  # noqa: PLC0415  # a finalizer may run while modules are torn down

        with contextlib.suppress(Exception):
            shown = _without_secrets(str(url))
            warnings.warn(f"response dropped without being read or closed: {shown}", ResourceWarning, stacklevel=3)

    # -- acquiring --------------------------------------------------------------------------------------------------

    def host(self, place: tuple[str, str, int]) -> HostPool[Any]:
        """The pool of one origin. The lock is held."""
        pool = self._hosts.get(place)
        if pool is None:
            if len(self._hosts) >= QUIET_HOSTS:
                self._forget_quiet_hosts()
            scheme, name, port = place
            shown = f"[{name}]" if ":" in name else name
            limits = self.limits.for_host(scheme, name, port)
            pool = HostPool(f"{scheme}://{shown}:{port}", limits, self._ledger, random.random)
            self._hosts[place] = pool
        return pool

    def _forget_quiet_hosts(self) -> None:
        for place, pool in list(self._hosts.items()):
            if pool.quiet:
                self._forgotten.add(pool.counters)
                del self._hosts[place]

    def acquire(
        self,
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
            with self._locked:
                host = self._hosts.get(place) or self.host(place)
                slot = None if foreign else host.take(time.monotonic(), owner, bound=bound)
                permit = slot is None and host.try_permit()
            if slot is None:
                slot = self._obtain(host, exchange, dialer, owner, permit)
            if slot.served == 1:
                break
            reason = CloseReason.EVICTED if foreign else slot.conn.dead()
            if reason is None:
                break
            with self._locked:
                host.discard(slot, reason)
        if bound:
            slot.owner = owner
        return Lease(self, host, slot, exchange.url)

    def _obtain(
        self, host: HostPool[Any], exchange: Exchange, dialer: Dialer, owner: object, permit: bool
    ) -> Slot[Any]:
        """Dials, waits, or both; whichever gives a connection first."""
        began = time.monotonic()
        if permit and self._inline(host, dialer):
            return self._dial_inline(host, exchange, dialer)
        gate = _Gate()
        waiter: Waiter[Any] = Waiter(gate.open, owner)
        try:
            with self._locked:
                host.join(waiter, began, permit=permit)
        except QueueLimit:
            self._queue_full(host, exchange)
        attempt: _Attempt | None = None
        try:
            exchange.attach(gate.open)
            if permit:
                attempt = self._start(host, exchange, dialer, gate, waiter)
            while True:
                woken = gate.wait(self._patience(host, exchange, began, attempt))
                with self._locked:
                    now = time.monotonic()
                    slot, waiter.slot = waiter.slot, None
                    granted, waiter.permit = waiter.permit, False
                    if granted:
                        host.waited(waiter, now)
                if slot is not None:
                    exchange.queued = now - began
                    return slot
                if granted:
                    exchange.queued = now - began
                    attempt = self._start(host, exchange, dialer, gate, waiter)
                elif attempt is not None and attempt.error is not None:
                    raise attempt.error
                elif exchange.cancelled or not woken:
                    self._give_up(host, exchange, began, attempt)
        except BaseException:
            with self._locked:
                host.leave(waiter, time.monotonic())
            raise
        finally:
            exchange.attach(None)

    def _patience(
        self, host: HostPool[Any], exchange: Exchange, began: float, attempt: _Attempt | None
    ) -> float | None:
        """How long the present wait may be: the dial's phase, or the queue's limit, and the total."""
        if attempt is not None:
            return exchange.left(attempt.budget.at)
        limits = [at for at in (host.limits.acquire_timeout, exchange.dial_bound) if at is not None]
        return exchange.left(began + min(limits) if limits else None)

    def _give_up(self, host: HostPool[Any], exchange: Exchange, began: float, attempt: _Attempt | None) -> None:
        """The wait is over without a connection; raises unless the dial has moved on to its next phase meanwhile."""
        exchange.check()
        now = time.monotonic()
        if attempt is not None:
            if attempt.budget.at is not None and now >= attempt.budget.at:
                raise attempt.timed_out()
            return
        left = self._patience(host, exchange, began, None)
        if left:
            return
        limit = host.limits.acquire_timeout
        name = "acquire_timeout"
        if exchange.dial_bound is not None and (limit is None or exchange.dial_bound < limit):
            limit, name = exchange.dial_bound, "connect"
        text = f"no connection to {host.origin} within {limit:g} s ({name}; waited {now - began:.3f} s): {self._counts(host)}"
        exchange.fail(AcquireTimeout(text))

    def _queue_full(self, host: HostPool[Any], exchange: Exchange) -> None:
        limit = host.limits.max_waiting
        text = f"no connection to {host.origin}: {limit} callers are waiting already (max_waiting; waited 0.000 s): "
        exchange.fail(QueueFull(text + self._counts(host)))

    def _counts(self, host: HostPool[Any]) -> str:
        with self._locked:
            counts = host.snapshot(time.monotonic())
            held = self._ledger.permits
        limits, ledger = host.limits, self._ledger
        return (
            f"{counts.idle} idle, {counts.in_use} in use, {counts.dialing} dialing, {counts.waiting} waiting; "
            f"{held} connections in all; limits {limits.max_connections_per_host} per host, {ledger.max_connections} in all"
        )

    # -- dialling ---------------------------------------------------------------------------------------------------

    def _inline(self, host: HostPool[Any], dialer: Dialer) -> bool:
        """Whether a thread buys nothing: an address needs no DNS, and nobody can return a connection meanwhile."""
        if sys.is_finalizing() or dialer.foreign:
            return True
        return dialer.numeric and not host.in_use and host.dialing == 1

    def _dial_inline(self, host: HostPool[Any], exchange: Exchange, dialer: Dialer) -> Slot[Any]:
        budget = DialBudget(exchange.timeouts, exchange.dial_bound, exchange.total_at)
        conn = self._dial_here(host, exchange, dialer, budget)
        now = time.monotonic()
        with self._locked:
            slot = host.dialed(conn, now, None, tls=_is_tls(conn), seconds=now - budget.began)
        assert slot is not None  # without a waiter it is ours
        return slot

    def _dial_here(self, host: HostPool[Any], exchange: Exchange, dialer: Dialer, budget: DialBudget) -> Any:
        """Dials in this thread; a failure frees the permit."""
        try:
            if exchange.scopes:
                exchange.attach(_shutter(budget))
            try:
                conn = self._dial_twice(dialer, budget)
            finally:
                exchange.attach(None)
            if exchange.cancelled:
                conn.close()
                exchange.check()
        except BaseException as error:
            with self._locked:
                host.undialed()
            if not isinstance(error, Carrier):
                exchange.check()
            raise
        return conn

    def _dial_twice(self, dialer: Dialer, budget: DialBudget) -> Any:
        """A dial; where the machine has run out of descriptors or ports, idle connections are given up first."""
        try:
            return dialer.dial(budget)
        except Exception as error:
            if not _exhausted(error) or not self.close_idle(CloseReason.EVICTED):
                raise
            return dialer.dial(budget)

    def _start(
        self,
        host: HostPool[Any],
        exchange: Exchange,
        dialer: Dialer,
        gate: _Gate,
        waiter: Waiter[Any] | None,
    ) -> _Attempt:
        """Dials on a thread, in a copy of the caller's context; its result goes to the waiter or to the pool."""
        attempt = _Attempt(self, host, dialer, gate, waiter, exchange)
        run = contextvars.copy_context().run
        try:
            threading.Thread(target=run, args=(attempt.run,), name="holdfast-dial", daemon=True).start()
        except RuntimeError:
            attempt.run()  # no more threads, or the interpreter is ending
        return attempt

    def redial(self, lease: Lease, exchange: Exchange, dialer: Dialer, reason: CloseReason) -> Any:
        """A stale retry: the lease's connection is replaced by a newly dialled one, on the same permit.

        Never by a pooled or a returned one: those may be as stale as the first.
        """
        slot, host = lease.slot, lease.host
        slot.conn.close()
        with self._locked:
            host.redial(reason)
        exchange.stale_retries += 1
        began = time.monotonic()
        try:
            if dialer.numeric or sys.is_finalizing():
                budget = DialBudget(exchange.timeouts, exchange.dial_bound, exchange.total_at)
                conn = self._dial_here(host, exchange, dialer, budget)
            else:
                conn = self._dial_alone(host, exchange, dialer, began)
        except BaseException:
            lease.transport = None  # the permit is gone, and with it the lease
            raise
        now = time.monotonic()
        with self._locked:
            host.redialed(slot, conn, now, tls=_is_tls(conn), seconds=now - began)
        return conn

    def _dial_alone(self, host: HostPool[Any], exchange: Exchange, dialer: Dialer, began: float) -> Any:
        """Dials on a thread and waits for that dial only."""
        gate = _Gate()
        attempt = self._start(host, exchange, dialer, gate, None)
        try:
            exchange.attach(gate.open)
            while True:
                woken = gate.wait(self._patience(host, exchange, began, attempt))
                if attempt.conn is not None:
                    return attempt.conn
                if attempt.error is not None:
                    raise attempt.error
                if exchange.cancelled or not woken:
                    self._give_up(host, exchange, began, attempt)
        except BaseException:
            attempt.abandon()
            raise
        finally:
            exchange.attach(None)

    # -- ending -----------------------------------------------------------------------------------------------------

    def end(self, lease: Lease, reason: CloseReason | None) -> None:
        """The lease's end: released without a reason, discarded with one. The first call wins."""
        with self._lock:
            if self._orphans:
                self._adopt()
            if lease.transport is None:
                return
            lease.transport = None
            if reason is None:
                lease.host.release(lease.slot, time.monotonic())
                idle = bool(self._ledger.idle)
            else:
                lease.host.discard(lease.slot, reason)
                idle = False
            doomed = self._take_doomed()
        if doomed is not None or self._orphans:
            self._after(doomed)
        if idle:
            reaper.look_after(self)

    def close_idle(self, reason: CloseReason, only: Callable[[Slot[Any]], bool] | None = None) -> int:
        """Closes what is idle now, all or what ``only`` picks; how many."""
        with self._locked:
            return sum(host.close_idle(reason, only) for host in list(self._hosts.values()))

    def shut(self, reason: CloseReason) -> None:
        """Closes what is idle now, and what is in use when it comes back."""
        with self._locked:
            self._ledger.shut = reason
        self.close_idle(reason)

    @property
    def is_shut(self) -> bool:
        """Whether returned connections are closed."""
        return self._ledger.shut is not None

    def end_of_life(self) -> None:
        """Forgotten: a dial that was under way meanwhile ends in a closed connection, not in an invisible idle one."""
        if self._ledger.shut is None:
            self._ledger.shut = CloseReason.SHUTDOWN

    # -- looking ----------------------------------------------------------------------------------------------------

    def reap(self, now: float, settled: float) -> tuple[float | None, list[tuple[int, Slot[Any]]], bool]:
        """Closes what expired: when the next one does, what has been idle since ``settled``, and whether others have not."""
        with self._locked:
            ends = [at for host in list(self._hosts.values()) if (at := host.expire(now)) is not None]
            idle = list(self._ledger.idle)
        watch = [(slot.conn.fd, slot) for slot in idle if slot.idle_since <= settled]
        return min(ends, default=None), watch, len(watch) < len(idle)

    def bury(self, slot: Slot[Any]) -> None:
        """Something happened on an idle connection: it is taken out, looked at, and closed or put back."""
        with self._locked:
            host = self._ledger.idle.get(slot)
            if host is None:
                return  # taken meanwhile: its holder will see for himself
            since = slot.idle_since
            host.check_out(slot)
        reason = slot.conn.dead()
        with self._locked:
            if reason is not None:
                host.discard(slot, reason)
            else:
                host.release(slot, since)

    @property
    def permits(self) -> int:
        """Connections held: dialling, in use and idle."""
        return self._ledger.permits

    def statistics(self) -> TransportStatistics:
        """The counts of one moment."""
        with self._locked:
            now = time.monotonic()
            hosts = tuple(host.snapshot(now) for host in self._hosts.values())
            sums = total(hosts, self._forgotten)
        return TransportStatistics(name=self.name, hosts=hosts, **sums)

    def after_fork(self) -> None:
        """In a forked child: the parent's connections are not ours; a lease that ends here closes our copy of its socket."""
        self._lock = threading.Lock()
        self._orphans.clear()
        self._ledger.shut = CloseReason.SHUTDOWN
        for slot in list(self._ledger.idle):
            slot.conn.close()

    def __repr__(self) -> str:
        return f"<Transport {self.name}: {list(self._hosts.values())}>"


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
    """One dial on a thread. With a waiter its result goes to that or to the pool; without one, to whoever started it."""

    __slots__ = ("_abandoned", "_dialer", "_gate", "_host", "_transport", "_waiter", "budget", "conn", "error")

    def __init__(
        self,
        transport: Transport,
        host: HostPool[Any],
        dialer: Dialer,
        gate: _Gate,
        waiter: Waiter[Any] | None,
        exchange: Exchange,
    ) -> None:
        self._transport = transport
        self._host = host
        self._dialer = dialer
        self._gate = gate
        self._waiter = waiter
        self._abandoned = False  # guarded by the transport's lock
        self.budget = DialBudget(exchange.timeouts, exchange.dial_bound, exchange.total_at)
        self.conn: Any = None
        self.error: BaseException | None = None

    def run(self) -> None:
        """Dials. The permit is held to the end, whether anybody still waits or not."""
        transport = self._transport
        try:
            conn = transport._dial_twice(self._dialer, self.budget)
        except BaseException as error:
            with transport._locked:
                self._host.undialed()
                self.error = error
            self._gate.open()
            return
        with transport._locked:
            if self._waiter is None and not self._abandoned:
                self.conn = conn
            else:
                self._give(conn)
        self._gate.open()
        reaper.look_after(transport)

    def _give(self, conn: Any) -> None:
        """To the waiter if it still waits, else to the pool. The lock is held."""
        now = time.monotonic()
        waiter: Waiter[Any] = self._waiter or Waiter(lambda: None)
        self._host.dialed(conn, now, waiter, tls=_is_tls(conn), seconds=now - self.budget.began)

    def abandon(self) -> None:
        """Whoever started the dial no longer wants it: its connection goes to the pool."""
        with self._transport._locked:
            self._abandoned = True
            conn, self.conn = self.conn, None
            if conn is not None:
                self._give(conn)

    def timed_out(self) -> BaseException:
        """The error of a dial whose present phase took too long, though its thread is not back yet."""
        return self._dialer.timed_out(self.budget)


def _without_secrets(url: str) -> str:
    """``url`` without userinfo and query."""
    scheme, separator, rest = url.partition("?")[0].partition("://")
    authority, slash, path = rest.partition("/")
    return scheme + separator + authority.rpartition("@")[2] + slash + path


def _is_tls(conn: Any) -> bool:
    facts = getattr(conn, "facts", None)  # a foreign connection has none
    return facts is not None and facts.tls_version is not None


def _shutter(budget: DialBudget) -> Callable[[], None]:
    """Ends an inline dial by shutting its socket down."""

    def shut() -> None:
        sock = budget.socket
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(2)

    return shut


def _exhausted(error: BaseException | None) -> bool:
    """Whether the machine, not the peer, refused: EMFILE, ENFILE, EADDRNOTAVAIL."""
    import errno  # noqa: PLC0415  # rare

    for _ in range(5):
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL):
            return True
        if error is None:
            return False
        error = error.__cause__
    return False


_all: weakref.WeakSet[Transport] = weakref.WeakSet()


def every() -> list[Transport]:
    """Every transport that still exists, cached or not."""
    return list(_all)
