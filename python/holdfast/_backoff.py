"""urllib3's ``Retry``, whose waits end with the exchange: they count into ``total`` and can be cancelled."""

from __future__ import annotations

import copy
from typing import Any

from urllib3.util.retry import Retry

from holdfast._deadline import current

__all__ = ["bounded"]


class _BoundedSleep(Retry):
    """What the copy's class has in front of the original's."""

    def _sleep_backoff(self) -> None:
        exchange, seconds = current.get(), self.get_backoff_time()
        if exchange is None:
            super()._sleep_backoff()
        elif seconds > 0:
            exchange.sleep(seconds)

    def sleep_for_retry(self, response: Any) -> bool:
        exchange, seconds = current.get(), self.get_retry_after(response)
        if exchange is None:
            return super().sleep_for_retry(response)
        if seconds:
            exchange.sleep(seconds)
            return True
        return False


_bounded_types: dict[type[Retry], type[Retry]] = {}


def bounded(retries: Retry) -> Retry:
    """A copy of ``retries`` with our sleep, of a class made once for each kind of ``Retry``."""
    if isinstance(retries, _BoundedSleep):
        return retries
    kind = type(retries)
    bounded = _bounded_types.get(kind)
    if bounded is None:
        bounded = type(kind.__name__, (_BoundedSleep, kind), {"__module__": kind.__module__})
        _bounded_types[kind] = bounded
    twin = copy.copy(retries)
    twin.__class__ = bounded
    return twin
