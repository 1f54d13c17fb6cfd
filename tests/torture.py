"""Many threads lease, wait, time out, cancel, drop and discard at random; then the books must balance.

``make torture`` runs two million leases; the tests run a short form. Connections are objects, not sockets, so that the
pool is all that is exercised. Each one notes whether two threads ever had it at once.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import random
import sys
import threading
import time
import warnings
from typing import Any, NamedTuple

import holdfast
from holdfast._acquire import acquire, redial
from holdfast._config import Limits, Timeouts
from holdfast._deadline import Exchange
from holdfast._errors import Carrier
from holdfast._statistics import CloseReason, TransportStatistics
from holdfast._transport import Transport

PLACES = [("http", name, 80) for name in ("a.test", "b.test", "c.test")]


class Connection:
    """A connection without a socket."""

    fd = -1

    def __init__(self, dialer: Dialer) -> None:
        self._dialer = dialer
        self.held = threading.Lock()
        self.is_open = True

    def dead(self) -> CloseReason | None:
        return CloseReason.CLOSED_BY_SERVER if random.random() < 0.01 else None

    def close(self) -> None:
        if not self.is_open:
            raise RuntimeError("closed twice")
        self.is_open = False
        self._dialer.closed()

    def interrupt(self) -> None:
        pass


class Dialer:
    """Dials at once, a little later, or not at all."""

    numeric = False
    foreign = False

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.open = self.most_open = self.made = 0

    def dial(self, budget: Any) -> Connection:
        if random.random() < 0.1:
            time.sleep(random.random() * 0.002)
        if random.random() < 0.05:
            raise ConnectionRefusedError("refused")
        with self._lock:
            self.open += 1
            self.made += 1
            self.most_open = max(self.most_open, self.open)
        return Connection(self)

    def closed(self) -> None:
        with self._lock:
            self.open -= 1

    def timed_out(self, budget: Any) -> Exception:
        return TimeoutError("dial timed out")


class Result(NamedTuple):
    """What came of it."""

    leases: int
    errors: dict[str, int]
    faults: list[str]
    statistics: TransportStatistics
    open: int
    most_open: int
    seconds: float


class Torture:
    """One transport and the threads on it."""

    def __init__(self, leases: int, threads: int, limits: Limits) -> None:
        self.transport = Transport("7" * 64, limits)
        self.dialer = Dialer()
        self.share = leases // threads
        self.threads = threads
        self.lock = threading.Lock()
        self.leases = 0
        self.errors: dict[str, int] = {}
        self.faults: list[str] = []

    def run(self) -> Result:
        began = time.monotonic()
        threads = [threading.Thread(target=self._work, args=(seed,)) for seed in range(self.threads)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gc.collect()
        end = time.monotonic() + 10
        while self.transport.statistics().dialing and time.monotonic() < end:
            time.sleep(0.01)
        self.transport.close_idle(CloseReason.SHUTDOWN)
        return Result(
            self.leases,
            self.errors,
            self.faults,
            self.transport.statistics(),
            self.dialer.open,
            self.dialer.most_open,
            time.monotonic() - began,
        )

    def _work(self, seed: int) -> None:
        chance = random.Random(seed)
        done = 0
        errors: dict[str, int] = {}
        for _ in range(self.share):
            try:
                self._once(chance)
                done += 1
            except Carrier as error:
                name = type(error.public).__name__
                errors[name] = errors.get(name, 0) + 1
            except OSError as error:
                errors[type(error).__name__] = errors.get(type(error).__name__, 0) + 1
            except Exception as error:
                self.faults.append(repr(error))
                return
        with self.lock:
            self.leases += done
            for name, n in errors.items():
                self.errors[name] = self.errors.get(name, 0) + n

    def _once(self, chance: random.Random) -> None:
        scope = holdfast.CancelScope() if chance.random() < 0.02 else None
        total = chance.choice([0.0005, 0.002]) if chance.random() < 0.02 else None
        canceller = None
        with scope or contextlib.nullcontext():
            exchange = Exchange(Timeouts(total=total), None, "test")
        if scope is not None:
            canceller = threading.Timer(chance.random() * 0.001, scope.cancel)
            canceller.start()
        try:
            self._lease(chance, exchange)
        finally:
            if canceller is not None:
                canceller.join()

    def _lease(self, chance: random.Random, exchange: Exchange) -> None:
        lease = acquire(self.transport, chance.choice(PLACES), exchange, self.dialer, None)
        conn = lease.conn
        if not conn.held.acquire(blocking=False) or not conn.is_open:
            self.faults.append("a connection of two, or a closed one")
        if chance.random() < 0.01:
            time.sleep(0)
        if chance.random() < 0.01:
            conn.held.release()
            conn = redial(self.transport, lease, exchange, self.dialer, CloseReason.CLOSED_BY_SERVER)
            conn.held.acquire()
        conn.held.release()
        how = chance.random()
        if how < 0.94:
            lease.release()
        elif how < 0.99:
            lease.discard(CloseReason.ERROR)
        # else: dropped


def torture(leases: int, threads: int = 32, limits: Limits | None = None) -> Result:
    """``leases`` leases on ``threads`` threads."""
    if limits is None:
        limits = Limits(
            max_connections=16, max_connections_per_host=8, max_idle_per_host=6, max_idle=12, max_waiting=28
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        return Torture(leases, threads, limits).run()


def complaints(result: Result, limits: Limits) -> list[str]:
    """What does not add up; nothing, if all is well."""
    stats = result.statistics
    closed = sum(stats.closed.values())
    wrong = list(result.faults)
    if (stats.in_use, stats.dialing, stats.idle, stats.waiting) != (0, 0, 0, 0):
        wrong.append(f"left: {stats}")
    if result.open or stats.created != closed:
        wrong.append(f"{result.open} connections open; {stats.created} created, {closed} closed")
    if limits.max_connections is not None and result.most_open > limits.max_connections:
        wrong.append(f"{result.most_open} connections open at once")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--leases", type=int, default=2_000_000)
    parser.add_argument("--threads", type=int, default=32)
    given = parser.parse_args()
    limits = Limits(max_connections=16, max_connections_per_host=8, max_idle_per_host=6, max_idle=12, max_waiting=28)
    result = torture(given.leases, given.threads, limits)
    failed = ", ".join(f"{n} {name}" for name, n in sorted(result.errors.items()))
    stats = result.statistics
    print(
        f"{result.leases} leases on {given.threads} threads in {result.seconds:.1f} s, and {failed}; "
        f"{stats.created} connections made and {sum(stats.closed.values())} closed, {result.most_open} at once "
        f"(limit {limits.max_connections}), {stats.leaked} leases dropped and recovered, {stats.stale_retries} redialled"
    )
    wrong = complaints(result, limits)
    for line in wrong[:5]:
        print(line, file=sys.stderr)
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
