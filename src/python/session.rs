//! What a session does before it sends: URL, headers, environment.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::request::is_valid_field;
use crate::{environment, url};

/// What `PreparedRequest.prepare_url` would make of a URL that is normal already; None for any other.
#[pyfunction]
pub fn plain_url<'py>(url: &Bound<'py, PyString>) -> PyResult<Option<Bound<'py, PyString>>> {
    // A lone surrogate has no UTF-8: not for us.
    let Ok(text) = url.to_str() else {
        return Ok(None);
    };
    Ok(url::prepared(text).map(|prepared| match prepared {
        url::Prepared::Same => url.clone(),
        url::Prepared::Slash => PyString::new(url.py(), &format!("{text}/")),
    }))
}

/// Whether a name and a value are plain strings that requests would accept as a field.
fn is_plain_field(name: &Bound<'_, PyAny>, value: &Bound<'_, PyAny>) -> bool {
    let (Ok(name), Ok(value)) = (
        name.cast_exact::<PyString>(),
        value.cast_exact::<PyString>(),
    ) else {
        return false;
    };
    matches!((name.to_str(), value.to_str()), (Ok(name), Ok(value)) if is_valid_field(name, value))
}

/// A header store of `store`, which is another's, and then the fields of the dicts, a value of None taking a field away.
///
/// What requests' `merge_setting` and `prepare_headers` come to; None if anything is not a plain, valid ASCII string.
#[pyfunction]
#[pyo3(signature = (store, *updates))]
pub fn merge_headers<'py>(
    store: &Bound<'py, PyDict>,
    updates: &Bound<'py, PyTuple>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    let py = store.py();
    let merged = PyDict::new(py);
    for (lower, pair) in store.iter() {
        let Ok(pair) = pair.cast_into_exact::<PyTuple>() else {
            return Ok(None);
        };
        if pair.len() != 2
            || !is_plain_field(&*pair.get_borrowed_item(0)?, &*pair.get_borrowed_item(1)?)
        {
            return Ok(None);
        }
        merged.set_item(lower, pair)?;
    }
    let mut taken = Vec::new();
    for update in updates.iter_borrowed() {
        for (name, value) in update.cast::<PyDict>()?.iter() {
            let none = value.is_none();
            let checked = if none {
                PyString::new(py, "").into_any()
            } else {
                value.clone()
            };
            if !is_plain_field(&name, &checked) {
                return Ok(None);
            }
            let text = name.cast_into_exact::<PyString>()?;
            let lower = if text.to_str()?.bytes().any(|b| b.is_ascii_uppercase()) {
                PyString::new(py, &text.to_str()?.to_ascii_lowercase())
            } else {
                text.clone()
            };
            if none {
                taken.push(lower.clone());
            }
            merged.set_item(lower, (text, value))?;
        }
    }
    for lower in taken {
        // Unless a later spelling of the same name gave it a value.
        let gone = merged
            .get_item(&lower)?
            .and_then(|pair| pair.cast_into_exact::<PyTuple>().ok())
            .is_some_and(|pair| pair.get_borrowed_item(1).is_ok_and(|value| value.is_none()));
        if gone {
            merged.del_item(&lower)?;
        }
    }
    Ok(Some(merged))
}

/// The environment names a proxy, or says which hosts need none.
pub const ENVIRONMENT_PROXY: u8 = 1;
/// There may be a netrc file.
pub const ENVIRONMENT_NETRC: u8 = 2;
/// `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE` is set.
pub const ENVIRONMENT_BUNDLE: u8 = 4;

/// What `os.environ`'s own dict of bytes says to a request: a sum of `ENVIRONMENT_*`. `netrc`: whether to look for one.
#[pyfunction]
pub fn read_environment(py: Python<'_>, variables: &Bound<'_, PyDict>, netrc: bool) -> u8 {
    let mut found = 0;
    let mut home: Option<Vec<u8>> = None;
    let mut elsewhere = false;
    for (name, value) in variables.iter() {
        let (Ok(name), Ok(value)) = (name.cast::<PyBytes>(), value.cast::<PyBytes>()) else {
            // Not the dict that we know: whoever reads it properly must.
            return ENVIRONMENT_PROXY | ENVIRONMENT_NETRC | ENVIRONMENT_BUNDLE;
        };
        match name.as_bytes() {
            b"HOME" => home = netrc.then(|| value.as_bytes().to_vec()),
            b"NETRC" => elsewhere = true,
            b"REQUESTS_CA_BUNDLE" | b"CURL_CA_BUNDLE" => found |= ENVIRONMENT_BUNDLE,
            name if environment::names_a_proxy(name) => found |= ENVIRONMENT_PROXY,
            _ => {}
        }
    }
    if netrc && (elsewhere || home.is_none_or(|home| has_netrc(py, &home))) {
        found |= ENVIRONMENT_NETRC;
    }
    found
}

/// The GIL is released: a home directory may be on a network.
#[cfg(unix)]
fn has_netrc(py: Python<'_>, home: &[u8]) -> bool {
    py.detach(|| environment::has_netrc(home))
}

#[cfg(not(unix))]
fn has_netrc(_py: Python<'_>, _home: &[u8]) -> bool {
    true
}
