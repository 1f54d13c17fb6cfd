"""Locks across ``fork()``: another thread of the parent may have held one, and nobody in the child would release it."""

from __future__ import annotations

import os
import threading
from typing import Any

__all__ = ["renew_lock"]


def renew_lock(owner: Any, name: str) -> None:
    """In a forked child, ``owner`` gets a new lock by that name."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: setattr(owner, name, threading.Lock()))
