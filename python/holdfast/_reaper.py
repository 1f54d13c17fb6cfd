"""One thread for the whole process that closes idle connections: those that expired and those whose peer has gone.

It runs only while something is idle. Connections idle for less than a second are left alone, so a busy pool never
meets it; for the others it sleeps in ``poll`` until one of them stirs or the next one expires, and uses no CPU.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Any, Protocol

__all__ = ["Reaper", "reaper"]

SETTLED = 1.0
"""A connection is watched once it has been idle for so long. The contract: a dead one is noticed within 2 s."""


class Keeper(Protocol):
    """What the reaper needs of a transport."""

    def reap(self, now: float, settled: float) -> tuple[float | None, list[tuple[int, Any]], bool]:
        """Closes what expired: when the next one does, what to watch, and whether there are younger ones."""

    def bury(self, slot: Any) -> None:
        """Looks at an idle connection on which something happened."""


class Reaper:
    """The thread, its wake-up socket, and who has idle connections."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None  # guarded by _lock
        self._waker: socket.socket | None = None  # guarded by _lock
        self._keepers: set[Keeper] = set()
        """Who may have idle connections. Single set operations only, which the interpreter makes atomic."""
        self._prompt = False
        """Whether the thread will look around within a second, so that nobody needs to wake it."""
        self._hurry = False
        """Whether to end at once if nothing is idle."""

    def look_after(self, keeper: Keeper) -> None:
        """``keeper`` has an idle connection. On the hot path, so two look-ups unless the thread sleeps or is missing.

        The race with the thread going to sleep: it lowers ``_prompt`` first and looks second; we put the connection
        into the pool first and read ``_prompt`` second. So either it sees the connection or we see the flag.
        """
        if self._prompt and keeper in self._keepers:
            return
        with self._lock:
            self._keepers.add(keeper)
            if self._thread is None:
                self._begin()
            elif not self._prompt:
                self._wake()

    def nudge(self) -> None:
        """Something was closed: if nothing is idle any more, the thread ends now."""
        with self._lock:
            self._hurry = True
            if self._thread is not None:
                self._wake()

    def _begin(self) -> None:
        try:
            reading, self._waker = socket.socketpair()
        except OSError:
            return  # no descriptors left; the next idle connection tries again
        reading.setblocking(False)
        self._waker.setblocking(False)
        self._prompt = True
        thread = threading.Thread(target=self._run, args=(reading,), name="holdfast-reaper", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no threads left, or the interpreter is ending
            reading.close()
            self._waker.close()
            self._prompt = False
            return
        self._thread = thread

    def _wake(self) -> None:
        if self._waker is not None:
            with contextlib.suppress(OSError):  # full: it is awake already
                self._waker.send(b"w")

    def _run(self, reading: socket.socket) -> None:
        spare = True
        while True:
            self._prompt = False
            wait, watched = self._look()
            if not self._keepers and (self._hurry or not spare):
                with self._lock:
                    if not self._keepers:
                        self._thread = None
                        reading.close()
                        if self._waker is not None:
                            self._waker.close()
                        self._waker = None
                        self._hurry = False
                        return
            # One quiet second before the end: a lone connection in a loop is in use whenever we look.
            spare = bool(self._keepers)
            self._hurry = False
            if not spare:
                wait = SETTLED
            self._prompt = wait is not None and wait <= SETTLED
            for keeper, slot in self._stirred(reading, wait, watched):
                keeper.bury(slot)

    def _look(self) -> tuple[float | None, dict[int, tuple[Keeper, Any]]]:
        """What to watch, and for how long at most."""
        now = time.monotonic()
        waits: list[float] = []
        watched: dict[int, tuple[Keeper, Any]] = {}
        for keeper in list(self._keepers):
            self._keepers.discard(keeper)
            until, watch, younger = keeper.reap(now, now - SETTLED)
            if watch or younger:
                self._keepers.add(keeper)
            if younger:
                waits.append(SETTLED)
            if until is not None:
                waits.append(max(0.001, until - now))
            watched.update((fd, (keeper, slot)) for fd, slot in watch if fd >= 0)
        return min(waits, default=None), watched

    @staticmethod
    def _stirred(
        reading: socket.socket, wait: float | None, watched: dict[int, tuple[Keeper, Any]]
    ) -> list[tuple[Keeper, Any]]:
        """Sleeps until something happens; on which connections it did."""
        fds = [reading.fileno(), *watched]
        if hasattr(select, "poll"):
            poll = select.poll()
            for fd in fds:
                poll.register(fd, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(None if wait is None else int(wait * 1000) + 1)]
        else:  # Windows, gevent's patched module
            ready = select.select(fds, [], [], wait)[0]
        with contextlib.suppress(OSError):
            reading.recv(4096)
        return [watched[fd] for fd in ready if fd in watched]

    def after_fork(self) -> None:
        """In a forked child the thread is gone, and the parent's socket pair is not to be written to."""
        waker = self._waker
        self.__init__()  # type: ignore[misc]
        if waker is not None:
            waker.close()


reaper = Reaper()
