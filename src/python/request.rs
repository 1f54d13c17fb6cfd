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

/// A request as it goes onto the wire.
#[pyclass(frozen, get_all, module = "holdfast._core")]
pub struct Message {
    method: Py<PyString>,
    target: Py<PyString>,
    /// The head, and the body if it is short.
    data: Py<PyBytes>,
    /// What is too long to be sent in one piece with the head.
    body: Option<Py<PyBytes>>,
    /// Whether it authenticates its connection.
    bound: bool,
}

/// The bytes of a body that is a plain string or plain bytes; None for any other.
fn bytes_of<'a>(body: &'a Bound<'_, PyAny>) -> Option<&'a [u8]> {
    if let Ok(bytes) = body.cast_exact::<PyBytes>() {
        return Some(bytes.as_bytes());
    }
    let text = body.cast_exact::<PyString>().ok()?;
    text.to_str().ok().map(str::as_bytes)
}

/// The message for a request; None if it is not a plain one.
///
/// `fields` is requests' header store. It is a plain one if its method is one of the usual, its fields are ASCII strings fit
/// for the wire, with User-Agent and without Expect and Transfer-Encoding, and its body is what Content-Length says. A body
/// longer than `piece` goes apart from the head.
#[pyfunction]
pub fn build_message(
    method: &Bound<'_, PyAny>,
    target: &Bound<'_, PyString>,
    host: &str,
    fields: &Bound<'_, PyDict>,
    body: &Bound<'_, PyAny>,
    piece: usize,
) -> PyResult<Option<Message>> {
    let py = target.py();
    let Ok(method) = method.cast_exact::<PyString>() else {
        return Ok(None);
    };
    let Some(bodyless) = method.to_str().ok().and_then(request::method) else {
        return Ok(None);
    };
    // A list of our own: nobody can change it while we look.
    let pairs = fields.values();
    let mut seen = request::Seen::default();
    let mut texts: Vec<(Bound<'_, PyString>, Bound<'_, PyString>)> =
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
    let none = body.is_none();
    let Some(payload) = (if none { Some(&[][..]) } else { bytes_of(body) }) else {
        return Ok(None);
    };
    let announced = match seen.content_length {
        Some(length) => usize::try_from(length) == Ok(payload.len()),
        // A length without a body, and a body without a length, are the standard lane's to worry about.
        None => none && bodyless,
    };
    if !seen.user_agent || !announced {
        return Ok(None);
    }
    let lines = texts
        .iter()
        .filter_map(|(name, value)| Some((name.to_str().ok()?, value.to_str().ok()?)));
    let mut data = request::head(method.to_str()?, target.to_str()?, host, seen, lines);
    let apart = payload.len() > piece;
    if !apart {
        data.extend_from_slice(payload);
    }
    Ok(Some(Message {
        method: method.clone().unbind(),
        target: target.clone().unbind(),
        data: PyBytes::new(py, &data).unbind(),
        body: apart.then(|| PyBytes::new(py, payload).unbind()),
        bound: seen.bound,
    }))
}
