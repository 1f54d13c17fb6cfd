"""A model of a transport for random walks: it knows what every connection, lease, dial and waiter should be.

The walk is what callers do (``holdfast._acquire`` in small steps), the clock is a number, connections are objects that
note how they are used. After every step the model and the transport's books are compared.
"""

from __future__ import annotations

import random
from typing import Any

from holdfast._config import Limits
from holdfast._host_pool import HostPool
from holdfast._lease import Lease
from holdfast._slot import QueueLimit, Slot, Waiter
from holdfast._statistics import CloseReason
from holdfast._transport import Transport

HOSTS = ("a", "b", "c", "d")


class Clock:
    """``time`` for the transport's module."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


class Connection:
    """Notes its life: open until closed once, and in one place at a time."""

    fd = -1

    def __init__(self, world: World, host: str) -> None:
        self.world = world
        self.host = host
        self.owner: object | None = None
        self.holder: str | None = None
        """What has it: None (the pool), "lease", "dial" or "look"."""
        self.is_open = True
        self.dying = False
        self.world.open.add(self)

    def dead(self) -> CloseReason | None:
        assert self.is_open, "a closed connection is looked at"
        return CloseReason.CLOSED_BY_SERVER if self.dying else None

    def close(self) -> None:
        assert self.is_open, "closed twice"
        assert not self.world.transport._lock.locked(), "I/O under the lock"
        self.is_open = False
        self.world.open.discard(self)
        self.world.closed += 1
        stack = self.world.idle[self.host]
        if self in stack:
            stack.remove(self)


class Caller:
    """Somebody without a connection yet; counts how often it was told something."""

    def __init__(self, host: str, owner: object | None) -> None:
        self.host = host
        self.owner = owner
        self.news = 0
        self.dialing = False
        self.answered = False
        self.adopted = False
        """Whether it relied on somebody else's dial: it may have to queue after a younger one was given a permit."""
        self.waiter: Waiter[Connection] = Waiter(self._wake, owner)

    def _wake(self) -> None:
        assert not self.answered, "a waiter is answered twice"
        self.news += 1

    @property
    def live(self) -> bool:
        return self.waiter.slot is None

    @property
    def queued(self) -> bool:
        return self.live and not self.dialing and not self.waiter.permit


class World:
    """One transport, and what it should contain."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self.chance = random.Random(seed)
        self.clock = clock
        self.owners: list[object | None] = [None, None, "me", "you"]
        self.callers: list[Caller] = []
        self.dials: list[tuple[HostPool[Any], Caller]] = []
        self.leases: list[Lease] = []
        self.looks: list[tuple[HostPool[Any], Slot[Any], float]] = []
        self.redials: list[Lease] = []
        self.open: set[Connection] = set()
        self.idle: dict[str, list[Connection]] = {}
        self.transport: Transport
        self.renew()

    def renew(self) -> None:
        """Other limits, an empty transport: what a new configuration does."""
        pick = self.chance.choice
        self.limits = Limits(
            max_connections=pick([None, None, 1, 3, 6, 9]),
            max_connections_per_host=pick([None, 1, 2, 4]),
            max_idle=pick([0, 1, 2, 100]),
            max_idle_per_host=pick([0, 1, 2, 20]),
            max_lifetime=pick([None, 30.0]),
            idle_timeout=pick([None, 10.0]),
            max_requests_per_connection=pick([None, None, 3]),
            max_waiting=pick([None, None, 0, 4]),
            per_host={"b": {"max_connections_per_host": 3}, "c": {"max_idle_per_host": 1}},
        )
        self.closed = self.created = self.acquired = self.leaked = self.wait_count = self.adopted = 0
        self.idle = {name: [] for name in HOSTS}
        self.transport = Transport("0" * 64, self.limits)

    # -- what callers do --------------------------------------------------------------------------------------------

    def host(self, name: str) -> HostPool[Any]:
        return self.transport.host(("http", name, 80))

    def acquire(self) -> None:
        name, owner = self.chance.choice(HOSTS), self.chance.choice(self.owners)
        bound = owner is not None and self.chance.random() < 0.5
        with self.transport._tidy, self.transport._lock:
            host = self.host(name)
            slot = host.take(self.clock.now, owner, bound=bound)
            caller = Caller(name, owner)
            adopts = slot is None and host.adopt(caller.waiter)
            permit = slot is None and not adopts and host.try_permit()
            full = False
            if slot is None and not adopts:
                try:
                    host.join(caller.waiter, self.clock.now, permit=permit)
                except QueueLimit:
                    full = True
        if slot is not None:
            self.taken_in_order(name, slot, owner, bound)
            self.lease(host, slot, owner if bound else None)
            return
        if full:
            assert host.limits.max_waiting is not None
            assert (
                sum(1 for one in self.callers if one.host == name and one.queued and not self.adopts(one))
                >= host.limits.max_waiting
            )
            return
        self.wait_count += not permit and not adopts
        caller.adopted = adopts
        self.adopted += adopts
        self.callers.append(caller)  # one with a permit dials once it wakes

    def taken_in_order(self, name: str, slot: Slot[Any], owner: object | None, bound: bool) -> None:
        """Last in, first out, among those that the caller may use."""
        stack = self.idle[name]
        at = stack.index(slot.conn)
        for younger in stack[at + 1 :]:
            usable = younger.owner is None or younger.owner is owner
            preferred = bound and slot.conn.owner is owner and younger.owner is None
            assert not usable or preferred, "an older idle connection was taken before a younger one"
        stack.remove(slot.conn)

    def lease(self, host: HostPool[Any], slot: Slot[Any], owner: object | None) -> None:
        conn = slot.conn
        assert conn.is_open, "a closed connection is leased"
        assert conn.holder is None, f"a connection of two: {conn.holder}"
        if owner is not None:
            slot.owner = conn.owner = owner
        conn.holder = "lease"
        self.acquired += 1
        self.leases.append(Lease(self.transport, host, slot, "http://x/"))

    def finish_dial(self, ok: bool) -> None:
        if not self.dials:
            return
        host, caller = self.dials.pop(self.chance.randrange(len(self.dials)))
        with self.transport._tidy, self.transport._lock:
            if not ok:
                host.undialed(caller.waiter, self.clock.now)
            else:
                conn = Connection(self, caller.host)
                self.created += 1
                host.dialed(conn, self.clock.now, caller.waiter, tls=False, seconds=0.1)
        caller.dialing = False
        if ok:
            self.settled(conn, caller)
        elif caller in self.callers and caller.live:
            self.leave(caller)

    def settled(self, conn: Connection, dialer: Caller | None = None) -> None:
        """A connection became the pool's: idle, closed, or the oldest waiter's (or its own dialler's)."""
        conn.holder = None
        here = [one for one in self.callers if one.host == conn.host]
        served = next((one for one in here if one.waiter.slot is not None and one.waiter.slot.conn is conn), None)
        if served is not None:
            fits = [one for one in here if one is served or (one.live and conn.owner in (None, one.owner))]
            assert served is dialer or served is fits[0], "a connection went past an older waiter"
        elif conn.is_open:
            self.idle[conn.host].append(conn)

    def leave(self, caller: Caller) -> None:
        """Times out, or is cancelled, whatever it was given a moment ago."""
        self.callers.remove(caller)
        slot = caller.waiter.slot
        with self.transport._tidy, self.transport._lock:
            self.host(caller.host).leave(caller.waiter, self.clock.now)
        caller.answered = True
        if slot is not None:
            self.acquired += 1
            self.settled(slot.conn)

    def wake(self, caller: Caller) -> None:
        """A caller's thread runs again and looks at what it was given."""
        with self.transport._tidy, self.transport._lock:
            granted, caller.waiter.permit = caller.waiter.permit, False
            if granted:
                caller.waiter.dialing = True
                self.host(caller.host).waited(caller.waiter, self.clock.now)
        if caller.waiter.slot is not None:
            assert not granted, "a waiter was given a permit and a connection"
            assert caller.news >= 1
            self.callers.remove(caller)
            caller.answered = True
            self.lease(self.host(caller.host), caller.waiter.slot, None)
        elif granted:
            caller.dialing = True
            self.dials.append((self.host(caller.host), caller))
        elif self.adopts(caller) and self.chance.random() < 0.3:
            with self.transport._tidy, self.transport._lock:
                self.host(caller.host).stand_alone(caller.waiter, self.clock.now)

    def adopts(self, caller: Caller) -> bool:
        """Whether it waits for somebody else's dial."""
        return caller.waiter in self.host(caller.host)._adopters

    def end_lease(self, how: str) -> None:
        if not self.leases:
            return
        lease = self.leases.pop(self.chance.randrange(len(self.leases)))
        conn = lease.conn
        conn.holder = None
        if how == "release":
            lease.release()
        elif how == "discard":
            lease.discard(CloseReason.ERROR)
        else:
            self.leaked += 1
        second = self.chance.choice(["release", "discard", "nothing"])
        if how != "drop" and second != "nothing":
            lease.release() if second == "release" else lease.discard(CloseReason.ERROR)  # does nothing
        del lease  # a dropped one is recovered here
        if how == "release":
            self.settled(conn)

    def begin_redial(self) -> None:
        """A stale connection: closed by its holder, its permit dials again."""
        if not self.leases:
            return
        lease = self.leases.pop(self.chance.randrange(len(self.leases)))
        lease.conn.close()
        with self.transport._tidy, self.transport._lock:
            lease.host.redial(lease.slot, CloseReason.CLOSED_BY_SERVER)
        self.redials.append(lease)

    def end_redial(self, ok: bool) -> None:
        if not self.redials:
            return
        lease = self.redials.pop(self.chance.randrange(len(self.redials)))
        with self.transport._tidy, self.transport._lock:
            if ok:
                conn = Connection(self, lease.conn.host)
                conn.holder = "lease"
                conn.owner = lease.slot.owner
                self.created += 1
                lease.host.redialed(lease.slot, conn, self.clock.now, tls=False, seconds=0.1)
            else:
                lease.transport = None
                lease.host.undialed()
        if ok:
            self.leases.append(lease)

    # -- what the reaper and the owner do ---------------------------------------------------------------------------

    def begin_look(self) -> None:
        slots = list(self.transport._ledger.idle)
        if not slots:
            return
        slot = self.chance.choice(slots)
        with self.transport._tidy, self.transport._lock:
            host = self.transport._ledger.idle[slot]
            host.inspect(slot)
        slot.conn.holder = "look"
        self.idle[slot.conn.host].remove(slot.conn)
        self.looks.append((host, slot, slot.idle_since))

    def end_look(self, dead: bool) -> None:
        if not self.looks:
            return
        host, slot, since = self.looks.pop(self.chance.randrange(len(self.looks)))
        conn = slot.conn
        conn.holder = None
        with self.transport._tidy, self.transport._lock:
            host.inspection_ended(slot, CloseReason.CLOSED_BY_SERVER if dead else None, since)
        if not dead:
            self.settled(conn)

    def step(self) -> str:
        """One random step; its name, for the report of a failure."""
        self.clock.now += self.chance.random() * self.chance.choice([0.1, 1.0, 1.0, 5.0])
        name = self.chance.choices(*STEPS)[0]
        if name == "acquire":
            self.acquire()
        elif name in ("dialed", "failed"):
            self.finish_dial(name == "dialed")
        elif name in ("release", "discard", "drop"):
            self.end_lease(name)
        elif name == "leave" and self.callers:
            self.leave(self.chance.choice(self.callers))
        elif name == "wake" and self.callers:
            self.wake(self.chance.choice(self.callers))
        elif name == "redial":
            self.begin_redial()
        elif name in ("redialed", "redial failed"):
            self.end_redial(name == "redialed")
        elif name == "reap":
            self.transport.reap(self.clock.now, self.clock.now - 1.0)
        elif name == "look":
            self.begin_look()
        elif name in ("looked", "found dead"):
            self.end_look(name == "found dead")
        elif name == "close idle":
            self.transport.close_idle(CloseReason.EVICTED)
            assert not self.transport._ledger.idle
        self.permits_in_order()
        return name

    # -- what must hold ---------------------------------------------------------------------------------------------

    def permits_in_order(self) -> None:
        """Nobody was given a permit past an older waiter of its host."""
        for at, caller in enumerate(self.callers):
            if caller.waiter.permit:
                older = [one for one in self.callers[:at] if one.host == caller.host and one.queued and not one.adopted]
                assert not older, "a permit went past an older waiter"

    def check(self) -> None:
        """The books, against the model."""
        ledger = self.transport._ledger
        stats = self.transport.statistics()
        held = 0
        for shot, host in zip(stats.hosts, self.transport._hosts.values(), strict=True):
            here = shot.idle + shot.in_use + shot.dialing
            cap = host.limits.max_connections_per_host
            assert cap is None or here <= cap, "over the host's limit"
            assert shot.idle - host.inspected <= host.limits.max_idle_per_host
            assert min(shot.idle, shot.in_use, shot.dialing, shot.waiting) >= 0
            assert shot.created == shot.idle + shot.in_use + sum(shot.closed.values())
            assert len(host.slots) == shot.idle + shot.in_use, "slots"
            name = shot.origin.split("/")[2].split(":")[0]
            stack = [slot.conn for slot in host.idle]
            assert stack == self.idle[name], "the idle stack"
            assert shot.waiting == sum(
                1 for one in self.callers if one.host == name and one.queued and not self.adopts(one)
            )
            usable = [
                one
                for one in self.callers
                if one.host == name and one.live and any(c.owner in (None, one.owner) for c in stack)
            ]
            assert not usable, "a waiter beside an idle connection that it may use"
            if any(one.host == name and one.queued and not self.adopts(one) for one in self.callers):
                assert not host._has_room() or not ledger.room(), "a waiter beside a free permit"
            unwanted = [one for pool, one in self.dials if pool is host and (one not in self.callers or not one.live)]
            assert host._spare == len(unwanted), "dials that nobody waits for"
            assert len(host._adopters) <= host._spare, "an adopter without a dial to wait for"
            held += here
        assert held == ledger.permits, "permits"
        assert ledger.max_connections is None or held <= ledger.max_connections, "over the transport's limit"
        assert len(ledger.idle) <= ledger.max_idle
        granted = sum(1 for one in self.callers if one.waiter.permit)
        assert stats.dialing == len(self.dials) + len(self.redials) + granted
        handed = sum(1 for one in self.callers if one.waiter.slot is not None)
        assert stats.in_use == len(self.leases) + handed
        assert stats.idle == len(ledger.idle) + len(self.looks)
        assert len(self.open) == stats.idle + stats.in_use, "sockets"
        assert (stats.created, sum(stats.closed.values())) == (self.created, self.closed)
        assert (stats.acquired, stats.leaked) == (self.acquired + handed, self.leaked)
        # An adopter that had to stand alone counts from then on.
        assert self.wait_count <= stats.wait_count <= self.wait_count + self.adopted

    def finish(self, how: str) -> None:
        """Everybody goes home; nothing is left."""
        transport = self.transport
        if how == "fork":
            transport.after_fork()
            for slot in list(transport._ledger.idle):
                assert not slot.conn.is_open
        elif how == "shut":
            transport.shut(CloseReason.SHUTDOWN)
        while self.dials:
            self.finish_dial(self.chance.random() < 0.5)
        while self.looks:
            self.end_look(False)
        while self.redials:
            self.end_redial(self.chance.random() < 0.5)
        while self.callers:
            self.leave(self.chance.choice(self.callers))
        while self.dials:
            self.finish_dial(True)
        while self.leases:
            self.end_lease(self.chance.choice(["release", "discard", "drop"]))
        if how == "fork":
            assert not self.open, "a child keeps a socket of its parent"
            return
        transport.close_idle(CloseReason.SHUTDOWN)
        assert not self.open
        self.check()
        assert transport.permits == 0


STEPS = (
    [
        *("acquire", "dialed", "failed", "release", "discard", "drop", "leave", "wake"),
        *("redial", "redialed", "redial failed", "reap", "look", "looked", "found dead", "close idle"),
    ],
    [30, 12, 3, 18, 3, 1, 3, 14, 2, 3, 1, 2, 3, 4, 1, 0.3],
)
