"""Bad input and failing peers: stock's exception for the same mistake, in both lanes, and nothing lost."""

from __future__ import annotations

import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

import holdfast
from conftest import TLS
from holdfast import _errors
from servers import Server

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]


def both(client: requests.Session, call: Callable[[requests.Session], Any]) -> tuple[Exception, Exception]:
    """What stock raises, and what we do."""
    errors: list[Exception] = []
    with requests.Session() as stock:
        stock.trust_env = False
        for one in (stock, client):
            with pytest.raises(Exception) as caught:  # noqa: PT011  # compared by the caller
                call(one)
            errors.append(caught.value)
    return errors[0], errors[1]


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http:///x",
        "http://:80/",
        "http://a b/",
        "http://[::1/",
        "nonsense",
        "ftp://x/",
        "http://*bad/",
        "http://.x/",
        "http://x:99999/",
        "http://x:port/",
        "http://a" + "b" * 70 + ".example/",
    ],
)
def test_a_malformed_url(url: str, lane: str, session: Sessions) -> None:
    """Same class, same words."""
    expected, got = both(session(), lambda client: client.get(url, timeout=5))
    assert type(got) is type(expected)
    if "0x" not in str(expected):
        assert str(got) == str(expected)


def test_a_refused_port(lane: str, session: Sessions) -> None:
    """``ConnectionError`` with stock's text."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    expected, got = both(session(), lambda client: client.get(f"http://127.0.0.1:{port}/"))
    assert type(got) is type(expected) is requests.exceptions.ConnectionError
    assert "Connection refused" in str(got)
    assert str(got).split("(Caused")[0] == str(expected).split("(Caused")[0]


def test_an_unknown_host(lane: str, session: Sessions) -> None:
    """``ConnectionError`` from DNS."""
    expected, got = both(session(), lambda client: client.get("http://name.invalid/", timeout=20))
    assert type(got) is type(expected)
    assert "NameResolutionError" in str(got)


@pytest.mark.parametrize(
    "what",
    [
        "missing_bundle",
        "missing_cert",
        "missing_key",
        "empty_bundle",
        "bad_bundle",
        "bad_cert",
        "wrong_key",
        "encrypted_key",
    ],
)
def test_bad_certificate_files(what: str, lane: str, serve: Serve, session: Sessions, tls: TLS, tmp_path: Path) -> None:
    """What stock raises: ``OSError`` for what is missing, ``SSLError`` for what OpenSSL refuses."""
    server = serve(tls=tls.context)
    junk = tmp_path / "junk.pem"
    junk.write_text(
        "" if what == "empty_bundle" else "-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n"
    )
    cert = tls.client_cert("a")
    locked = tmp_path / "locked.pem"
    locked.write_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n")
    options: dict[str, Any] = {
        "missing_bundle": {"verify": str(tmp_path / "none.pem")},
        "missing_cert": {"verify": tls.bundle, "cert": str(tmp_path / "none.pem")},
        "missing_key": {"verify": tls.bundle, "cert": (cert, str(tmp_path / "none.pem"))},
        "empty_bundle": {"verify": str(junk)},
        "bad_bundle": {"verify": str(junk)},
        "bad_cert": {"verify": tls.bundle, "cert": str(junk)},
        "wrong_key": {"verify": tls.bundle, "cert": (cert, tls.client_cert("b"))},
        "encrypted_key": {"verify": tls.bundle, "cert": (cert, str(locked))},
    }[what]
    expected, got = both(session(), lambda client: client.get(server.url, **options))
    assert type(got) is type(expected)
    assert (
        str(got).split("(_ssl.c")[0].partition("Caused")[2] == str(expected).split("(_ssl.c")[0].partition("Caused")[2]
    )


def test_a_missing_client_certificate_is_an_error_for_plain_http_too(
    lane: str, serve: Serve, session: Sessions, tmp_path: Path
) -> None:
    """As stock has it."""
    server = serve()
    expected, got = both(session(), lambda client: client.get(server.url, cert=str(tmp_path / "none.pem")))
    assert (type(got), str(got)) == (type(expected), str(expected))


def test_an_untrusted_server(lane: str, serve: Serve, session: Sessions, tls: TLS) -> None:
    """``SSLError``; a host name that does not fit as well."""
    server = serve(tls=tls.context)
    expected, got = both(session(), lambda client: client.get(server.url))
    assert type(got) is type(expected) is requests.exceptions.SSLError
    url = f"https://127.0.0.2:{server.port}/"
    expected, got = both(session(), lambda client: client.get(url, verify=tls.bundle))
    assert type(got) is type(expected)


@pytest.mark.parametrize("name", _errors.__all__)
def test_every_error_is_what_existing_code_catches(name: str) -> None:
    """Derived from ``HoldfastError``, a requests exception, named ``holdfast``, picklable."""
    kind = getattr(holdfast, name)
    assert issubclass(kind, holdfast.HoldfastError)
    assert issubclass(kind, requests.exceptions.RequestException)
    assert kind.__module__ == "holdfast"
    assert str(pickle.loads(pickle.dumps(kind("text")))) == "text"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("AcquireTimeout", "ConnectTimeout ConnectionError"),
        ("QueueFull", "ConnectTimeout ConnectionError"),
        ("TLSHandshakeTimeout", "ConnectTimeout"),
        ("ProxyConnectTimeout", "ConnectTimeout ProxyError"),
        ("ResponseHeaderTimeout", "ReadTimeout"),
        ("BodyStallTimeout", "ReadTimeout ConnectionError"),
        ("DeadlineExceeded", "Timeout"),
        ("InvalidResponse", "ConnectionError"),
        ("IncompleteBody", "ChunkedEncodingError"),
    ],
)
def test_the_bases_of_each_error(ours: str, theirs: str) -> None:
    """The contract's table."""
    for name in theirs.split():
        assert issubclass(getattr(holdfast, ours), getattr(requests.exceptions, name))
