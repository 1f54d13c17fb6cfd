from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, final

__all__ = [
    "BODY_CHUNKED",
    "BODY_CLOSE",
    "BODY_LENGTH",
    "BODY_NONE",
    "BODY_UPGRADE",
    "ENVIRONMENT_BUNDLE",
    "ENVIRONMENT_NETRC",
    "ENVIRONMENT_PROXY",
    "ChunkedDecoder",
    "Environment",
    "Family",
    "Message",
    "Preparer",
    "ProtocolViolation",
    "Watch",
    "build_message",
    "converse",
    "drain_chunked",
    "drain_length",
    "find_adapter",
    "keyed_digest",
    "merge_headers",
    "parse_head",
    "plain_url",
    "read_exact",
    "readable",
    "split_url",
]

BODY_NONE: Final[int]
BODY_LENGTH: Final[int]
BODY_CHUNKED: Final[int]
BODY_CLOSE: Final[int]
BODY_UPGRADE: Final[int]
ENVIRONMENT_PROXY: Final[int]
ENVIRONMENT_NETRC: Final[int]
ENVIRONMENT_BUNDLE: Final[int]

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

@final
class Watch:
    def __new__(cls, watched: tuple[tuple[object, tuple[str, ...], tuple[object, ...]], ...]) -> Watch: ...
    def unchanged(self) -> bool: ...

@final
class Family:
    def __new__(cls, names: Sequence[str], judge: Callable[[type], bool], watch: Watch) -> Family: ...
    def has(self, member: object, own: dict[str, object]) -> bool: ...

@final
class Message:
    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def data(self) -> bytes: ...
    @property
    def body(self) -> bytes | None: ...
    @property
    def bound(self) -> bool: ...

@final
class Environment:
    def __new__(cls, variables: object, watch: Watch) -> Environment: ...
    def look(self, netrc: bool) -> int: ...
    def bundle(self) -> str | None: ...

@final
class Preparer:
    def __new__(
        cls,
        request: type,
        fields: type,
        jar: type,
        policy: type,
        policy_state: dict[str, object],
        events: list[str],
        threading: ModuleType,
        environment: Environment,
    ) -> Preparer: ...
    def plain_jar(self, jar: object) -> dict[str, Any] | None: ...
    def empty_jar(self) -> Any: ...
    def prepare(
        self, session: dict[str, Any], method: str, url: object, headers: object, params: str
    ) -> tuple[Any, int] | None: ...

def parse_head(
    data: bytes, to_head: bool, limit: int
) -> tuple[int, int, str, list[tuple[str, str]], dict[str, tuple[str, str]], int, int, int, bool, int] | None: ...
def split_url(url: str) -> tuple[str, str] | None: ...
def build_message(
    method: object, target: str, host: str, fields: dict[str, tuple[str, str]], body: object, piece: int
) -> Message | None: ...
def plain_url(url: str) -> str | None: ...
def merge_headers(
    store: dict[str, tuple[str, str]], *updates: dict[str, str | None]
) -> dict[str, tuple[str, str]] | None: ...
def find_adapter(adapters: Mapping[str, object], url: str) -> Any: ...
def keyed_digest(key: bytes, message: bytes) -> str: ...
def readable(fd: int) -> bool: ...
def converse(
    fd: int, data: bytes, to_head: bool, limit: int, within: float | None
) -> tuple[Any, bytes, int, float, str, int]: ...
def read_exact(
    fd: int, size: int, prefix: bytes, stall: float | None, within: float | None
) -> tuple[bytes, str, int]: ...
def drain_length(fd: int, length: int, within: float) -> tuple[int, str, int]: ...
def drain_chunked(fd: int, decoder: ChunkedDecoder, limit: int, within: float) -> tuple[int, str, int, bool]: ...
