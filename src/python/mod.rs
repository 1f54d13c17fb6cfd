//! The boundary: Python's types in and out, errors translated, the GIL released around socket reads. No logic.

mod body;
mod environment;
mod head;
#[cfg(unix)]
mod io;
mod request;
mod session;
mod watch;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::digest;
use crate::error::WireError;

pyo3::create_exception!(
    holdfast._core,
    ProtocolViolation,
    PyValueError,
    "The bytes of a peer are no response that can be trusted."
);

impl From<WireError> for PyErr {
    fn from(error: WireError) -> Self {
        ProtocolViolation::new_err(error.to_string())
    }
}

/// The hex HMAC-SHA256 of `message` under the 32 bytes of `key`.
#[pyfunction]
fn keyed_digest(key: &[u8], message: &[u8]) -> PyResult<String> {
    let key: &[u8; 32] = key
        .try_into()
        .map_err(|_| PyValueError::new_err("the key must have 32 bytes"))?;
    let mut hex = String::with_capacity(64);
    for byte in digest::keyed(key, message) {
        for nibble in [byte >> 4, byte & 15] {
            hex.push(char::from_digit(nibble.into(), 16).unwrap_or('0'));
        }
    }
    Ok(hex)
}

/// The byte work of holdfast.
// Versions of types and dicts are read under the GIL, and Python's side relies on it too: no free-threaded build.
#[pymodule(gil_used = true)]
mod _core {
    #[cfg(unix)]
    #[pymodule_export]
    use super::io::{converse, drain_chunked, drain_length, read_exact, readable};
    #[pymodule_export]
    use super::{
        body::ChunkedDecoder,
        environment::Environment,
        head::parse_head,
        keyed_digest,
        request::{build_message, split_url, Message},
        session::{find_adapter, merge_headers, plain_url, Preparer},
        watch::{Family, Watch},
        ProtocolViolation,
    };

    // The kinds of body, as `parse_head` gives them.
    #[pymodule_export]
    pub const BODY_NONE: u8 = 0;
    #[pymodule_export]
    pub const BODY_LENGTH: u8 = 1;
    #[pymodule_export]
    pub const BODY_CHUNKED: u8 = 2;
    #[pymodule_export]
    pub const BODY_CLOSE: u8 = 3;
    #[pymodule_export]
    pub const BODY_UPGRADE: u8 = 4;

    // What an `Environment` may say.
    #[pymodule_export]
    pub const ENVIRONMENT_PROXY: u8 = super::environment::PROXY;
    #[pymodule_export]
    pub const ENVIRONMENT_NETRC: u8 = super::environment::NETRC;
    #[pymodule_export]
    pub const ENVIRONMENT_BUNDLE: u8 = super::environment::BUNDLE;
}
