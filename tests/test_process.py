"""install and uninstall, fork, interpreter exit, imports: what concerns the whole process."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

import holdfast
from conftest import TLS, settle
from holdfast import Limits, PooledAdapter
from servers import Peer, Server, ok

Serve = Callable[..., Server]
PACKAGE = Path(holdfast.__file__).parent


@pytest.fixture
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy settings from outside."""
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.parametrize("secure", [False, True])
def test_after_install_20_gets_are_one_connection(secure: bool, serve: Serve, tls: TLS, direct: None) -> None:
    """Counted by the server, plain and TLS."""
    server = serve(tls=tls.context if secure else None)
    holdfast.install()
    for _ in range(20):
        assert requests.get(server.url, verify=tls.bundle).content == b"ok"
    assert server.accepted == 1
    holdfast.uninstall()
    for _ in range(2):
        requests.get(server.url, verify=tls.bundle)
    assert server.accepted == 3


def test_install_takes_options_and_leaves_existing_sessions_alone(serve: Serve, direct: None) -> None:
    """Subclasses made later get it too; bad options fail at once."""
    server = serve()
    old = requests.Session()
    with pytest.raises(TypeError):
        holdfast.install(limits=3)
    holdfast.install(limits=Limits(max_requests_per_connection=1))

    class Later(requests.Session):
        pass

    with Later() as client:
        for _ in range(3):
            client.get(server.url)
    assert server.accepted == 3
    assert not isinstance(old.get_adapter("http://"), PooledAdapter)
    holdfast.install()
    with requests.Session() as client:
        for _ in range(3):
            client.get(server.url)
    assert server.accepted == 4
    old.close()


def test_install_sessions_makes_requests_session_ours(serve: Serve, direct: None) -> None:
    """And uninstall undoes it; what somebody else put there stays."""
    stock = requests.Session
    holdfast.install(sessions=True)
    assert requests.Session is requests.sessions.Session is holdfast.Session
    assert isinstance(requests.session(), holdfast.Session)
    assert issubclass(holdfast.Session, stock)
    holdfast.uninstall()
    assert requests.Session is requests.sessions.Session is stock
    holdfast.install()
    requests.sessions.HTTPAdapter = other = type("Other", (requests.adapters.HTTPAdapter,), {})
    holdfast.uninstall()
    assert requests.sessions.HTTPAdapter is other
    requests.sessions.HTTPAdapter = requests.adapters.HTTPAdapter


def test_mount_gives_the_session_back(serve: Serve) -> None:
    """Mounted for both schemes, with one adapter."""
    session = requests.Session()
    assert holdfast.mount(session, limits=Limits(max_idle=3)) is session
    assert session.get_adapter("http://x") is session.get_adapter("https://x")
    session.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_starts_empty_and_leaves_the_parents_sockets_alone(serve: Serve, direct: None) -> None:
    """The child's request makes a new connection; the parent's goes on being reused."""
    server = serve()
    with holdfast.Session() as client:
        client.trust_env = False
        client.get(server.url)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                empty = holdfast.statistics()
                response = client.get(server.url)
                if response.content == b"ok" and empty.created == 0 and holdfast.statistics().created == 1:
                    status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert client.get(server.url).content == b"ok"
    assert server.accepted == 2
    assert [number for number, _, _ in server.requests] == [1, 2, 1]


def run_python(code: str, *, seconds: float = 60) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=seconds, check=False
    )


def test_the_interpreter_ends_with_connections_idle_and_in_use(serve: Serve) -> None:
    """Promptly, silently, whatever is open."""
    server = serve()
    code = f"""
import requests, holdfast
client = holdfast.Session(); client.trust_env = False
client.get({server.url!r})
kept = client.get({server.url!r}, stream=True)
"""
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_where_the_core_reads_no_sockets(serve: Serve) -> None:
    """As on Windows, where these functions and ``poll`` are missing: Python reads, drains and looks for dead connections."""

    def handle(peer: Peer) -> None:
        while (request := peer.read_request()) is not None:
            peer.send(ok(b"x" * (1 << 20 if b"/big" in request[0] else 1000)))
            if b"/last" in request[0]:
                return

    server = serve(handle)
    code = f"""
import importlib.machinery, importlib.util, select, sys
package = importlib.util.find_spec("holdfast").submodule_search_locations
place = importlib.machinery.PathFinder.find_spec("_core", package).origin
spec = importlib.util.spec_from_file_location("holdfast._core", place)
core = importlib.util.module_from_spec(spec)
spec.loader.exec_module(core)
for name in ("readable", "read_exact", "drain_length", "drain_chunked"):
    delattr(core, name)
for name in ("poll", "epoll"):
    delattr(select, name)
sys.modules["holdfast._core"] = core
import holdfast, time
client = holdfast.Session(); client.trust_env = False
assert len(client.get({server.url!r} + "big").content) == 1 << 20
client.get({server.url!r}, stream=True).close()  # drained
assert len(client.get({server.url!r} + "last").content) == 1000
end = time.monotonic() + 20
while holdfast.statistics().idle and time.monotonic() < end:
    time.sleep(0.01)
stats = holdfast.statistics()
assert stats.closed[holdfast.CloseReason.CLOSED_BY_SERVER] == 1, stats
assert client.get({server.url!r}).ok
stats = holdfast.statistics()
assert (stats.created, stats.reused, stats.drained_bytes >= 0) == (2, 2, True), stats
"""
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, "")
    assert server.accepted == 2


def test_no_thread_outlives_its_use(serve: Serve) -> None:
    """The reaper ends once nothing is idle."""
    import threading

    server = serve()
    with holdfast.Session() as client:
        client.trust_env = False
        client.get(server.url)
        assert any(thread.name == "holdfast-reaper" for thread in threading.enumerate())
        holdfast.close_idle_connections()
        assert settle(lambda: not any(thread.name == "holdfast-reaper" for thread in threading.enumerate()))
        client.get(server.url)
    assert server.accepted == 2


ORDER = [
    "_cli",
    "_demo",
    "_demo_server",
    "prometheus",
    "opentelemetry",
    "debug",
    "_install",
    "_session",
    "_prepare",
    "_stock",
    "_mount",
    "_series",
    "_log_statistics",
    "_unix",
    "_adapter",
    "_fast_lane",
    "_lanes",
    "_adopt",
    "_facade",
    "_acquire",
    "_attempt",
    "_binding",
    "_transport_cache",
    "_transport",
    "_lease",
    "_reaper",
    "_host_pool",
    "_slot",
    "_stale",
    "_connection",
    "_response",
    "_body",
    "_look",
    "_dialled",
    "_dial",
    "_eyeballs",
    "_timeouts",
    "_backoff",
    "_tls",
    "_identity",
    "_files",
    "_fork",
    "_leaks",
    "_periodic",
    "_deadline",
    "_trace",
    "_errors",
    "_statistics",
    "_config",
    "_core",
]  # read as the one line of arrows that it is


def test_imports_point_down() -> None:
    """No module imports one above it; each is in the list."""
    for path in PACKAGE.glob("*.py"):
        if path.stem == "__init__":
            continue
        assert path.stem in ORDER, path
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []  # for type checkers alone, so no arrow
        names = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("holdfast")
            for name in ([node.module.partition(".")[2]] if "." in node.module else [a.name for a in node.names])
        }
        for name in names & set(ORDER):
            assert ORDER.index(name) > ORDER.index(path.stem), f"{path.stem} imports {name}"


def test_everything_public_is_documented_and_named_holdfast() -> None:
    """``__all__`` is whole; each thing has a docstring and says where it comes from."""
    for name in holdfast.__all__:
        thing = getattr(holdfast, name)
        assert thing.__doc__, name
        assert thing.__module__ == "holdfast", name
