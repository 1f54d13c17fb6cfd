"""One set of settings: its hosts, their connections, one lock over all counts, and every wait for a connection.

The lock guards the ledger and every ``HostPool``; dialling, closing and draining happen outside it. Finalizers never
wait for it: they put what they found into a deque, try the lock without blocking, and if somebody holds it, he empties
the deque after he has let go.
"""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from holdfast import _leaks, _trace
from holdfast._config import Limits
from holdfast._host_pool import HostPool, Ledger
from holdfast._lease import Lease, without_secrets
from holdfast._reaper import reaper
from holdfast._slot import Slot
from holdfast._statistics import CloseReason, Counters, TransportStatistics, total

__all__ = ["Transport", "number_of", "origin_of"]

QUIET_HOSTS = 256
"""Hosts without any connection that are remembered; beyond it they are folded into the transport's counts."""


def origin_of(place: tuple[str, str, int]) -> str:
    """The origin as statistics show it."""
    scheme, name, port = place
    return f"{scheme}://[{name}]:{port}" if ":" in name else f"{scheme}://{name}:{port}"


def number_of(conn: Any) -> int | None:
    """A connection's number; a foreign one has none."""
    facts = getattr(conn, "facts", None)
    return None if facts is None else int(facts.number)


class _Tidy:
    """``with transport._tidy, transport._lock:`` closes, once the lock is free, what the pools gave up.

    Two managers, because a lock's own ``__enter__`` cannot be interrupted between taking the lock and the duty to let
    go of it. One written in Python can, by Ctrl-C, and the lock would never be free again.
    """

    __slots__ = ("_transport",)

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        transport = self._transport
        if transport._ledger.doomed or transport._orphans:
            transport._after()


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
        self._tidy = _Tidy(self)
        self._ledger: Ledger[Any] = Ledger(limits.max_connections, limits.max_idle)  # guarded by _lock
        self._hosts: dict[tuple[str, str, int], HostPool[Any]] = {}  # guarded by _lock
        self._forgotten = Counters()  # guarded by _lock
        self._orphans: deque[tuple[HostPool[Any], Slot[Any]]] = (
            deque()
        )  # appended to by finalizers, emptied under _lock
        _all.add(self)

    # -- the lock ---------------------------------------------------------------------------------------------------

    def _after(self) -> None:
        """What is done once the lock is free. Several threads may: each closes what it pops."""
        doomed = self._ledger.doomed
        closed = False
        while doomed:
            try:
                slot, reason, origin = doomed.popleft()
            except IndexError:  # another thread was faster
                break
            closed = True
            with contextlib.suppress(OSError):  # must not cost our caller what it was just given
                slot.conn.close()
            if slot.trace is not None or _trace.process:
                self.tell(slot, "closed", origin, reason=reason, seconds=time.monotonic() - slot.made_at)
        if closed and self.on_quiet is not None and not self._ledger.permits:
            self.on_quiet(self)
        if self._orphans:
            # A finalizer found the lock taken, by us: it left the work to whoever let go.
            self.sweep()

    def tell(self, slot: Slot[Any], moment: str, origin: str, **fields: Any) -> None:
        """Tells of a moment of a connection that is no call's, or no call's any more."""
        number = number_of(slot.conn)
        _trace.announce(slot.trace, moment, transport=self.name, host=origin, connection=number, **fields)

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
            finally:
                self._lock.release()
            self._after()

    def orphan(self, host: HostPool[Any], slot: Slot[Any], url: Any) -> None:
        """A lease was collected. Called by the garbage collector, at any point of any thread."""
        self._orphans.append((host, slot))
        if sys.is_finalizing():
            return
        self.sweep()
        if slot.trace is not None or _trace.process:
            self.tell(slot, "leaked", host.origin)
        import warnings  # noqa: PLC0415  # a finalizer may run while modules are torn down

        with contextlib.suppress(Exception):
            shown = without_secrets(str(url))
            warnings.warn(f"response dropped without being read or closed: {shown}", ResourceWarning, stacklevel=3)

    # -- hosts --------------------------------------------------------------------------------------------------

    def host(self, place: tuple[str, str, int]) -> HostPool[Any]:
        """The pool of one origin. The lock is held."""
        pool = self._hosts.get(place)
        if pool is None:
            if len(self._hosts) >= QUIET_HOSTS:
                self._forget_quiet_hosts()
            limits = self.limits.for_host(*place)
            pool = HostPool(origin_of(place), limits, self._ledger, random.random)
            self._hosts[place] = pool
        return pool

    def _forget_quiet_hosts(self) -> None:
        for place, pool in list(self._hosts.items()):
            if pool.quiet:
                self._forgotten.add(pool.counters)
                del self._hosts[place]

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
                kept = lease.host.release(lease.slot, time.monotonic())
                idle = bool(self._ledger.idle)
            else:
                lease.host.discard(lease.slot, reason)
                idle = kept = False
        if _leaks.held:
            _leaks.forget(lease)
        if self._ledger.doomed or self._orphans:
            self._after()
        if idle:
            reaper.look_after(self)
        if kept and (lease.slot.trace is not None or _trace.process):
            self.tell(lease.slot, "put_idle", lease.host.origin)

    def close_idle(self, reason: CloseReason, only: Callable[[Slot[Any]], bool] | None = None) -> int:
        """Closes what is idle now, all or what ``only`` picks; how many."""
        with self._tidy, self._lock:
            return sum(host.close_idle(reason, only) for host in list(self._hosts.values()))

    def shut(self, reason: CloseReason) -> None:
        """Closes what is idle now, and what is in use when it comes back."""
        with self._tidy, self._lock:
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
        with self._tidy, self._lock:
            ends = [at for host in list(self._hosts.values()) if (at := host.expire(now)) is not None]
            idle = list(self._ledger.idle)
        watch = [(slot.conn.fd, slot) for slot in idle if slot.idle_since <= settled]
        return min(ends, default=None), watch, len(watch) < len(idle)

    def bury(self, slot: Slot[Any]) -> None:
        """Something happened on an idle connection: it is taken out, looked at, and closed or put back."""
        with self._tidy, self._lock:
            host = self._ledger.idle.get(slot)
            if host is None:
                return  # taken meanwhile: its holder will see for himself
            since = slot.idle_since
            host.inspect(slot)
        reason = slot.conn.dead()
        with self._tidy, self._lock:
            host.inspection_ended(slot, reason, since)

    @property
    def permits(self) -> int:
        """Connections held: dialling, in use and idle."""
        return self._ledger.permits

    def statistics(self) -> TransportStatistics:
        """The counts of one moment."""
        with self._tidy, self._lock:
            now = time.monotonic()
            hosts = tuple(host.snapshot(now) for host in self._hosts.values())
            sums = total(hosts, self._forgotten)
        return TransportStatistics(name=self.name, hosts=hosts, **sums)

    def connections(self, now: float) -> dict[str, list[dict[str, Any]]]:
        """What there is, by origin, for a page: number, state, age, how long idle, exchanges, peer, TLS version."""
        with self._tidy, self._lock:
            found = [
                (host.origin, slot, slot in host.idle, slot.idle_since)
                for host in self._hosts.values()
                for slot in host.slots
            ]
        shown: dict[str, list[dict[str, Any]]] = {}
        for origin, slot, idle, since in found:
            facts = getattr(slot.conn, "facts", None)  # a foreign connection has none
            peer = None if facts is None else facts.remote_address
            shown.setdefault(origin, []).append(
                {
                    "number": None if facts is None else facts.number,
                    "state": "idle" if idle else "in_use",
                    "age": now - slot.made_at,
                    "since": max(0.0, now - since) if idle else None,
                    "served": slot.served,
                    "peer": f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else peer,
                    "tls": None if facts is None else facts.tls_version,
                }
            )
        return shown

    def after_fork(self) -> None:
        """In a forked child: the parent's connections are not ours; a lease that ends here closes our copy of its socket."""
        self._lock = threading.Lock()
        self.tls_lock = threading.Lock()
        self._orphans.clear()
        self._ledger.shut = CloseReason.SHUTDOWN
        for slot in list(self._ledger.idle):
            slot.conn.close()

    def __repr__(self) -> str:
        return f"<Transport {self.name}: {list(self._hosts.values())}>"


_all: weakref.WeakSet[Transport] = weakref.WeakSet()


def every() -> list[Transport]:
    """Every transport that still exists, cached or not."""
    return list(_all)
