"""Every code block of the README and of the pages runs, in the order of its page, against a server in the place of its hosts."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trustme

import holdfast
from servers import Server, answer, ok

ROOT = Path(__file__).parent.parent
PAGES = [
    page for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if "```python" in page.read_text()
]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_there_are_pages() -> None:
    """Else the next test would pass over nothing."""
    assert {"README.md", "quickstart.md", "tuning.md", "migration.md"} <= {page.name for page in PAGES}


@pytest.fixture
def examples(serve: Callable[..., Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """A TLS server that stands for every host below ``.example``, trusted by way of the environment."""
    ca = trustme.CA()
    bundle = tmp_path / "ca.pem"
    ca.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("api.example", "files.example").configure_cert(context)
    server = serve(answer(ok(b'{"users": []}', b"Content-Type: application/json")), tls=context)
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else str(host)
        return (
            real("127.0.0.1", server.port, *rest, **more)
            if name.endswith(".example")
            else real(host, port, *rest, **more)
        )

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return server


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_blocks_run(page: Path, examples: Server) -> None:
    """Those of a page share their names, as a reader would type them one after the other."""
    names: dict[str, Any] = {"__name__": page.stem}
    for block in BLOCK.finditer(page.read_text()):
        line = page.read_text()[: block.start()].count("\n") + 1
        exec(compile("\n" * line + block[1], str(page), "exec"), names)
    if "server" in names:  # of looking-in.md
        names["server"].shutdown()
        names["server"].server_close()
        names["stop"]()
    for switch in (holdfast.log_statistics, holdfast.find_leaks, holdfast.set_trace):
        switch(None)
    holdfast.uninstall()
