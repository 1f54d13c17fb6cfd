//! What the environment says to a request, told from its bytes.

/// Whether a variable's name ends in `_proxy`, in whatever case: what `getproxies_environment` would read.
#[must_use]
pub fn names_a_proxy(name: &[u8]) -> bool {
    name.len() >= 6 && name[name.len() - 6..].eq_ignore_ascii_case(b"_proxy")
}

/// Whether requests would look into a netrc file below this home directory.
#[cfg(unix)]
#[must_use]
pub fn has_netrc(home: &[u8]) -> bool {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    // As `expanduser` joins them.
    let end = home.iter().rposition(|&b| b != b'/').map_or(0, |at| at + 1);
    [b"/.netrc", b"/_netrc"].iter().any(|name| {
        let path = [&home[..end], *name].concat();
        std::fs::metadata(OsStr::from_bytes(&path)).is_ok()
    })
}
