"""What one thread does in the pool, interrupted at every line where it holds no lock by what another one does.

Races found by chance show up once in a hundred runs, or never; here each of them is run on purpose. A trace function
counts the lines of the pool's modules that one caller runs, and at the n-th of them does what the other thread could
have done just there; for n = 0, 1, 2, … until the caller is through before its n-th line.
"""

from __future__ import annotations

import itertools
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import holdfast
from conftest import settle
from holdfast import _acquire
from holdfast._acquire import acquire, redial
from holdfast._config import Limits, Timeouts
from holdfast._deadline import Exchange
from holdfast._errors import Carrier
from holdfast._lease import Lease
from holdfast._slot import Waiter
from holdfast._statistics import CloseReason
from holdfast._transport import Transport

FOLDER = Path(_acquire.__file__).parent
TRACED = {
    str(FOLDER / f"{name}.py") for name in ("_acquire", "_attempt", "_host_pool", "_transport", "_deadline", "_lease")
}
HERE, THERE = ("http", "here.test", 80), ("http", "there.test", 80)
PATIENCE = 0.02
"""How long a caller waits that is told nothing. What comes sooner must reach it."""


class Connection:
    """A connection without a socket."""

    fd = -1

    def __init__(self, world: World) -> None:
        self._world = world
        world.open.append(self)

    def dead(self) -> CloseReason | None:
        return None

    def close(self) -> None:
        self._world.open.remove(self)  # ValueError if it is closed twice


class World:
    """A transport, how it is dialled, and who holds what."""

    numeric = False
    foreign = False

    def __init__(self, limits: Limits) -> None:
        self.open: list[Connection] = []
        self.transport = Transport("7" * 64, limits)
        self.held: list[Lease] = []
        self.scope = holdfast.CancelScope()
        self.locks = [self.transport._lock, self.scope._lock]
        self.answers = threading.Event()
        self.answers.set()
        self.refuses = False

    def dial(self, budget: Any) -> Connection:
        assert self.answers.wait(10)
        if self.refuses:
            raise ConnectionRefusedError("refused")
        return Connection(self)

    def timed_out(self, budget: Any) -> Exception:
        return TimeoutError("dial timed out")

    def exchange(self, **timeouts: float) -> Exchange:
        with self.scope:
            exchange = Exchange(Timeouts(**timeouts), None, "test")
        self.locks.append(exchange._lock)
        return exchange

    def lease(self, place: tuple[str, str, int] = HERE) -> Lease:
        lease = acquire(self.transport, place, self.exchange(), self, None)
        self.held.append(lease)
        return lease

    def permit(self) -> Any:
        """A dial of somebody else is under way; the pool that it is for."""
        with self.transport._lock:
            host = self.transport.host(HERE)
            assert host.try_permit()
        return host

    def busy(self) -> bool:
        """Whether another thread could not act now, but would wait."""
        return any(lock.locked() for lock in self.locks)


Action = Callable[[], object]


class Scenario(NamedTuple):
    """A caller and an interruption."""

    name: str
    limits: Limits
    prepare: Callable[[World], Action]
    """Sets the scene; gives what happens at the n-th line."""
    due: tuple[str, ...] = ("leased",)
    """What becomes of the caller if that happens before its patience is over."""
    call: Callable[[World], object] = World.lease


def ended(how: Callable[[Lease], object], place: tuple[str, str, int] = HERE) -> Callable[[World], Action]:
    """Somebody holds a connection to ``place`` and ends the lease."""

    def prepare(world: World) -> Action:
        lease = [world.lease(place)]
        world.held.clear()
        return lambda: how(lease.pop())

    return prepare


def release(lease: Lease) -> None:
    lease.release()


def discard(lease: Lease) -> None:
    lease.discard(CloseReason.ERROR)


def drop(lease: Lease) -> None:
    del lease


def dial_fails(world: World) -> Action:
    host = world.permit()

    def act() -> None:
        with world.transport._tidy, world.transport._lock:
            host.undialed()

    return act


def dial_is_nobodys(world: World) -> Action:
    """Whoever dialled has left meanwhile."""
    host = world.permit()

    def act() -> None:
        with world.transport._tidy, world.transport._lock:
            host.dialed(Connection(world), time.monotonic(), Waiter(lambda: None), tls=False, seconds=0.1)

    return act


def cancelled(world: World) -> Action:
    world.lease()
    return world.scope.cancel


def cancelled_in_its_dial(world: World) -> Action:
    world.lease()
    world.answers.clear()
    return world.scope.cancel


def released_and_refused(world: World) -> Action:
    lease = world.lease()
    world.held.clear()
    world.refuses = True
    return lease.release


def idle_and(act: Callable[[Transport], object]) -> Callable[[World], Action]:
    def prepare(world: World) -> Action:
        world.lease().release()
        return lambda: act(world.transport)

    return prepare


def another_leaves(world: World) -> Action:
    """Somebody waits for the caller's connection, and gives up."""
    world.lease()
    waiter: Waiter[Any] = Waiter(lambda: None)
    with world.transport._lock:
        host = world.transport.host(HERE)
        host.join(waiter, time.monotonic(), permit=False)

    def act() -> None:
        with world.transport._tidy, world.transport._lock:
            host.leave(waiter, time.monotonic())

    return act


def replace_it(world: World) -> None:
    redial(world.transport, world.held[0], world.exchange(), world, CloseReason.CLOSED_BY_SERVER)


def dial_in_vain(world: World) -> object:
    return acquire(world.transport, HERE, world.exchange(connect=PATIENCE), world, None)


ONE = Limits(max_connections_per_host=1, acquire_timeout=PATIENCE)
TWO = Limits(max_connections_per_host=2, acquire_timeout=PATIENCE)
ONE_IN_ALL = Limits(max_connections=1, acquire_timeout=PATIENCE)

SCENARIOS = [
    Scenario("full, then a connection returns", ONE, ended(release)),
    Scenario("full, then a connection is closed", ONE, ended(discard)),
    Scenario("full, then a lease is dropped", ONE, ended(drop)),
    Scenario("full, then a dial fails", ONE, dial_fails),
    Scenario("full, then a dial that nobody waits for succeeds", ONE, dial_is_nobodys),
    Scenario("full over all hosts, then another host's returns", ONE_IN_ALL, ended(release, THERE)),
    Scenario("full over all hosts, then another host's is closed", ONE_IN_ALL, ended(discard, THERE)),
    Scenario("dialling, a connection returns", TWO, ended(release)),
    Scenario("dialling, a connection is closed", TWO, ended(discard)),
    Scenario("dialling in vain, a connection returns", TWO, released_and_refused, ("leased", "ConnectionRefusedError")),
    Scenario("waiting, cancelled", ONE, cancelled, ("Cancelled",)),
    Scenario("dialling, cancelled", TWO, cancelled_in_its_dial, ("Cancelled",), dial_in_vain),
    Scenario("taking what is idle, it is closed", ONE, idle_and(lambda one: one.close_idle(CloseReason.EVICTED))),
    Scenario("taking what is idle, the transport is shut", ONE, idle_and(lambda one: one.shut(CloseReason.SHUTDOWN))),
    Scenario("returning, the waiter leaves", ONE, another_leaves, call=lambda world: world.held[0].release()),
    Scenario("closing, the waiter leaves", ONE, another_leaves, call=lambda world: discard(world.held[0])),
    Scenario("dialling again, a waiter leaves", ONE, another_leaves, call=replace_it),
    Scenario("dialling again, cancelled", ONE, cancelled, ("leased", "Cancelled"), call=replace_it),
]


class Interruption:
    """A trace function that acts once, at the n-th line, if nobody would wait for the caller there."""

    def __init__(self, line: int, action: Action, busy: Callable[[], bool]) -> None:
        self.line = line
        self.action = action
        self.busy = busy
        self.at: float | None = None
        self.where = "nowhere"

    def __call__(self, frame: Any, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in TRACED:
            return None
        if event == "line" and self.at is None and not self.busy():
            self.line -= 1
            if self.line < 0:
                self.at = time.monotonic()
                self.where = f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
                self.action()
        return self


def outcome(scenario: Scenario, world: World, interruption: Interruption) -> str:
    """What becomes of the caller, which runs on a thread of its own; its dial's thread is traced as well."""
    told: list[str] = []

    def caller() -> None:
        sys.settrace(interruption)
        try:
            scenario.call(world)
            told.append("leased")
        except Carrier as error:
            told.append(type(error.public).__name__)
        except Exception as error:
            told.append(type(error).__name__)
        finally:
            sys.settrace(None)

    threading.settrace(interruption)
    try:
        thread = threading.Thread(target=caller)
        thread.start()
        thread.join(20)
    finally:
        threading.settrace(None)  # type: ignore[arg-type]
    assert not thread.is_alive(), f"hangs after {interruption.where}"
    return told[0]


def run(scenario: Scenario, line: int) -> bool:
    """Whether the caller came as far as that line."""
    world = World(scenario.limits)
    interruption = Interruption(line, scenario.prepare(world), world.busy)
    began = time.monotonic()
    came = outcome(scenario, world, interruption)
    where = f"interrupted at {interruption.where}"
    in_time = interruption.at is not None and interruption.at < began + PATIENCE
    assert came in scenario.due or (not in_time and came in ("AcquireTimeout", "TimeoutError")), f"{came}, {where}"
    world.answers.set()
    if interruption.at is None:
        interruption.action()
    while world.held:
        world.held.pop().release()
    transport = world.transport
    assert settle(lambda: transport.statistics().dialing == 0), f"a permit was lost, {where}"
    transport.close_idle(CloseReason.SHUTDOWN)
    stats = transport.statistics()
    assert (stats.in_use, stats.idle, stats.waiting, transport.permits) == (0, 0, 0, 0), f"{stats}, {where}"
    assert not world.open, where
    assert stats.created == sum(stats.closed.values()), where
    return interruption.at is not None


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_interrupted_at_every_line(scenario: Scenario) -> None:
    """Whoever is owed a connection has it, nobody waits beside one, and nothing is lost."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        lines = next(line for line in itertools.count() if not run(scenario, line))
    assert lines > 3, "the pool's lines are not traced"
