"""``http.client.HTTPResponse``'s looks, for those who reach through urllib3 to it (NTLM, Kerberos, CacheControl)."""

from __future__ import annotations

import http.client
import socket
from typing import TYPE_CHECKING, Any

from holdfast import _core

if TYPE_CHECKING:
    from typing_extensions import Self

    from holdfast._body import Head

__all__ = ["HTTPLook"]


class _SocketFile:
    """``_fp.fp`` and ``_fp.fp.raw``, for those who look for the socket there (channel binding in NTLM and Kerberos)."""

    __slots__ = ("_sock",)

    def __init__(self, sock: socket.socket | None) -> None:
        self._sock = sock

    @property
    def raw(self) -> _SocketFile:
        return self

    def fileno(self) -> int:
        return -1 if self._sock is None else self._sock.fileno()

    def readline(self, limit: int = -1) -> bytes:
        """Bytes of the wire are the core's; what a reader of lines would see has ended."""
        return b""


class HTTPLook:
    """Read-only views of a ``Body``."""

    __slots__ = ()

    head: Head
    kind: int
    method: str
    _conn: Any
    _decoder: Any
    _ended: bool
    _left: int
    _msg: http.client.HTTPMessage | None
    _sock: Any

    def close(self) -> None:
        """The body's own."""
        raise NotImplementedError

    def isclosed(self) -> bool:
        """Whether the body has ended."""
        return self._ended

    @property
    def closed(self) -> bool:
        """The same, as a file has it."""
        return self._ended

    def readable(self) -> bool:
        """True, as for any response."""
        return True

    def flush(self) -> None:
        """Nothing to flush."""

    def fileno(self) -> int:
        """The socket's descriptor; -1 once the body has ended."""
        return -1 if self._conn is None else self._conn.fd

    @property
    def fp(self) -> Any:
        """The socket's file, None once the body has ended. After 101 it reads the socket, leftovers first."""
        if self._ended:
            return None
        return self if self.kind == _core.BODY_UPGRADE else _SocketFile(self._sock)

    @property
    def raw(self) -> _SocketFile:
        """Where ``fp.raw._sock`` is looked for."""
        return _SocketFile(self._sock)

    @property
    def msg(self) -> http.client.HTTPMessage:
        """The head's fields as http.client has them, built when first touched."""
        message = self._msg
        if message is None:
            message = self._msg = http.client.HTTPMessage()  # type: ignore[misc]  # the subclass has the slot
            # The list that add_header appends to; parsing or appending one by one takes 20 times as long.
            message._headers = list(self.head[3])  # type: ignore[attr-defined]
        return message

    headers = msg

    @property
    def status(self) -> int:
        """The status code."""
        return self.head[0]

    code = status

    @property
    def reason(self) -> str:
        """The reason phrase."""
        return self.head[2]

    @property
    def version(self) -> int:
        """10 or 11."""
        return 10 + self.head[1]

    @property
    def chunked(self) -> bool:
        """Whether the body is chunked."""
        return self._decoder is not None

    @property
    def chunk_left(self) -> int | None:
        """What is left of the present chunk, by which docker's client knows how much it may read without waiting."""
        return None if self._decoder is None else self._decoder.chunk_left

    @property
    def length(self) -> int | None:
        """What is left, None if unknown."""
        return None if self._left < 0 else self._left

    @property
    def will_close(self) -> bool:
        """Whether the connection ends with this response."""
        return not self.head[8]

    @property
    def _method(self) -> str:
        return self.method

    def getheader(self, name: str, default: Any = None) -> Any:
        """A field's value, repeated ones joined by comma."""
        values = self.msg.get_all(name)
        return ", ".join(values) if values else default

    def getheaders(self) -> list[tuple[str, str]]:
        """All fields."""
        return list(self.head[3])

    def info(self) -> http.client.HTTPMessage:
        """The same as ``msg``."""
        return self.msg

    def getcode(self) -> int:
        """The same as ``status``."""
        return self.head[0]

    def geturl(self) -> str:
        """http.client gives the URL of urllib's request here, which we are not."""
        return ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
