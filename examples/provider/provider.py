"""The resource client of a controller: each resource brings a configuration, and each reconcile makes a client from it.

That is how Terraform providers, Kubernetes operators and Crossplane's controllers do it, because configurations differ
and may change between two reconciles. With plain sessions each of those clients opens connections of its own; here
they are mounted on holdfast, and clients with equal configurations share.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import requests

import holdfast

LIMITS = holdfast.Limits.service(max_connections_per_host=8)
"""One value for all clients: limits are part of what makes two of them share."""


@dataclasses.dataclass(frozen=True)
class ClientConfig:
    """What a resource says about how its API is to be reached."""

    endpoint: str
    verify: bool | str | None = None
    """None: nothing said. True: the default CAs. A path: a bundle. False: not at all."""
    client_cert: str | None = None
    proxies: dict[str, str] | None = None
    timeout: float = 10.0


def client(config: ClientConfig, *, pooled: bool = True) -> requests.Session:
    """A fresh client, as controllers make it for each reconcile."""
    session = requests.Session()
    if pooled:
        holdfast.mount(session, limits=LIMITS)
    session.cert = config.client_cert
    session.proxies.update(config.proxies or {})
    return session


def reconcile(config: ClientConfig, name: str, wanted: dict[str, Any], *, pooled: bool = True) -> bool:
    """Brings one resource to its wanted state; whether that took a change. Errors are requests'."""
    url = f"{config.endpoint}/resources/{name}"
    # Per call: requests lets REQUESTS_CA_BUNDLE win over a session's `verify`, even over False.
    options: Any = {"timeout": config.timeout, "verify": config.verify}
    # The client ends with its reconcile. What it shared stays for the next one.
    with client(config, pooled=pooled) as api:
        observed = api.get(url, **options)
        observed.raise_for_status()
        if observed.json() == wanted:
            return False
        api.put(url, json=wanted, **options).raise_for_status()
        return True
