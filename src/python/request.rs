//! Requests: the bytes of a head, from the header store that requests keeps.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString, PyTuple};

use crate::request;

/// (origin, target) of a URL that needs no normalising; None for any other.
#[pyfunction]
pub fn split_url<'py>(
    py: Python<'py>,
    url: &Bound<'py, PyString>,
) -> PyResult<Option<(Bound<'py, PyString>, Bound<'py, PyString>)>> {
    let parts = request::split_url(url.to_str()?);
    Ok(parts.map(|(origin, target)| (PyString::new(py, origin), PyString::new(py, target))))
}

/// A request's head, what its Content-Length says, and whether it carries credentials.
type BuiltHead<'py> = (Bound<'py, PyBytes>, Option<u64>, bool);

/// The bytes of a request's head, what its Content-Length says (None without one), and whether it has (Proxy-)Authorization.
///
/// None if it is not a plain one: `fields`, the (name, value) pairs of requests' header store, are not all ASCII
/// strings fit for the wire, User-Agent is missing, or it has Expect or Transfer-Encoding.
#[pyfunction]
pub fn build_head<'py>(
    py: Python<'py>,
    method: &str,
    target: &str,
    host: &str,
    fields: &Bound<'py, PyDict>,
) -> PyResult<Option<BuiltHead<'py>>> {
    // A list of our own: nobody can change it while we look.
    let pairs = fields.values();
    let mut seen = request::Seen::default();
    let mut texts: Vec<(Bound<'py, PyString>, Bound<'py, PyString>)> =
        Vec::with_capacity(pairs.len());
    for pair in &pairs {
        let Ok(pair) = pair.cast_into_exact::<PyTuple>() else {
            return Ok(None);
        };
        if pair.len() != 2 {
            return Ok(None);
        }
        let name = pair.get_item(0)?.cast_into_exact::<PyString>();
        let value = pair.get_item(1)?.cast_into_exact::<PyString>();
        let (Ok(name), Ok(value)) = (name, value) else {
            return Ok(None);
        };
        let fit = match (name.to_str(), value.to_str()) {
            (Ok(name), Ok(value)) => seen.note(name, value),
            _ => false,
        };
        if !fit {
            return Ok(None);
        }
        texts.push((name, value));
    }
    if !seen.user_agent {
        return Ok(None);
    }
    let lines = texts
        .iter()
        .filter_map(|(name, value)| Some((name.to_str().ok()?, value.to_str().ok()?)));
    let head = request::head(method, target, host, seen, lines);
    Ok(Some((
        PyBytes::new(py, &head),
        seen.content_length,
        seen.authorization,
    )))
}
