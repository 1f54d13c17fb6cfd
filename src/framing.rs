//! How long a response's body is and whether its connection may serve another request (RFC 9112 sections 6 and 9.3).

use crate::error::WireError;
use crate::head::{Field, Head};

/// Where the body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is none: HEAD, 1xx, 204, 304 (RFC 9112 section 6.3, item 1).
    None,
    /// After so many bytes.
    Length(u64),
    /// After the last chunk and its trailer section.
    Chunked,
    /// Where the connection ends.
    Close,
    /// After 101 the bytes belong to another protocol (RFC 9110 section 7.8).
    Upgrade,
}

/// What the head says about the bytes behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framing {
    /// Where the body ends.
    pub body: Body,
    /// Whether the connection may be kept once the body was read to its end.
    pub keep: bool,
    /// `Keep-Alive: timeout=N`, in seconds.
    pub idle_hint: Option<u32>,
}

/// The framing of the response to a request, which was a HEAD or not.
///
/// # Errors
/// [`WireError::ContentLength`] and [`WireError::TransferEncoding`] where two readers could disagree on the body's end.
pub fn of(head: &Head<'_>, to_head: bool) -> Result<Framing, WireError> {
    let length = content_length(&head.fields)?;
    let coding = transfer_coding(&head.fields);
    let mut keep = persistent(head);
    let body = match (head.status, coding?) {
        (101, _) => Body::Upgrade,
        (100..=199 | 204 | 304, _) => Body::None,
        _ if to_head => Body::None,
        (_, Coding::Chunked) => {
            // Either is a sign of a confused or hostile peer (RFC 9112 section 6.1).
            keep &= head.minor == 1 && length.is_none();
            Body::Chunked
        }
        (_, Coding::Other) => Body::Close,
        (_, Coding::Identity) => length.map_or(Body::Close, Body::Length),
    };
    Ok(Framing {
        body,
        keep: keep && !matches!(body, Body::Close | Body::Upgrade),
        idle_hint: idle_hint(&head.fields),
    })
}

/// All members of a list-based field over all its lines, trimmed.
fn members<'a>(fields: &'a [Field<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    fields
        .iter()
        .filter(move |field| field.name.eq_ignore_ascii_case(name))
        .flat_map(|field| field.value.split(|&b| b == b','))
        .map(<[u8]>::trim_ascii)
}

/// Equal copies are one (RFC 9112 section 6.3, item 5); anything but digits is refused, signs included.
fn content_length(fields: &[Field<'_>]) -> Result<Option<u64>, WireError> {
    let mut length = None;
    for member in members(fields, "content-length") {
        let value = decimal(member).ok_or(WireError::ContentLength)?;
        if length.is_some_and(|known| known != value) {
            return Err(WireError::ContentLength);
        }
        length = Some(value);
    }
    Ok(length)
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

enum Coding {
    /// None but `identity`, which RFC 9112 dropped and old servers still send.
    Identity,
    /// `chunked`, last and only once.
    Chunked,
    /// A known coding that does not say where it ends, so the connection does.
    Other,
}

fn transfer_coding(fields: &[Field<'_>]) -> Result<Coding, WireError> {
    let mut last = Coding::Identity;
    for member in members(fields, "transfer-encoding") {
        if member.is_empty() {
            continue; // RFC 9110 section 5.6.1.2
        }
        if matches!(last, Coding::Chunked) {
            return Err(WireError::TransferEncoding);
        }
        last = match member.to_ascii_lowercase().as_slice() {
            b"identity" => continue,
            b"chunked" => Coding::Chunked,
            b"gzip" | b"x-gzip" | b"deflate" | b"compress" | b"x-compress" => Coding::Other,
            _ => return Err(WireError::TransferEncoding),
        };
    }
    Ok(last)
}

/// RFC 9112 section 9.3: HTTP/1.1 stays open unless it says close, HTTP/1.0 closes unless it says keep-alive.
fn persistent(head: &Head<'_>) -> bool {
    let says = |option: &[u8]| {
        members(&head.fields, "connection").any(|member| member.eq_ignore_ascii_case(option))
    };
    !says(b"close") && (head.minor >= 1 || says(b"keep-alive"))
}

fn idle_hint(fields: &[Field<'_>]) -> Option<u32> {
    members(fields, "keep-alive").find_map(|member| {
        let (name, value) = member.split_at_checked(b"timeout=".len())?;
        if !name.eq_ignore_ascii_case(b"timeout=") {
            return None;
        }
        decimal(value.trim_ascii()).map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX))
    })
}
