//! Which URLs `requests` would leave as they are.

/// What `PreparedRequest.prepare_url` makes of a URL, if that is plain to see: the URL itself, or the URL and a slash.
#[derive(Debug, PartialEq, Eq)]
pub enum Prepared {
    /// As it is.
    Same,
    /// With a slash for its empty path.
    Slash,
}

/// `None` for a URL that has to be parsed, rejected or rewritten: anything but `http(s)://host[:port][/path][?query]` in
/// lower case, without dot segments, of characters that need no quoting and escapes that are needed (RFC 3986
/// sections 3 and 6.2.2).
#[must_use]
pub fn prepared(url: &str) -> Option<Prepared> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"))?
        .as_bytes();
    let end = rest
        .iter()
        .position(|b| matches!(b, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    if !is_plain_authority(authority) {
        return None;
    }
    if target.is_empty() {
        return Some(Prepared::Slash);
    }
    let query = target.iter().position(|&b| b == b'?');
    let path = &target[..query.unwrap_or(target.len())];
    // An empty query loses its question mark; without a path there is a slash to be put in between.
    if path.is_empty() || query.is_some_and(|at| at + 1 == target.len()) {
        return None;
    }
    let dots = path
        .split(|&b| b == b'/')
        .any(|segment| matches!(segment, b"." | b".."));
    (!dots && is_quoted(target)).then_some(Prepared::Same)
}

fn is_plain_authority(authority: &[u8]) -> bool {
    let colon = authority.iter().position(|&b| b == b':');
    let (host, port) = authority.split_at(colon.unwrap_or(authority.len()));
    let plain_host = matches!(host.first(), Some(b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        && host
            .iter()
            .all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
    plain_host && (colon.is_none() || is_plain_port(&port[1..]))
}

/// 1 to 65535 without leading zeros: what is printed as it was read.
fn is_plain_port(port: &[u8]) -> bool {
    port.first() != Some(&b'0')
        && port.iter().all(u8::is_ascii_digit)
        && std::str::from_utf8(port).is_ok_and(|text| text.parse::<u16>().is_ok())
}

/// Whether every byte may stand there, and every escape stands for one that may not, in upper case.
fn is_quoted(target: &[u8]) -> bool {
    let mut bytes = target.iter();
    while let Some(&byte) = bytes.next() {
        let fine = match byte {
            b'%' => match (upper_hex(bytes.next()), upper_hex(bytes.next())) {
                (Some(high), Some(low)) => !is_unreserved(high << 4 | low),
                _ => false,
            },
            b'/' | b'?' | b':' | b'@' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+'
            | b',' | b';' | b'=' => true,
            _ => is_unreserved(byte),
        };
        if !fine {
            return false;
        }
    }
    true
}

const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn upper_hex(byte: Option<&u8>) -> Option<u8> {
    match byte? {
        digit @ b'0'..=b'9' => Some(digit - b'0'),
        letter @ b'A'..=b'F' => Some(letter - b'A' + 10),
        _ => None,
    }
}
