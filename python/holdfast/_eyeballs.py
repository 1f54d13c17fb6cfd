"""Happy Eyeballs (RFC 8305): several addresses of one host are tried at once, a little apart; the first to connect wins.

An address that drops packets then costs a quarter of a second, not the whole connect timeout. Names are resolved in one
call, so the parts of the RFC that concern DNS do not arise.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import selectors
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

__all__ = ["STAGGER", "UNDER_WAY", "interleaved", "race"]

STAGGER = 0.25
"""Seconds until the next address is tried as well (RFC 8305, section 8)."""
UNDER_WAY = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)
"""What ``connect_ex`` says of a connect that may succeed; the last is Windows'."""

# Neither takes a descriptor of its own, which may be what the machine has run out of.
_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def interleaved(addresses: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """``getaddrinfo``'s tuples with the families in turn, IPv6 first (section 4); within a family in the given order."""
    six = [address for address in addresses if address[0] == socket.AF_INET6]
    others = [address for address in addresses if address[0] != socket.AF_INET6]
    pairs = itertools.zip_longest(six, others)
    return [address for pair in pairs for address in pair if address is not None]


def race(
    addresses: Sequence[tuple[Any, ...]],
    start: Callable[[tuple[Any, ...]], socket.socket],
    left: Callable[[], float | None],
    wait: Callable[[Iterable[socket.socket], float | None], list[socket.socket]] | None = None,
    now: Callable[[], float] = time.monotonic,
    told: Callable[[tuple[Any, ...], float, BaseException | None], None] = lambda address, began, error: None,
) -> socket.socket:
    """The first socket that connects; all others are closed. The last error if none does.

    ``start`` gives a non-blocking socket whose connect is under way, ``left`` the seconds until the end or raises
    ``TimeoutError``; ``wait`` gives those that have an outcome, or nothing once the time is over. ``told`` hears what
    became of each address that was tried to its end, and when that began.
    """
    wait = wait or _ready
    waiting = list(reversed(addresses))
    trying: dict[socket.socket, tuple[tuple[Any, ...], float]] = {}
    error: OSError | None = None
    next_at = now()
    try:
        while waiting or trying:
            remaining = left()
            if waiting and (not trying or now() >= next_at):
                address, began = waiting.pop(), now()
                next_at = began + STAGGER
                try:
                    trying[start(address)] = address, began
                except OSError as caught:
                    error, next_at = caught, now()
                    told(address, began, error)
                continue
            pause = max(next_at - now(), 0.0) if waiting else None
            for sock in wait(trying, min((t for t in (pause, remaining) if t is not None), default=None)):
                number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                address, began = trying.pop(sock)
                if number == 0:
                    told(address, began, None)
                    return sock
                sock.close()
                error, next_at = OSError(number, os.strerror(number)), now()
                told(address, began, error)
        raise error if error is not None else OSError("getaddrinfo returns an empty list")
    finally:
        error = None  # else the traceback's frame and the error keep each other alive
        for sock in trying:
            with contextlib.suppress(OSError):
                sock.close()


def _ready(socks: Iterable[socket.socket], seconds: float | None) -> list[socket.socket]:
    with _Selector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_WRITE, sock)
        return [key.data for key, _ in selector.select(seconds)]
