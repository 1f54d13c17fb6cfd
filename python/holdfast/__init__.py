"""A pooled transport for requests.

Read it from the top down; each module imports only from those below it:

========================  ==========================================================================
``_install``              install, and what concerns the whole process
``_session``              Session: requests' own, each step cut short where its outcome is plain: ``_prepare`` and
                          ``_environment`` have the steps, ``_stock`` says whether anybody could tell
``_mount``                mount: how an adapter gets onto a session
``debug``                 a page that shows the pools, as a WSGI application
``prometheus``            metrics, if its client is installed; ``opentelemetry`` likewise; ``_series`` bounds both
``_log_statistics``       a line per transport, every so often
``_unix``                 http+unix://, HTTP over unix sockets
``_adapter``              PooledAdapter: one call of requests, errors translated
``_lanes``                which lane: may anybody tell the difference?
``_fast_lane``            the exchange, done directly
``_adopt``                pool managers that give out facades
``_facade``               urllib3's pools over our transports: the standard lane
``_acquire``              every wait for a connection: idle, dialled or returned, whichever comes first
``_attempt``              one dial, on a thread of its own
``_binding``              which transport a facade's settings lead to
``_transport_cache``      digest of the settings -> Transport, process-wide, and the fork rule
``_transport``            one set of settings: its hosts, and the one lock over their counts
``_lease``, ``_reaper``   the right to one connection; the thread that closes idle ones
``_host_pool``, ``_slot`` idle stack, waiters, permits of one origin; no I/O at all
``_stale``                may a request be sent again?
``_connection``           one socket, one exchange at a time: writing and reading
``_response``, ``_body``  what the caller gets, and how its end is the lease's end; ``_look`` is what it looks like
``_dialled``, ``_dial``   the socket's life: each phase of its dial under one deadline, the idle check
``_eyeballs``             several addresses of one host: the first to connect wins
``_core`` (Rust)          heads, framing, chunked bodies, draining, key digest
leaves                    ``_config``, ``_timeouts``, ``_errors``, ``_deadline``, ``_backoff``, ``_statistics``, ``_tls``,
                          ``_trace``, ``_leaks``, ``_periodic``, ``_identity``, ``_files``, ``_fork``
========================  ==========================================================================
"""

from holdfast._adapter import PooledAdapter
from holdfast._config import Limits, Timeouts
from holdfast._deadline import CancelScope, deadline
from holdfast._errors import (
    AcquireTimeout,
    BodyStallTimeout,
    Cancelled,
    DeadlineExceeded,
    HoldfastError,
    IncompleteBody,
    InvalidResponse,
    ProxyConnectTimeout,
    QueueFull,
    ResponseHeaderTimeout,
    TLSHandshakeTimeout,
)
from holdfast._install import close_idle_connections, install, statistics, uninstall
from holdfast._leaks import find_leaks
from holdfast._log_statistics import log_statistics
from holdfast._mount import mount
from holdfast._response import connection_info
from holdfast._session import Session
from holdfast._statistics import (
    CloseReason,
    ConnectionInfo,
    HostStatistics,
    Statistics,
    Timings,
    TransportStatistics,
)
from holdfast._trace import Trace, TraceEvent, set_trace

__version__ = "0.1.0"

__all__ = [
    "AcquireTimeout",
    "BodyStallTimeout",
    "CancelScope",
    "Cancelled",
    "CloseReason",
    "ConnectionInfo",
    "DeadlineExceeded",
    "HoldfastError",
    "HostStatistics",
    "IncompleteBody",
    "InvalidResponse",
    "Limits",
    "PooledAdapter",
    "ProxyConnectTimeout",
    "QueueFull",
    "ResponseHeaderTimeout",
    "Session",
    "Statistics",
    "TLSHandshakeTimeout",
    "Timeouts",
    "Timings",
    "Trace",
    "TraceEvent",
    "TransportStatistics",
    "close_idle_connections",
    "connection_info",
    "deadline",
    "find_leaks",
    "install",
    "log_statistics",
    "mount",
    "set_trace",
    "statistics",
    "uninstall",
]

for _public in (PooledAdapter, Limits, Timeouts, CancelScope, deadline):
    _public.__module__ = "holdfast"
