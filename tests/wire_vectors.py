"""Responses as bytes, and what each means: one table, by section of RFC 9112 (or 9110 where it says so)."""

from __future__ import annotations

from typing import NamedTuple


class Vector(NamedTuple):
    """One response."""

    section: str
    name: str
    wire: bytes
    body: bytes = b""
    status: int = 200
    kept: bool = True
    """Whether the connection serves the next request."""
    error: str = ""
    """The error's class instead of an answer."""
    method: str = "GET"
    ends: bool = False
    """Whether the server closes behind it."""
    fields: dict[str, str] = {}  # never changed
    """What must be among the headers."""


OK = b"HTTP/1.1 200 OK\r\n"
X = b"Content-Length: 1\r\n\r\nx"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def good(section: str, name: str, wire: bytes, body: bytes = b"x", **more: object) -> Vector:
    return Vector(section, name, wire, body, **more)  # type: ignore[arg-type]


def bad(section: str, name: str, wire: bytes, **more: object) -> Vector:
    return Vector(section, name, wire, error="InvalidResponse", **more)  # type: ignore[arg-type]


def cut(section: str, name: str, wire: bytes) -> Vector:
    return Vector(section, name, wire, error="IncompleteBody", ends=True)


def value(shown: str, sent: bytes, name: str, section: str = "5") -> Vector:
    return good(section, name, OK + b"A:" + sent + b"\r\n" + X, fields={"A": shown})


def chunks(name: str, wire: bytes, body: bytes = b"x", section: str = "7.1", **more: object) -> Vector:
    return good(section, name, CHUNKED + wire, body, **more)


def no_chunks(name: str, wire: bytes, section: str = "7.1") -> Vector:
    return bad(section, name, CHUNKED + wire)


STATUS_LINE = [
    good("4", "plain", OK + X),
    good("4", "no reason phrase", b"HTTP/1.1 200\r\n" + X),
    good("4", "empty reason phrase", b"HTTP/1.1 200 \r\n" + X),
    good("4", "reason of many words", b"HTTP/1.1 200 All is well, very well\r\n" + X),
    good("4", "reason in latin-1", b"HTTP/1.1 200 D\xe9j\xe0\r\n" + X),
    good("4", "reason with a tab", b"HTTP/1.1 200 O\tK\r\n" + X),
    good("4", "status 299", b"HTTP/1.1 299 Odd\r\n" + X, status=299),
    good("4", "status 404", b"HTTP/1.1 404 Not Found\r\n" + X, status=404),
    good("4", "status 500", b"HTTP/1.1 500 Oh\r\n" + X, status=500),
    good("4", "status 599", b"HTTP/1.1 599 Odd\r\n" + X, status=599),
    good("4", "status 600", b"HTTP/1.1 600 Odd\r\n" + X, status=600),
    good("4", "status 799", b"HTTP/1.1 799 Odd\r\n" + X, status=799),
    good("4", "status 999", b"HTTP/1.1 999 Odd\r\n" + X, status=999),
    bad("4", "status 099", b"HTTP/1.1 099 Odd\r\n" + X),
    bad("4", "status 000", b"HTTP/1.1 000 Odd\r\n" + X),
    bad("4", "status of two digits", b"HTTP/1.1 20 OK\r\n" + X),
    bad("4", "status of four digits", b"HTTP/1.1 2000 OK\r\n" + X),
    bad("4", "status of one digit", b"HTTP/1.1 2\r\n" + X),
    bad("4", "status with a sign", b"HTTP/1.1 -20 OK\r\n" + X),
    bad("4", "status with letters", b"HTTP/1.1 2xx OK\r\n" + X),
    bad("4", "no status", b"HTTP/1.1\r\n" + X),
    bad("4", "no status but a space", b"HTTP/1.1 \r\n" + X),
    bad("4", "status in full-width digits", b"HTTP/1.1 \xef\xbc\x92\xef\xbc\x90\xef\xbc\x90 OK\r\n" + X),
    bad("4", "two spaces before the status", b"HTTP/1.1  200 OK\r\n" + X),
    bad("4", "tab before the status", b"HTTP/1.1\t200 OK\r\n" + X),
    bad("4", "NUL in the reason", b"HTTP/1.1 200 O\0K\r\n" + X),
    bad("4", "bare CR in the reason", b"HTTP/1.1 200 O\rK\r\n" + X),
    bad("4", "garbage", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
    bad("4", "HTML", b"<html><body>busy</body></html>"),
    bad("4", "no version", b"200 OK\r\n" + X),
    bad("4", "a request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    bad("4", "TLS alert", b"\x15\x03\x01\x00\x02\x02\x28"),
    bad("4", "space first", b" HTTP/1.1 200 OK\r\n" + X),
    bad("2.2", "blank line first", b"\r\n" + OK + X),
    bad("2.2", "bare LF first", b"\n" + OK + X),
    bad("2.2", "bare CR as the line end", b"HTTP/1.1 200 OK\rContent-Length: 1\r\rx"),
    good("2.2", "bare LF throughout", b"HTTP/1.1 200 OK\nContent-Length: 1\nA: b\n\nx", fields={"A": "b"}),
    good("2.2", "bare LF after the status line", b"HTTP/1.1 200 OK\n" + X),
    good("2.2", "bare LF as the last line", OK + b"Content-Length: 1\r\n\nx"),
    good("2.3", "minor version 2", b"HTTP/1.2 200 OK\r\n" + X),
    good("2.3", "minor version 7", b"HTTP/1.7 200 OK\r\n" + X),
    good("2.3", "minor version 9", b"HTTP/1.9 200 OK\r\n" + X),
    bad("2.3", "HTTP/2.0", b"HTTP/2.0 200 OK\r\n" + X),
    bad("2.3", "HTTP/0.9", b"HTTP/0.9 200 OK\r\n" + X),
    bad("2.3", "HTTP/3", b"HTTP/3 200 OK\r\n" + X),
    bad("2.3", "lower case", b"http/1.1 200 OK\r\n" + X),
    bad("2.3", "two digits of minor version", b"HTTP/1.10 200 OK\r\n" + X),
    bad("2.3", "no minor version", b"HTTP/1 200 OK\r\n" + X),
    bad("2.3", "a comma", b"HTTP/1,1 200 OK\r\n" + X),
    bad("2.3", "another protocol", b"HTTPS/1.1 200 OK\r\n" + X),
    bad("2.3", "ICY", b"ICY 200 OK\r\n\r\n"),
]

FIELDS = [
    value("b", b" b", "one space before the value"),
    value("b", b"b", "no space before the value"),
    value("b", b"  \t b \t ", "whitespace around the value"),
    value("b c", b" b c", "space inside the value"),
    value("b\tc", b" b\tc", "tab inside the value"),
    value("", b"", "empty value"),
    value("", b"   ", "value of spaces"),
    value("b:c", b" b:c", "colon in the value"),
    value(",", b" ,", "comma alone"),
    value('"b, c"', b' "b, c"', "quoted string"),
    value("caf\xe9", b" caf\xe9", "value in latin-1", "9110 5.5"),
    value("\xc3\xa9", b" \xc3\xa9", "value in UTF-8 is read as latin-1", "9110 5.5"),
    value("\x80\xff", b" \x80\xff", "all of obs-text", "9110 5.5"),
    value("b\x7fc", b" b\x7fc", "DEL in a value", "9110 5.5"),
    value("b\x01c", b" b\x01c", "control character in a value", "9110 5.5"),
    value("\x1b[2J", b" \x1b[2J", "escape in a value", "9110 5.5"),
    value("b" * 60_000, b" " + b"b" * 60_000, "value of 60,000 bytes"),
    value("one two", b" one\r\n two", "folded line", "5.2"),
    value("one two", b" one\r\n \t  two", "folded line with much space", "5.2"),
    value("one two three", b" one\r\n two\r\n\tthree", "folded twice", "5.2"),
    value("one two", b" one\n two", "folded line with bare LF", "5.2"),
    value("two", b"\r\n two", "folded before the value", "5.2"),
    good("5.1", "name in lower case", OK + b"content-length: 1\r\n\r\nx"),
    good("5.1", "name in upper case", OK + b"CONTENT-LENGTH: 1\r\n\r\nx"),
    good(
        "5.1",
        "name of all token characters",
        OK + b"!#$%&'*+-.^_`|~09azAZ: b\r\n" + X,
        fields={"!#$%&'*+-.^_`|~09azAZ": "b"},
    ),
    good("9110 5.3", "repeated field", OK + b"A: 1\r\nB: 2\r\nA: 3\r\n" + X, fields={"A": "1, 3", "B": "2"}),
    good("9110 5.3", "repeated field in other case", OK + b"A: 1\r\na: 3\r\n" + X, fields={"A": "1, 3"}),
    good(
        "9110 5.3", "200 fields", OK + b"".join(b"F%d: %d\r\n" % (n, n) for n in range(200)) + X, fields={"F199": "199"}
    ),
    bad("5", "300 fields", OK + b"A: b\r\n" * 300 + X),
    bad("5", "head over the limit", OK + b"A: " + b"b" * 3_000_000),
    bad("5", "bare CR in a value", OK + b"A: b\rc\r\n" + X),
    bad("5", "bare CR before the line end", OK + b"A: b\r\r\n" + X),
    bad("9110 5.5", "NUL in a value", OK + b"A: b\0c\r\n" + X),
    bad("9110 5.1", "NUL in a name", OK + b"A\0: b\r\n" + X),
    bad("9110 5.1", "empty name", OK + b": b\r\n" + X),
    bad("9110 5.1", "control character in a name", OK + b"A\x01: b\r\nB: \x01\r\n" + X),
    bad("9110 5.1", "space in a name", OK + b"A B: c\r\n" + X),
    bad("9110 5.1", "name in latin-1", OK + b"caf\xe9: b\r\n" + X),
    bad("9110 5.1", "at sign in a name", OK + b"a@b: c\r\n" + X),
    bad("9110 5.1", "quotes in a name", OK + b'"a": c\r\n' + X),
    bad("9110 5.1", "brackets in a name", OK + b"a[0]: c\r\n" + X),
    bad("5.1", "space before the colon", OK + b"Content-Length : 1\r\n\r\nx"),
    bad("5.1", "tab before the colon", OK + b"Content-Length\t: 1\r\n\r\nx"),
    bad("5.1", "line without a colon", OK + b"nonsense\r\n" + X),
    bad("5.1", "colon alone", OK + b":\r\n" + X),
    bad("2.2", "space before the first field", OK + b" A: b\r\n" + X),
    bad("2.2", "tab before the first field", OK + b"\tA: b\r\n" + X),
]

LENGTH = [
    good("6.2", "5 bytes", OK + b"Content-Length: 5\r\n\r\nhello", b"hello"),
    good("6.2", "0 bytes", OK + b"Content-Length: 0\r\n\r\n", b""),
    good("6.2", "100,000 bytes", OK + b"Content-Length: 100000\r\n\r\n" + b"y" * 100_000, b"y" * 100_000),
    good("6.2", "leading zeros", OK + b"Content-Length: 0005\r\n\r\nhello", b"hello"),
    good("6.2", "body that looks like a head", OK + b"Content-Length: %d\r\n\r\n" % len(OK + X) + OK + X, OK + X),
    good("6.2", "body of line ends", OK + b"Content-Length: 4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
    good("6.2", "every byte", OK + b"Content-Length: 256\r\n\r\n" + bytes(range(256)), bytes(range(256))),
    good("6.2", "length after many fields", OK + b"A: b\r\n" * 50 + X),
    good("6.3", "equal lengths in two lines", OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nab", b"ab"),
    good("6.3", "equal lengths in a list", OK + b"Content-Length: 2, 2\r\n\r\nab", b"ab"),
    good("6.3", "equal lengths in a list without a space", OK + b"Content-Length: 2,2,2\r\n\r\nab", b"ab"),
    good("6.3", "equal lengths, one with zeros", OK + b"Content-Length: 2, 02\r\n\r\nab", b"ab"),
    bad("6.3", "lengths differ", OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx"),
    bad("6.3", "lengths differ in a list", OK + b"Content-Length: 1, 2\r\n\r\nxx"),
    bad("6.3", "lengths differ in the other order", OK + b"Content-Length: 2\r\nContent-Length: 1\r\n\r\nxx"),
    bad("6.3", "one length of a list is empty", OK + b"Content-Length: 1,\r\n\r\nx"),
    bad("6.3", "one length of two is no number", OK + b"Content-Length: 1\r\nContent-Length: x\r\n\r\nx"),
    bad("6.3", "length with plus", OK + b"Content-Length: +1\r\n\r\nx"),
    bad("6.3", "length with minus", OK + b"Content-Length: -1\r\n\r\nx"),
    bad("6.3", "length minus zero", OK + b"Content-Length: -0\r\n\r\n"),
    bad("6.3", "length hexadecimal", OK + b"Content-Length: 0x1\r\n\r\nx"),
    bad("6.3", "length with letters", OK + b"Content-Length: 1a\r\n\r\nx"),
    bad("6.3", "length with an underscore", OK + b"Content-Length: 1_0\r\n\r\n0123456789"),
    bad("6.3", "length with a point", OK + b"Content-Length: 1.0\r\n\r\nx"),
    bad("6.3", "length with an exponent", OK + b"Content-Length: 1e0\r\n\r\nx"),
    bad("6.3", "length with a space inside", OK + b"Content-Length: 1 1\r\n\r\nx"),
    bad("6.3", "length in quotes", OK + b'Content-Length: "1"\r\n\r\nx'),
    bad("6.3", "length with a unit", OK + b"Content-Length: 1 bytes\r\n\r\nx"),
    bad("6.3", "length empty", OK + b"Content-Length: \r\n\r\nx"),
    bad("6.3", "length over 64 bits", OK + b"Content-Length: 18446744073709551616\r\n\r\nx"),
    bad("6.3", "length of 100 digits", OK + b"Content-Length: " + b"9" * 100 + b"\r\n\r\nx"),
    bad("6.3", "length in other digits", OK + b"Content-Length: \xb2\r\n\r\nxx"),
    bad("6.3", "length folded in two", OK + b"Content-Length: 1\r\n 2\r\n\r\n123456789012"),
    good("6.3", "length folded before the number", OK + b"Content-Length:\r\n 1\r\n\r\nx"),
    good("6.3", "until the close", OK + b"\r\nto the end", b"to the end", kept=False, ends=True),
    good("6.3", "until the close, nothing", OK + b"\r\n", b"", kept=False, ends=True),
    good("6.3", "until the close, much", OK + b"\r\n" + b"z" * 200_000, b"z" * 200_000, kept=False, ends=True),
    good("6.3", "no fields at all", b"HTTP/1.1 200 OK\r\n\r\nx", kept=False, ends=True),
]

NO_BODY = [
    good("6.3", "HEAD with a length", OK + b"Content-Length: 5\r\n\r\n", b"", method="HEAD"),
    good("6.3", "HEAD without a length", OK + b"\r\n", b"", method="HEAD"),
    good("6.3", "HEAD with chunked", CHUNKED, b"", method="HEAD"),
    good("6.3", "HEAD with 404", b"HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\n", b"", method="HEAD", status=404),
    good("6.3", "HEAD with close", OK + b"Connection: close\r\nContent-Length: 5\r\n\r\n", b"", method="HEAD", kept=False),
    good("6.3", "204", b"HTTP/1.1 204 No Content\r\n\r\n", b"", status=204),
    good("6.3", "204 with length 0", b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", b"", status=204),
    good("6.3", "204 with a length", b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", b"", status=204),
    good("6.3", "204 with chunked", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", b"", status=204),
    good("6.3", "304", b"HTTP/1.1 304 Not Modified\r\n\r\n", b"", status=304),
    good("6.3", "304 with a length", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", b"", status=304),
    good("6.3", "304 with chunked", b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", b"", status=304),
    good("6.3", "205 has a length", b"HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n", b"", status=205),
    good("9.2", "204 with a body is not the next answer", b"HTTP/1.1 204 No Content\r\n\r\n" + OK + X, b"", status=204, kept=False),
    good("9.2", "HEAD with a body is not the next answer", OK + X + OK + X, b"", method="HEAD", kept=False),
    good("9.2", "more than promised", OK + X + b"y", kept=False),
    good("9.2", "a second answer", OK + X + OK + X, kept=False),
    good("9.2", "a line end behind the body", OK + X + b"\r\n", kept=False),
]  # fmt: skip

TRANSFER_CODING = [
    good("6.1", "chunked wins over a length", OK + b"Content-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + END, kept=False),
    good("6.1", "chunked wins, other order", OK + b"Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n1\r\nx\r\n" + END, kept=False),
    bad("6.1", "chunked with a bad length", OK + b"Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n" + END),
    bad("6.1", "chunked with lengths that differ", OK + b"Transfer-Encoding: chunked\r\nContent-Length: 1, 2\r\n\r\n" + END),
    good("6.1", "chunked in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + END, kept=False),
    good("6.1", "chunked in HTTP/1.0 with keep-alive", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + END, kept=False),
    good("7", "in upper case", OK + b"Transfer-Encoding: CHUNKED\r\n\r\n1\r\nx\r\n" + END),
    good("7", "in mixed case", OK + b"transfer-encoding: Chunked\r\n\r\n1\r\nx\r\n" + END),
    good("7", "space around it", OK + b"Transfer-Encoding:  chunked \r\n\r\n1\r\nx\r\n" + END),
    good("7", "gzip, chunked is framed as chunked", OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n" + END),
    good("7", "in two lines", OK + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + END),
    good("7", "with empty members", OK + b"Transfer-Encoding: , chunked ,\r\n\r\n1\r\nx\r\n" + END),
    good("7", "identity with a length", OK + b"Transfer-Encoding: identity\r\n" + X),
    good("7", "identity, chunked", OK + b"Transfer-Encoding: identity, chunked\r\n\r\n1\r\nx\r\n" + END),
    good("6.3", "gzip alone ends with the connection", OK + b"Transfer-Encoding: gzip\r\n\r\nx", kept=False, ends=True),
    good("6.3", "gzip alone, whatever the length says", OK + b"Transfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\nxy", b"xy", kept=False, ends=True),
    bad("6.1", "unknown final coding", OK + b"Transfer-Encoding: br2\r\n\r\n" + END),
    bad("6.1", "unknown coding after chunked", OK + b"Transfer-Encoding: chunked, br2\r\n\r\n" + END),
    bad("6.1", "chunked twice", OK + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + END),
    bad("6.1", "chunked twice in two lines", OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + END),
    bad("6.1", "gzip after chunked", OK + b"Transfer-Encoding: chunked, gzip\r\n\r\n" + END),
    bad("6.1", "chunked with a parameter", OK + b"Transfer-Encoding: chunked;q=1\r\n\r\n" + END),
    bad("6.1", "chunked in quotes", OK + b'Transfer-Encoding: "chunked"\r\n\r\n' + END),
    bad("6.1", "xchunked", OK + b"Transfer-Encoding: xchunked\r\n\r\n" + END),
    bad("6.1", "chunked and more in one word", OK + b"Transfer-Encoding: chunked foo\r\n\r\n" + END),
    bad("6.1", "chunked with a vertical tab", OK + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + END),
    bad("5.1", "space before its colon", OK + b"Transfer-Encoding : chunked\r\n\r\n" + END),
]  # fmt: skip

CHUNKS = [
    chunks("two chunks", b"5\r\nhello\r\n6\r\n world\r\n" + END, b"hello world"),
    chunks("no chunk", END, b""),
    chunks("one byte each", b"1\r\na\r\n1\r\nb\r\n1\r\nc\r\n" + END, b"abc"),
    chunks("size in upper case", b"A\r\n0123456789\r\n" + END, b"0123456789"),
    chunks("size in lower case", b"a\r\n0123456789\r\n" + END, b"0123456789"),
    chunks("size with leading zeros", b"000001\r\nx\r\n" + END),
    chunks("last chunk of many zeros", b"1\r\nx\r\n0000\r\n\r\n"),
    chunks("a chunk of 70,000", b"11170\r\n" + b"w" * 70_000 + b"\r\n" + END, b"w" * 70_000),
    chunks("1,000 chunks", b"3\r\nabc\r\n" * 1000 + END, b"abc" * 1000),
    chunks("line ends in the data", b"4\r\n\r\n\r\n\r\n" + END, b"\r\n\r\n"),
    chunks("data that looks like the end", b"5\r\n0\r\n\r\n\r\n" + END, b"0\r\n\r\n"),
    chunks("every byte", b"100\r\n" + bytes(range(256)) + b"\r\n" + END, bytes(range(256))),
    chunks("extension", b"1;a\r\nx\r\n" + END, section="7.1.1"),
    chunks("extension with a value", b"1;a=b\r\nx\r\n" + END, section="7.1.1"),
    chunks("extension in quotes", b'1;a="b; c"\r\nx\r\n' + END, section="7.1.1"),
    chunks("two extensions", b"1;a=b;c=d\r\nx\r\n" + END, section="7.1.1"),
    chunks("extension of the last chunk", b"1\r\nx\r\n0;last\r\n\r\n", section="7.1.1"),
    chunks("extension of 60,000 bytes", b"1;" + b"a" * 60_000 + b"\r\nx\r\n" + END, section="7.1.1"),
    chunks("empty extension", b"1;\r\nx\r\n" + END, section="7.1.1"),
    chunks("trailer", b"1\r\nx\r\n0\r\nA: 1\r\n\r\n", section="7.1.2"),
    chunks("two trailers", b"1\r\nx\r\n0\r\nA: 1\r\nB: 2\r\n\r\n", section="7.1.2"),
    chunks("trailer that would change the framing", b"1\r\nx\r\n0\r\nContent-Length: 9\r\nConnection: close\r\n\r\n", section="7.1.2"),
    chunks("trailers with bare LF", b"1\r\nx\r\n0\r\nA: 1\n\n", section="7.1.2"),
    chunks("trailers of 60,000 bytes", b"1\r\nx\r\n0\r\n" + b"A: bcdefg\r\n" * 5000 + b"\r\n", section="7.1.2"),
    no_chunks("trailers over the limit", b"0\r\n" + b"A: " + b"b" * 2_000_000, "7.1.2"),
    no_chunks("NUL in a trailer", b"0\r\nA: \0\r\n\r\n", "7.1.2"),
    no_chunks("bare CR in a trailer", b"0\r\nA: b\rc\r\n\r\n", "7.1.2"),
    no_chunks("bare CR instead of the end", b"0\r\n\rX", "7.1.2"),
    no_chunks("size without digits", b"\r\n\r\n"),
    no_chunks("size of an extension only", b";a\r\nx\r\n" + END),
    no_chunks("size with a letter", b"g\r\nx\r\n" + END),
    no_chunks("size then a letter", b"1g\r\nx\r\n" + END),
    no_chunks("size with a space behind", b"1 \r\nx\r\n" + END),
    no_chunks("size with a space before", b" 1\r\nx\r\n" + END),
    no_chunks("size with a tab behind", b"1\t\r\nx\r\n" + END),
    no_chunks("space before an extension", b"1 ;a\r\nx\r\n" + END),
    no_chunks("size with plus", b"+1\r\nx\r\n" + END),
    no_chunks("size with minus", b"-1\r\nx\r\n" + END),
    no_chunks("size with 0x", b"0x1\r\nx\r\n" + END),
    no_chunks("size with an underscore", b"1_0\r\n0123456789abcdef\r\n" + END),
    no_chunks("size with bare LF", b"1\nx\r\n" + END),
    no_chunks("size with bare CR", b"1\rx\r\n" + END),
    no_chunks("size with CR CR LF", b"1\r\r\nx\r\n" + END),
    no_chunks("size of 65 bits", b"10000000000000000\r\nx\r\n" + END),
    no_chunks("size of 100 digits", b"f" * 100 + b"\r\nx\r\n" + END),
    no_chunks("extension with bare LF", b"1;a\nx\r\n" + END, "7.1.1"),
    no_chunks("extension with NUL", b"1;a\0\r\nx\r\n" + END, "7.1.1"),
    no_chunks("extension with bare CR", b"1;a\rb\r\nx\r\n" + END, "7.1.1"),
    no_chunks("chunk line over 64 KiB", b"1;" + b"a" * 70_000 + b"\r\nx\r\n" + END, "7.1.1"),
    no_chunks("zeros over 64 KiB", b"0" * 70_000 + b"\r\n\r\n"),
    no_chunks("data longer than its size", b"1\r\nxy\r\n" + END),
    no_chunks("data shorter than its size", b"3\r\nx\r\n" + END + b"--"),
    no_chunks("data with bare LF behind", b"1\r\nx\n" + END),
    no_chunks("data with nothing behind", b"1\r\nx" + END),
    no_chunks("data with CR and something", b"1\r\nx\ry" + END),
    no_chunks("no chunks at all", b"hello world"),
    chunks("a second answer behind the end", b"1\r\nx\r\n" + END + OK + X, section="9.2", kept=False),
    chunks("a line end behind the end", b"1\r\nx\r\n" + END + b"\r\n", section="9.2", kept=False),
]  # fmt: skip

CUT = [
    cut("8", "length, nothing came", OK + b"Content-Length: 5\r\n\r\n"),
    cut("8", "length, a part came", OK + b"Content-Length: 5\r\n\r\nhel"),
    cut("8", "length, all but one", OK + b"Content-Length: 100000\r\n\r\n" + b"v" * 99_999),
    cut("8", "length of 64 bits", OK + b"Content-Length: 18446744073709551615\r\n\r\nx"),
    cut("8", "length of 63 bits", OK + b"Content-Length: 9223372036854775807\r\n\r\nx"),
    cut("8", "no chunk came", CHUNKED),
    cut("8", "in a chunk size", CHUNKED + b"5"),
    cut("8", "after a chunk size", CHUNKED + b"5\r\n"),
    cut("8", "in the CRLF of a chunk size", CHUNKED + b"5\r"),
    cut("8", "in a chunk extension", CHUNKED + b"5;a"),
    cut("8", "in a chunk", CHUNKED + b"5\r\nhel"),
    cut("8", "after a chunk's data", CHUNKED + b"5\r\nhello"),
    cut("8", "in the CRLF of a chunk", CHUNKED + b"5\r\nhello\r"),
    cut("8", "before the last chunk", CHUNKED + b"1\r\nx\r\n"),
    cut("8", "in the last chunk", CHUNKED + b"1\r\nx\r\n0\r\n"),
    cut("8", "in the trailers", CHUNKED + b"0\r\nTrailer: 1\r\n"),
    cut("8", "in the last line end", CHUNKED + b"0\r\n\r"),
    cut("8", "a huge chunk", CHUNKED + b"ffffffffffffffff\r\nx"),
    bad("8", "head cut in the status line", b"HTTP/1.1 200", ends=True),
    bad("8", "head cut in a name", OK + b"Content-", ends=True),
    bad("8", "head cut in a value", OK + b"Content-Length: 1", ends=True),
    bad("8", "head cut before the empty line", OK + b"Content-Length: 1\r\n", ends=True),
    bad("8", "head cut in the empty line", OK + b"Content-Length: 1\r\n\r", ends=True),
]

PERSISTENCE = [
    good("9.3", "HTTP/1.1 stays", OK + X),
    good("9.3", "keep-alive said", OK + b"Connection: keep-alive\r\n" + X),
    good(
        "9.3", "keep-alive with parameters", OK + b"Connection: keep-alive\r\nKeep-Alive: timeout=60, max=100\r\n" + X
    ),
    good("9.3", "HTTP/1.0 closes", b"HTTP/1.0 200 OK\r\n" + X, kept=False),
    good("9.3", "HTTP/1.0 with keep-alive stays", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + X),
    good("9.3", "HTTP/1.0 with Keep-Alive stays", b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + X),
    good("9.3", "HTTP/1.0 with both closes", b"HTTP/1.0 200 OK\r\nConnection: keep-alive, close\r\n" + X, kept=False),
    good(
        "9.3", "HTTP/1.0 without a length", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nx", kept=False, ends=True
    ),
    good("9.6", "close", OK + b"Connection: close\r\n" + X, kept=False),
    good("9.6", "Close", OK + b"Connection: Close\r\n" + X, kept=False),
    good("9.6", "close in a list", OK + b"Connection: foo, close, bar\r\n" + X, kept=False),
    good("9.6", "close in a second line", OK + b"Connection: foo\r\nConnection: close\r\n" + X, kept=False),
    good("9.6", "close without a space", OK + b"Connection:close\r\n" + X, kept=False),
    good("9.6", "a word that contains close", OK + b"Connection: disclose\r\n" + X),
    good("9.6", "another option", OK + b"Connection: upgrade\r\nUpgrade: h2c\r\n" + X),
    good(
        "9.6",
        "close with chunked",
        OK + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n" + END,
        kept=False,
    ),
    good("9.6", "Proxy-Connection means nothing", OK + b"Proxy-Connection: close\r\n" + X),
]

INTERIM = [
    good("9110 15.2", "100", b"HTTP/1.1 100 Continue\r\n\r\n" + OK + X),
    good("9110 15.2", "100 twice", b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + OK + X),
    good("9110 15.2", "102", b"HTTP/1.1 102 Processing\r\n\r\n" + OK + X),
    good("9110 15.2", "103 with fields", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + X),
    good("9110 15.2", "104", b"HTTP/1.1 104 Odd\r\n\r\n" + OK + X),
    good("9110 15.2", "199", b"HTTP/1.1 199 Odd\r\n\r\n" + OK + X),
    good("9110 15.2", "fifty of them", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 50 + OK + X),
    good("9110 15.2", "with a length, which means nothing", b"HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\n" + OK + X),
    good("9110 15.2", "with chunked, which means nothing", b"HTTP/1.1 103 Hints\r\nTransfer-Encoding: chunked\r\n\r\n" + OK + X),
    good("9110 15.2", "with close, which the final one decides", b"HTTP/1.1 100 Continue\r\nConnection: close\r\n\r\n" + OK + X),
    good("9110 15.2", "then 204", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", b"", status=204),
    good("9110 15.2", "without a reason", b"HTTP/1.1 100\r\n\r\n" + OK + X),
    bad("9110 15.2", "over the limit in all", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 40_000),
    bad("9110 15.2", "then garbage", b"HTTP/1.1 100 Continue\r\n\r\ngarbage"),
    bad("9110 15.2", "malformed", b"HTTP/1.1 100 Continue\r\n: x\r\n\r\n" + OK + X),
]  # fmt: skip

VECTORS = [
    *STATUS_LINE,
    *FIELDS,
    *LENGTH,
    *NO_BODY,
    *TRANSFER_CODING,
    *CHUNKS,
    *CUT,
    *PERSISTENCE,
    *INTERIM,
]
