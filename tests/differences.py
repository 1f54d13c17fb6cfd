"""Where we read a response otherwise than http.client or h11 do, and why; docs/wire.md is written from this.

``tests/test_differential.py`` generates responses, has all three read them, and fails at a difference that is not here.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from readers import Answer, Refused

Outcome = Answer | Refused


class Difference(NamedTuple):
    """One kind of difference to one reader."""

    reader: str
    what: str
    reason: str
    applies: Callable[[bytes, Outcome, Outcome], bool]
    """To the bytes, our outcome and theirs."""


def refused(why: str) -> Callable[[bytes, Outcome, Outcome], bool]:
    """We refuse with this reason, they accept."""
    return lambda wire, mine, theirs: isinstance(mine, Refused) and mine.why == why and isinstance(theirs, Answer)


def accepted(why: str) -> Callable[[bytes, Outcome, Outcome], bool]:
    """They refuse with this reason, we accept."""
    return lambda wire, mine, theirs: isinstance(mine, Answer) and isinstance(theirs, Refused) and why in theirs.why


def _interim(wire: bytes) -> bool:
    return re.match(rb"HTTP/1\.. 1(?!00)\d\d", wire) is not None or re.search(rb"\nHTTP/1\.. 1", wire) is not None


def _spaces(wire: bytes, mine: Outcome, theirs: Outcome) -> bool:
    """Both accept, and the values differ in whitespace only."""
    if not isinstance(mine, Answer) or not isinstance(theirs, Answer):
        return False
    flat = [[(name, " ".join(text.split())) for name, text in one.fields] for one in (mine, theirs)]
    return flat[0] == flat[1] and (mine.status, mine.body) == (theirs.status, theirs.body)


def _other_framing(wire: bytes, mine: Outcome, theirs: Outcome) -> bool:
    """A Transfer-Encoding that is more than the word, or a Content-Length that is more than a number."""
    head = wire.lower()
    codings = re.findall(rb"transfer-encoding:([^\n]*)", head)
    lengths = re.findall(rb"content-length:([^\n]*)", head)
    odd = any(
        one.strip(b" \t\r") != b"chunked" or one != one.rstrip(b" \t\r") + one[len(one.rstrip(b"\r")) :]
        for one in codings
    )
    many = len(codings) > 1 or len(lengths) > 1 or any(b"," in one or one.strip() == b"" for one in lengths)
    folded = re.search(rb"(content-length|transfer-encoding):[^\n]*\n[ \t]", head) is not None
    return odd or many or folded


def _gone_on(wire: bytes, mine: Outcome, theirs: Outcome) -> bool:
    """They took an interim response other than 100 for the final one."""
    return _interim(wire)


DIFFERENCES = [
    Difference("http.client", "1xx other than 100 is skipped", "RFC 9110 section 15.2: a client must be able to parse one or more 1xx responses before the final one. http.client takes 102 and 103 for the answer.", _gone_on),
    Difference("http.client", "a malformed field name is refused", "A name that is no token, a space before the colon, a line without a colon (RFC 9112 section 5.1). http.client stops reading fields there and takes the rest for the body: two readers, two messages.", refused("malformed header field (name)")),
    Difference("http.client", "NUL and bare CR in a value are refused", "RFC 9110 section 5.5 and RFC 9112 section 2.2: another reader may see a line end there.", lambda w, m, t: isinstance(m, Refused) and m.why.startswith("malformed header field (") and isinstance(t, Answer)),
    Difference("http.client", "a Content-Length that is no number, or not one number, is refused", "RFC 9112 section 6.3, item 5. http.client reads `+5`, `-1`, `1_0` and ` 5` as Python's `int` does, and forgets a length that it cannot read.", refused("invalid or conflicting Content-Length")),
    Difference("http.client", "an unknown Transfer-Encoding is refused", "RFC 9112 section 6.1: its end cannot be known. http.client ignores every value but `chunked`.", refused("Transfer-Encoding that does not end in a known coding")),
    Difference("http.client", "a malformed status line is refused", "RFC 9112 section 4. http.client's version test is a prefix, and it reads the status as `int` does.", refused("malformed status line")),
    Difference("http.client", "a malformed chunk size is refused", "RFC 9112 section 7.1. http.client reads `+5`, `0x5`, ` 5` and `5_0` as Python's `int` does, lets a bare LF end the line, and takes a size of nothing for the end.", refused("malformed chunk size")),
    Difference("http.client", "chunk data must be followed by CRLF", "RFC 9112 section 7.1. http.client skips two bytes, whatever they are.", refused("chunk data not followed by CRLF")),
    Difference("http.client", "a malformed trailer is refused", "NUL and bare CR, as in the head.", refused("malformed trailer field")),
    Difference("http.client", "every Transfer-Encoding that ends in chunked is framed so; equal Content-Lengths are one; fields may be folded", "RFC 9112 sections 6.3 and 5.2. http.client compares the value as a whole with `chunked`, and reads no length from `5, 5`.", _other_framing),
    Difference("http.client", "no whitespace around a value, one space for a fold", "RFC 9112 sections 5.1 and 5.2: neither is part of the value. http.client keeps trailing spaces and the fold's line end.", _spaces),
    Difference("http.client", "204 and 304 with chunked have no body", "RFC 9112 section 6.3, item 1. http.client waits for chunks.", lambda w, m, t: isinstance(m, Answer) and m.status in (204, 304) and m.body == b""),
    Difference("http.client", "HTTP/1.2 and later", "RFC 9110 section 2.5: read as the highest minor version known.", lambda w, m, t: w[:9] not in (b"HTTP/1.1 ", b"HTTP/1.0 ")),
    Difference("http.client", "256 fields are read", "http.client stops at 100; Go and node at a size only.", accepted("HTTPException")),
    Difference("http.client", "values of up to the head's limit", "`Limits.max_response_header_bytes` is the one limit; http.client has another of 64 KiB for a line.", accepted("LineTooLong")),
    Difference("http.client", "a message that was cut is no answer", "RFC 9112 section 8. http.client takes the end of the stream for the end of a head, and of a trailer section.", refused("cut")),
    Difference("h11", "a chunk line has 64 KiB at most", "A bound of memory; h11 has one on what it is fed.", refused("chunk line over 65536 bytes")),
    Difference("h11", "the protocol is HTTP/1", "RFC 9112 section 2.3. h11 reads `HTTP/2.0` and `HTTP/0.9` as well.", refused("malformed status line")),
    Difference("h11", "no more than 256 fields", "A bound of memory and work; h11 has one of bytes only.", refused("more than 256 header fields")),
    Difference("h11", "codings before chunked, and codings without it", "RFC 9112 section 6.1 allows `gzip, chunked`; `gzip` alone ends with the connection (section 6.3, item 4). h11 supports nothing but `chunked`.", accepted("Only Transfer-Encoding: chunked is supported")),
    Difference("h11", "several Transfer-Encoding lines", "One list over all lines (RFC 9110 section 5.3); refused if chunked is not its last member.", accepted("multiple Transfer-Encoding headers")),
    Difference("h11", "equal lengths are compared as numbers", "`5` and `05` are one length; h11 compares the text.", accepted("conflicting Content-Length headers")),
    Difference("h11", "a space behind a chunk size is refused", "RFC 9112 section 7.1 has none there, and who skips it may skip more. h11 tolerates it.", refused("malformed chunk size")),
    Difference("h11", "one space for a fold; lengths and codings are shown as sent", "The same fold, with less whitespace; h11 replaces `5, 5` by `5` and `Chunked` by `chunked`.", lambda w, m, t: isinstance(m, Answer) and isinstance(t, Answer) and (m.status, m.body) == (t.status, t.body) and _same_but_spelling(m, t)),
    Difference("h11", "status 600 to 999, a reason in latin-1, and other statuses that stock accepts", "Compatibility: stock passes any three digits from 100 on to the caller.", accepted("llegal status line")),
    Difference("h11", "control characters in a value are kept", "RFC 9110 section 5.5 allows it, and stock does. NUL and bare CR are refused by all but http.client.", accepted("llegal header line")),
]  # fmt: skip


def _same_but_spelling(mine: Answer, theirs: Answer) -> bool:
    """h11 shows one length for a list of equal ones, and transfer codings in lower case."""

    def plain(one: Answer) -> set[tuple[str, str]]:
        framing = ("content-length", "transfer-encoding")
        return {
            (name, " ".join((text.lower().split(",")[0] if name in framing else text).split()))
            for name, text in one.fields
        }

    return plain(mine) == plain(theirs)


def explained(reader: str, wire: bytes, mine: Outcome, theirs: Outcome) -> bool:
    """Whether two outcomes agree, or differ for a reason that is listed."""
    if isinstance(mine, Refused) and isinstance(theirs, Refused):
        return True
    if isinstance(mine, Answer) and isinstance(theirs, Answer) and mine[:3] == theirs[:3]:
        return True
    return any(one.reader == reader and one.applies(wire, mine, theirs) for one in DIFFERENCES)


INTRO = """\
# The wire, and who reads it otherwise

holdfast reads responses as RFC 9112 says, with the leniency that stock requests has where it does no harm. 294 responses
with their meaning stand in `tests/wire_vectors.py`, each with its section; every one is read whole, byte by byte and cut
at random, in both lanes, and is followed by a request that must get its own answer (`pytest tests/test_wire.py`).

`tests/test_differential.py` generates responses and has them read by holdfast, by `http.client` (which stock requests
uses) and by [h11](https://h11.readthedocs.io). Every difference is one of these, or the test fails.

Lenient, as stock is: bare LF line ends in the head, obs-fold, no reason phrase, statuses from 100 to 999, equal repeated
Content-Lengths, `identity`, values in latin-1 with control characters, HTTP/1.2 to 1.9. A body that ends with its
connection is complete where the connection ends, over TLS too, whether or not the peer said close_notify: so do stock
and Go; RFC 9112 section 9.8 would have it incomplete.

"""


def render() -> str:
    """The page."""
    parts = [INTRO]
    for reader in ("http.client", "h11"):
        parts.append(f"## {reader}\n\n| holdfast | Reason |\n| --- | --- |\n")
        parts += [f"| {one.what} | {one.reason} |\n" for one in DIFFERENCES if one.reader == reader]
        parts.append("\n")
    return "".join(parts).rstrip() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(render())
