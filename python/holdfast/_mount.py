"""Mounting an adapter on a session."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import requests

from holdfast._adapter import AdapterOptions, PooledAdapter
from holdfast._unix import SCHEME, UnixAdapter

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = ["MountOptions", "mount"]

S = TypeVar("S", bound=requests.Session)


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


mount.__module__ = "holdfast"
