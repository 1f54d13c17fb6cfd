"""The canonical encoding of what a connection is and may do, and its digest: the key of a transport.

Versioned, typed and length-prefixed, so that no two different settings give the same bytes. The digest is keyed with
a secret of this process: in a log or in statistics it is no oracle for a password.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from typing import Any

from holdfast import _core

__all__ = ["Unencodable", "digest", "encode", "renew_key"]

VERSION = b"holdfast-1"

_key = os.urandom(32)


class Unencodable(TypeError):
    """A value whose meaning we don't know; whoever has it gets a transport of his own."""


def _item(tag: bytes, body: bytes) -> bytes:
    return tag + len(body).to_bytes(8, "big") + body


def encode(value: Any) -> bytes:  # noqa: PLR0911  # a case a type
    """The bytes of ``value``; equal values and nothing else have equal bytes."""
    if value is None:
        return _item(b"n", b"")
    if isinstance(value, (bool, int, float)):
        # An IntEnum is the number that it stands for; True is not 1.
        kind = b"b" if isinstance(value, bool) else b"f" if isinstance(value, float) else b"i"
        return _item(kind, repr(value if kind != b"i" else int(value)).encode())
    if isinstance(value, (bytes, bytearray)):
        return _item(b"y", bytes(value))
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return _item(b"s", value.encode("utf-8", "surrogatepass"))
    if isinstance(value, (tuple, list)):
        return _item(b"t", b"".join(map(encode, value)))
    if isinstance(value, Mapping):
        return _item(b"m", b"".join(sorted(encode(key) + encode(item) for key, item in value.items())))
    if isinstance(value, (set, frozenset)):
        return _item(b"e", b"".join(sorted(map(encode, value))))
    raise Unencodable(f"{type(value).__name__} has no canonical encoding")


def digest(settings: Mapping[str, Any]) -> str:
    """The hex digest of ``settings``. ``Unencodable`` if one of them can't be compared by value."""
    return _core.keyed_digest(_key, VERSION + encode(settings))


def renew_key() -> None:
    """A forked child's digests tell nothing about its parent's."""
    global _key  # noqa: PLW0603
    _key = os.urandom(32)
