"""Something that is done every so many seconds, on a thread of its own, until it is switched off."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

__all__ = ["Periodic"]


class Periodic:
    """Off at first. ``every(seconds)`` switches it on or changes its pace, ``every(None)`` off; the thread is then gone."""

    def __init__(self, name: str, action: Callable[[], None]) -> None:
        self._name = name
        self._action = action
        self._lock = threading.Lock()
        self._seconds: float | None = None  # guarded by _lock
        self._stop = threading.Event()  # guarded by _lock
        self._thread: threading.Thread | None = None  # guarded by _lock
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._after_fork)

    def every(self, seconds: float | None) -> None:
        """Starts over at the new pace. Waits for an action that is under way, unless that is what calls."""
        with self._lock:
            self._stop.set()
            ended, self._thread = self._thread, None
            self._seconds = seconds
            if seconds is not None:
                self._start(seconds)
        if ended is not None and ended is not threading.current_thread():
            ended.join(5)

    def _start(self, seconds: float) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(seconds, self._stop), name=self._name, daemon=True)
        self._thread.start()

    def _run(self, seconds: float, stop: threading.Event) -> None:
        while not stop.wait(seconds):
            self._action()

    def _after_fork(self) -> None:
        """The child goes on as its parent did: a server's workers log their own pools."""
        self._lock = threading.Lock()
        self._thread = None
        if self._seconds is not None:
            self._start(self._seconds)
