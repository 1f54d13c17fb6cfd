"""The gateway of examples/externalproxy for gunicorn, set up by the environment of its test."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples" / "externalproxy"))

import gateway

import holdfast

settings = json.loads(os.environ["GATEWAY"])


def resolver(host: str, port: int) -> list[tuple[Any, ...]]:
    """Names of the test are on the loopback; everything else as in production."""
    if host in settings["local"]:
        return socket.getaddrinfo("127.0.0.1", port, type=socket.SOCK_STREAM)
    return gateway.public_addresses(host, port)


application = gateway.Gateway(
    settings["allow"],
    timeouts=holdfast.Timeouts(**settings["timeouts"]),
    limits=holdfast.Limits(**{"max_idle": 100, "max_idle_per_host": 10, **settings["limits"]}),
    resolver=resolver,
)
