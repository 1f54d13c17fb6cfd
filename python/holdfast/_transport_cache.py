"""Every transport of the process, by the digest of its settings, and the fork rule."""

from __future__ import annotations

import os
import threading
import time

from holdfast import _identity, _transport
from holdfast._config import Limits
from holdfast._reaper import reaper
from holdfast._statistics import CloseReason, Counters, Statistics, total
from holdfast._transport import Transport

__all__ = ["Token", "TransportCache", "cache"]

MOST_UNUSED = 64
"""Transports without a living adapter that keep their idle connections."""


class Token:
    """Stands for one adapter: a transport's user, and the owner of connections that authentication was bound to."""

    __slots__ = ("__weakref__",)


class TransportCache:
    """Digest to transport. One winner when many threads ask first; bounded; forgets what nobody can use again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._live: dict[str, Transport] = {}  # guarded by _lock
        self._leaving: set[Transport] = set()  # guarded by _lock
        """Shut, but with connections in use that will come back."""
        self._forgotten = Counters()  # guarded by _lock
        """What forgotten transports had counted, so that process totals never fall."""

    def obtain(self, digest: str, limits: Limits, user: Token, *, private: bool) -> Transport:
        """The transport of ``digest``, which ``user`` uses from now on."""
        with self._lock:
            transport = self._live.get(digest)
            if transport is None or transport.is_shut:
                if transport is not None:
                    self._leaving.add(transport)
                transport = self._live[digest] = Transport(digest, limits)
                transport.private = private
                transport.on_quiet = self._quiet
            transport.users.add(user)
            transport.last_used = time.monotonic()
        self._trim()
        return transport

    def leave(self, user: Token) -> None:
        """An adapter was closed. Private transports close with it, shared ones only lose a user."""
        with self._lock:
            used = [transport for transport in self._live.values() if user in transport.users]
            for transport in used:
                transport.users.discard(user)
        for transport in used:
            if transport.private:
                self.retire(transport, CloseReason.SHUTDOWN)
            else:
                transport.close_idle(CloseReason.SHUTDOWN, lambda slot: slot.owner is user)
            self._quiet(transport)
        self._trim()

    def retire(self, transport: Transport, reason: CloseReason) -> None:
        """Nobody gets ``transport`` any more; what is in use is closed when it comes back."""
        with self._lock:
            if self._live.get(transport.digest) is transport:
                del self._live[transport.digest]
                self._leaving.add(transport)
        transport.shut(reason)
        self._quiet(transport)
        reaper.nudge()

    def _quiet(self, transport: Transport) -> None:
        """Forgets ``transport`` if nobody can use it and nothing is left of it.

        Finalizers come here too, at any point of any thread, so it never waits for the lock: whoever holds it, or
        the next to take it, looks for quiet transports himself.
        """
        if self._lock.acquire(blocking=False):
            try:
                self._forget(transport)
            finally:
                self._lock.release()

    def _forget(self, transport: Transport) -> None:
        if transport.permits or (transport.users and not transport.is_shut):
            return
        if self._live.get(transport.digest) is transport:
            del self._live[transport.digest]
        elif transport not in self._leaving:
            return
        self._leaving.discard(transport)
        transport.end_of_life()
        self._forgotten.add(_counters(transport))

    def _trim(self) -> None:
        """Of the transports without a living adapter, the most recently used keep their idle connections."""
        with self._lock:
            for transport in (*self._live.values(), *self._leaving):
                self._forget(transport)
            unused = [transport for transport in self._live.values() if not transport.users]
            surplus = sorted(unused, key=lambda transport: transport.last_used)[: max(0, len(unused) - MOST_UNUSED)]
        for transport in surplus:
            self.retire(transport, CloseReason.IDLE_LIMIT)

    def transports(self, user: Token | None = None) -> list[Transport]:
        """Those of one adapter, or all."""
        with self._lock:
            return [t for t in (*self._live.values(), *self._leaving) if user is None or user in t.users]

    def statistics(self, user: Token | None = None) -> Statistics:
        """Snapshots. The process's totals also cover what was forgotten."""
        forgotten = Counters()
        # One lock for both, so that a transport is never counted twice or not at all. The order of locks is this one
        # first and a transport's second; no transport calls us with its own lock held.
        with self._lock:
            mine = [t for t in (*self._live.values(), *self._leaving) if user is None or user in t.users]
            shots = tuple(transport.statistics() for transport in mine)
            if user is None:
                forgotten.add(self._forgotten)
        return Statistics(transports=shots, **total(shots, forgotten))

    def close_idle(self, user: Token | None = None) -> None:
        """Closes what is idle now."""
        for transport in self.transports(user):
            transport.close_idle(CloseReason.EVICTED)
            self._quiet(transport)
        reaper.nudge()

    def after_fork(self) -> None:
        """The child starts empty: the parent's sockets are not its own."""
        self.__init__()  # type: ignore[misc]


def _counters(transport: Transport) -> Counters:
    shot, counters = transport.statistics(), Counters()
    counters.add(shot)  # type: ignore[arg-type]  # a snapshot has the same fields
    return counters


cache = TransportCache()


def _after_fork() -> None:
    _identity.renew_key()
    reaper.after_fork()
    for transport in _transport.every():
        transport.after_fork()
    cache.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
