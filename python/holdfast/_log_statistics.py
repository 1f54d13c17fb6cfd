"""A line per transport on the logger ``holdfast``, every so often, if something has changed."""

from __future__ import annotations

import logging
from typing import Any

from holdfast._config import _check_seconds
from holdfast._periodic import Periodic
from holdfast._statistics import TransportStatistics
from holdfast._transport_cache import cache

__all__ = ["log_statistics"]

_log = logging.getLogger("holdfast")
_told: dict[str, dict[str, Any]] = {}
"""What was logged last of each transport. The periodic thread's alone."""


def _figures(transport: TransportStatistics) -> dict[str, Any]:
    acquired = transport.acquired
    return {
        "transport": transport.name,
        "hosts": len(transport.hosts),
        "idle": transport.idle,
        "in_use": transport.in_use,
        "dialing": transport.dialing,
        "total": transport.idle + transport.in_use + transport.dialing,
        "waiting": transport.waiting,
        "acquired": acquired,
        "created": transport.created,
        "reuse_rate": round(transport.reused / acquired, 4) if acquired else 0.0,
        "waits": transport.wait_count,
        "wait_seconds": round(transport.wait_seconds, 3),
        "leaked": transport.leaked,
    }


def _report() -> None:
    transports = {transport.name: _figures(transport) for transport in cache.statistics().transports}
    for name, figures in transports.items():
        if figures != _told.get(name):
            text = " ".join(f"{key}={value}" for key, value in figures.items())
            _log.info(text, extra={"holdfast": figures})
    _told.clear()
    _told.update(transports)


_periodic = Periodic("holdfast-log-statistics", _report)


def log_statistics(every: float | None = 30.0) -> None:
    """Logs a line for each transport every ``every`` seconds, at level INFO on the logger ``holdfast``. None: off.

    Only what has changed since is logged: ``transport=... idle=... in_use=... total=... reuse_rate=... waits=...``. The
    same figures are the record's attribute ``holdfast``, a dict, for loggers that write JSON. Goes on in forked
    children. ``ValueError`` for a time that makes no sense.
    """
    _check_seconds("log_statistics", "every", every, zero=False)
    _periodic.every(None)
    _told.clear()
    _periodic.every(every)


log_statistics.__module__ = "holdfast"
