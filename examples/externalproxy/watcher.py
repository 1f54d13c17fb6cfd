"""Notices that a client has gone while nobody reads from it: one thread that polls the sockets of all requests."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from collections.abc import Callable
from typing import Any

GONE = getattr(select, "POLLRDHUP", 0)
"""The peer has closed its side, or all of it (Linux). POLLHUP and POLLERR are told unasked."""
LOOK = 0.25
"""Seconds between two looks at who is to be watched."""


class Watch:
    """One request's."""

    def __init__(self, watcher: Watcher | None, fd: int, gone: Callable[[], None]) -> None:
        self._watcher = watcher
        self.fd = fd
        self._gone = gone
        self.happened = False

    def gone(self) -> None:
        """The client has."""
        self.happened = True
        self._gone()

    def end(self) -> None:
        """The request is over: its socket may be another's soon."""
        if self._watcher is not None:
            self._watcher.forget(self)


class Watcher:
    """Starts its thread with the first request, in the process that serves it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watches: set[Watch] = set()  # guarded by _lock
        self._thread: threading.Thread | None = None  # guarded by _lock

    def watch(self, sock: Any, gone: Callable[[], None]) -> Watch:
        """Calls ``gone`` once the client of ``sock`` has gone; never where the server does not tell its socket."""
        if not isinstance(sock, socket.socket) or not GONE:
            return Watch(None, -1, gone)
        watch = Watch(self, sock.fileno(), gone)
        with self._lock:
            self._watches.add(watch)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="gateway-watcher", daemon=True)
                self._thread.start()
        return watch

    def forget(self, watch: Watch) -> None:
        """Once it returns, ``gone`` is not called any more."""
        with self._lock:
            self._watches.discard(watch)

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._watches:
                    self._thread = None
                    return
                watched = {watch.fd: watch for watch in self._watches}
            poll = select.poll()
            for fd in watched:
                poll.register(fd, GONE)
            ready = poll.poll(LOOK * 1000)
            for fd, _ in ready:
                with self._lock, contextlib.suppress(KeyError):
                    self._watches.remove(watched[fd])
                    watched[fd].gone()
            if ready:
                continue
