"""Getting a connection: from the idle stack, from a dial, from somebody who returns one; whichever comes first.

Every wait here has an end, and every way out gives back what was granted meanwhile: a permit or a connection.
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any, NoReturn

from holdfast._attempt import Attempt, Dialer, Gate, counts, dial_twice, is_tls
from holdfast._deadline import Exchange
from holdfast._dial import DialBudget
from holdfast._errors import AcquireTimeout, Carrier, QueueFull
from holdfast._host_pool import HostPool
from holdfast._lease import Lease
from holdfast._slot import QueueLimit, Slot, Waiter
from holdfast._statistics import CloseReason
from holdfast._trace import Tracer
from holdfast._transport import Transport, number_of, origin_of

__all__ = ["Dialer", "acquire", "redial"]

ADOPTING = 1.0
"""How long a caller relies on a dial that another began, in seconds; then it dials for itself, within its own limits."""


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
    tracer = exchange.tracer
    if tracer is not None:
        tracer.transport, tracer.host, tracer.wanted_at = transport.name, origin_of(place), time.monotonic()
        tracer.tell("get_connection")
    while True:
        try:
            with transport._lock:
                host = transport._hosts.get(place) or transport.host(place)
                # One of ours is of no use to a foreign caller, except that its place may be free for it.
                slot = None if foreign and not host.full else host.take(time.monotonic(), owner, bound=bound)
                # Under the same hold: between two, a connection could come back to nobody, and we would wait beside it.
                caller = _join(host, exchange, dialer, owner) if slot is None else None
        except QueueLimit:
            _queue_full(transport, host, exchange)
        if transport._ledger.doomed or transport._orphans:
            transport._after()
        if slot is None:
            slot = _obtain(transport, host, exchange, dialer, caller)
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
    lease = Lease(transport, host, slot, exchange.url)
    if tracer is not None:
        _got(tracer, slot)
    return lease


def _got(tracer: Tracer, slot: Slot[Any]) -> None:
    slot.trace = tracer.own
    tracer.connection = number_of(slot.conn)
    tracer.tell(
        "got_connection",
        reused=slot.served > 1,
        idle_seconds=slot.idle_seconds,
        seconds=time.monotonic() - tracer.wanted_at,
    )


class _Caller:
    """Who waits, since when, and what wakes it."""

    __slots__ = ("adopts", "began", "gate", "queued", "waiter")

    def __init__(self, owner: object) -> None:
        self.queued = self.adopts = False
        self.began = time.monotonic()
        self.gate = Gate()
        self.waiter: Waiter[Any] = Waiter(self.gate.open, owner)


def _join(host: HostPool[Any], exchange: Exchange, dialer: Dialer, owner: object) -> _Caller | None:
    """Takes a permit or a place in the queue; None: there is a permit, and the caller dials for itself. The lock is held."""
    caller = _Caller(owner)
    if not dialer.foreign and host.adopt(caller.waiter):
        caller.adopts = True
        return caller
    permit = host.try_permit()
    if permit and _inline(host, dialer, exchange):
        return None
    caller.queued = not permit
    host.join(caller.waiter, caller.began, permit=permit)
    return caller


def _obtain(
    transport: Transport, host: HostPool[Any], exchange: Exchange, dialer: Dialer, caller: _Caller | None
) -> Slot[Any]:
    """Dials, waits, or both; whichever gives a connection first."""
    if caller is None:
        return _dial_inline(transport, host, exchange, dialer)
    try:
        if caller.queued and exchange.tracer is not None:
            exchange.tracer.tell("queued")
        exchange.attach(caller.gate.open)
        return _wait(transport, host, exchange, dialer, caller)
    except BaseException:
        with transport._tidy, transport._lock:
            host.leave(caller.waiter, time.monotonic())
        raise
    finally:
        exchange.attach(None)


def _wait(
    transport: Transport,
    host: HostPool[Any],
    exchange: Exchange,
    dialer: Dialer,
    caller: _Caller,
) -> Slot[Any]:
    """Until the waiter has a connection, its dial has failed, or a limit is reached."""
    gate, waiter, began = caller.gate, caller.waiter, caller.began
    attempt: Attempt | None = None
    while True:
        if attempt is None and waiter.permit:
            exchange.queued = time.monotonic() - began  # from here on it is dialling
            attempt = Attempt(transport, host, dialer, gate, waiter, exchange, began)
            attempt.start()
        woken = gate.wait(_patience(host, exchange, began, attempt, adopts=caller.adopts))
        if waiter.slot is not None:
            if attempt is None:
                exchange.queued = time.monotonic() - began
            # Handed over, and with that out of every queue: nobody else touches this waiter any more.
            return waiter.slot
        if attempt is not None and attempt.error is not None:
            raise attempt.error
        if caller.adopts and not woken:
            caller.adopts = False
            exchange.check()
            with transport._tidy, transport._lock:
                host.stand_alone(waiter, time.monotonic())
        elif exchange.cancelled or not woken:
            _give_up(transport, host, exchange, began, attempt)


def _patience(
    host: HostPool[Any], exchange: Exchange, began: float, attempt: Attempt | None, *, adopts: bool = False
) -> float | None:
    """How long the present wait may be: the dial's phase, or the queue's limit, and the total."""
    if attempt is not None:
        return exchange.left(attempt.budget.at)
    if adopts:
        own = [limit for limit in (exchange.dial_bound, exchange.timeouts.connect) if limit is not None]
        return exchange.left(began + min([ADOPTING, *own]))
    limit, _name = _queue_limit(host, exchange)
    return exchange.left(None if limit is None else began + limit)


def _queue_limit(host: HostPool[Any], exchange: Exchange) -> tuple[float | None, str]:
    """The shortest of what bounds a wait in the queue, and its name."""
    limits = [
        (host.limits.acquire_timeout, "acquire_timeout"),
        (exchange.dial_bound, "connect"),
        (exchange.pool_timeout, "pool_timeout"),
    ]
    return min(limits, key=lambda limit: math.inf if limit[0] is None else limit[0])


def _give_up(
    transport: Transport, host: HostPool[Any], exchange: Exchange, began: float, attempt: Attempt | None
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
    limit, name = _queue_limit(host, exchange)
    text = f"no connection to {host.origin} within {limit:g} s ({name}; waited {now - began:.3f} s): {counts(transport, host)}"
    exchange.fail(AcquireTimeout(text))


def _queue_full(transport: Transport, host: HostPool[Any], exchange: Exchange) -> NoReturn:
    limit = host.limits.max_waiting
    text = f"no connection to {host.origin}: {limit} callers are waiting already (max_waiting; waited 0.000 s): "
    exchange.fail(QueueFull(text + counts(transport, host)))


def _inline(host: HostPool[Any], dialer: Dialer, exchange: Exchange) -> bool:
    """Whether a thread buys nothing: there is no DNS, and nobody can return a connection or cancel meanwhile."""
    if sys.is_finalizing() or dialer.foreign:
        return True
    return dialer.numeric and not exchange.scopes and not host.in_use and host.dialing == 1


def _dial_inline(transport: Transport, host: HostPool[Any], exchange: Exchange, dialer: Dialer) -> Slot[Any]:
    budget = DialBudget(exchange.timeouts, exchange.dial_bound, exchange.total_at, time.monotonic(), exchange.tracer)
    conn = _dial_here(transport, host, exchange, dialer, budget)
    now = time.monotonic()
    with transport._tidy, transport._lock:
        slot = host.dialed(conn, now, None, tls=is_tls(conn), seconds=now - budget.began)
    assert slot is not None  # without a waiter it is ours
    return slot


def _dial_here(
    transport: Transport, host: HostPool[Any], exchange: Exchange, dialer: Dialer, budget: DialBudget
) -> Any:
    """Dials in this thread; a failure frees the permit."""
    try:
        return dial_twice(transport, host, dialer, budget)
    except BaseException as error:
        with transport._tidy, transport._lock:
            host.undialed()
        if not isinstance(error, Carrier):
            exchange.check()
        raise


def redial(transport: Transport, lease: Lease, exchange: Exchange, dialer: Dialer, reason: CloseReason) -> Any:
    """A stale retry: the lease's connection is replaced by a newly dialled one, on the same permit.

    Never by a pooled or a returned one: those may be as stale as the first.
    """
    slot, host = lease.slot, lease.host
    slot.conn.close()
    tracer = exchange.tracer
    if tracer is not None:
        tracer.tell("stale_retry", reason=reason)
        tracer.tell("closed", reason=reason, seconds=time.monotonic() - slot.made_at)
    with transport._tidy, transport._lock:
        host.redial(slot, reason)
    exchange.stale_retries += 1
    began = time.monotonic()
    try:
        if (dialer.numeric and not exchange.scopes) or sys.is_finalizing():
            budget = DialBudget(exchange.timeouts, exchange.dial_bound, exchange.total_at, began, exchange.tracer)
            conn = _dial_here(transport, host, exchange, dialer, budget)
        else:
            conn = _dial_alone(transport, host, exchange, dialer, began)
    except BaseException:
        lease.transport = None  # the permit is gone, and with it the lease
        raise
    now = time.monotonic()
    with transport._tidy, transport._lock:
        host.redialed(slot, conn, now, tls=is_tls(conn), seconds=now - began)
    if tracer is not None:
        tracer.connection = number_of(conn)
    return conn


def _dial_alone(transport: Transport, host: HostPool[Any], exchange: Exchange, dialer: Dialer, began: float) -> Any:
    """Dials on a thread and waits for that dial only."""
    gate = Gate()
    attempt = Attempt(transport, host, dialer, gate, None, exchange, began)
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
