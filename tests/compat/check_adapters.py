"""Libraries that bring adapters, sessions and authentication."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
import requests
import requests_kerberos
import requests_ntlm
import requests_oauthlib
import requests_toolbelt
import requests_unixsocket
import spnego
import truststore
from requests_futures.sessions import FuturesSession
from requests_toolbelt.adapters.fingerprint import FingerprintAdapter
from requests_toolbelt.adapters.host_header_ssl import HostHeaderSSLAdapter
from requests_toolbelt.adapters.socket_options import SocketOptionsAdapter, TCPKeepAliveAdapter
from requests_toolbelt.adapters.source import SourceAddressAdapter
from requests_toolbelt.adapters.ssl import SSLAdapter
from requests_toolbelt.utils import dump

from servers import Peer, answer, ok


def on(adapter: type, base: type) -> Any:
    """The library's adapter with another base class."""
    return type("Adapter", (adapter, base), {})


def check_requests_toolbelt__ssl_adapter(equip: Any, serve: Any, tls: Any) -> None:
    server = serve(tls=tls.context)
    session = equip(requests.Session())
    session.verify = tls.bundle
    session.mount("https://", on(SSLAdapter, equip.base)(ssl.PROTOCOL_TLS_CLIENT))
    assert {session.get(server.url).text for _ in range(3)} == {"ok"}
    assert server.accepted == 1


def check_requests_toolbelt__host_header_ssl_adapter(equip: Any, serve: Any, tls: Any) -> None:
    """The certificate must be that of the Host header."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.ca.issue_cert("holdfast.test").configure_cert(context)
    server = serve(tls=context)
    session = equip(requests.Session())
    session.verify = tls.bundle
    with pytest.raises(requests.exceptions.SSLError):
        session.get(server.url)
    session.mount("https://", on(HostHeaderSSLAdapter, equip.base)())
    for _ in range(2):
        assert session.get(server.url, headers={"Host": "holdfast.test"}).text == "ok"
    with pytest.raises(requests.exceptions.SSLError):
        session.get(server.url, headers={"Host": "other.test"})


def check_requests_toolbelt__fingerprint_adapter(equip: Any, serve: Any, tls: Any) -> None:
    server = serve(tls=tls.context)
    session = equip(requests.Session())
    session.verify = tls.bundle
    session.mount("https://", on(FingerprintAdapter, equip.base)("00" * 32))
    with pytest.raises(requests.exceptions.SSLError, match=r"(?i)fingerprint"):
        session.get(server.url)


def check_requests_toolbelt__source_address_adapter(equip: Any, serve: Any) -> None:
    server = serve()
    session = equip(requests.Session(), server.url)
    session.mount("http://", on(SourceAddressAdapter, equip.base)("127.0.0.9"))
    assert session.get(server.url).text == "ok"
    assert server.peers[-1].sock.getpeername()[0] == "127.0.0.9"


def check_requests_toolbelt__socket_options_adapter(equip: Any, serve: Any) -> None:
    server = serve()
    session = equip(requests.Session())
    for adapter in (
        on(SocketOptionsAdapter, equip.base)(socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]),
        on(TCPKeepAliveAdapter, equip.base)(idle=30, interval=10, count=3),
    ):
        session.mount("http://", adapter)
        with session.get(server.url, stream=True) as response:
            sock = response.raw._connection.sock
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        last = sock
    with session.get(server.url, stream=True) as response:
        last = response.raw._connection.sock
        assert last.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert last.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30


def check_requests_toolbelt__multipart(equip: Any, serve: Any) -> None:
    server = serve(answer(lambda head, body: ok(b"%d" % len(body))))
    session = equip(requests.Session(), server.url)
    encoder = requests_toolbelt.MultipartEncoder({"a": "b", "file": ("name", io.BytesIO(b"x" * 300_000), "text/plain")})
    read: list[int] = []
    monitor = requests_toolbelt.MultipartEncoderMonitor(encoder, lambda one: read.append(one.bytes_read))
    response = session.post(server.url, data=monitor, headers={"Content-Type": monitor.content_type})
    assert response.text == str(encoder.len)
    assert read[-1] == encoder.len
    assert b"x" * 300_000 in server.requests[-1][2]


def check_requests_toolbelt__streaming_iterator(equip: Any, serve: Any) -> None:
    server = serve(answer(lambda head, body: ok(body)))
    session = equip(requests.Session(), server.url)
    body = requests_toolbelt.StreamingIterator(6, iter([b"abc", b"def"]))
    assert session.post(server.url, data=body).content == b"abcdef"


def check_requests_toolbelt__dump(equip: Any, serve: Any) -> None:
    server = serve(ok(b"body", b"X-Field: value"))
    session = equip(requests.Session(), server.url)
    text = dump.dump_all(session.get(server.url + "path"))
    assert b"< GET /path HTTP/1.1" in text
    assert b"> X-Field: value" in text
    assert text.endswith(b"body")


def check_requests_futures__many_at_once(equip: Any, serve: Any) -> None:
    server = serve()
    with FuturesSession(session=equip(requests.Session(), server.url), max_workers=8) as session:
        futures = [session.get(server.url, hooks={"response": lambda r, **kw: None}) for _ in range(40)]
        assert {future.result().text for future in futures} == {"ok"}
    assert server.accepted <= 16  # a dial that lost its race leaves an idle connection


def check_requests_oauthlib__signs(equip: Any, serve: Any) -> None:
    server = serve()
    one = equip(requests_oauthlib.OAuth1Session("key", client_secret="secret"), server.url)
    assert one.get(server.url).text == "ok"
    assert b"Authorization: OAuth " in server.requests[-1][1]
    token = {"access_token": "abc", "token_type": "Bearer"}
    two = equip(requests_oauthlib.OAuth2Session("id", token=token))
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    try:
        assert two.get(server.url).text == "ok"
    finally:
        del os.environ["OAUTHLIB_INSECURE_TRANSPORT"]
    assert b"Authorization: Bearer abc" in server.requests[-1][1]


def check_requests_ntlm__authenticates_one_connection(
    equip: Any, serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real handshake: pyspnego on the server's side. All of it, and what follows, on one connection."""
    users = tmp_path / "users"
    users.write_text("DOMAIN:user:secret\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(users))

    def handle(peer: Peer) -> None:
        context = spnego.server(protocol="ntlm")
        while (request := peer.read_request()) is not None:
            fields = dict(line.split(b": ", 1) for line in request[0].split(b"\r\n")[1:])
            kind, _, token = fields.get(b"Authorization", b"").partition(b" ")
            reply = context.step(base64.b64decode(token)) if kind and not context.complete else None
            if context.complete:
                peer.send(ok(b"for user"))
                continue
            offer = b"WWW-Authenticate: NTLM" + (b" " + base64.b64encode(reply) if reply else b"")
            peer.send(ok(b"no", offer, status=b"401 Unauthorized"))

    server = serve(handle)
    session = equip(requests.Session(), server.url)
    session.auth = requests_ntlm.HttpNtlmAuth("DOMAIN\\user", "secret")
    assert session.get(server.url).text == "for user"
    assert server.accepted <= 1 + equip.warmed


def check_requests_kerberos__binds_to_the_certificate(
    equip: Any, serve: Any, tls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it takes from the response: the server's certificate, off the socket. The Kerberos library is a stand-in."""

    class Context:
        def __init__(self, channel_bindings: Any) -> None:
            self.token = channel_bindings.application_data

        def step(self, in_token: bytes | None) -> bytes:
            return base64.b64encode(self.token)

    monkeypatch.setattr(spnego, "client", lambda channel_bindings, **_: Context(channel_bindings))
    tokens: list[bytes] = []

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            fields = dict(line.split(b": ", 1) for line in request[0].split(b"\r\n")[1:])
            token = fields.get(b"Authorization", b"").partition(b" ")[2]
            if token:
                tokens.append(base64.b64decode(base64.b64decode(token)))
            peer.send(ok(b"in") if token else ok(b"no", b"WWW-Authenticate: Negotiate", status=b"401 Unauthorized"))

    server = serve(handle, tls=tls.context)
    session = equip(requests.Session())
    session.verify = tls.bundle
    session.auth = requests_kerberos.HTTPKerberosAuth(mutual_authentication=requests_kerberos.DISABLED)
    assert session.get(server.url).text == "in"
    seen = ssl.get_server_certificate(("127.0.0.1", server.port))
    assert tokens == [b"tls-server-end-point:" + hashlib.sha256(ssl.PEM_cert_to_DER_cert(seen)).digest()]


@pytest.mark.parametrize("trusted", [True, False])
def check_truststore__verifies(
    trusted: bool, equip: Any, serve: Any, tls: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system's store in place of certifi's, by the adapter's ``init_poolmanager`` and, with ours, by ``ssl_context``."""
    empty = tmp_path / "none.pem"
    empty.write_text("")
    monkeypatch.setenv("SSL_CERT_FILE", tls.bundle if trusted else str(empty))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)

    class Adapter(equip.base):  # type: ignore[misc]  # stock's or ours
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, ssl_context=context)

    server = serve(tls=tls.context)
    session = equip(requests.Session())
    for adapter in [Adapter(), *([] if equip.how == "stock" else [equip.base(ssl_context=context)])]:
        session.mount("https://", adapter)
        if trusted:
            assert session.get(server.url).text == "ok"
        else:
            with pytest.raises(requests.exceptions.SSLError):
                session.get(server.url)


def check_requests_unixsocket__beside_ours_and_on_it(equip: Any, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve_two() -> None:
        for _ in range(2):
            sock, _ = listener.accept()
            with sock:
                sock.recv(65536)
                sock.sendall(ok(b"by unix socket", b"Connection: close"))

    thread = threading.Thread(target=serve_two)
    thread.start()
    session = equip(requests.Session())
    url = f"http+unix://{str(path).replace('/', '%2F')}/a"
    try:
        for kind in (requests_unixsocket.UnixAdapter, on(requests_unixsocket.UnixAdapter, equip.base)):
            session.mount("http+unix://", kind())
            assert session.get(url).text == "by unix socket"
    finally:
        thread.join(10)
        listener.close()
