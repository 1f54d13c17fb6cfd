"""The four forms of requests' per-call ``timeout=``, brought onto ``Timeouts``."""

from __future__ import annotations

import dataclasses
from typing import Any

from urllib3.util import Timeout as TimeoutSauce

from holdfast._config import Timeouts

__all__ = ["for_urllib3", "merge"]


def merge(own: Timeouts, timeout: Any) -> tuple[Timeouts, float | None]:
    """The timeouts of one call, and the ``connect`` that bounds its whole dial if the call gave one.

    ``ValueError`` is stock's, with stock's words.
    """
    if timeout is None:
        return own, None
    if isinstance(timeout, Timeouts):
        return timeout, None
    if isinstance(timeout, tuple):
        try:
            connect, read = timeout
            timeout = TimeoutSauce(connect=connect, read=read)
        except ValueError as error:
            raise ValueError(_PAIR.format(timeout)) from error
    elif not isinstance(timeout, TimeoutSauce):
        timeout = TimeoutSauce(connect=timeout, read=timeout)
    changes: dict[str, Any] = {}
    read = _seconds(timeout._read)
    if read is not None:
        changes.update(response_header=read, body_stall=read)
    if (total := _seconds(timeout.total)) is not None:
        changes["total"] = total
    return (dataclasses.replace(own, **changes) if changes else own), _seconds(timeout._connect)


_PAIR = (
    "Invalid timeout {}. Pass a (connect, read) timeout tuple, "
    "or a single float to set both timeouts to the same value."
)


def _seconds(value: Any) -> float | None:
    """A part that is None, or urllib3's "system default", means the adapter's own."""
    return value if isinstance(value, (int, float)) else None


def for_urllib3(timeout: Any) -> Any:
    """What stock ``send`` may be given: it does not know ``Timeouts``."""
    if isinstance(timeout, Timeouts):
        return TimeoutSauce(connect=timeout.connect, read=timeout.response_header)
    return timeout
