"""The idle stack, the waiters and the permits of one origin, and the ledger that the hosts of a transport share.

No I/O and no clock: callers pass ``now``, and what is to be closed is put into ``Ledger.doomed`` for the owner to
close after it has left its lock. Every method here needs that lock held; one lock guards a ledger and all of its hosts.

A *permit* is the right to one connection: held while dialling, in use or idle. A *waiter* is a caller that has no
connection yet. It is *queued* while it has no permit either; with a permit it dials, but takes a returned connection
if one comes first, and its dial then serves somebody else. Waiters are served in order of arrival.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Generic, TypeVar

from holdfast._config import HostLimits
from holdfast._slot import QueueLimit, Slot, Waiter
from holdfast._statistics import CloseReason, Counters, HostStatistics, by_reason

__all__ = ["HostPool", "Ledger"]

C = TypeVar("C")

JITTER = 0.1
"""How much of ``max_lifetime`` chance takes off, so that connections made together are not retired together."""
HINT_MARGIN = 1.0
"""A server's ``Keep-Alive: timeout`` is cut by so many seconds (half of it at most): its clock started earlier."""


class Ledger(Generic[C]):
    """What the hosts of one transport share: the limits over all of them, and the order across them."""

    def __init__(self, max_connections: int | None, max_idle: int) -> None:
        self.max_connections = max_connections
        self.max_idle = max_idle
        self.permits = 0
        self.idle: OrderedDict[Slot[C], HostPool[C]] = OrderedDict()
        """Least recently used first."""
        self.queues: dict[HostPool[C], None] = {}
        """Hosts with queued waiters."""
        self.doomed: deque[tuple[Slot[C], CloseReason, str]] = deque()
        """Connections that no pool knows any more, why, and whose; the owner closes them outside its lock."""
        self.tickets = 0
        self.shut: CloseReason | None = None
        """Once set, a returned connection is closed for this reason."""

    def room(self) -> bool:
        """Whether a permit is free, or can be had from an idle connection."""
        return self.max_connections is None or self.permits < self.max_connections or bool(self.idle)

    def make_room(self) -> None:
        """Closes the least recently used idle connection if that is what the next permit needs."""
        if self.max_connections is not None and self.permits >= self.max_connections:
            slot, host = next(iter(self.idle.items()))
            host._close_idle(slot, CloseReason.EVICTED)

    def serve(self) -> None:
        """Gives free permits to queued waiters: the oldest one whose host has room goes first."""
        while self.queues:
            open_hosts = [host for host in self.queues if host._has_room()]
            if not open_hosts or not self.room():
                return
            host = min(open_hosts, key=HostPool._oldest_ticket)
            self.make_room()
            host._grant()


class HostPool(Generic[C]):
    """One origin."""

    def __init__(self, origin: str, limits: HostLimits, ledger: Ledger[C], chance: Callable[[], float]) -> None:
        self.origin = origin
        self.limits = limits
        self.counters = Counters()
        self.in_use = 0
        self.dialing = 0
        self.inspected = 0
        """Idle connections that somebody looks at just now, neither on the stack nor leased; shown as idle."""
        self.slots: dict[Slot[C], None] = {}
        """Every connection there is, idle or in use: for those who look, the pool itself counts."""
        self._ledger = ledger
        self._chance = chance
        self.idle: OrderedDict[Slot[C], None] = OrderedDict()
        """Most recently used last."""
        self._waiters: OrderedDict[Waiter[C], None] = OrderedDict()
        """In order of arrival, queued or dialling."""
        self._queue: OrderedDict[Waiter[C], None] = OrderedDict()
        """Those without a permit, in order of arrival."""
        self._adopters: OrderedDict[Waiter[C], None] = OrderedDict()
        """Those who wait for dials that others began and need no more; never more of them than of such dials."""
        self._spare = 0
        """Dials under way whose waiters were served or have left."""
        self._owned = 0
        """Idle connections that have an owner."""

    # -- a caller's way in ------------------------------------------------------------------------------------------

    def take(self, now: float, owner: object | None, *, bound: bool) -> Slot[C] | None:
        """The most recently used idle connection that ``owner`` may use, in use from now on.

        ``bound`` prefers one that is the owner's already: a handshake of NTLM goes on where it began.
        """
        while self.idle:
            if self._owned:
                picked = self._pick(owner, bound=bound)
                if picked is None:
                    return None
                self.idle.move_to_end(picked)
            slot, _ = self.idle.popitem()
            del self._ledger.idle[slot]
            if slot.owner is not None:
                self._owned -= 1
            self.in_use += 1
            if slot.good_until is None or now < slot.good_until:
                slot.idle_seconds = now - slot.idle_since
                counters = self.counters
                counters.acquired += 1
                if slot.served:
                    counters.reused += 1
                slot.served += 1
                return slot
            self.discard(slot, self._expiry(slot, now))
        return None

    @property
    def full(self) -> bool:
        """Whether another connection would be one too many for this host."""
        limit = self.limits.max_connections_per_host
        return limit is not None and self._held() >= limit

    def try_permit(self) -> bool:
        """Takes a permit for a dial if one is free or an idle connection of another host can give way."""
        if not self._has_room() or not self._ledger.room():
            return False
        self._ledger.make_room()
        self._ledger.permits += 1
        self.dialing += 1
        return True

    def join(self, waiter: Waiter[C], now: float, *, permit: bool) -> None:
        """Adds a caller: with a permit, whose dial is about to start, or to the end of the queue.

        In the hold of the lock in which ``take`` and ``try_permit`` gave it nothing better. The permit is the
        waiter's until a dial claims it, so that ``leave`` gives it back. ``QueueLimit``: the queue is as long as it
        may be.
        """
        if not permit:
            limit = self.limits.max_waiting
            if limit is not None and len(self._queue) >= limit:
                raise QueueLimit
            waiter.queued_at = now
            self.counters.wait_count += 1
            self._queue[waiter] = None
            self._ledger.queues[self] = None
        self._ledger.tickets += 1
        waiter.ticket = self._ledger.tickets
        self._waiters[waiter] = None
        waiter.permit = permit

    def adopt(self, waiter: Waiter[C]) -> bool:
        """Adds a caller that needs no dial of its own, since one is under way that nobody waits for; whether there is one.

        Without this a burst would begin a dial for every caller that finds nothing idle, again and again, while the
        connections that come back serve the callers first: far more connections than callers. If the dial fails, or
        its connection goes to an older waiter, the caller gets a permit or a place in the queue after all.
        """
        if self._spare <= len(self._adopters) or self._queue:
            return False
        self._ledger.tickets += 1
        waiter.ticket = self._ledger.tickets
        self._waiters[waiter] = self._adopters[waiter] = None
        return True

    def stand_alone(self, waiter: Waiter[C], now: float) -> None:
        """An adopter has waited long enough for somebody else's dial: into the queue, in which it is served at once if it may."""
        if self._adopters.pop(waiter, waiter) is waiter:
            return  # it was served, or has been sent here, just now
        waiter.queued_at = now
        self.counters.wait_count += 1
        self._queue[waiter] = None
        self._queue = OrderedDict(sorted(self._queue.items(), key=lambda entry: entry[0].ticket))  # it came before some
        self._ledger.queues[self] = None
        self._ledger.serve()

    def leave(self, waiter: Waiter[C], now: float) -> None:
        """A caller gives up. What it was given meanwhile goes to the next; a dial under way goes on without it."""
        self._forget(waiter, now)
        if waiter.slot is not None:
            slot, waiter.slot = waiter.slot, None
            slot.served -= 1
            self.release(slot, now)
        if waiter.permit:
            waiter.permit = False
            self.undialed()

    def waited(self, waiter: Waiter[C], now: float) -> None:
        """Ends the waiting time of a waiter that was given something."""
        if waiter.queued_at:
            self.counters.wait_seconds += now - waiter.queued_at
            waiter.queued_at = 0.0

    # -- dials ------------------------------------------------------------------------------------------------------

    def dialed(self, conn: C, now: float, waiter: Waiter[C] | None, *, tls: bool, seconds: float) -> Slot[C] | None:
        """A permit became a connection. It is its waiter's if that still waits, else it counts as returned.

        Without a waiter the caller dialled for itself and is given the slot.
        """
        self.dialing -= 1
        self.in_use += 1
        if waiter is not None:
            self._dial_over(waiter)
        counters = self.counters
        counters.created += 1
        counters.dial_seconds += seconds
        counters.tls_handshakes += tls
        slot = Slot(conn, now, self._retirement(now))
        self.slots[slot] = None
        if waiter is None:
            counters.acquired += 1
            slot.served = 1
            return slot
        if waiter in self._waiters:
            self._hand_over(slot, waiter, now)
        else:
            self.release(slot, now)
        self._wean(now)
        return None

    def undialed(self, waiter: Waiter[C] | None = None, now: float = 0.0) -> None:
        """A dial failed, that of ``waiter`` if it was for one, or a permit was not used."""
        self.dialing -= 1
        self._ledger.permits -= 1
        if waiter is not None:
            self._dial_over(waiter)
            self._wean(now)
        self._ledger.serve()

    def redial(self, slot: Slot[C], reason: CloseReason) -> None:
        """A leased connection was closed and its permit goes back to dialling: a stale retry."""
        del self.slots[slot]
        self._count_close(reason)
        self.in_use -= 1
        self.dialing += 1
        self.counters.stale_retries += 1

    def redialed(self, slot: Slot[C], conn: C, now: float, *, tls: bool, seconds: float) -> None:
        """The dial of a stale retry succeeded; ``slot`` is leased as before, with the new connection."""
        fresh = self.dialed(conn, now, None, tls=tls, seconds=seconds)
        self.counters.acquired -= 1
        assert fresh is not None  # without a waiter `dialed` gives the slot
        del self.slots[fresh]
        self.slots[slot] = None
        slot.conn, slot.made_at, slot.retire_at, slot.served = conn, now, fresh.retire_at, 1
        slot.hint, slot.idle_seconds = None, 0.0

    # -- a lease's way out ------------------------------------------------------------------------------------------

    def release(self, slot: Slot[C], now: float) -> bool:
        """A connection came back fit for use: to the oldest waiter that may have it, else it goes idle.

        Whether it was kept: it may be too old, or its transport shut.
        """
        reason = self._ledger.shut or self._worn(slot, now)
        if reason is not None:
            self.discard(slot, reason)
            return False
        if self._waiters and (waiter := self._next_waiter(slot)) is not None:
            slot.idle_seconds = 0.0
            self._hand_over(slot, waiter, now)
            return True
        self.in_use -= 1
        self._push_idle(slot, now)
        return True

    def discard(self, slot: Slot[C], reason: CloseReason) -> None:
        """A connection came back unfit; its permit is free."""
        self.in_use -= 1
        self._count_close(reason)
        del self.slots[slot]
        self._ledger.doomed.append((slot, reason, self.origin))
        self._ledger.permits -= 1
        self._ledger.serve()

    # -- idle connections -------------------------------------------------------------------------------------------

    def expire(self, now: float) -> float | None:
        """Closes what has been idle or alive for too long; the moment when the next one will have."""
        earliest = None
        for slot in list(self.idle):
            at = slot.good_until
            if at is None:
                continue
            if now >= at:
                self._close_idle(slot, self._expiry(slot, now))
                self._ledger.serve()
            elif earliest is None or at < earliest:
                earliest = at
        return earliest

    def close_idle(self, reason: CloseReason, only: Callable[[Slot[C]], bool] | None = None) -> int:
        """Closes idle connections, all or those that ``only`` picks; how many."""
        slots = [slot for slot in self.idle if only is None or only(slot)]
        for slot in slots:
            self._close_idle(slot, reason)
        if slots:
            self._ledger.serve()
        return len(slots)

    def inspect(self, slot: Slot[C]) -> None:
        """Takes an idle connection off the stack, so that nobody is given it while it is looked at without the lock."""
        self._remove_idle(slot)
        self.inspected += 1

    def inspection_ended(self, slot: Slot[C], reason: CloseReason | None, since: float) -> None:
        """Closes it for ``reason``, or puts it back as idle since ``since``."""
        self.inspected -= 1
        self.in_use += 1
        if reason is not None:
            self.discard(slot, reason)
        else:
            self.release(slot, since)

    @property
    def quiet(self) -> bool:
        """Whether nothing is idle, in use, dialling or waiting."""
        return not (self._held() or self._waiters)

    def snapshot(self, now: float) -> HostStatistics:
        """The counts as they are."""
        counters = self.counters
        oldest = next(iter(self._queue), None)
        return HostStatistics(
            origin=self.origin,
            idle=len(self.idle) + self.inspected,
            in_use=self.in_use,
            dialing=self.dialing,
            waiting=len(self._queue),
            oldest_wait_seconds=now - oldest.queued_at if oldest is not None else 0.0,
            created=counters.created,
            reused=counters.reused,
            acquired=counters.acquired,
            wait_count=counters.wait_count,
            wait_seconds=counters.wait_seconds,
            dial_seconds=counters.dial_seconds,
            tls_handshakes=counters.tls_handshakes,
            stale_retries=counters.stale_retries,
            drained_bytes=counters.drained_bytes,
            leaked=counters.leaked,
            closed=by_reason(counters.closed),
        )

    def __repr__(self) -> str:
        return (
            f"<HostPool {self.origin}: {len(self.idle) + self.inspected} idle, {self.in_use} in use, "
            f"{self.dialing} dialing, {len(self._queue)} waiting>"
        )

    # -- inside -----------------------------------------------------------------------------------------------------

    def _held(self) -> int:
        return len(self.idle) + self.inspected + self.in_use + self.dialing

    def _has_room(self) -> bool:
        """Whether the host's own limit allows a permit; an idle connection that its oldest waiter may not use gives way."""
        if not self.full:
            return True
        if self._owned and self.idle:
            self._close_idle(next(iter(self.idle)), CloseReason.EVICTED)
            return True
        return False

    def _oldest_ticket(self) -> int:
        return next(iter(self._queue)).ticket

    def _grant(self) -> None:
        """Gives a permit to the oldest queued waiter."""
        waiter = next(iter(self._queue))
        self._unqueue(waiter)
        self._ledger.permits += 1
        self.dialing += 1
        waiter.permit = True
        waiter.wake()

    def _unqueue(self, waiter: Waiter[C]) -> None:
        if waiter in self._queue:
            del self._queue[waiter]
            if not self._queue:
                del self._ledger.queues[self]

    def _forget(self, waiter: Waiter[C], now: float) -> None:
        self._waiters.pop(waiter, None)
        self._adopters.pop(waiter, None)
        self._unqueue(waiter)
        self.waited(waiter, now)
        if waiter.dialing:
            waiter.dialing, waiter.spare = False, True
            self._spare += 1

    def _dial_over(self, waiter: Waiter[C]) -> None:
        """The dial that began for ``waiter`` has ended, well or not."""
        self._spare -= waiter.spare
        waiter.dialing = waiter.spare = False

    def _wean(self, now: float) -> None:
        """A dial that nobody waited for has ended: the oldest adopter for whom none is left stands alone."""
        while len(self._adopters) > self._spare:
            self.stand_alone(next(iter(self._adopters)), now)

    def _lease(self, slot: Slot[C]) -> None:
        self.in_use += 1
        self.counters.acquired += 1
        if slot.served:
            self.counters.reused += 1
        slot.served += 1

    def _hand_over(self, slot: Slot[C], waiter: Waiter[C], now: float) -> None:
        self.in_use -= 1
        self._lease(slot)
        self._forget(waiter, now)
        waiter.slot = slot
        waiter.wake()
        if waiter.permit:
            # It was granted one and has not woken up yet to use it: the connection won that race.
            waiter.permit = False
            self.undialed()

    def _next_waiter(self, slot: Slot[C]) -> Waiter[C] | None:
        if slot.owner is None:
            return next(iter(self._waiters), None)
        return next((waiter for waiter in self._waiters if waiter.owner is slot.owner), None)

    def _pick(self, owner: object | None, *, bound: bool) -> Slot[C] | None:
        usable = [slot for slot in reversed(self.idle) if slot.owner is None or slot.owner is owner]
        if bound:
            usable.sort(key=lambda slot: slot.owner is None)
        return usable[0] if usable else None

    def _retirement(self, now: float) -> float | None:
        lifetime = self.limits.max_lifetime
        return None if lifetime is None else now + lifetime * (1.0 - JITTER * self._chance())

    def _worn(self, slot: Slot[C], now: float) -> CloseReason | None:
        if slot.retire_at is not None and now >= slot.retire_at:
            return CloseReason.MAX_LIFETIME
        most = self.limits.max_requests_per_connection
        if most is not None and slot.served >= most:
            return CloseReason.MAX_REQUESTS
        return None

    @staticmethod
    def _expiry(slot: Slot[C], now: float) -> CloseReason:
        old = slot.retire_at is not None and now >= slot.retire_at
        return CloseReason.MAX_LIFETIME if old else CloseReason.IDLE_TIMEOUT

    def _push_idle(self, slot: Slot[C], now: float) -> None:
        limits, ledger = self.limits, self._ledger
        timeout = limits.idle_timeout
        if slot.hint is not None:
            hinted = slot.hint - min(HINT_MARGIN, slot.hint / 2)
            timeout = hinted if timeout is None else min(timeout, hinted)
        slot.idle_since = now
        ends = slot.retire_at
        if timeout is not None and (ends is None or now + timeout < ends):
            ends = now + timeout
        slot.good_until = ends
        self.idle[slot] = None
        ledger.idle[slot] = self
        if slot.owner is not None:
            self._owned += 1
        if len(self.idle) > limits.max_idle_per_host:
            self._close_idle(next(iter(self.idle)), CloseReason.IDLE_LIMIT)
        if len(ledger.idle) > ledger.max_idle:
            oldest, host = next(iter(ledger.idle.items()))
            host._close_idle(oldest, CloseReason.IDLE_LIMIT)
        if ledger.queues:
            ledger.serve()

    def _remove_idle(self, slot: Slot[C]) -> None:
        del self.idle[slot]
        del self._ledger.idle[slot]
        if slot.owner is not None:
            self._owned -= 1

    def _close_idle(self, slot: Slot[C], reason: CloseReason) -> None:
        """Takes an idle connection out for good. Whoever calls this looks after the permit that it frees."""
        self._remove_idle(slot)
        self._count_close(reason)
        self._ledger.permits -= 1
        del self.slots[slot]
        self._ledger.doomed.append((slot, reason, self.origin))

    def _count_close(self, reason: CloseReason) -> None:
        closed = self.counters.closed
        closed[reason] = closed.get(reason, 0) + 1
