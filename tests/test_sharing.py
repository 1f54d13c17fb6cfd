"""Rules 1 to 4: whose connections are whose."""

from __future__ import annotations

import pickle
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
import trustme
import urllib3
from urllib3.util.ssl_ import create_urllib3_context

import holdfast
from conftest import TLS
from holdfast import CloseReason, Limits, PooledAdapter, Timeouts, _identity
from servers import Server, ok

Serve = Callable[..., Server]


def get(url: str, adapter: PooledAdapter | None = None, **options: Any) -> requests.Response:
    """One GET through an adapter of its own (or the given one), which is closed afterwards."""
    mine = adapter or PooledAdapter()
    with requests.Session() as client:
        client.trust_env = False
        client.mount("http://", mine)
        client.mount("https://", mine)
        response = client.get(url, **options)
        assert response.content is not None
        return response


def test_adapters_with_equal_settings_share_and_any_difference_separates(serve: Serve) -> None:
    """Each pair of different settings opens a connection; the same ones again open none."""
    server = serve()
    different: list[Callable[[], tuple[PooledAdapter, dict[str, Any]]]] = [
        lambda: (PooledAdapter(), {}),
        lambda: (PooledAdapter(limits=Limits(max_idle=99)), {}),
        lambda: (PooledAdapter(limits=Limits(per_host={"a": {"max_waiting": 1}})), {}),
        lambda: (PooledAdapter(pool_maxsize=5), {}),
        lambda: (PooledAdapter(source_address=("127.0.0.1", 0)), {}),
        lambda: (PooledAdapter(socket_options=[]), {}),
        lambda: (PooledAdapter(tcp_keepalive=True), {}),
        lambda: (PooledAdapter(tcp_keepalive=(30, 10, 3), tcp_user_timeout=20), {}),
        lambda: (PooledAdapter(), {"verify": False}),
    ]
    for n, make in enumerate(different, 1):
        for _ in range(2):
            adapter, options = make()
            get(server.url, adapter, **options)
        assert server.accepted == n


def test_timeouts_and_retries_never_split(serve: Serve) -> None:
    """They belong to the exchange."""
    server = serve()
    get(server.url, PooledAdapter(timeouts=Timeouts(total=5)))
    get(server.url, PooledAdapter(max_retries=3), timeout=9)
    get(server.url, timeout=(1, 2))
    assert server.accepted == 1


def test_concurrent_first_uses_make_one_transport(serve: Serve) -> None:
    """One winner, whatever the number of threads."""
    server = serve()
    before = len(holdfast.statistics().transports)
    start = threading.Barrier(16)

    def work(_: int) -> None:
        start.wait(20)
        get(server.url, PooledAdapter(limits=Limits(max_idle=77, max_connections_per_host=2)))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert len(holdfast.statistics().transports) == before + 1
    assert server.most_open <= 2


def test_shared_false_is_private_and_closes_with_its_adapter(serve: Serve) -> None:
    """Idle sockets at once, those in use when they are given back; the adapter can be used again."""
    server = serve(ok(b"x" * 100_000))
    adapter = PooledAdapter(shared=False)
    with requests.Session() as client:
        client.mount("http://", adapter)
        client.get(server.url)
        busy = client.get(server.url, stream=True)
        get(server.url)
        assert server.accepted == 2
        client.get(server.url)
        client.close()
        assert server.wait_until(lambda s: s.open == 2)
        assert len(busy.content) == 100_000
        assert server.wait_until(lambda s: s.open == 1)
        assert client.get(server.url).status_code == 200
        assert server.accepted == 4


def test_closing_a_session_leaves_what_others_share_and_a_body_being_read(serve: Serve) -> None:
    """The reader reads on."""
    server = serve(ok(b"x" * 300_000))
    one, two = holdfast.Session(), holdfast.Session()
    response = one.get(server.url, stream=True)
    one.close()
    assert len(response.content) == 300_000
    assert len(two.get(server.url).content) == 300_000
    assert server.accepted == 1
    two.close()


def test_transports_without_an_adapter_are_bounded_and_forgotten_when_empty(serve: Serve) -> None:
    """At most 64 keep idle connections; one without connections is forgotten; totals never fall."""
    server = serve()
    for n in range(70):
        get(server.url, PooledAdapter(limits=Limits(max_idle=1000 + n)))
    stats = holdfast.statistics()
    assert stats.idle <= 64
    created = stats.created
    holdfast.close_idle_connections()
    after = holdfast.statistics()
    assert (after.transports, after.idle) == ((), 0)
    assert after.created >= created


def test_names_in_statistics_are_keyed_digests(serve: Serve) -> None:
    """Twelve hex digits that another process would not get."""
    server = serve()
    get(server.url)
    name = holdfast.statistics().transports[0].name
    assert len(name) == 12
    assert int(name, 16) >= 0
    first = _identity.digest({"a": 1})
    _identity.renew_key()
    assert _identity.digest({"a": 1}) != first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (1, True),
        (1, 1.0),
        (1, "1"),
        ("1", b"1"),
        (None, ""),
        (("a", "b"), ("ab",)),
        ((("a",), "b"), ("a", ("b",))),
        ({"a": None}, {}),
        ({"a": 1, "b": 2}, {"a": 2, "b": 1}),
        ("ab", "a\0b"),
    ],
)
def test_different_values_have_different_encodings(one: Any, other: Any) -> None:
    """Typed and length-prefixed."""
    assert _identity.encode(one) != _identity.encode(other)
    assert _identity.encode({"x": one}) != _identity.encode({"x": other})


def test_an_unknown_pool_keyword_makes_the_transport_private(serve: Serve) -> None:
    """What it means is not ours to guess."""
    server = serve()

    class Subclass(PooledAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.connection_pool_kw["server_hostname"] = object()

    for _ in range(2):
        get(server.url, Subclass())
    assert server.accepted == 2


def test_tls_one_connection_and_one_ca_parse_for_20_sessions(
    serve: Serve, tls: TLS, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted at ``SSLContext.load_verify_locations``."""
    server = serve(tls=tls.context)
    loads: list[Any] = []
    real = ssl.SSLContext.load_verify_locations
    monkeypatch.setattr(
        ssl.SSLContext, "load_verify_locations", lambda self, *a, **k: (loads.append(a), real(self, *a, **k))[1]
    )
    for _ in range(20):
        assert get(server.url, verify=tls.bundle).content == b"ok"
    assert (server.accepted, len(loads)) == (1, 1)
    info = holdfast.connection_info(get(server.url, verify=tls.bundle))
    assert info is not None
    assert info.tls_version == "TLSv1.3"
    assert info.tls_cipher


def test_verify_false_never_weakens_a_later_verify_true_in_either_order(lane: str, serve: Serve, tls: TLS) -> None:
    """The unverified connection is not reused for a verified request."""
    server = serve(tls=tls.context)
    adapter = PooledAdapter()
    for _ in range(2):
        with pytest.warns(urllib3.exceptions.InsecureRequestWarning):
            assert get(server.url, adapter, verify=False).content == b"ok"
        with pytest.raises(requests.exceptions.SSLError):
            get(server.url, adapter, verify=True)
        assert get(server.url, adapter, verify=tls.bundle).content == b"ok"


def test_a_replaced_bundle_takes_effect_on_the_next_request(lane: str, serve: Serve, tls: TLS) -> None:
    """Connections made under the old one are not reused, and closed for that reason."""
    server = serve(tls=tls.context)
    adapter = PooledAdapter()
    with requests.Session() as client:
        client.mount("https://", adapter)
        assert client.get(server.url, verify=tls.bundle).content == b"ok"
        other = trustme.CA()
        other.cert_pem.write_to_path(tls.bundle)
        with pytest.raises(requests.exceptions.SSLError):
            client.get(server.url, verify=tls.bundle)
        tls.ca.cert_pem.write_to_path(tls.bundle)
        assert client.get(server.url, verify=tls.bundle).content == b"ok"
    assert holdfast.statistics().closed[CloseReason.TLS_CHANGED] >= 1
    assert server.accepted >= 3


def test_client_certificates_are_never_mixed(lane: str, serve: Serve, tls: TLS) -> None:
    """Each connection is its certificate's; none is used without one."""
    seen: list[str] = []

    def handle(peer: Any) -> None:
        subject = peer.sock.getpeercert()["subjectAltName"][0][1]
        while peer.read_request() is not None:
            seen.append(subject)
            peer.send(ok())

    server = serve(handle, tls=tls.server_context(client_cas=tls.bundle))
    a, b = tls.client_cert("a"), tls.client_cert("b")
    for cert in (a, b, a, (b, b)):
        get(server.url, verify=tls.bundle, cert=cert)
    assert seen == ["a@example.org", "b@example.org"] * 2
    assert server.accepted == 3
    with pytest.raises(requests.exceptions.ConnectionError):
        get(server.url, verify=tls.bundle)


def test_a_client_certificate_renewed_on_disk_is_used_at_once(lane: str, serve: Serve, tls: TLS) -> None:
    """Same path, new contents, new connection."""
    server = serve(tls=tls.server_context(client_cas=tls.bundle))
    adapter = PooledAdapter()
    with requests.Session() as client:
        client.mount("https://", adapter)
        cert = tls.client_cert("a")
        client.get(server.url, verify=tls.bundle, cert=cert)
        client.get(server.url, verify=tls.bundle, cert=cert)
        assert server.accepted == 1
        assert tls.client_cert("a") == cert
        client.get(server.url, verify=tls.bundle, cert=cert)
        assert server.accepted == 2


def test_an_ssl_context_with_cas_decides_trust_alone_and_is_never_changed(serve: Serve, tls: TLS) -> None:
    """For ``verify=True`` and for a path."""
    server = serve(tls=tls.context)
    context = ssl.create_default_context(cafile=tls.bundle)
    before = (context.verify_mode, context.check_hostname, context.cert_store_stats())
    adapter = PooledAdapter(ssl_context=context)
    assert get(server.url, adapter, verify=True).content == b"ok"
    assert get(server.url, adapter, verify=tls.bundle).content == b"ok"
    assert (context.verify_mode, context.check_hostname, context.cert_store_stats()) == before
    with pytest.raises(ValueError, match="check_hostname"):
        get(server.url, PooledAdapter(ssl_context=ssl.create_default_context(cafile=tls.bundle)), verify=False)


def test_an_ssl_context_without_cas_is_adopted_with_one_pair(serve: Serve, tls: TLS) -> None:
    """What stock would set is set once; a different pair later is a ``ValueError`` that says so."""
    server = serve(tls=tls.context)
    adapter = PooledAdapter(ssl_context=create_urllib3_context(ciphers="ECDHE+AESGCM"))
    for _ in range(2):
        assert get(server.url, adapter, verify=tls.bundle).content == b"ok"
    assert server.accepted == 1
    with pytest.raises(ValueError, match="other verify or cert"):
        get(server.url, adapter, verify=True)


def test_an_adapter_pickles_as_its_settings(serve: Serve) -> None:
    """The transport is looked up again: the twin shares."""
    server = serve()
    adapter = PooledAdapter(limits=Limits(max_idle=7), timeouts=Timeouts(total=9), max_retries=2, tcp_keepalive=True)
    get(server.url, adapter)
    twin = pickle.loads(pickle.dumps(adapter))
    assert type(twin) is PooledAdapter
    assert twin.max_retries.total == 2
    get(server.url, twin)
    assert server.accepted == 1
    assert b"Transport" not in pickle.dumps(adapter)
    with pytest.raises(TypeError, match="ssl_context"):
        pickle.dumps(PooledAdapter(ssl_context=ssl.create_default_context()))


def test_pool_arguments_and_limits_exclude_each_other() -> None:
    """And read as requests has them."""
    with pytest.raises(ValueError, match="not both"):
        PooledAdapter(pool_maxsize=3, limits=Limits())
    adapter = PooledAdapter()
    assert (adapter._pool_connections, adapter._pool_maxsize, adapter._pool_block) == (10, 10, False)
    adapter = PooledAdapter(2, 3, pool_block=True)
    limits = adapter._config.limits
    assert (limits.max_idle_per_host, limits.max_connections_per_host) == (3, 3)
    with pytest.raises(TypeError, match="limits"):
        PooledAdapter(limits={"max_idle": 3})  # type: ignore[arg-type]


def test_concurrent_first_uses_of_a_private_adapter_make_one_transport(serve: Serve) -> None:
    """Else each thread's winner would bring a limit of its own."""
    server = serve()
    for _ in range(20):
        adapter = PooledAdapter(shared=False, limits=Limits(max_connections_per_host=1))
        with requests.Session() as client, ThreadPoolExecutor(8) as pool:
            client.trust_env = False
            client.mount("http://", adapter)
            start = threading.Barrier(8)

            def work(_: int, client: requests.Session = client, start: threading.Barrier = start) -> None:
                start.wait(20)
                assert client.get(server.url).content == b"ok"

            list(pool.map(work, range(8)))
            assert len(adapter.statistics().transports) == 1
