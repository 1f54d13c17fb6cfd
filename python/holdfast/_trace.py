"""Trace hooks: what happens to a call and to its connection, told as it happens. The moments are those of Go's httptrace."""

from __future__ import annotations

import logging
import time
from typing import Any, NoReturn

from holdfast._statistics import CloseReason, _Record

__all__ = ["Trace", "TraceEvent", "Tracer", "announce", "observe", "process", "set_trace", "stop_observing"]

_log = logging.getLogger("holdfast")


class TraceEvent(_Record):
    """One moment. What does not apply to it, or is not known yet, is None. Read-only."""

    moment: str
    """The name of the hook."""
    at: float
    """``time.monotonic()``."""
    transport: str | None = None
    """The transport's name in ``statistics()``."""
    host: str | None = None
    """The origin, ``"https://host:443"``."""
    connection: int | None = None
    """The connection's number in this process, ``connection_info(...).connection_id``."""
    reused: bool | None = None
    """Whether the connection has served before."""
    idle_seconds: float | None = None
    """How long it was idle before."""
    seconds: float | None = None
    """How long the step took; of ``closed``, how long the connection lived."""
    address: Any = None
    """The address that was connected to; for ``dns`` a tuple of all that were found."""
    error: BaseException | None = None
    """Why the step failed; None if it did not."""
    status: int | None = None
    """The status of an interim response."""
    reason: CloseReason | None = None
    """Why a connection was closed."""
    size: int | None = None
    """Bytes that were drained."""

    def __init__(self, moment: str, at: float, **known: Any) -> None:
        self.__dict__.update(moment=moment, at=at, **known)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a TraceEvent is read-only")


class Trace:
    """Hooks for the moments of calls and connections. Subclass it and override what you need.

    Pass it to ``PooledAdapter(trace=...)`` for one adapter, or to ``set_trace`` for the process; both are told. Each
    hook is called with a ``TraceEvent``, in the thread in which it happens, and should be quick. A hook that raises is
    logged once, on the logger ``holdfast``, and never breaks a request. Moments that concern a connection after its
    call (``put_idle``, ``closed``) are told to the adapter that dialled it. (Go ``httptrace.ClientTrace``.)
    """

    def get_connection(self, event: TraceEvent) -> None:
        """A call wants a connection."""

    def queued(self, event: TraceEvent) -> None:
        """It has to wait: a limit is reached."""

    def got_connection(self, event: TraceEvent) -> None:
        """It has one: ``reused``, ``idle_seconds``; ``seconds`` since it wanted one."""

    def dns(self, event: TraceEvent) -> None:
        """A name was looked up: ``seconds``, ``address`` (all of them) or ``error``."""

    def connect(self, event: TraceEvent) -> None:
        """An address was tried: ``address``, ``seconds``, ``error``. Once per address."""

    def tls(self, event: TraceEvent) -> None:
        """TLS was negotiated: ``seconds``, ``error``."""

    def wrote_request(self, event: TraceEvent) -> None:
        """The request was written, with its body."""

    def first_response_byte(self, event: TraceEvent) -> None:
        """The first byte of an answer came."""

    def got_1xx(self, event: TraceEvent) -> None:
        """An interim response came: ``status``."""

    def put_idle(self, event: TraceEvent) -> None:
        """A connection came back, for the pool or for whoever waits."""

    def closed(self, event: TraceEvent) -> None:
        """A connection was closed: ``reason``."""

    def stale_retry(self, event: TraceEvent) -> None:
        """A reused connection turned out to be dead; the request is sent again on a new one."""

    def drained(self, event: TraceEvent) -> None:
        """An unread body was drained to save its connection: ``size``. ``error`` or a later ``closed`` if in vain."""

    def leaked(self, event: TraceEvent) -> None:
        """A response was dropped unread. Told by the garbage collector: take no locks here."""


_NOTHING = {name: hook for name, hook in vars(Trace).items() if not name.startswith("_")}
process: tuple[Trace, ...] = ()
"""Who hears of everything. The hot path looks here before it makes a call."""
_set: Trace | None = None
"""The one of ``set_trace``."""
_complained: set[tuple[type, str]] = set()


def set_trace(trace: Trace | None) -> None:
    """Tells ``trace`` of every transport of the process, beside what adapters have of their own. None: nobody."""
    global _set  # noqa: PLW0603  # one value per process
    if trace is not None and not isinstance(trace, Trace):
        raise TypeError(f"trace must be a holdfast.Trace, not {type(trace).__name__}")
    if _set is not None:
        stop_observing(_set)
    _set = trace
    if trace is not None:
        observe(trace)


def observe(trace: Trace) -> None:
    """Tells ``trace`` of everything, beside others."""
    global process  # noqa: PLW0603  # one value per process
    process = (*process, trace)


def stop_observing(trace: Trace) -> None:
    """No longer."""
    global process  # noqa: PLW0603  # one value per process
    process = tuple(one for one in process if one is not trace)


def announce(own: Trace | None, moment: str, **fields: Any) -> None:
    """Tells ``own`` and the process's trace."""
    for trace in process if own is None or any(own is one for one in process) else (own, *process):
        try:
            hook = getattr(trace, moment)
            if getattr(hook, "__func__", None) is not _NOTHING[moment]:
                hook(TraceEvent(moment, time.monotonic(), **fields))
        except Exception:
            if (type(trace), moment) not in _complained:
                _complained.add((type(trace), moment))
                _log.exception("%s.%s raised; told once, and the request goes on", type(trace).__name__, moment)


class Tracer:
    """One call's way to its traces, with what is known of its connection so far."""

    __slots__ = ("connection", "host", "own", "transport", "wanted_at")

    def __init__(self, own: Trace | None) -> None:
        self.own = own
        self.transport: str | None = None
        self.host: str | None = None
        self.connection: int | None = None
        self.wanted_at = 0.0

    def tell(self, moment: str, **fields: Any) -> None:
        """Tells everybody who wants to know."""
        announce(
            self.own,
            moment,
            **{"transport": self.transport, "host": self.host, "connection": self.connection, **fields},
        )


for _public in (Trace, TraceEvent, set_trace):
    _public.__module__ = "holdfast"
