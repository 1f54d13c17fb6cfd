"""``HostPool`` with integers for connections and numbers for time: decisions only, no I/O."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast._config import Limits
from holdfast._host_pool import HostPool, Ledger
from holdfast._slot import QueueLimit, Slot, Waiter
from holdfast._statistics import CloseReason


class World:
    """A ledger and its hosts; checks the books after every step."""

    def __init__(self, **limits: Any) -> None:
        self.limits = Limits(**limits)
        self.ledger: Ledger[int] = Ledger(self.limits.max_connections, self.limits.max_idle)
        self.hosts: dict[str, HostPool[int]] = {}
        self.made = 0

    def host(self, name: str = "a") -> HostPool[int]:
        if name not in self.hosts:
            self.hosts[name] = HostPool(name, self.limits.for_host("http", name, 80), self.ledger, lambda: 0.5)
        return self.hosts[name]

    def lease(self, name: str = "a", now: float = 0.0) -> Slot[int] | None:
        """A connection, idle or new; None at the limit."""
        host = self.host(name)
        slot = host.take(now, None, bound=False)
        if slot is None and host.try_permit():
            self.made += 1
            slot = host.dialed(self.made, now, None, tls=False, seconds=0.0)
        self.check(now)
        return slot

    def queue(self, name: str = "a", now: float = 0.0, owner: object = None) -> tuple[Waiter[int], list[int]]:
        woken: list[int] = []
        waiter: Waiter[int] = Waiter(lambda: woken.append(1), owner)
        host = self.host(name)
        host.join(waiter, now, permit=host.try_permit())
        self.check(now)
        return waiter, woken

    def closed(self) -> list[int]:
        closed = [slot.conn for slot, _, _ in self.ledger.doomed]
        self.ledger.doomed.clear()
        return closed

    def check(self, now: float = 0.0) -> None:
        held = 0
        for host in self.hosts.values():
            shot = host.snapshot(now)
            held += shot.idle + shot.in_use + shot.dialing
            assert shot.created == shot.idle + shot.in_use + sum(shot.closed.values())
            assert len(host.slots) == shot.idle + shot.in_use
            cap = host.limits.max_connections_per_host
            assert cap is None or shot.idle + shot.in_use + shot.dialing <= cap
        assert held == self.ledger.permits
        assert self.ledger.max_connections is None or held <= self.ledger.max_connections
        assert len(self.ledger.idle) == sum(len(host.idle) for host in self.hosts.values())


def test_the_most_recently_used_connection_is_reused_first() -> None:
    """Last in, first out: the others grow old and expire."""
    world = World()
    slots = [world.lease() for _ in range(3)]
    for slot in slots:
        assert slot is not None
        world.host().release(slot, 1.0)
    again = world.lease()
    assert again is not None
    assert again.conn == 3


def test_waiters_are_served_in_order_of_arrival() -> None:
    """First in, first out; each exactly once."""
    world = World(max_connections_per_host=1)
    slot = world.lease()
    assert slot is not None
    first, first_woken = world.queue()
    second, second_woken = world.queue()
    world.host().release(slot, 1.0)
    world.check()
    assert (first.slot, second.slot) == (slot, None)
    assert (first_woken, second_woken) == ([1], [])
    world.host().release(slot, 2.0)
    assert second.slot is slot
    assert second_woken == [1]


def test_a_returned_connection_goes_to_a_dialling_waiter_and_its_dial_to_the_pool() -> None:
    """A waiter takes whichever comes first; the late dial is nobody's and goes idle."""
    world = World()
    slot = world.lease()
    assert slot is not None
    host = world.host()
    assert host.try_permit()
    waiter: Waiter[int] = Waiter(lambda: None)
    host.join(waiter, 0.0, permit=True)
    host.release(slot, 1.0)
    assert waiter.slot is slot
    host.dialed(99, 2.0, waiter, tls=False, seconds=1.0)
    world.check()
    assert [idle.conn for idle in host.idle] == [99]


def test_a_waiter_that_left_never_swallows_a_connection() -> None:
    """What it had been given goes to the next waiter."""
    world = World(max_connections_per_host=1)
    slot = world.lease()
    assert slot is not None
    first, _ = world.queue()
    second, _ = world.queue()
    world.host().release(slot, 1.0)
    assert first.slot is slot
    world.host().leave(first, 2.0)
    world.check()
    assert second.slot is slot


def test_a_permit_that_a_leaving_waiter_was_given_goes_on() -> None:
    """A closed connection frees a permit for the queue, even through a waiter that gave up."""
    world = World(max_connections_per_host=1)
    slot = world.lease()
    assert slot is not None
    first, _ = world.queue()
    second, woken = world.queue()
    world.host().discard(slot, CloseReason.ERROR)
    assert first.permit
    world.host().leave(first, 1.0)
    world.check()
    assert second.permit
    assert woken == [1]


def test_a_failed_dial_frees_its_permit_for_the_oldest_waiter() -> None:
    """Else a refused port would leave the queue waiting for ever."""
    world = World(max_connections_per_host=1)
    assert world.host().try_permit()
    waiter, woken = world.queue()
    world.host().undialed()
    assert waiter.permit
    assert woken == [1]


def test_a_permit_granted_to_a_waiter_that_is_then_given_a_connection_is_not_lost() -> None:
    """Both arrive before the waiter wakes up; the connection wins, and the permit goes to the next."""
    world = World(max_connections_per_host=2)
    one, two = world.lease(), world.lease()
    assert one is not None
    assert two is not None
    first, _ = world.queue()
    second, _ = world.queue()
    world.host().discard(one, CloseReason.ERROR)
    assert first.permit
    world.host().release(two, 1.0)
    world.check()
    assert (first.slot, first.permit, second.permit) == (two, False, True)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_max_connections_per_host_counts_dials_and_idle_ones(limit: int) -> None:
    """n are given, n + 1 is not."""
    world = World(max_connections_per_host=limit)
    slots = [world.lease() for _ in range(limit)]
    assert all(slots)
    assert world.lease() is None
    assert world.lease("b") is not None


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_max_connections_holds_over_all_hosts(limit: int) -> None:
    """n over any hosts, not n + 1."""
    world = World(max_connections=limit)
    assert all(world.lease(f"h{i}") for i in range(limit))
    assert world.lease("other") is None


def test_an_idle_connection_of_another_host_gives_way_at_the_total_limit() -> None:
    """The least recently used of them, at once."""
    world = World(max_connections=2)
    a, b = world.lease("a"), world.lease("b")
    assert a is not None
    assert b is not None
    world.host("a").release(a, 1.0)
    world.host("b").release(b, 2.0)
    assert world.lease("c", 3.0) is not None
    assert world.closed() == [a.conn]
    assert world.host("a").counters.closed == {CloseReason.EVICTED: 1}


def test_across_hosts_the_oldest_waiter_whose_host_has_room_is_served_first() -> None:
    """A host at its own limit does not hold up the others."""
    world = World(max_connections=2, max_connections_per_host=1)
    a, b = world.lease("a"), world.lease("b")
    assert a is not None
    assert b is not None
    oldest, _ = world.queue("a")
    younger, _ = world.queue("c")
    world.host("b").discard(b, CloseReason.ERROR)
    world.check()
    assert not oldest.permit
    assert younger.permit


def test_a_waiter_for_another_host_evicts_a_connection_that_went_idle() -> None:
    """No live waiter while an idle connection exists that could give way."""
    world = World(max_connections=1)
    a = world.lease("a")
    assert a is not None
    waiter, _ = world.queue("b")
    world.host("a").release(a, 1.0)
    world.check()
    assert waiter.permit
    assert world.closed() == [a.conn]


@pytest.mark.parametrize(("limit", "kept"), [(0, 0), (1, 1), (2, 2), (3, 2)])
def test_max_idle_per_host_at_0_1_n_and_n_plus_1(limit: int, kept: int) -> None:
    """Of two returned connections so many stay, the most recently used ones."""
    world = World(max_idle_per_host=limit)
    slots = [world.lease(), world.lease()]
    for now, slot in enumerate(slots):
        assert slot is not None
        world.host().release(slot, float(now))
        world.check()
    assert [slot.conn for slot in world.host().idle] == [1, 2][2 - kept :]
    assert len(world.closed()) == 2 - kept


@pytest.mark.parametrize(("limit", "kept"), [(0, []), (1, ["c"]), (2, ["b", "c"]), (3, ["a", "b", "c"])])
def test_max_idle_over_all_hosts_closes_the_least_recently_used(limit: int, kept: list[str]) -> None:
    """One connection to each of three hosts, returned in order."""
    world = World(max_idle=limit)
    slots = {name: world.lease(name) for name in "abc"}
    for now, (name, slot) in enumerate(slots.items()):
        assert slot is not None
        world.host(name).release(slot, float(now))
        world.check()
    assert [name for name in "abc" if world.host(name).idle] == kept


@pytest.mark.parametrize(("limit", "fits"), [(0, 0), (1, 1), (2, 2)])
def test_max_waiting_at_0_1_and_n(limit: int, fits: int) -> None:
    """The next caller is refused at once."""
    world = World(max_connections_per_host=1, max_waiting=limit)
    assert world.lease() is not None
    for _ in range(fits):
        world.queue()
    with pytest.raises(QueueLimit):
        world.queue()
    world.check()


def test_idle_timeout_and_lifetime_close_with_their_reasons() -> None:
    """Jitter takes 5 % off here: the injected chance is one half."""
    world = World(idle_timeout=10.0, max_lifetime=100.0)
    slot = world.lease(now=0.0)
    assert slot is not None
    host = world.host()
    host.release(slot, 1.0)
    assert host.expire(10.9) == pytest.approx(11.0)
    assert host.expire(11.0) is None
    assert host.counters.closed == {CloseReason.IDLE_TIMEOUT: 1}
    old = world.lease(now=20.0)
    assert old is not None
    host.release(old, 114.9)
    assert host.expire(114.9) == pytest.approx(115.0)
    assert world.lease(now=115.0) is not None
    assert host.counters.closed[CloseReason.MAX_LIFETIME] == 1


def test_a_connection_in_use_beyond_its_lifetime_is_retired_on_return() -> None:
    """Never while it is in use."""
    world = World(max_lifetime=10.0)
    slot = world.lease(now=0.0)
    assert slot is not None
    world.host().release(slot, 11.0)
    assert world.host().counters.closed == {CloseReason.MAX_LIFETIME: 1}


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_max_requests_per_connection_retires_after_n(limit: int) -> None:
    """After n exchanges, not n - 1."""
    world = World(max_requests_per_connection=limit)
    for used in range(1, limit + 1):
        slot = world.lease()
        assert slot is not None
        assert (slot.conn, slot.served) == (1, used)
        world.host().release(slot, 0.0)
    assert world.closed() == [1]
    assert world.host().counters.closed == {CloseReason.MAX_REQUESTS: 1}


@pytest.mark.parametrize(("hint", "until"), [(5.0, 4.0), (1.0, 0.5), (200.0, 90.0)])
def test_the_servers_keep_alive_timeout_shortens_the_idle_timeout_with_a_margin(hint: float, until: float) -> None:
    """A second earlier, or half of it; it never lengthens ours."""
    world = World()
    slot = world.lease(now=0.0)
    assert slot is not None
    slot.hint = hint
    world.host().release(slot, 0.0)
    assert world.host().expire(0.0) == pytest.approx(until)


def test_a_connection_with_an_owner_serves_nobody_else() -> None:
    """Not from the idle stack and not from a return; its owner gets it first."""
    world = World(max_connections_per_host=2)
    me, other = object(), object()
    mine, free = world.lease(), world.lease()
    assert mine is not None
    assert free is not None
    mine.owner = me
    host = world.host()
    host.release(mine, 0.0)
    host.release(free, 1.0)
    assert host.take(2.0, me, bound=True) is mine
    assert host.take(2.0, other, bound=False) is free
    host.release(mine, 3.0)
    assert host.take(3.0, other, bound=False) is None
    # At the limit the connection that the waiter may not use gives way to it.
    waiter, _ = world.queue(owner=other)
    world.check()
    assert waiter.permit
    assert world.closed() == [mine.conn]


def test_after_shut_a_returned_connection_is_closed_for_that_reason() -> None:
    """A closed private transport keeps nothing."""
    world = World()
    slot = world.lease()
    assert slot is not None
    world.ledger.shut = CloseReason.SHUTDOWN
    world.host().release(slot, 0.0)
    assert world.host().counters.closed == {CloseReason.SHUTDOWN: 1}
    world.check()


def test_wait_times_are_counted_and_the_oldest_is_shown() -> None:
    """wait_seconds ends with the grant; oldest_wait_seconds is the head of the queue's."""
    world = World(max_connections_per_host=1)
    slot = world.lease()
    assert slot is not None
    world.queue(now=1.0)
    world.queue(now=2.0)
    shot = world.host().snapshot(4.0)
    assert (shot.waiting, shot.wait_count, shot.oldest_wait_seconds) == (2, 2, 3.0)
    world.host().release(slot, 4.0)
    shot = world.host().snapshot(4.0)
    assert (shot.waiting, shot.wait_seconds, shot.oldest_wait_seconds) == (1, 3.0, 2.0)


def test_a_stale_retry_keeps_its_permit_and_the_books_add_up() -> None:
    """The old connection is counted closed, the new one created, on one permit."""
    world = World(max_connections_per_host=1)
    slot = world.lease()
    assert slot is not None
    host = world.host()
    host.redial(slot, CloseReason.CLOSED_BY_SERVER)
    world.check()
    assert host.dialing == 1
    host.redialed(slot, 7, 1.0, tls=False, seconds=0.1)
    world.check()
    shot = host.snapshot(1.0)
    assert (slot.conn, slot.served, shot.created, shot.acquired, shot.stale_retries) == (7, 1, 2, 1, 1)


def test_an_idle_connection_that_is_looked_at_is_idle_and_nobodys_until_the_look_is_over() -> None:
    """A dead one turns from idle to closed in one step; a good one goes to whoever came meanwhile."""
    world = World(max_connections_per_host=1)
    host = world.host()
    slot = world.lease()
    assert slot is not None
    host.release(slot, 1.0)
    host.inspect(slot)
    assert host.take(2.0, None, bound=False) is None
    assert not host.try_permit()
    assert (host.snapshot(2.0).idle, host.snapshot(2.0).in_use, world.closed()) == (1, 0, [])
    waiter, woken = world.queue(now=2.0)
    host.inspection_ended(slot, None, 1.0)
    world.check()
    assert (waiter.slot, len(woken)) == (slot, 1)
    host.release(slot, 3.0)
    host.inspect(slot)
    host.inspection_ended(slot, CloseReason.CLOSED_BY_SERVER, 3.0)
    world.check()
    shot = host.snapshot(4.0)
    assert (shot.idle, shot.in_use, dict(shot.closed)) == (0, 0, {CloseReason.CLOSED_BY_SERVER: 1})


# -- dials that others began ----------------------------------------------------------------------------------------------


def pool_of(limit: int | None = None) -> HostPool[int]:
    """A pool by itself."""
    limits = Limits(max_connections_per_host=limit).for_host("http", "a.example", 80)
    return HostPool("a.example", limits, Ledger(None, 100), lambda: 0.5)


def dialling(pool: HostPool[int]) -> Waiter[int]:
    """A caller whose dial is under way."""
    waiter: Waiter[int] = Waiter(lambda: None)
    assert pool.try_permit()
    pool.join(waiter, 0.0, permit=True)
    waiter.permit, waiter.dialing = False, True
    return waiter


def test_a_caller_adopts_a_dial_that_nobody_waits_for() -> None:
    """Its connection serves him; there is one adopter for each such dial, and no more."""
    pool = pool_of()
    first, second, third = dialling(pool), Waiter[int](lambda: None), Waiter[int](lambda: None)
    assert not pool.adopt(second)  # `first` still wants it
    assert pool.try_permit()
    held = pool.dialed(1, 0.0, None, tls=False, seconds=0.0)
    assert held is not None
    pool.release(held, 1.0)
    assert first.slot is held
    assert pool.adopt(second)
    assert not pool.adopt(third)
    pool.dialed(2, 2.0, first, tls=False, seconds=0.0)
    assert second.slot is not None
    assert second.slot.conn == 2
    assert (pool.in_use, pool.dialing, len(pool.idle)) == (2, 0, 0)


@pytest.mark.parametrize("limit", [None, 2])
def test_an_adopter_gets_what_it_would_have_had_if_the_dial_fails(limit: int | None) -> None:
    """A permit for a dial of its own, or a place in the queue; never nothing."""
    pool = pool_of(limit)
    woken: list[int] = []
    leaving, adopter = dialling(pool), Waiter[int](lambda: woken.append(1))
    pool.leave(leaving, 0.0)
    assert pool.adopt(adopter)
    other = dialling(pool)  # has the last place where there is a limit
    pool.undialed(leaving, 1.0)
    assert (adopter.permit, woken) == (True, [1])
    pool.undialed()  # as its thread would say that it failed, too
    adopter.permit = False
    pool.leave(adopter, 2.0)
    pool.undialed(other, 3.0)
    pool.leave(other, 3.0)
    assert pool.quiet


def test_an_adopter_that_stands_alone_waits_in_the_queue_where_there_is_no_room() -> None:
    """And is served from there; what it adopted still comes to the pool."""
    pool = pool_of(1)
    leaving, adopter = dialling(pool), Waiter[int](lambda: None)
    pool.leave(leaving, 0.0)
    assert pool.adopt(adopter)
    pool.stand_alone(adopter, 1.0)
    assert not adopter.permit
    assert pool.snapshot(1.0).waiting == 1
    pool.stand_alone(adopter, 1.5)  # once is enough
    pool.dialed(7, 2.0, leaving, tls=False, seconds=0.0)
    assert adopter.slot is not None
    assert pool.snapshot(2.0).waiting == 0
