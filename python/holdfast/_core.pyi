from typing import Final, final

__all__ = [
    "BODY_CHUNKED",
    "BODY_CLOSE",
    "BODY_LENGTH",
    "BODY_NONE",
    "BODY_UPGRADE",
    "ChunkedDecoder",
    "ProtocolViolation",
    "build_head",
    "drain_chunked",
    "drain_length",
    "identical",
    "keyed_digest",
    "parse_head",
    "read_exact",
    "readable",
    "split_url",
    "unchanged",
]

BODY_NONE: Final[int]
BODY_LENGTH: Final[int]
BODY_CHUNKED: Final[int]
BODY_CLOSE: Final[int]
BODY_UPGRADE: Final[int]

class ProtocolViolation(ValueError): ...

@final
class ChunkedDecoder:
    def __new__(cls, max_trailer_bytes: int) -> ChunkedDecoder: ...
    @property
    def done(self) -> bool: ...
    @property
    def chunk_left(self) -> int: ...
    def feed(self, data: bytes, start: int) -> tuple[bytes, int]: ...
    def step(self, data: bytes, start: int, limit: int) -> tuple[int, int, int, bool]: ...

def parse_head(
    data: bytes, to_head: bool, limit: int
) -> tuple[int, int, str, list[tuple[str, str]], dict[str, tuple[str, str]], int, int, int, bool, int] | None: ...
def split_url(url: str) -> tuple[str, str] | None: ...
def build_head(
    method: str, target: str, host: str, fields: dict[str, tuple[str, str]]
) -> tuple[bytes, int | None, bool] | None: ...
def identical(found: tuple[object, ...], wanted: tuple[object, ...]) -> bool: ...
def unchanged(watched: tuple[tuple[object, tuple[str, ...], tuple[object, ...]], ...]) -> bool: ...
def keyed_digest(key: bytes, message: bytes) -> str: ...
def readable(fd: int) -> bool: ...
def read_exact(
    fd: int, size: int, prefix: bytes, stall: float | None, within: float | None
) -> tuple[bytes, str, int]: ...
def drain_length(fd: int, length: int, within: float) -> tuple[int, str, int]: ...
def drain_chunked(fd: int, decoder: ChunkedDecoder, limit: int, within: float) -> tuple[int, str, int, bool]: ...
