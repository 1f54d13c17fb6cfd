"""A WSGI application that asks an upstream for each answer; it has asked once before its workers are forked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import requests

import holdfast

holdfast.install()
UPSTREAM = os.environ["UPSTREAM"]
session = requests.Session()
session.trust_env = False
session.get(UPSTREAM)
kept = session.get(UPSTREAM, stream=True)


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = session.get(UPSTREAM).content
    start_response("200 OK", [("Content-Length", str(len(body))), ("X-Worker", str(os.getpid()))])
    return [body]
