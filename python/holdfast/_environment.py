"""What a session takes from the environment, read from its bytes: proxies, a netrc file, a CA bundle.

requests decodes every variable twice for each call to find that none of them names a proxy. Here the bytes are looked
at once; where there is something to be found, requests' own functions find it. Nothing is remembered: a variable or a
file that comes later counts from the next call on.
"""

from __future__ import annotations

from typing import Any

from holdfast import _core
from holdfast._stock import environment_is_ours, plain_environ

__all__ = ["BUNDLE", "NETRC", "PROXY", "look"]

PROXY, NETRC, BUNDLE = _core.ENVIRONMENT_PROXY, _core.ENVIRONMENT_NETRC, _core.ENVIRONMENT_BUNDLE
_ALL = PROXY | NETRC | BUNDLE


def look(netrc: bool) -> int:
    """Which of ``PROXY``, ``NETRC`` and ``BUNDLE`` there may be; ``netrc``: whether to look for that."""
    variables: Any = plain_environ._data  # type: ignore[attr-defined]  # the dict under os.environ's decoding
    if type(variables) is not dict or not environment_is_ours():
        return _ALL
    return _core.read_environment(variables, netrc)
