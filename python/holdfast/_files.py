"""The contents of certificate files, hashed when they change and checked by ``stat`` otherwise."""

from __future__ import annotations

import hashlib
import os
import sys
import threading

from holdfast._fork import renew_lock

__all__ = ["FileMark", "contents", "mark"]

FileMark = tuple[int, int, int, int]
"""Size, mtime, ctime and inode: a file that was replaced or rewritten differs in one of them."""

_lock = threading.Lock()
renew_lock(sys.modules[__name__], "_lock")
_known: dict[str, tuple[FileMark, bytes]] = {}  # guarded by _lock; bounded below
_MOST = 1024


def mark(path: str) -> FileMark | None:
    """What ``stat`` says of ``path``; None if there is nothing to be read."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return None
    return (found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def contents(path: str) -> bytes:
    """The SHA-256 of a file's contents; of a directory, its own mark; of what can't be read, a mark of that.

    What can't be read gets its error where stock gets it: when the TLS context is built.
    """
    found = mark(path)
    if found is None:
        return b"absent"
    with _lock:
        known = _known.get(path)
    if known is not None and known[0] == found:
        return known[1]
    if os.path.isdir(path):
        return b"directory" + repr(found).encode()
    try:
        with open(path, "rb") as file:
            digest = hashlib.sha256(file.read()).digest()
    except OSError as error:
        return b"unreadable" + str(error.errno).encode()
    if mark(path) == found:  # else it changed while we read: the next look hashes again
        with _lock:
            if len(_known) >= _MOST:
                _known.clear()
            _known[path] = (found, digest)
    return digest
