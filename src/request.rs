//! Request heads: which URLs and field lines need no second thought, and their bytes.
//!
//! Everything here says yes or "not for me": whatever is unusual is left to urllib3 and http.client.

/// Splits `scheme://authority` from the target of a URL that nobody would normalise; `None` for any other.
///
/// The target starts with one slash and has URL characters only (RFC 3986 section 3.3 and 3.4); no userinfo, no
/// fragment, no IPv6 zone.
#[must_use]
pub fn split_url(url: &str) -> Option<(&str, &str)> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?;
    let start = url.len() - rest.len();
    let end = rest.find('/').unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    let plain_authority = !authority.is_empty()
        && authority
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._-:[]".contains(&b));
    let plain_target = target.bytes().all(is_url_byte);
    if !plain_authority || !plain_target || target.starts_with("//") {
        return None;
    }
    let target = if target.is_empty() { "/" } else { target };
    Some((&url[..start + end], target))
}

const fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
                | b'/'
                | b'?'
                | b'%'
        )
}

/// What the field lines of a request say about how it must be sent.
// One flag a field name: an enum or a bit set would say the same less plainly.
#[allow(clippy::struct_excessive_bools)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Seen {
    /// `Host` is among them.
    pub host: bool,
    /// `Accept-Encoding` is.
    pub accept_encoding: bool,
    /// `User-Agent` is.
    pub user_agent: bool,
    /// What `Content-Length` says, if it is.
    pub content_length: Option<u64>,
    /// `Authorization` or `Proxy-Authorization` is, of a scheme that authenticates the connection (RFC 4559, MS-NTHT).
    pub bound: bool,
}

impl Seen {
    /// Looks at one field; `false` if the request needs more than a plain exchange or the field may not be sent.
    ///
    /// CR, LF and NUL never reach the wire (RFC 9110 section 5.5); `@@@SKIP_HEADER@@@` is urllib3's way to leave a
    /// field out.
    pub fn note(&mut self, name: &str, value: &str) -> bool {
        match name.len() {
            4 => self.host |= name.eq_ignore_ascii_case("host"),
            6 if name.eq_ignore_ascii_case("expect") => return false,
            10 => self.user_agent |= name.eq_ignore_ascii_case("user-agent"),
            13 if name.eq_ignore_ascii_case("authorization") => self.bound |= binds(value),
            14 if name.eq_ignore_ascii_case("content-length") => {
                // Rust's own parser would take "+3", which a server need not.
                let digits = value.bytes().all(|b| b.is_ascii_digit());
                self.content_length = digits.then(|| value.parse().ok()).flatten();
                if self.content_length.is_none() {
                    return false;
                }
            }
            15 => self.accept_encoding |= name.eq_ignore_ascii_case("accept-encoding"),
            17 if name.eq_ignore_ascii_case("transfer-encoding") => return false,
            19 if name.eq_ignore_ascii_case("proxy-authorization") => self.bound |= binds(value),
            _ => {}
        }
        is_token(name) && is_plain(value) && !value.starts_with("@@@")
    }
}

/// Whether credentials are of a scheme that authenticates the connection.
fn binds(credentials: &str) -> bool {
    let scheme = credentials.split(' ').next().unwrap_or_default();
    scheme.eq_ignore_ascii_case("ntlm") || scheme.eq_ignore_ascii_case("negotiate")
}

/// Whether the fast lane is for a method, and whether it goes without a body.
#[must_use]
pub fn method(method: &str) -> Option<bool> {
    match method {
        "GET" | "HEAD" | "OPTIONS" | "TRACE" | "DELETE" => Some(true),
        "POST" | "PUT" | "PATCH" => Some(false),
        _ => None,
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn is_plain(value: &str) -> bool {
    value.is_ascii() && !value.bytes().any(|b| matches!(b, b'\r' | b'\n' | 0))
}

/// Whether requests accepts a field, told only for ASCII: the name begins with neither space nor colon and has no colon,
/// the value begins with no space, and neither has a line break.
#[must_use]
pub fn is_valid_field(name: &str, value: &str) -> bool {
    let breaks = |text: &str| text.bytes().any(|b| matches!(b, b'\r' | b'\n'));
    let begins_well = |text: &str| !text.bytes().next().is_some_and(is_space);
    name.is_ascii()
        && value.is_ascii()
        && !name.is_empty()
        && begins_well(name)
        && !name.contains(':')
        && !breaks(name)
        && begins_well(value)
        && !breaks(value)
}

/// What Python's `\s` matches in ASCII.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t'..=b'\r' | 0x1c..=0x1f | b' ')
}

/// The head of a request in http.client's order: request line, Host, Accept-Encoding, then the caller's fields.
pub fn head<'a>(
    method: &str,
    target: &str,
    host: &str,
    seen: Seen,
    fields: impl Iterator<Item = (&'a str, &'a str)>,
) -> Vec<u8> {
    let mut out = String::with_capacity(512);
    for part in [method, " ", target, " HTTP/1.1\r\n"] {
        out.push_str(part);
    }
    if !seen.host {
        for part in ["Host: ", host, "\r\n"] {
            out.push_str(part);
        }
    }
    if !seen.accept_encoding {
        out.push_str("Accept-Encoding: identity\r\n");
    }
    for (name, value) in fields {
        for part in [name, ": ", value, "\r\n"] {
            out.push_str(part);
        }
    }
    out.push_str("\r\n");
    out.into_bytes()
}
