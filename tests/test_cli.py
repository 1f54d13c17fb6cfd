"""``holdfast demo``: what it shows, and one clear line with exit status 2 for each mistake."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from conftest import TLS
from servers import Server


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "holdfast._cli", "demo", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_embedded_server_shows_one_connection_instead_of_many() -> None:
    """Counted by the server in its own process."""
    done = demo("--requests", "12", "--threads", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"connections accepted\s*│\s*12\s*│\s*1\s*│", done.stdout), done.stdout
    for row in ("TIME_WAIT", "CPU per request", "latency p99", "requests per second", "holdfast.statistics()"):
        assert row in done.stdout


def test_a_given_url_is_used(serve: Callable[..., Server]) -> None:
    """Any server will do; threads share."""
    server = serve()
    done = demo("--url", server.url, "--requests", "8", "--threads", "2")
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 17
    assert server.accepted < len(server.requests)


def test_mistakes_give_one_line_and_status_2(serve: Callable[..., Server], tls: TLS) -> None:
    """A wrong URL, a refused port, a bad certificate, an unknown host."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        refused = sock.getsockname()[1]
    untrusted = serve(tls=tls.context)
    for url, word in {
        "nonsense": "Invalid URL",
        f"http://127.0.0.1:{refused}/": "refused",
        untrusted.url: "certificate verify failed",
        "http://name.invalid/": "resolve",
    }.items():
        done = demo("--url", url, "--requests", "2")
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1, done.stderr
        assert word in done.stderr
        assert url in done.stderr


@pytest.mark.parametrize("arguments", [["--requests", "0"], ["--threads", "-1"], ["--requests", "many"]])
def test_bad_numbers_are_refused_by_name(arguments: list[str]) -> None:
    """argparse's own status is 2 as well."""
    done = demo(*arguments)
    assert done.returncode == 2
    assert arguments[0] in done.stderr
