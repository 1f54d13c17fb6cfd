"""The page: what it shows, to whom, and in a real browser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
import requests

import holdfast
from conftest import TLS
from holdfast import Limits, debug
from servers import Server, ok

Serve = Callable[..., Server]
Sessions = Callable[..., requests.Session]
CHROMIUM = shutil.which("chromium")


def ask(app: Any, **environ: str) -> tuple[str, dict[str, str], bytes]:
    """Calls a WSGI application as a server on the loopback would."""
    found: list[Any] = []
    given = {"REQUEST_METHOD": "GET", "REMOTE_ADDR": "127.0.0.1", "QUERY_STRING": "", **environ}
    body = b"".join(app(given, lambda status, fields: found.extend((status, dict(fields)))))
    return found[0], found[1], body


def test_the_figures(serve: Serve, session: Sessions, tls: TLS) -> None:
    """Connections with state, age, requests and peer; counts as statistics have them; closes by reason."""
    server = serve(ok(b"x" * 1000), tls=tls.context)
    client: Any = session()
    client.verify = tls.bundle
    for _ in range(2):
        client.get(server.url)
    held = client.get(server.url, stream=True)
    name = client.get_adapter("https://").statistics().transports[0].name
    status, fields, body = ask(debug.app, QUERY_STRING="format=json")
    assert (status, fields["Content-Type"]) == ("200 OK", "application/json")

    def shown(body: bytes) -> Any:
        (transport,) = (one for one in json.loads(body)["transports"] if one["name"] == name)
        (host,) = transport["hosts"]
        return host

    host = shown(body)
    (connection,) = host["connections"]
    assert (host["origin"], host["in_use"], host["reused"]) == (f"https://127.0.0.1:{server.port}", 1, 2)
    assert (connection["state"], connection["served"], connection["tls"]) == ("in_use", 3, "TLSv1.3")
    assert connection["peer"] == f"127.0.0.1:{server.port}"
    assert connection["age"] > 0
    held.close()
    host = shown(ask(debug.app, QUERY_STRING="format=json")[2])
    assert [one["state"] for one in host["connections"]] == ["idle"]
    client.close()
    assert name not in {one["name"] for one in debug.snapshot()["transports"] if one["idle"]}


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({}, "200 OK"),
        ({"REMOTE_ADDR": "::1"}, "200 OK"),
        ({"REMOTE_ADDR": "127.8.8.8"}, "200 OK"),
        ({"REMOTE_ADDR": ""}, "200 OK"),  # a unix socket
        ({"REMOTE_ADDR": "10.0.0.1"}, "403 Forbidden"),
        ({"REMOTE_ADDR": "localhost"}, "403 Forbidden"),
        ({"HTTP_X_FORWARDED_FOR": "127.0.0.1"}, "403 Forbidden"),
        ({"HTTP_FORWARDED": "for=127.0.0.1"}, "403 Forbidden"),
        ({"HTTP_HOST": "localhost:8081"}, "200 OK"),
        ({"HTTP_HOST": "127.0.0.1:8081"}, "200 OK"),
        ({"HTTP_HOST": "[::1]:8081"}, "200 OK"),
        ({"HTTP_HOST": "rebound.example:8081"}, "403 Forbidden"),  # a web site's name that was made to lead here
        ({"REQUEST_METHOD": "POST"}, "405 Method Not Allowed"),
    ],
)
def test_who_may_look(environ: dict[str, str], status: str) -> None:
    """Local addresses, never by a proxy's word, nor by a name that somebody else gave."""
    for query in ("", "format=json"):
        assert ask(debug.app, QUERY_STRING=query, **environ)[0] == status


def test_others_may_look_if_told_so() -> None:
    """``allow`` decides alone."""
    app = debug.App(allow=lambda address: address == "10.0.0.1")
    assert ask(app, REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="192.0.2.1")[0] == "200 OK"
    assert ask(app)[0] == "403 Forbidden"


def test_the_page_is_one_file_that_asks_nobody_else() -> None:
    """And HEAD has its length without it."""
    _, fields, body = ask(debug.app)
    assert "default-src 'none'" in fields["Content-Security-Policy"]
    assert not re.findall(rb"""(?:src|href)=|https?://|innerHTML|eval\(""", body)
    status, fields, nothing = ask(debug.app, REQUEST_METHOD="HEAD")
    assert (status, int(fields["Content-Length"]), nothing) == ("200 OK", len(body), b"")


class _Silent(WSGIRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def page() -> Iterator[str]:
    """The page's URL, served as its docstring says."""
    with make_server("127.0.0.1", 0, debug.app, handler_class=_Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join(10)


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (Debian: chromium)")
def test_in_a_real_browser(page: str, serve: Serve, session: Sessions, tmp_path: Path) -> None:
    """Its script runs under its own policy and shows the pool."""
    server = serve(ok(b"x" * 1000))
    client = session(limits=Limits(max_requests_per_connection=2))
    for _ in range(3):
        client.get(server.url)
    held = client.get(server.url, stream=True)
    command = [
        str(CHROMIUM),
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path}",
    ]
    command += ["--virtual-time-budget=3000", "--dump-dom", page]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    held.close()
    text = re.sub(r"<script>.*?</script>", "", done.stdout, flags=re.DOTALL)
    assert f"http://127.0.0.1:{server.port}" in text
    assert "1 max requests" in text
    assert re.search(r'class="state in_use">in use<', text)
    assert "Loading." not in text


def test_the_page_is_off_unless_mounted() -> None:
    """Importing holdfast does not even import it."""
    code = "import sys, holdfast; sys.exit('holdfast.debug' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
    assert holdfast.debug.app is debug.app
