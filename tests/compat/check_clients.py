"""Clients of services, on their own requests sessions."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import struct
from typing import Any

import docker
import requests
from azure.core import PipelineClient
from azure.core.pipeline.policies import RetryPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from elastic_transport import NodeConfig, RequestsHttpNode
from google.resumable_media.requests import ChunkedDownload, Download, RawDownload, ResumableUpload

from servers import answer, ok

DATA = bytes(range(256)) * 1000


def check_google_resumable_media__downloads(equip: Any, serve: Any) -> None:
    checksum = b"X-Goog-Hash: md5=" + base64.b64encode(hashlib.md5(DATA, usedforsecurity=False).digest())
    server = serve(ok(DATA, checksum))
    session = equip(requests.Session(), server.url)
    for kind in (Download, RawDownload):
        stream = io.BytesIO()
        kind(server.url, stream=stream, checksum="md5").consume(session)
        assert stream.getvalue() == DATA
    assert server.accepted == 1


def check_google_resumable_media__downloads_in_chunks(equip: Any, serve: Any) -> None:
    def ranges(head: bytes, body: bytes) -> bytes:
        if b"bytes=" not in head:
            return ok()
        first, last = head.lower().split(b"bytes=")[1].split(b"\r\n")[0].split(b"-")
        piece = DATA[int(first) : int(last) + 1]
        where = b"Content-Range: bytes %d-%d/%d" % (int(first), int(first) + len(piece) - 1, len(DATA))
        return ok(piece, where, status=b"206 Partial Content")

    server = serve(answer(ranges))
    session = equip(requests.Session(), server.url)
    stream = io.BytesIO()
    download = ChunkedDownload(server.url, 100_000, stream)
    while not download.finished:
        download.consume_next_chunk(session)
    assert stream.getvalue() == DATA
    assert server.accepted == 1


def check_google_resumable_media__uploads(equip: Any, serve: Any) -> None:
    got = bytearray()

    def take(head: bytes, body: bytes) -> bytes:
        if head.startswith(b"POST"):
            return ok(b"", b"Location: " + server.url.encode() + b"upload")
        got.extend(body)
        if len(got) < len(DATA):
            return ok(b"", b"Range: bytes=0-%d" % (len(got) - 1), status=b"308 Resume Incomplete")
        return ok(b"{}")

    server = serve(answer(take))
    session = equip(requests.Session(), server.url)
    got.clear()
    upload = ResumableUpload(server.url, 256 * 1024 // 4 * 4)
    upload.initiate(session, io.BytesIO(DATA), {}, "application/octet-stream")
    while not upload.finished:
        upload.transmit_next_chunk(session)
    assert bytes(got) == DATA


def check_azure_core__pipeline(equip: Any, serve: Any) -> None:
    """Whole and streamed, and its own retries."""
    seen = []

    def handle(head: bytes, body: bytes) -> bytes:
        seen.append(head)
        busy = b"/retry" in head and sum(b"/retry" in one for one in seen) == 1
        return ok(b"busy", b"Retry-After: 0", status=b"503 Busy") if busy else ok(DATA)

    server = serve(answer(handle))
    session = equip(requests.Session(), server.url)
    transport = RequestsTransport(session=session, session_owner=False)
    with PipelineClient(server.url, policies=[RetryPolicy(retry_backoff_factor=0.01)], transport=transport) as client:
        assert client.send_request(HttpRequest("GET", server.url)).content == DATA
        with client.send_request(HttpRequest("GET", server.url), stream=True) as response:
            assert b"".join(response.iter_bytes()) == DATA
        with client.send_request(HttpRequest("GET", server.url), stream=True) as response:
            assert b"".join(response.iter_raw()) == DATA
        assert client.send_request(HttpRequest("GET", server.url + "retry")).status_code == 200
    assert server.accepted == 1


def check_elastic_transport__requests_node(equip: Any, serve: Any) -> None:
    server = serve(ok(b'{"name": "node"}', b"Content-Type: application/json"))
    node = RequestsHttpNode(NodeConfig("http", "127.0.0.1", server.port))
    equip(node.session, server.url)
    for _ in range(3):
        meta, body = node.perform_request("GET", "/")
        assert (meta.status, json.loads(body)) == (200, {"name": "node"})
    meta, _ = node.perform_request("HEAD", "/")
    assert meta.status == 200
    node.close()


def check_docker__talks_to_an_engine(equip: Any, serve: Any) -> None:
    """JSON, a stream of JSON, and the frames of a container's log."""

    def engine(head: bytes, body: bytes) -> bytes:
        path = head.split()[1]
        if path.endswith(b"/version"):
            return ok(b'{"ApiVersion": "1.45", "Version": "27"}')
        if b"/images/create" in path:
            parts = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (b'{"status": "a"}\r\n', b'{"status": "b"}\r\n'))
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + parts + b"0\r\n\r\n"
        if b"/logs" in path:
            return ok(b"".join(struct.pack(">BxxxL", 1, len(line)) + line for line in (b"one\n", b"two\n")))
        if path.endswith(b"/json"):
            return ok(b'{"Id": "c", "Config": {"Tty": false}}', b"Content-Type: application/json")
        return ok(b"OK")

    server = serve(answer(engine))
    client = equip(docker.APIClient(base_url=f"tcp://127.0.0.1:{server.port}", version="1.45"), server.url)
    assert client.version()["Version"] == "27"
    assert [part["status"] for part in client.pull("image", stream=True, decode=True)] == ["a", "b"]
    assert client.logs("c") == b"one\ntwo\n"
    assert list(client.logs("c", stream=True)) == [b"one\n", b"two\n"]
    client.close()
