"""TLS contexts that are built once and never change, and the rules for one that a user brings.

urllib3 sets ALPN, ``verify_mode`` and CAs on a given context for every connection; on a shared one that races and
has crashed processes. It is handed a ``FrozenContext`` instead, whose setters accept what is already so.
"""

from __future__ import annotations

import itertools
import ssl
import threading
import weakref
from typing import Any, ClassVar

import urllib3.util.ssl_ as urllib3_ssl
from urllib3.exceptions import SSLError

from holdfast import _files
from holdfast._fork import renew_lock

__all__ = ["Adoption", "FrozenContext", "TLSSettings", "build"]

TLSSettings = dict[str, Any]
"""urllib3's TLS keywords of one pool: ``cert_reqs``, ``ca_certs``, ``cert_file``, ``ssl_context`` and the others."""

FILES = ("ca_certs", "ca_cert_dir", "cert_file", "key_file")


class FrozenContext:
    """An ``ssl.SSLContext`` for sharing. Setting what is set already does nothing; anything else is a ``ValueError``."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.__dict__["_context"] = context
        self.__dict__["_alpn"] = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_context"], name)

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self._context, name) != value:
            raise ValueError(f"this TLS context is shared and frozen: {name} cannot change")

    def wrap_socket(self, *args: Any, **kwargs: Any) -> Any:
        """The context's own."""
        return self._context.wrap_socket(*args, **kwargs)

    def set_alpn_protocols(self, protocols: list[str]) -> None:
        """Done when the context was built."""

    def load_verify_locations(self, *args: Any, **kwargs: Any) -> None:
        """Done when the context was built."""

    def load_cert_chain(self, *args: Any, **kwargs: Any) -> None:
        """Done when the context was built."""


class Adoption:
    """A context that the user gave. ``token`` identifies it without an ``id()`` that a later one could get."""

    _tokens = itertools.count(1)
    _lock = threading.Lock()
    _known: ClassVar[weakref.WeakKeyDictionary[ssl.SSLContext, Adoption]] = (
        weakref.WeakKeyDictionary()
    )  # guarded by _lock

    def __init__(self) -> None:
        self.token = next(self._tokens)
        self.lock = threading.Lock()
        self.pair: tuple[Any, ...] | None = None  # guarded by lock
        """The one combination of verify and cert that a context without CAs was adopted with."""
        self.frozen: FrozenContext | None = None  # guarded by lock

    @classmethod
    def of(cls, context: ssl.SSLContext) -> Adoption:
        """The adoption of ``context``, the same each time."""
        with cls._lock:
            adoption = cls._known.get(context)
            if adoption is None:
                adoption = cls._known[context] = cls()
            return adoption


renew_lock(Adoption, "_lock")


def _brings_cas(context: Any) -> bool:
    """Whether the context decides trust by itself."""
    try:
        return bool(context.cert_store_stats()["x509"])
    except (AttributeError, NotImplementedError):
        return True  # truststore and its like verify with the system's store


def build(settings: TLSSettings, hashed: tuple[bytes, ...]) -> FrozenContext | None:
    """The context for ``settings``, whose files had the contents ``hashed`` when the transport was chosen.

    None if they have others by now: OpenSSL reads the files itself, and what was hashed must be what is loaded.

    Raises what urllib3 raises for the same mistake: ``SSLError`` for files that OpenSSL refuses, ``OSError`` for
    those that can't be read, ``ValueError`` for a context that is in use with other settings.
    """
    given = settings.get("ssl_context")
    if given is None:
        return _build_own(settings, hashed)
    adoption = Adoption.of(given)
    pair = tuple(settings.get(name) for name in ("cert_reqs", "ca_certs", "ca_cert_dir", "cert_file", "key_file"))
    required = urllib3_ssl.resolve_cert_reqs(settings.get("cert_reqs")) == ssl.CERT_REQUIRED
    with adoption.lock:
        decides = adoption.pair is None and _brings_cas(given) and required and not settings.get("cert_file")
        if adoption.frozen is not None and (adoption.pair is None and required and not settings.get("cert_file")):
            return adoption.frozen
        if decides:
            given.set_alpn_protocols(urllib3_ssl.ALPN_PROTOCOLS)
            adoption.frozen = FrozenContext(given)
            return adoption.frozen
        if adoption.frozen is None or adoption.pair is None:
            if adoption.frozen is not None:
                raise ValueError("this ssl_context is in use with other verify or cert settings; make another one")
            given.verify_mode = urllib3_ssl.resolve_cert_reqs(settings.get("cert_reqs"))
            _load(given, settings, cas=not _brings_cas(given))
            adoption.pair, adoption.frozen = pair, FrozenContext(given)
        elif adoption.pair != pair:
            raise ValueError("this ssl_context is in use with other verify or cert settings; make another one")
        return adoption.frozen


def _build_own(settings: TLSSettings, hashed: tuple[bytes, ...]) -> FrozenContext | None:
    context = urllib3_ssl.create_urllib3_context(
        ssl_version=urllib3_ssl.resolve_ssl_version(settings.get("ssl_version")),
        ssl_minimum_version=settings.get("ssl_minimum_version"),
        ssl_maximum_version=settings.get("ssl_maximum_version"),
        cert_reqs=urllib3_ssl.resolve_cert_reqs(settings.get("cert_reqs")),
    )
    if settings.get("assert_hostname") is not None or settings.get("assert_fingerprint"):
        context.check_hostname = False  # urllib3 checks by itself then
    if not any(settings.get(name) for name in ("ca_certs", "ca_cert_dir", "ca_cert_data")):
        context.load_default_certs()
    _load(context, settings, cas=True)
    return FrozenContext(context) if file_hashes(settings) == hashed else None


def _load(context: ssl.SSLContext, settings: TLSSettings, *, cas: bool) -> None:
    """What ``urllib3.util.ssl_wrap_socket`` loads per connection."""
    locations = tuple(settings.get(name) for name in ("ca_certs", "ca_cert_dir", "ca_cert_data"))
    if cas and any(locations):
        try:
            context.load_verify_locations(*locations)
        except OSError as error:
            raise SSLError(error) from error
    cert_file, key_file, password = (settings.get(name) for name in ("cert_file", "key_file", "key_password"))
    if key_file and password is None and urllib3_ssl._is_key_file_encrypted(key_file):
        raise SSLError("Client private key is encrypted, password is required")
    if cert_file:
        context.load_cert_chain(cert_file, key_file, password)
    context.set_alpn_protocols(urllib3_ssl.ALPN_PROTOCOLS)


def file_hashes(settings: TLSSettings) -> tuple[bytes, ...]:
    """The contents of every file that ``settings`` name."""
    return tuple(_files.contents(str(path)) for name in FILES if (path := settings.get(name)))
