"""The resource client of examples/provider: fresh clients, few connections, and configurations that never meet."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
import trustme
import urllib3

import holdfast
from conftest import settle

EXAMPLE = Path(__file__).parent.parent / "examples" / "provider"
if not EXAMPLE.is_dir():
    pytest.skip("the examples are not here", allow_module_level=True)
sys.path.insert(0, str(EXAMPLE))
import provider  # noqa: E402  # lies in a folder of its own
import run  # noqa: E402

sys.path.remove(str(EXAMPLE))


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The example's server, with the environment that its clients expect."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with run.api(tmp_path) as (url, accepted, files), warnings.catch_warnings():
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", files["ca"])
        yield url, accepted, files
        holdfast.close_idle_connections()


def reconciled(config: Any, count: int, threads: int = 1) -> None:
    with ThreadPoolExecutor(threads) as pool:
        assert all(pool.map(lambda n: provider.reconcile(config, f"{threads}-{n}", {"size": n}), range(count)))


NAMES = ["nothing said", "verify=True", "a CA bundle", "a client certificate", "verify=False"]


@pytest.mark.parametrize("name", NAMES)
def test_fifty_in_a_row_and_fifty_at_once(name: str, api: Any) -> None:
    """One connection, then the limit at most; counted by the server."""
    url, accepted, files = api
    config = run.configurations(url, files)[name]
    reconciled(config, 50)
    assert accepted() == 1
    reconciled(config, 50, threads=16)
    assert accepted() <= provider.LIMITS.max_connections_per_host
    assert not provider.reconcile(config, "1-7", {"size": 7})  # nothing to do a second time


def test_configurations_that_differ_never_share(api: Any) -> None:
    """Four of them: the first two mean the same. The server sees a client's certificate from that client alone."""
    url, accepted, files = api
    configs = run.configurations(url, files)
    for _ in range(2):
        for config in configs.values():
            provider.reconcile(config, "one", {"size": 1})
    assert accepted() == 4
    for name, config in configs.items():
        with provider.client(config) as client:
            seen = client.get(f"{url}/whoami", verify=config.verify).json()["client"]
        assert (seen is not None) == (name == "a client certificate")
    assert accepted() == 4


def test_a_certificate_replaced_on_disk_takes_effect(api: Any) -> None:
    """On the next reconcile, without a restart."""
    url, accepted, files = api
    config = run.configurations(url, files)["a CA bundle"]
    provider.reconcile(config, "one", {"size": 1})
    trustme.CA().cert_pem.write_to_path(files["bundle"])
    with pytest.raises(requests.exceptions.SSLError):
        provider.reconcile(config, "one", {"size": 1})
    Path(files["bundle"]).write_bytes(Path(files["ca"]).read_bytes())
    provider.reconcile(config, "one", {"size": 1})
    # The first, the refused one, and one that suits the new bundle, whose content "nothing said" has too.
    assert accepted() == 3
    provider.reconcile(run.configurations(url, files)["nothing said"], "one", {"size": 1})
    assert accepted() == 3


def test_a_body_that_fails_half_way_leaks_nothing(api: Any) -> None:
    """An error each time, and no connection left behind."""
    url, accepted, files = api
    config = run.configurations(url, files)["a CA bundle"]
    for _ in range(5):
        with provider.client(config) as client, pytest.raises(requests.exceptions.ChunkedEncodingError):
            client.get(f"{url}/broken", verify=config.verify)
    assert accepted() == 5
    assert settle(lambda: holdfast.statistics().in_use == 0)


def test_the_proxy_settings_of_a_configuration_hold(api: Any) -> None:
    """A proxy that is not there is asked, though other clients reach the server directly."""
    url, accepted, _ = api
    config = provider.ClientConfig(url, proxies={"https": "http://127.0.0.1:1"})
    with pytest.raises(requests.exceptions.ProxyError):
        provider.reconcile(config, "one", {"size": 1})
    assert accepted() == 0
