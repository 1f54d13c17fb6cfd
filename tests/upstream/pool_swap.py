"""A pytest plugin (``-p pool_swap``): urllib3 with our pools where it has its own.

A pool made directly is a facade on transports of its own, as those of an adapter with ``shared=False``; a pool manager
gives out facades, as that of an adapter. ``maxsize`` and ``block`` mean what they mean for ``PooledAdapter``.
"""

from __future__ import annotations

import functools
from typing import Any

import urllib3
import urllib3.connectionpool
import urllib3.poolmanager

from holdfast._adapter import _limits_of
from holdfast._adopt import adopt
from holdfast._binding import AdapterConfig
from holdfast._config import Timeouts
from holdfast._facade import HTTPFacade, HTTPSFacade
from holdfast._transport_cache import cache


def configuration(maxsize: int, block: bool) -> AdapterConfig:
    """What an adapter with ``pool_maxsize`` and ``pool_block`` would have."""
    return AdapterConfig(_limits_of(10, maxsize, block), Timeouts(), shared=False, resolver=None)


class Own:
    """A facade that nobody's pool manager made."""

    @functools.wraps(urllib3.HTTPConnectionPool.__init__)
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.settle(configuration(self.pool.maxsize or 1, self.block), {})

    def close(self) -> None:
        super().close()
        cache.leave(self.config.token)


class HTTPPool(Own, HTTPFacade):
    """http."""


class HTTPSPool(Own, HTTPSFacade):
    """https."""


manager_init = urllib3.PoolManager.__init__
manager_clear = urllib3.PoolManager.clear


@functools.wraps(manager_init)
def adopted(self: Any, *args: Any, **kwargs: Any) -> None:
    manager_init(self, *args, **kwargs)
    self.config = configuration(kwargs.get("maxsize", 1), kwargs.get("block", False))
    adopt(self, self.config)


@functools.wraps(manager_clear)
def cleared(self: Any) -> None:
    manager_clear(self)
    cache.leave(self.config.token)


urllib3.PoolManager.__init__ = adopted  # type: ignore[method-assign]
urllib3.PoolManager.clear = cleared  # type: ignore[method-assign]
for module in (urllib3, urllib3.connectionpool):
    module.HTTPConnectionPool = HTTPPool  # type: ignore[misc,assignment]
    module.HTTPSConnectionPool = HTTPSPool  # type: ignore[misc,assignment]
