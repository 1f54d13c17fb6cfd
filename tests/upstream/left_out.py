"""urllib3's tests that do not apply to our pools, by the end of their name, with the reason."""

from __future__ import annotations

__all__ = ["URLLIB3"]

_QUEUE = "looks into the pool's queue (`pool.pool`), where we keep nothing"
_UNCONNECTED = "takes a connection out of the pool and expects it unconnected; ours come connected"
_CLASS = "compares the connection's class with urllib3's; ours is a subclass"
_SHORT = (
    "allows 1 ms, of which ours counts all: names are looked up within `connect`, and `total` is an error of its own"
)
_STRICT = "a head that RFC 9112 does not allow, which we refuse (docs/wire.md)"
_ASSERTED = (
    "`assert_hostname` beside a context of one's own: urllib3 then switches the context's check off, and we change none"
)
_HANDSHAKE = "expects `read` to bound the handshake; here `connect` bounds the whole dial (`TLSHandshakeTimeout`, a `ConnectTimeout`)"

URLLIB3 = {
    "test_hostname_checks_common_name_respected": _ASSERTED,
    "test_assert_hostname_invalid_cn": _ASSERTED,
    "test_https_connection_read_timeout": _HANDSHAKE,
    "test_does_not_release_conn": _QUEUE,
    "test_socket_timeout_updated_on_reuse_constructor": _QUEUE,
    "test_socket_timeout_updated_on_reuse_parameter": _QUEUE,
    "test_keepalive_close": _QUEUE,
    "test_for_double_release": _QUEUE,
    "test_release_conn_parameter": _QUEUE,
    "test_release_conn_param_is_respected_after_timeout_retry": _QUEUE,
    "test_is_verified_http_proxy_to_http_target": _QUEUE,
    "test_is_verified_http_proxy_to_https_target": _QUEUE,
    "test_is_verified_https_proxy_to_http_target": _QUEUE,
    "test_is_verified_https_proxy_to_http_target_without_proxy_config": _QUEUE,
    "test_is_verified_https_proxy_to_https_target": _QUEUE,
    "test_connection_state_properties": _UNCONNECTED,
    "test_set_tunnel_is_reset": _UNCONNECTED,
    "test_invalid_tunnel_headers": _UNCONNECTED,
    "test_invalid_tunnel_host": _UNCONNECTED,
    "test_tunnel": _UNCONNECTED,
    "test_wrap_socket_failure_resource_leak": _UNCONNECTED,
    "test_ssl_version_is_deprecated": _UNCONNECTED,
    "test_verified": _CLASS,
    "test_verified_with_context": _CLASS,
    "test_context_combines_with_ca_certs": _CLASS,
    "test_ca_dir_verified": _CLASS,
    "test_conn_closed": _SHORT,
    "test_total_timeout": _SHORT,
    "test_disabled_retry": _SHORT,
    "test_header_without_name": _STRICT,
    "test_header_without_name_or_value": _STRICT,
    "test_header_without_colon_or_value": _STRICT,
    "test_response_headers_are_returned_in_the_original_order": _STRICT,
    "test_closing_response_actually_closes_connection": "closes a response that was whole; ours keeps the connection then",
    "test_header_longer_than_maxline": "a proxy's garbage is a `ProxyError` of ours",
    "test_chunked_size_line_too_long_does_not_buffer": "wants urllib3's words for a chunk size that we call malformed",
    "test_enforce_content_length_get": "`stream` raises our public errors, not urllib3's",
    "test_pool_size_retry_drain_fail": "counts two connections as one when the first was closed and its object used again",
}
