"""Finding responses that nobody reads: where each was taken, and since when it has been left alone."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import warnings
from types import FrameType
from typing import Any

import requests
import urllib3

from holdfast._config import _check_seconds
from holdfast._periodic import Periodic

__all__ = ["find_leaks", "forget", "held", "limit", "remember", "touch"]

_log = logging.getLogger("holdfast")
_PASSED_OVER = tuple(os.path.dirname(place) + os.sep for place in (__file__, requests.__file__, urllib3.__file__))
"""Whose frames are not the place that took a response."""


class _Held:
    """A response that is not over."""

    __slots__ = ("function", "line", "path", "shown", "since", "told")

    def __init__(self, frame: FrameType | None, shown: str) -> None:
        while frame is not None and frame.f_code.co_filename.startswith(_PASSED_OVER):
            frame = frame.f_back
        code = None if frame is None else frame.f_code
        self.path = "<unknown>" if code is None else code.co_filename
        self.function = "<unknown>" if code is None else code.co_name
        self.line = 0 if frame is None else frame.f_lineno
        self.shown = shown
        self.since = time.monotonic()
        self.told = False


held: dict[int, _Held] = {}
"""By the lease's ``id``. Single dict operations only, which the interpreter makes atomic: finalizers come here too."""
limit: float | None = None
"""Seconds, or None while nobody looks for leaks. The hot path looks at these two before it makes a call."""


def remember(lease: Any) -> None:
    """A response begins."""
    held[id(lease)] = _Held(sys._getframe(1), lease.shown)


def touch(lease: Any) -> None:
    """Somebody reads it."""
    one = held.get(id(lease))
    if one is not None:
        one.since, one.told = time.monotonic(), False


def forget(lease: Any) -> None:
    """It is over."""
    held.pop(id(lease), None)


def _look() -> None:
    now = time.monotonic()
    for one in list(held.values()):
        age = now - one.since
        if limit is None or age < limit or one.told:
            continue
        one.told = True
        text = (
            f"response of {one.shown} unread for {age:.1f} s, taken at {one.path}:{one.line} in {one.function}: "
            "it holds its connection until it is read, closed or dropped"
        )
        _log.warning(text, extra={"holdfast": {"age": age, "path": one.path, "line": one.line}})
        with contextlib.suppress(Warning):  # a filter that makes it an error would end this thread
            warnings.warn_explicit(text, ResourceWarning, one.path, one.line)


_periodic = Periodic("holdfast-find-leaks", _look)


def find_leaks(after: float | None = 30.0) -> None:
    """Warns of each response whose body has been left unread for ``after`` seconds. None: off, as at first.

    With the place that took it and its age: a warning on the logger ``holdfast`` and a ``ResourceWarning`` at that
    place. Responses that began before are not known. Costs a few microseconds a response while it is on. ``ValueError``
    for a time that makes no sense.
    """
    global limit  # noqa: PLW0603  # one value per process
    _check_seconds("find_leaks", "after", after, zero=False)
    limit = after
    _periodic.every(None if after is None else max(0.05, after / 4))
    if after is None:
        held.clear()


find_leaks.__module__ = "holdfast"
