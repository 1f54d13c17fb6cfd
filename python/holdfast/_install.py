"""Mounting: on one session, on new sessions of one's own, or on every session that the process makes from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import requests
import requests.sessions

from holdfast._adapter import AdapterOptions, PooledAdapter
from holdfast._statistics import Statistics
from holdfast._transport_cache import cache
from holdfast._unix import SCHEME, UnixAdapter

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["Session", "close_idle_connections", "install", "mount", "statistics", "uninstall"]

S = TypeVar("S", bound=requests.Session)

_sessions: Any = requests.sessions
_stock_adapter = _sessions.HTTPAdapter
_stock_session = _sessions.Session
_installed: dict[str, Any] = {}


def mount(session: S, *, unix_sockets: bool = False, **options: Unpack[AdapterOptions]) -> S:
    """Mounts one ``PooledAdapter`` for ``http://`` and ``https://`` and gives ``session`` back.

    ``options`` are ``PooledAdapter``'s. ``unix_sockets`` adds ``http+unix://%2Frun%2Fapp.sock/path``: the path of the
    socket, percent-encoded, in the host's place. Such requests carry ``Host: localhost`` and meet no proxy.
    """
    adapter = PooledAdapter(**options)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    if unix_sockets:
        session.mount(f"{SCHEME}://", UnixAdapter(**options))
    return session


class MountOptions(AdapterOptions, total=False):
    """``mount``'s keyword arguments."""

    unix_sockets: bool


class _InstalledAdapter(PooledAdapter):
    """What ``requests.sessions`` mounts by default after ``install``: a ``PooledAdapter`` with the installed options."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **(kwargs if args or kwargs else _installed))

    def __reduce__(self) -> tuple[Any, ...]:
        # As what it is, so that it unpickles in a process without `install`.
        return _plain_adapter, (), self.__getstate__()


def _plain_adapter() -> PooledAdapter:
    return PooledAdapter.__new__(PooledAdapter)


class Session(requests.Session):
    """A ``requests.Session`` that is mounted. Takes ``mount``'s keyword arguments."""

    def __init__(self, **options: Unpack[MountOptions]) -> None:
        super().__init__()
        if options or not isinstance(self.get_adapter("https://"), PooledAdapter):
            mount(self, **options)


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
        requests.Session = _sessions.Session = Session  # type: ignore[misc]


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


for _thing in (mount, Session, install, uninstall, statistics, close_idle_connections):
    _thing.__module__ = "holdfast"
