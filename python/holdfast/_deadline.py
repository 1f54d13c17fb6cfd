"""One call's time and its end: ``deadline``, ``CancelScope``, and the ``Exchange`` that carries both downwards.

Nothing below restarts a timeout: every wait asks the exchange how long it may still take.
"""

from __future__ import annotations

import contextvars
import threading
import time
import weakref
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from holdfast import _trace
from holdfast._config import Timeouts, _check_seconds
from holdfast._errors import Cancelled, DeadlineExceeded, HoldfastError, carry

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["CancelScope", "Exchange", "deadline"]


class _Bounds:
    """What the enclosing blocks ask of a request: the earliest deadline and every scope."""

    __slots__ = ("at", "scopes", "seconds")

    def __init__(self, at: float | None, seconds: float | None, scopes: tuple[CancelScope, ...]) -> None:
        self.at = at
        self.seconds = seconds
        self.scopes = scopes


_bounds: contextvars.ContextVar[_Bounds | None] = contextvars.ContextVar("holdfast_bounds", default=None)


class deadline:  # a context manager that reads as a phrase, as trio's move_on_after does
    """Every request sent inside the block shares ``seconds``, streamed bodies included; then ``DeadlineExceeded``.

    A context variable: it binds this thread's requests and those of code run in a copy of its context. Of nested
    deadlines the earlier wins. ``ValueError`` if ``seconds`` is negative or no number.
    """

    def __init__(self, seconds: float) -> None:
        _check_seconds("deadline", "seconds", seconds, zero=True, optional=False)
        self._seconds = seconds
        self._tokens: list[contextvars.Token[_Bounds | None]] = []

    def __enter__(self) -> Self:
        at, seconds, outer = time.monotonic() + self._seconds, self._seconds, _bounds.get()
        scopes: tuple[CancelScope, ...] = ()
        if outer is not None:
            scopes = outer.scopes
            if outer.at is not None and outer.at < at and outer.seconds is not None:
                at, seconds = outer.at, outer.seconds
        self._tokens.append(_bounds.set(_Bounds(at, seconds, scopes)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _bounds.reset(self._tokens.pop())


class CancelScope:
    """Requests sent inside ``with scope:`` end with ``Cancelled`` once ``scope.cancel()`` is called, from any thread.

    They end wherever they are: waiting for a connection, dialling, waiting for the response, reading its body. A
    request sent after the cancel fails at once. Binding works as for ``deadline``.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cancelled = False
        self._exchanges: weakref.WeakSet[Exchange] = weakref.WeakSet()  # guarded by _lock
        self._tokens: list[contextvars.Token[_Bounds | None]] = []

    @property
    def cancelled(self) -> bool:
        """Whether ``cancel`` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """Ends every request of the scope, now and to come. Does nothing the second time."""
        with self._lock:
            self._cancelled = True
            exchanges = list(self._exchanges)
        for exchange in exchanges:
            exchange.cancel()

    def _add(self, exchange: Exchange) -> None:
        # Either cancel() sees the exchange in the set, or we see its flag here: both happen under the lock.
        with self._lock:
            self._exchanges.add(exchange)
            cancelled = self._cancelled
        if cancelled:
            exchange.cancel()

    def __enter__(self) -> Self:
        outer = _bounds.get()
        at, seconds, scopes = (None, None, ()) if outer is None else (outer.at, outer.seconds, outer.scopes)
        bounds = _Bounds(at, seconds, (*scopes, self))
        self._tokens.append(_bounds.set(bounds))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _bounds.reset(self._tokens.pop())


class Exchange:
    """One call of ``send``: its timeouts, its end, and what it was waiting for when somebody cancels it."""

    # Most of this stays as it is for most exchanges, so it is kept in the class: less to set for each.
    lease: Any = None
    """The lease while urllib3 drives the exchange; a response takes it over."""
    parted: Any = None
    """A connection that urlopen will close although its response is over and it is ours no more."""
    pool_timeout: float | None = None
    """urllib3's ``pool_timeout``, from a caller who comes past the adapter: bounds the queue too."""
    bound = False
    """Whether the request authenticates its connection (NTLM, Negotiate)."""
    failure: Any = None
    """Why the connection of a failed exchange is closed, noted where the error was still at hand."""
    tracer: _trace.Tracer | None = None
    cancelled = False
    scopes: tuple[CancelScope, ...] = ()
    queued = sending = wait = writing_since = 0.0
    stale_retries = 0
    total: float | None = None
    total_at: float | None = None
    _lock: threading.Lock
    _wake: Callable[[], None] | None
    """Guarded by ``_lock``; there only where somebody may cancel."""

    def __init__(
        self, timeouts: Timeouts, dial_bound: float | None, host: str, url: Any = "", trace: _trace.Trace | None = None
    ) -> None:
        self.timeouts = timeouts
        self.dial_bound = dial_bound
        """A ``connect`` given for the call: bounds queue and dial, each as a whole, as in requests."""
        self.host = host
        self.url = url
        self.started = started = time.monotonic()
        if trace is not None or _trace.process:
            self.tracer = _trace.Tracer(trace)
        if timeouts.total is not None:
            self.total, self.total_at = timeouts.total, started + timeouts.total
        bounds = _bounds.get()
        if bounds is not None:
            self._bind(bounds)

    def _bind(self, bounds: _Bounds) -> None:
        if bounds.at is not None and (self.total_at is None or bounds.at < self.total_at):
            self.total_at, self.total = bounds.at, bounds.seconds
        if bounds.scopes:
            self._lock = threading.Lock()
            self._wake = None
            self.scopes = bounds.scopes
            for scope in bounds.scopes:
                scope._add(self)

    def cancel(self) -> None:
        """Marks the exchange and wakes whatever it waits in. Called by other threads."""
        with self._lock:
            self.cancelled = True
            if self._wake is not None:
                self._wake()

    def attach(self, wake: Callable[[], None] | None) -> None:
        """From here on, ``cancel`` calls ``wake``, which must not block; None: nobody waits.

        After ``attach(None)`` has returned, no call of the earlier ``wake`` is under way, so that a descriptor may
        be closed without a canceller shutting down its successor.
        """
        if self.scopes:
            with self._lock:
                self._wake = wake
            if wake is not None:
                self.check()

    def check(self) -> None:
        """Raises if the exchange is over."""
        if self.cancelled:
            self.fail(Cancelled(f"request to {self.host} cancelled after {self.elapsed():.3f} s"))
        if self.total_at is not None and time.monotonic() >= self.total_at:
            self.exceeded()

    def exceeded(self, doing: str = "") -> NoReturn:
        """The total is used up."""
        during = f" while {doing}" if doing else ""
        self.fail(
            DeadlineExceeded(
                f"request to {self.host} exceeded its total of {self.total:g} s{during} (took {self.elapsed():.3f} s)"
            )
        )

    def fail(self, error: HoldfastError) -> NoReturn:
        """Raises ``error`` as it travels below ``send``."""
        raise carry(error)

    def elapsed(self) -> float:
        """Seconds since the call began."""
        return time.monotonic() - self.started

    def left(self, limit_at: float | None) -> float | None:
        """Seconds until the earlier of ``limit_at`` and the total; None: for ever. Never negative."""
        at = self.total_at
        if limit_at is not None and (at is None or limit_at < at):
            at = limit_at
        if at is None:
            return None
        return max(0.0, at - time.monotonic())

    def sleep(self, seconds: float) -> None:
        """Waits, unless the total ends or somebody cancels; then raises at that moment."""
        gate = threading.Lock()
        gate.acquire()
        wake = _opener(gate)
        self.attach(wake)
        try:
            left = self.left(time.monotonic() + seconds)
            gate.acquire(timeout=min(left if left is not None else seconds, threading.TIMEOUT_MAX))
        finally:
            self.attach(None)
        self.check()


def _opener(gate: threading.Lock) -> Callable[[], None]:
    """Releases ``gate`` once, however often it is called."""
    pending = [gate]

    def wake() -> None:
        if pending:
            pending.pop().release()

    return wake


current: contextvars.ContextVar[Exchange | None] = contextvars.ContextVar("holdfast_exchange", default=None)
"""The exchange of the ``send`` under way, for urllib3's methods, whose signatures have no room for it."""
