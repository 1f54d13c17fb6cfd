"""Pool managers that give out facades: requests' own, those for proxies, SOCKS included."""

from __future__ import annotations

import functools
from typing import Any

import requests.adapters
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.poolmanager import SSL_KEYWORDS, PoolManager

from holdfast._binding import AdapterConfig
from holdfast._facade import Facade, HTTPFacade, HTTPSFacade

__all__ = ["adopt"]

PRELOADED = getattr(requests.adapters, "_preloaded_ssl_context", None)
"""What requests before 2.32.5 gives for ``verify=True``, 2.32.2 even in place of a subclass's own context.

It is the process's: client certificates of different adapters would meet in it.
"""


@functools.cache
def _facades() -> dict[type, type]:
    """Our pools for urllib3's."""
    known: dict[type, type] = {HTTPConnectionPool: HTTPFacade, HTTPSConnectionPool: HTTPSFacade}
    try:
        from urllib3.contrib import socks  # noqa: PLC0415  # needs PySocks
    except ImportError:
        return known

    class SOCKSHTTPFacade(HTTPFacade, socks.SOCKSHTTPConnectionPool):
        pass

    class SOCKSHTTPSFacade(HTTPSFacade, socks.SOCKSHTTPSConnectionPool):
        pass

    return {**known, socks.SOCKSHTTPConnectionPool: SOCKSHTTPFacade, socks.SOCKSHTTPSConnectionPool: SOCKSHTTPSFacade}


def adopt(manager: PoolManager, config: AdapterConfig) -> None:
    """Makes ``manager`` give out facades. Pool classes that aren't urllib3's own stay, and work without us."""
    known = _facades()
    manager.pool_classes_by_scheme = {
        scheme: known.get(kind, kind) for scheme, kind in manager.pool_classes_by_scheme.items()
    }
    original = manager._new_pool

    def new_pool(scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None) -> Any:
        context = manager.connection_pool_kw.copy() if request_context is None else request_context
        if PRELOADED is not None and context.get("ssl_context") is PRELOADED:
            context["ssl_context"] = manager.connection_pool_kw.get("ssl_context")
        requested = {name: context.get(name) for name in SSL_KEYWORDS}
        pool = original(scheme, host, port, context)
        if isinstance(pool, Facade):
            pool.settle(config, requested)
        return pool

    manager._new_pool = new_pool  # type: ignore[method-assign]
