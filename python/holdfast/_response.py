"""Responses: requests' as users get it, urllib3's as ``raw``. What the usual caller never looks at is built when touched."""

from __future__ import annotations

import copyreg
import datetime
import http.client
import ssl
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import requests
import urllib3
from requests.cookies import cookiejar_from_dict, extract_cookies_to_jar
from requests.structures import CaseInsensitiveDict
from requests.utils import get_encoding_from_headers
from urllib3._collections import HTTPHeaderDict

from holdfast import _core
from holdfast._body import Body, Lease
from holdfast._errors import Carrier, carried, surface
from holdfast._statistics import CloseReason, ConnectionInfo, Timings

if TYPE_CHECKING:
    from requests import PreparedRequest
    from requests.adapters import HTTPAdapter

    from holdfast._connection import WireConnection
    from holdfast._deadline import Exchange

__all__ = ["FastResponse", "PooledHTTPResponse", "Travel", "connection_info"]


class Travel:
    """How a response travelled, noted cheaply; ``ConnectionInfo`` is made from it when somebody asks."""

    __slots__ = ("_conn", "_exchange", "_idle", "_served")

    def __init__(self, conn: WireConnection, exchange: Exchange, served: int, idle_seconds: float) -> None:
        self._conn = conn.facts
        self._exchange = (exchange.queued, exchange.sending, exchange.wait, exchange.stale_retries)
        self._served = served
        self._idle = idle_seconds

    def info(self) -> ConnectionInfo:
        """The public form."""
        facts, first = self._conn, self._served == 1
        queued, send, wait, stale_retries = self._exchange
        return ConnectionInfo(
            reused=not first,
            idle_seconds=self._idle,
            connection_id=facts.number,
            requests_served=self._served,
            local_address=facts.local_address,
            remote_address=facts.remote_address,
            tls_version=facts.tls_version,
            tls_cipher=facts.tls_cipher,
            stale_retries=stale_retries,
            timings=Timings(
                queued=queued,
                dns=facts.dns if first else 0.0,
                connect=facts.connect if first else 0.0,
                tls=facts.tls if first else 0.0,
                send=send,
                wait=wait,
            ),
        )


def connection_info(response: requests.Response) -> ConnectionInfo | None:
    """How ``response`` travelled; None if holdfast did not carry it, or it was pickled since."""
    travel = response.__dict__.get("_travel") or getattr(getattr(response, "raw", None), "_travel", None)
    return travel.info() if isinstance(travel, Travel) else None


connection_info.__module__ = "holdfast"


class PooledHTTPResponse(urllib3.HTTPResponse):
    """A ``urllib3.HTTPResponse`` whose end is its lease's end.

    urllib3's ``close`` never gives a connection back, and its ``drain_conn`` reads without bound. Here ``close``,
    ``release_conn`` and ``drain_conn`` all drain within the limits, or close the connection.
    """

    _reader: Body | None = None
    """The body, unless a patched http.client reads it."""
    _lease: Lease | None = None
    """The lease, if there is no ``_reader`` to hold it."""
    _travel: Travel | None = None

    @classmethod
    def of(cls, body: Body, url: str, travel: Travel | None, pool: Any = None, **options: Any) -> PooledHTTPResponse:
        """The response that ``body`` belongs to; urllib3's ``__init__`` runs when somebody looks at its attributes."""
        response = cls.__new__(cls)
        response.__dict__.update(
            _reader=body,
            _fp=body,
            _original_response=body,
            _pool=pool,
            _retries=None,
            _travel=travel,
            _pending=(url, options),
            auto_close=True,
        )
        return response

    def __getattr__(self, name: str) -> Any:
        """The first look at an attribute that ``__init__`` would have set sets them all."""
        pending = self.__dict__.pop("_pending", None)
        if pending is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        url, options = pending
        kept = {key: value for key, value in self.__dict__.items() if key in ("_pool", "_retries")}
        body = self.__dict__["_original_response"]
        if "_enforce" in self.__dict__:  # switched before anybody looked at anything else
            options = {**options, "enforce_content_length": self._enforce}
        headers = HTTPHeaderDict()
        for key, value in body.head[3]:
            headers.add(key, value)
        urllib3.HTTPResponse.__init__(
            self,
            body=body,
            headers=headers,
            status=body.status,
            version=body.version,
            version_string=f"HTTP/1.{body.head[1]}",
            reason=body.reason,
            original_response=body,
            request_method=body.method,
            request_url=url,
            **{"decode_content": False, "preload_content": False, **options},
        )
        self.__dict__.update(kept)
        if body.kind in (_core.BODY_CHUNKED, _core.BODY_CLOSE):
            self.length_remaining = (
                None  # a Content-Length beside a Transfer-Encoding means nothing (RFC 9112 section 6.3)
            )
        elif body.length is not None and self.length_remaining is not None:  # the body may have been read past us
            self._fp_bytes_read = self.length_remaining - body.length
            self.length_remaining = body.length
        return getattr(self, name)

    @property
    def _connection(self) -> Any:
        """The connection while it is this response's, for those who ask it for addresses and certificates."""
        return self.__dict__.get("_connection") if self._reader is None else self._reader.conn

    @_connection.setter
    def _connection(self, value: Any) -> None:
        self.__dict__["_connection"] = value

    @property
    def enforce_content_length(self) -> bool:
        """Whether a body shorter than its Content-Length is an error; may be switched at any time."""
        return self._enforce

    @enforce_content_length.setter
    def enforce_content_length(self, value: bool) -> None:
        self._enforce = value
        if self._reader is not None:
            self._reader.enforce = value

    def _finish(self) -> None:
        """Ends the lease, whoever holds it."""
        if self._reader is not None:
            self._reader.close()
            return
        self._connection = None
        lease, self._lease = self._lease, None
        if lease is not None:
            lease.conn.let_go()
            whole = self._original_response is not None and self._original_response.isclosed()
            if whole and not getattr(self._original_response, "will_close", True):
                lease.release()
            else:
                lease.discard(CloseReason.UNDRAINED_BODY)

    def release_conn(self) -> None:
        """Gives the connection back, an unread body drained within the limits."""
        self._finish()

    def drain_conn(self) -> None:
        """The same: a connection is never drained without bound."""
        self._finish()

    def close(self) -> None:
        """The same, and the response is closed."""
        self._finish()
        if self._reader is None or not self.auto_close:
            super().close()

    def shutdown(self) -> None:
        """Wakes a thread that is reading this response; it ends with an error (urllib3 2.3)."""
        if self._reader is None:
            super().shutdown()
        elif self._reader.conn is None:
            raise RuntimeError("Cannot shutdown as connection has already been released to the pool")
        else:
            self._reader.close()

    def __del__(self) -> None:
        """Not ``IOBase``'s, which would call ``close``: a dropped lease recovers itself, without a lock and without I/O."""

    def stream(self, amt: int | None = 2**16, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]  # a generator is an iterator
        """urllib3's ``stream``, whose errors are holdfast's public ones: ``iter_content`` would rewrap urllib3's."""
        try:
            yield from super().stream(amt, decode_content)
        except Carrier as error:
            surface(error.public, None, error)
        except urllib3.exceptions.HTTPError as error:
            public = carried(error)
            if public is None:
                raise
            surface(public, None, error)

    def supports_chunked_reads(self) -> bool:
        """Whether ``read_chunked`` works."""
        return True if self._reader is not None else super().supports_chunked_reads()

    def read_chunked(self, amt: int | None = None, decode_content: bool | None = None) -> Iterator[bytes]:  # type: ignore[override]  # a generator is an iterator
        """Chunk by chunk as they come, each cut at ``amt``."""
        reader = self._reader
        if reader is None:
            yield from super().read_chunked(amt, decode_content)
            return
        self._init_decoder()
        if not self.chunked:
            raise urllib3.exceptions.ResponseNotChunked("Response is not chunked.")
        if amt is not None and amt <= 0:
            if amt == 0:
                return
            amt = None
        with self._error_catcher():
            while True:
                tail = self._decoder is not None and getattr(self._decoder, "has_unconsumed_tail", False)
                chunk = b"" if tail else reader.read_chunk(amt)
                if not chunk and not tail:
                    break
                self._fp_bytes_read += len(chunk)
                self._uncached_read_occurred = True
                decoded = self._decode(chunk, decode_content, flush_decoder=False, max_length=amt)
                if decoded:
                    yield decoded
            if decode_content and (decoded := self._flush_decoder()):
                yield decoded


class FastResponse(requests.Response):
    """What the fast lane returns: a ``requests.Response`` that builds raw, cookies and encoding when they are touched.

    It pickles as a plain ``requests.Response``. A name that is missing in the instance's dict is built by
    ``__getattr__`` and stays there, so that everything can be set and read as on any response.
    """

    def __init__(
        self, request: PreparedRequest, url: str, body: Body, adapter: HTTPAdapter, travel: Travel, pool: Any
    ) -> None:
        head = body.head
        store = head[4]
        headers: CaseInsensitiveDict[str] = CaseInsensitiveDict.__new__(CaseInsensitiveDict)
        # The very dict that its own __setitem__ would fill, in the same order; nobody else reads it from here on.
        headers._store = store  # type: ignore[assignment]
        self.__dict__ = {
            "_content": False,
            "_content_consumed": False,
            "_next": None,
            "status_code": head[0],
            "headers": headers,
            "reason": head[2],
            "url": request.url,
            "history": [],
            "elapsed": _NO_TIME,
            "request": request,
            "connection": adapter,
            "_body": body,
            "_pool": pool,
            "_target": url,
            "_travel": travel,
            "_type": store.get("content-type"),
            "_encoded": "content-encoding" in store,
            "_cookies": "set-cookie" in store or "set-cookie2" in store,
        }

    def __getattr__(self, name: str) -> Any:
        build = _LATE.get(name)
        if build is None or "_body" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        value = self.__dict__[name] = build(self)
        return value

    @property
    def content(self) -> bytes | Any:
        """The body, decompressed; read without ``raw`` when nobody has touched that and nothing is compressed."""
        known = self.__dict__
        if known["_content"] is False and not known["_content_consumed"] and "_body" in known:
            body: Body = known["_body"]
            # A status of 0 means "no content" to requests, which some set by hand.
            if known["status_code"] and not known["_encoded"] and ("raw" not in known or _untouched(known["raw"])):
                try:
                    known["_content"] = body.read_all()
                except Carrier as error:
                    surface(error.public, self.request, error)
                except ssl.SSLError as error:
                    raise requests.exceptions.SSLError(error) from error
                except (OSError, http.client.HTTPException) as error:
                    broken = urllib3.exceptions.ProtocolError(f"Connection broken: {error!r}", error)
                    raise requests.exceptions.ChunkedEncodingError(broken) from error
                known["_content_consumed"] = True
                return known["_content"]
        return super().content

    def tells_nothing(self) -> bool:
        """Whether there is no cookie in it for a session to keep, whatever became of ``headers`` since."""
        known = self.__dict__
        return not known["_cookies"] and "raw" not in known and not known["history"]

    def close(self) -> None:
        """Ends the response; its connection goes back, drained within the limits if need be."""
        if "raw" in self.__dict__ or "_body" not in self.__dict__:
            super().close()
        elif not self._content_consumed:
            self._body.close()

    def __reduce_ex__(self, protocol: Any) -> Any:
        # What a plain one reduces to by the oldest protocol: it unpickles where holdfast is not installed.
        return copyreg._reconstructor, (requests.Response, object, None), self.__getstate__()  # type: ignore[attr-defined]


_FRESH = 8
"""How many attributes ``PooledHTTPResponse.of`` sets."""


def _untouched(raw: Any) -> bool:
    """Whether ``raw`` is as ``of`` made it: requests' cookie handling has looked at it, but nobody has read or changed it."""
    return type(raw) is PooledHTTPResponse and "_pending" in raw.__dict__ and len(raw.__dict__) == _FRESH


def _raw(response: FastResponse) -> PooledHTTPResponse:
    return PooledHTTPResponse.of(response._body, response._target, response._travel, response._pool)


def _cookies(response: FastResponse) -> Any:
    jar = cookiejar_from_dict({})
    if response._cookies:
        extract_cookies_to_jar(jar, response.request, response.raw)
    return jar


def _encoding(response: FastResponse) -> str | None:
    """As it was when the response was built, whatever became of ``headers`` since."""
    if response._type is None:
        return None
    return get_encoding_from_headers(CaseInsensitiveDict([response._type]))


_LATE: dict[str, Callable[[FastResponse], Any]] = {"raw": _raw, "cookies": _cookies, "encoding": _encoding}
_NO_TIME = datetime.timedelta(0)
