//! Why the bytes of a peer are not a response that we would trust.

use std::fmt;

/// A malformed or ambiguous message, or one beyond a limit. The text is shown to users after "invalid response: ".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireError {
    /// The first line is not `HTTP/1.x NNN reason` (RFC 9112 section 4).
    StatusLine,
    /// A field line is malformed (RFC 9112 section 5), with the parser's word for it.
    Field(&'static str),
    /// More than [`crate::head::MAX_FIELDS`] field lines.
    TooManyFields,
    /// Head or trailer section over `max_response_header_bytes`.
    HeadTooLarge(usize),
    /// Content-Length is no number, does not fit 64 bits, or differs between its copies (RFC 9112 section 6.3).
    ContentLength,
    /// Transfer-Encoding whose final coding is unknown, or chunked where it must not be (RFC 9112 section 6.1).
    TransferEncoding,
    /// A chunk-size line that is not `1*HEXDIG [ chunk-ext ] CRLF` (RFC 9112 section 7.1).
    ChunkSize,
    /// A chunk line longer than [`crate::body::MAX_CHUNK_LINE`].
    ChunkLineTooLong,
    /// Chunk data that is not followed by CRLF (RFC 9112 section 7.1).
    ChunkEnd,
    /// A trailer field line that is malformed (RFC 9112 section 7.1.2).
    Trailer,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StatusLine => f.write_str("malformed status line"),
            Self::Field(what) => write!(f, "malformed header field ({what})"),
            Self::TooManyFields => write!(f, "more than {} header fields", crate::head::MAX_FIELDS),
            Self::HeadTooLarge(limit) => write!(f, "headers over the limit of {limit} bytes"),
            Self::ContentLength => f.write_str("invalid or conflicting Content-Length"),
            Self::TransferEncoding => {
                f.write_str("Transfer-Encoding that does not end in a known coding")
            }
            Self::ChunkSize => f.write_str("malformed chunk size"),
            Self::ChunkLineTooLong => {
                write!(f, "chunk line over {} bytes", crate::body::MAX_CHUNK_LINE)
            }
            Self::ChunkEnd => f.write_str("chunk data not followed by CRLF"),
            Self::Trailer => f.write_str("malformed trailer field"),
        }
    }
}

impl std::error::Error for WireError {}
