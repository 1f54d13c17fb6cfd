"""What a pool knows of a connection and of a caller that has none yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["QueueLimit", "Slot", "Waiter"]

C = TypeVar("C")


class QueueLimit(Exception):
    """``max_waiting`` callers are queued already."""


class Slot(Generic[C]):
    """A connection as its pool knows it."""

    __slots__ = (
        "conn",
        "good_until",
        "hint",
        "idle_seconds",
        "idle_since",
        "made_at",
        "owner",
        "retire_at",
        "served",
        "trace",
    )

    def __init__(self, conn: C, made_at: float, retire_at: float | None) -> None:
        self.conn = conn
        self.made_at = made_at
        self.retire_at = retire_at
        self.served = 0
        self.trace: Any = None
        """The ``Trace`` of the adapter that used it last, which hears of its end."""
        self.owner: object | None = None
        """Who alone may use it, since authentication was bound to it (NTLM, Negotiate)."""
        self.hint: float | None = None
        """The server's ``Keep-Alive: timeout``."""
        self.idle_since = 0.0
        self.good_until: float | None = None
        """When it will have been idle, or alive, for too long."""
        self.idle_seconds = 0.0
        """How long it was idle before its present lease."""


class Waiter(Generic[C]):
    """A caller without a connection. ``wake`` is called under the lock, once per news, and must not block."""

    __slots__ = ("dialing", "owner", "permit", "queued_at", "slot", "spare", "ticket", "wake")

    def __init__(self, wake: Callable[[], None], owner: object | None = None) -> None:
        self.wake = wake
        self.owner = owner
        self.slot: Slot[C] | None = None
        """The connection it was given."""
        self.permit = False
        """Whether it was given a permit, which it must use (``dialed``, ``undialed``)."""
        self.dialing = False
        """Whether a dial of its own is under way."""
        self.spare = False
        """Whether that dial goes on although the waiter is served or gone."""
        self.queued_at = 0.0
        self.ticket = 0
