"""Generated responses, read by us, by http.client and by h11: every difference is listed in docs/wire.md.

The same examples each time; ``HOLDFAST_EXAMPLES=100000 pytest tests/test_differential.py`` tries that many other ones.
"""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import differences
import readers
from differences import explained
from wire_vectors import VECTORS

EXAMPLES = int(os.environ.get("HOLDFAST_EXAMPLES", "3000"))
PAGE = Path(__file__).parent.parent / "docs" / "wire.md"

line_end = st.sampled_from([b"\r\n"] * 12 + [b"\n"])
version = st.sampled_from([b"HTTP/1.1 "] * 8 + [b"HTTP/1.0 ", b"HTTP/1.2 ", b"HTTP/2.0 ", b"HTTP/1.1  "])
status = st.sampled_from(
    [b"200"] * 8 + [b"204", b"304", b"404", b"100", b"103", b"600", b"099", b"20", b"2000", b"+20"]
)
reason = st.sampled_from([b" OK", b"", b" ", b" D\xe9", b" a b", b" \x01", b" a\0"])
colon = st.sampled_from([b":"] * 5 + [b": "] * 5 + [b" :", b""])
lengths = st.sampled_from(
    [b"5"] * 4 + [b"0", b"05", b"5, 5", b"+5", b"-1", b"5 ", b"", b"5,6", b"1_0", b"5\r\n 5", b"\xb2", b"0x5"]
)
codings = st.sampled_from(
    [b"chunked"] * 5
    + [
        b"Chunked",
        b"gzip, chunked",
        b"identity",
        b"gzip",
        b"chunked, chunked",
        b"x",
        b" chunked ",
        b"chunked,",
        b"\x0bchunked",
    ]
)
options = st.sampled_from([b"close", b"keep-alive", b"x, close", b"Close"])
free = st.one_of(
    st.sampled_from(
        [b"1", b"", b" two  ", b"caf\xe9", b"a\r\n b", b"a\n\tb", b"a\x01b", b"a\x7f", b"a\rb", b"a\0", b"\t x", b":"]
    ),
    st.binary(max_size=6),
)
names = st.one_of(
    st.sampled_from([b"A", b"b", b"a b", b"", b"x@y", b"caf\xe9", b"A\x01"]), st.binary(min_size=1, max_size=3)
)
field = st.one_of(
    st.tuples(st.just(b"Content-Length"), colon, lengths, line_end),
    st.tuples(st.just(b"Transfer-Encoding"), colon, codings, line_end),
    st.tuples(st.just(b"Connection"), colon, options, line_end),
    st.tuples(names, colon, free, line_end),
).map(b"".join)
chunk = st.builds(
    lambda size, extra, end, data, after: size + extra + end + data + after,
    st.sampled_from([b"5"] * 6 + [b"05", b"+5", b"0x5", b" 5", b"5 ", b"", b"4", b"6", b"5_0", b"g"]),
    st.sampled_from([b""] * 4 + [b";a=b", b";", b";\0"]),
    line_end,
    st.just(b"hello"),
    st.sampled_from([b"\r\n"] * 6 + [b"\n", b"XX", b""]),
)
chunked = st.tuples(
    st.lists(chunk, max_size=3).map(b"".join),
    st.sampled_from(
        [b"0\r\n\r\n"] * 4
        + [b"", b"0\r\n", b"0\r\nT: x\r\n\r\n", b"0\r\nT: \0\r\n\r\n", b"00\r\n\r\n", b"0;x\r\n\r\n", b"0\n\n"]
    ),
).map(b"".join)
body = st.one_of(chunked, st.sampled_from([b"hello", b"hel", b"", b"hello world"]), st.binary(max_size=20))
response = st.tuples(version, status, reason, line_end, st.lists(field, max_size=5).map(b"".join), line_end, body).map(
    b"".join
)
method = st.sampled_from(["GET", "GET", "GET", "HEAD"])


@settings(
    max_examples=EXAMPLES,
    derandomize="HOLDFAST_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(wire=response, method=method)
def test_generated_responses(wire: bytes, method: str) -> None:
    """We differ from http.client and from h11 for listed reasons only."""
    compare(wire, method)


def test_the_vectors() -> None:
    """The same for every response of the table."""
    for vector in VECTORS:
        compare(vector.wire, vector.method)


def compare(wire: bytes, method: str) -> None:
    mine = readers.ours(wire, method)
    for reader, read in (("http.client", readers.stock), ("h11", readers.strict)):
        theirs = read(wire, method)
        assert explained(reader, wire, mine, theirs), (reader, method, wire, mine, theirs)


def test_the_page_lists_the_differences() -> None:
    """After a change: python tests/differences.py docs/wire.md"""
    assert PAGE.read_text() == differences.render()
    assert f"{len(VECTORS)} responses" in PAGE.read_text()
