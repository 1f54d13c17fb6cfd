//! Response heads: parsed fields as the objects that requests keeps.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use super::_core::{BODY_CHUNKED, BODY_CLOSE, BODY_LENGTH, BODY_NONE, BODY_UPGRADE};
use crate::framing::{self, Body};
use crate::head;

/// Latin-1 decoding; ASCII, the usual case, without a copy in between.
fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => PyString::new(py, text),
        _ => PyString::new(py, &bytes.iter().map(|&b| b as char).collect::<String>()),
    }
}

/// `name`, whose text is `text`, in lower case: the key that requests' header store has for it.
pub fn lowered<'py>(name: &Bound<'py, PyString>, text: &str) -> Bound<'py, PyString> {
    if text.bytes().any(|b| b.is_ascii_uppercase()) {
        PyString::new(name.py(), &text.to_ascii_lowercase())
    } else {
        name.clone()
    }
}

/// Field pairs in order, and a map of lower-cased name to (name, value) with repeated fields joined by ", ".
fn fields<'py>(
    py: Python<'py>,
    head: &head::Head<'_>,
) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyDict>)> {
    let pairs = PyList::empty(py);
    let store = PyDict::new(py);
    for field in &head.fields {
        let name = PyString::new(py, field.name);
        let value = latin1(py, &field.value);
        let lower = lowered(&name, field.name);
        let pair = PyTuple::new(py, [&name, &value])?;
        match store.get_item(&lower)? {
            None => store.set_item(&lower, &pair)?,
            Some(known) => {
                let (first, joined): (Bound<'py, PyString>, String) = known.extract()?;
                let joined = format!("{joined}, {}", value.to_cow()?);
                store.set_item(&lower, (first, joined))?;
            }
        }
        pairs.append(pair)?;
    }
    Ok((pairs, store))
}

/// Parse the head at the start of `data`; None while it is incomplete.
///
/// Gives (status, minor version, reason, pairs, store, length of the head, body kind, body length, keep, idle hint);
/// body length is -1 unless the kind is `BODY_LENGTH`, idle hint is -1 without `Keep-Alive: timeout`.
#[pyfunction]
pub fn parse_head<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyBytes>,
    to_head: bool,
    limit: usize,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let Some(head) = head::parse(data.as_bytes(), limit)? else {
        return Ok(None);
    };
    head_of(py, &head, to_head).map(Some)
}

/// A parsed head as `parse_head` gives it.
pub fn head_of<'py>(
    py: Python<'py>,
    head: &head::Head<'_>,
    to_head: bool,
) -> PyResult<Bound<'py, PyTuple>> {
    let framing = framing::of(head, to_head)?;
    let (kind, length) = match framing.body {
        Body::None => (BODY_NONE, -1),
        Body::Length(0) => (BODY_NONE, 0),
        Body::Length(n) => (BODY_LENGTH, i128::from(n)),
        Body::Chunked => (BODY_CHUNKED, -1),
        Body::Close => (BODY_CLOSE, -1),
        Body::Upgrade => (BODY_UPGRADE, -1),
    };
    let (pairs, store) = fields(py, head)?;
    (
        head.status,
        head.minor,
        latin1(py, head.reason),
        pairs,
        store,
        head.len,
        kind,
        length,
        framing.keep,
        framing.idle_hint.map_or(-1, i64::from),
    )
        .into_pyobject(py)
}
