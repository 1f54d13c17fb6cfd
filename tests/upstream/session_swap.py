"""A pytest plugin (``-p session_swap``): requests with ``holdfast.Session`` where it has ``Session``."""

from __future__ import annotations

import adapter_swap  # noqa: F401  # ours wants our adapter
import requests
import requests.sessions

import holdfast

requests.Session = requests.sessions.Session = holdfast.Session  # type: ignore[misc]
