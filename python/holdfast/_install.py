"""``install``: every session that the process makes from now on is mounted. And what concerns all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests
import requests.sessions

from holdfast._adapter import AdapterOptions, PooledAdapter
from holdfast._session import Session
from holdfast._statistics import Statistics
from holdfast._transport_cache import cache

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["close_idle_connections", "install", "statistics", "uninstall"]

_sessions: Any = requests.sessions
_stock_adapter = _sessions.HTTPAdapter
_stock_session = _sessions.Session
_installed: dict[str, Any] = {}


class _InstalledAdapter(PooledAdapter):
    """What ``requests.sessions`` mounts by default after ``install``: a ``PooledAdapter`` with the installed options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs if args or kwargs else _installed))

    def __reduce__(self) -> tuple[Any, ...]:
        # As what it is, so that it unpickles in a process without `install`.
        return _plain_adapter, (), self.__getstate__()


def _plain_adapter() -> PooledAdapter:
    return PooledAdapter.__new__(PooledAdapter)


def install(*, sessions: bool = False, **options: Unpack[AdapterOptions]) -> None:
    """Every ``requests.Session`` made from now on is mounted, ``requests.get()``'s included. Existing ones stay.

    ``options`` are ``PooledAdapter``'s. ``sessions=True`` also makes ``requests.Session`` itself ``holdfast.Session``.
    A second call replaces the options of the first. Not for use while other threads make sessions.
    """
    PooledAdapter(**options).close()  # bad options fail here, not in the first session
    _installed.clear()
    _installed.update(options)
    _sessions.HTTPAdapter = _InstalledAdapter
    if sessions:
        # Somebody else's session class, a cache's or a recorder's, stays: its sessions are mounted all the same.
        if _sessions.Session is _stock_session:
            _sessions.Session = Session
        if requests.Session is _stock_session:
            requests.Session = Session  # type: ignore[misc]


def uninstall() -> None:
    """Undoes ``install`` for sessions made from now on. What somebody else has put there since is left alone."""
    _installed.clear()
    if _sessions.HTTPAdapter is _InstalledAdapter:
        _sessions.HTTPAdapter = _stock_adapter
    if _sessions.Session is Session:
        _sessions.Session = _stock_session
    if requests.Session is Session:
        requests.Session = _stock_session  # type: ignore[misc]


def statistics() -> Statistics:
    """Every transport of the process, and totals that also cover those it has forgotten."""
    return cache.statistics()


def close_idle_connections() -> None:
    """Closes every idle connection of the process. What is in use comes back as usual."""
    cache.close_idle()


for _thing in (install, uninstall, statistics, close_idle_connections):
    _thing.__module__ = "holdfast"
