//! Response heads (RFC 9112 sections 4 and 5), parsed by `httparse` and then held to our rules.
//!
//! Lenient where stock requests is and nothing can be smuggled: bare LF line ends, obs-fold (read as one space),
//! a missing reason phrase, any three-digit status, values in latin-1. Strict everywhere else: no blank line before
//! the status line, no bare CR or NUL, no empty name, no space before the colon.

use std::borrow::Cow;

use crate::error::WireError;

/// Field lines in one head. Go and node stop at a size only; Apache httpd and Tomcat stop at 100 lines.
pub const MAX_FIELDS: usize = 256;

/// One field line: the name as sent, the value without surrounding whitespace and with obs-folds replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field<'a> {
    /// The field's name, an ASCII token.
    pub name: &'a str,
    /// The field's value, latin-1.
    pub value: Cow<'a, [u8]>,
}

/// A complete head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head<'a> {
    /// The minor version: 0 or 1. A later HTTP/1.x is read as 1.1 (RFC 9110 section 2.5).
    pub minor: u8,
    /// The status code, 000 to 999.
    pub status: u16,
    /// The reason phrase, latin-1, perhaps empty.
    pub reason: &'a [u8],
    /// The field lines in order.
    pub fields: Vec<Field<'a>>,
    /// How many bytes the head took, its empty line included.
    pub len: usize,
}

/// Parses the head at the start of `data`; `None` when it is not complete yet.
///
/// # Errors
/// [`WireError`] when no continuation of `data` could be a response head within `limit` bytes.
pub fn parse(data: &[u8], limit: usize) -> Result<Option<Head<'_>>, WireError> {
    check_start(data)?;
    let head = match parse_complete(data, data)? {
        Some(head) => head,
        None if data.len() > limit => return Err(WireError::HeadTooLarge(limit)),
        None => return Ok(None),
    };
    if head.len > limit {
        return Err(WireError::HeadTooLarge(limit));
    }
    Ok(Some(head))
}

/// Garbage is refused at its first byte, not after a line end that may never come.
fn check_start(data: &[u8]) -> Result<(), WireError> {
    const START: &[u8] = b"HTTP/1.";
    let n = data.len().min(START.len());
    if data[..n] == START[..n] {
        Ok(())
    } else {
        Err(WireError::StatusLine)
    }
}

/// `source` is what `httparse` reads; `data` is what the result borrows from. They differ in single bytes only: the minor
/// version's digit, and control characters.
fn parse_complete<'a>(data: &'a [u8], source: &[u8]) -> Result<Option<Head<'a>>, WireError> {
    let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut slots);
    let mut config = httparse::ParserConfig::default();
    config.allow_obsolete_multiline_headers_in_responses(true);
    let len = match config.parse_response(&mut response, source) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::Version) => return parse_later_minor(data, source),
        Err(httparse::Error::TooManyHeaders) => return Err(WireError::TooManyFields),
        Err(httparse::Error::Status | httparse::Error::Token) => return Err(WireError::StatusLine),
        Err(httparse::Error::HeaderName) => return Err(WireError::Field("name")),
        Err(httparse::Error::HeaderValue) => return parse_controls(data, source),
        Err(httparse::Error::NewLine) => return Err(WireError::Field("line end")),
    };
    let (Some(minor), Some(status)) = (response.version, response.code) else {
        return Err(WireError::StatusLine);
    };
    let fields = response
        .headers
        .iter()
        .map(|header| field(data, source, header))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Some(Head {
        minor,
        status,
        reason: reason(data),
        fields,
        len,
    }))
}

/// RFC 9110 section 2.5: a higher minor version is processed as the highest one we know.
fn parse_later_minor<'a>(data: &'a [u8], source: &[u8]) -> Result<Option<Head<'a>>, WireError> {
    const MINOR: usize = b"HTTP/1.".len();
    match source.get(MINOR) {
        Some(b'2'..=b'9') => {
            let mut copy = source.to_vec();
            copy[MINOR] = b'1';
            parse_complete(data, &copy)
        }
        _ => Err(WireError::StatusLine),
    }
}

/// RFC 9110 section 5.5: control characters may be kept where they do no harm, as stock does. NUL and bare CR do harm.
fn parse_controls<'a>(data: &'a [u8], source: &[u8]) -> Result<Option<Head<'a>>, WireError> {
    let kept = |byte: u8| matches!(byte, 0x01..=0x08 | 0x0b | 0x0c | 0x0e..=0x1f | 0x7f);
    if !source.iter().copied().any(kept) {
        return Err(WireError::Field("value"));
    }
    // No character of a name, so that it stays an error there.
    let copy: Vec<u8> = source
        .iter()
        .map(|&byte| if kept(byte) { b'?' } else { byte })
        .collect();
    parse_complete(data, &copy)
}

/// Where `part`, a slice of `source`, lies in it. Both come from one `httparse` call, so it does.
fn span(source: &[u8], part: &[u8]) -> std::ops::Range<usize> {
    let start = (part.as_ptr() as usize).saturating_sub(source.as_ptr() as usize);
    start.min(source.len())..(start + part.len()).min(source.len())
}

fn field<'a>(
    data: &'a [u8],
    source: &[u8],
    header: &httparse::Header<'_>,
) -> Result<Field<'a>, WireError> {
    let name = std::str::from_utf8(&data[span(source, header.name.as_bytes())])
        .map_err(|_| WireError::Field("name"))?;
    if name.is_empty() {
        return Err(WireError::Field("name"));
    }
    Ok(Field {
        name,
        value: unfold(&data[span(source, header.value)])?,
    })
}

/// Replaces each obs-fold with one space (RFC 9112 section 5.2) and refuses a bare CR.
fn unfold(value: &[u8]) -> Result<Cow<'_, [u8]>, WireError> {
    if memchr::memchr2(b'\r', b'\n', value).is_none() {
        return Ok(Cow::Borrowed(value));
    }
    let mut out = Vec::with_capacity(value.len());
    for line in value.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line).trim_ascii();
        if line.contains(&b'\r') {
            return Err(WireError::Field("bare CR"));
        }
        if !out.is_empty() && !line.is_empty() {
            out.push(b' ');
        }
        out.extend_from_slice(line);
    }
    Ok(Cow::Owned(out))
}

/// The reason phrase, taken from the line itself: `httparse` drops one that is not ASCII.
fn reason(data: &[u8]) -> &[u8] {
    const START: usize = b"HTTP/1.1 200".len();
    let end = memchr::memchr(b'\n', data).unwrap_or(data.len());
    data.get(START..end).unwrap_or_default().trim_ascii()
}
