"""A pytest plugin (``-p adapter_swap``): requests with ``PooledAdapter`` where it has ``HTTPAdapter``.

``HOLDFAST_LANE=standard`` keeps the fast lane out.
"""

from __future__ import annotations

import os

import requests.adapters
import requests.sessions

import holdfast

for module in (requests.adapters, requests.sessions):
    module.HTTPAdapter = holdfast.PooledAdapter  # type: ignore[misc]
if os.environ.get("HOLDFAST_LANE") == "standard":
    holdfast.PooledAdapter._nobody_can_tell = lambda self: False  # type: ignore[method-assign]
