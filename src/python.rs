//! The boundary: Python's types in and out, errors translated, the GIL released around socket reads. No logic.

use std::sync::{Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple};

use crate::body::Chunked;
use crate::error::WireError;
use crate::framing::{self, Body};
use crate::{digest, head, request};

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

/// Latin-1 decoding; ASCII, the usual case, without a copy in between.
fn latin1<'py>(py: Python<'py>, bytes: &[u8]) -> Bound<'py, PyString> {
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => PyString::new(py, text),
        _ => PyString::new(py, &bytes.iter().map(|&b| b as char).collect::<String>()),
    }
}

use _core::{BODY_CHUNKED, BODY_CLOSE, BODY_LENGTH, BODY_NONE, BODY_UPGRADE};

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
        let lower = if field.name.bytes().any(|b| b.is_ascii_uppercase()) {
            PyString::new(py, &field.name.to_ascii_lowercase())
        } else {
            name.clone()
        };
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
fn parse_head<'py>(
    py: Python<'py>,
    data: &Bound<'py, PyBytes>,
    to_head: bool,
    limit: usize,
) -> PyResult<Option<Bound<'py, PyTuple>>> {
    let Some(head) = head::parse(data.as_bytes(), limit)? else {
        return Ok(None);
    };
    let framing = framing::of(&head, to_head)?;
    let (kind, length) = match framing.body {
        Body::None => (BODY_NONE, -1),
        Body::Length(0) => (BODY_NONE, 0),
        Body::Length(n) => (BODY_LENGTH, i128::from(n)),
        Body::Chunked => (BODY_CHUNKED, -1),
        Body::Close => (BODY_CLOSE, -1),
        Body::Upgrade => (BODY_UPGRADE, -1),
    };
    let (pairs, store) = fields(py, &head)?;
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
        .map(Some)
}

/// (origin, target) of a URL that needs no normalising; None for any other.
#[pyfunction]
fn split_url<'py>(
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
fn build_head<'py>(
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

/// Whether two tuples hold the same objects. Not equal ones: a tracer's wrapper says that it equals what it wraps.
#[pyfunction]
fn identical(found: &Bound<'_, PyTuple>, wanted: &Bound<'_, PyTuple>) -> bool {
    // Borrowed: each owned reference would be two calls into Python under abi3.
    found.len() == wanted.len()
        && found
            .iter_borrowed()
            .zip(wanted.iter_borrowed())
            .all(|(one, other)| one.is(&*other))
}

/// Whether attributes are still the objects that they were: `((owner, (name, ...), (value, ...)), ...)`.
#[pyfunction]
fn unchanged(watched: &Bound<'_, PyTuple>) -> PyResult<bool> {
    for entry in watched.iter_borrowed() {
        let entry = entry.cast::<PyTuple>()?;
        let owner = entry.get_borrowed_item(0)?;
        let (names, values) = (entry.get_borrowed_item(1)?, entry.get_borrowed_item(2)?);
        let (names, values) = (names.cast::<PyTuple>()?, values.cast::<PyTuple>()?);
        for (name, value) in names.iter_borrowed().zip(values.iter_borrowed()) {
            // One that was deleted has changed.
            let same = owner
                .getattr(name.cast::<PyString>()?)
                .is_ok_and(|found| found.is(&*value));
            if !same {
                return Ok(false);
            }
        }
    }
    Ok(true)
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

/// A chunked body's decoder. The lock is held for one call; calls of one decoder never overlap in the package.
#[pyclass(frozen, module = "holdfast._core")]
struct ChunkedDecoder {
    decoder: Mutex<Chunked>,
}

impl ChunkedDecoder {
    /// A panic under the lock would have left a decoder that is merely useless, so poison is no reason for another.
    fn with<T>(&self, work: impl FnOnce(&mut Chunked) -> T) -> T {
        work(&mut self.decoder.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[pymethods]
impl ChunkedDecoder {
    #[new]
    fn new(max_trailer_bytes: usize) -> Self {
        Self {
            decoder: Mutex::new(Chunked::new(max_trailer_bytes)),
        }
    }

    /// Whether the body, trailers included, has ended.
    #[getter]
    fn done(&self) -> bool {
        self.with(|decoder| decoder.done())
    }

    /// How many bytes of the present chunk are still to come.
    #[getter]
    fn chunk_left(&self) -> u64 {
        self.with(|decoder| decoder.chunk_left())
    }

    /// Decode all of `data` from `start`: (payload, index of the first byte that is not the body's).
    fn feed<'py>(
        &self,
        py: Python<'py>,
        data: &[u8],
        start: usize,
    ) -> PyResult<(Bound<'py, PyBytes>, usize)> {
        self.with(|decoder| {
            let mut payload = Vec::with_capacity(data.len().saturating_sub(start));
            let mut at = start;
            while at < data.len() && !decoder.done() {
                let step = decoder.step(data, at, usize::MAX)?;
                payload.extend_from_slice(&data[step.start..step.end]);
                at = step.next;
            }
            Ok((PyBytes::new(py, &payload), at))
        })
    }

    /// Go on to one run of payload of at most `limit` bytes: (start, end, next, whether the chunk ended with it).
    fn step(
        &self,
        data: &[u8],
        start: usize,
        limit: usize,
    ) -> PyResult<(usize, usize, usize, bool)> {
        let step = self.with(|decoder| decoder.step(data, start, limit))?;
        Ok((step.start, step.end, step.next, step.chunk_ended))
    }
}

#[cfg(unix)]
mod io {
    use std::mem::MaybeUninit;
    use std::os::fd::BorrowedFd;
    use std::time::{Duration, Instant};

    use pyo3::exceptions::PyValueError;
    use pyo3::ffi;
    use pyo3::prelude::*;
    use pyo3::types::PyBytes;

    use super::ChunkedDecoder;
    use crate::socket::{self, Outcome, Patience};

    /// Why a read ended, as `(word, errno)`.
    type Ending = (&'static str, i32);

    const fn ending(outcome: Outcome) -> Ending {
        match outcome {
            Outcome::Complete => ("complete", 0),
            Outcome::Eof => ("eof", 0),
            Outcome::Stalled => ("stalled", 0),
            Outcome::Deadline => ("deadline", 0),
            Outcome::Limit => ("limit", 0),
            Outcome::Interrupted => ("interrupted", 0),
            Outcome::Failed(errno) => ("failed", errno),
        }
    }

    fn borrow(fd: i32) -> PyResult<BorrowedFd<'static>> {
        if fd < 0 {
            return Err(PyValueError::new_err("the socket is closed"));
        }
        // SAFETY: `fd` is not -1. The caller holds the lease of the connection for the whole call and only the
        // holder of a lease closes its socket, so the descriptor stays open while the borrow is used; the borrow
        // never leaves the call.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }

    fn duration(name: &str, seconds: Option<f64>) -> PyResult<Option<Duration>> {
        seconds
            .map(|seconds| {
                Duration::try_from_secs_f64(seconds.max(0.0))
                    .map_err(|_| PyValueError::new_err(format!("{name} is not a time")))
            })
            .transpose()
    }

    fn patience(stall: Option<f64>, within: Option<f64>) -> PyResult<Patience> {
        Ok(Patience {
            stall: duration("stall", stall)?,
            deadline: duration("within", within)?.and_then(|left| Instant::now().checked_add(left)),
        })
    }

    /// Whether the descriptor has input, an end of file or an error right now. Never waits.
    #[pyfunction]
    pub fn readable(fd: i32) -> PyResult<bool> {
        Ok(socket::readable(borrow(fd)?))
    }

    /// Exactly `size` bytes, of which `prefix` came already: (bytes, how many of them are real, word, errno).
    ///
    /// The rest is received straight into the object that is returned, with the GIL released. `stall` and `within`
    /// are seconds; None means no bound. When it ended early the bytes are cut to what came.
    #[pyfunction]
    #[pyo3(signature = (fd, size, prefix, stall, within))]
    pub fn read_exact<'py>(
        py: Python<'py>,
        fd: i32,
        size: usize,
        prefix: &[u8],
        stall: Option<f64>,
        within: Option<f64>,
    ) -> PyResult<(Bound<'py, PyBytes>, &'static str, i32)> {
        let (fd, patience) = (borrow(fd)?, patience(stall, within)?);
        let length = ffi::Py_ssize_t::try_from(size)?;
        // SAFETY: with a null pointer CPython gives a new bytes object of that size, or null with an exception set,
        // which `from_owned_ptr_or_err` turns into an error. The object is ours alone until it is returned.
        let object = unsafe {
            Bound::from_owned_ptr_or_err(
                py,
                ffi::PyBytes_FromStringAndSize(std::ptr::null(), length),
            )?
            .cast_into_unchecked::<PyBytes>()
        };
        // SAFETY: the object has `size` bytes of storage, not yet initialised, hence `MaybeUninit`. Nobody else can
        // see it: it was made above and has one reference, so writing to it with the GIL released races with nothing.
        let storage = unsafe {
            std::slice::from_raw_parts_mut(
                ffi::PyBytes_AsString(object.as_ptr()).cast::<MaybeUninit<u8>>(),
                size,
            )
        };
        let mut filled = prefix.len().min(size);
        for (slot, &byte) in storage.iter_mut().zip(prefix) {
            slot.write(byte);
        }
        loop {
            let rest = &mut storage[filled..];
            let (got, outcome) = py.detach(|| socket::read_exact(fd, rest, patience));
            filled += got;
            if outcome == Outcome::Interrupted {
                py.check_signals()?;
                continue;
            }
            let (word, errno) = ending(outcome);
            if filled == size {
                return Ok((object, word, errno));
            }
            // SAFETY: the first `filled` bytes are initialised, by the copy of `prefix` and by `read_exact`.
            let part = unsafe { std::slice::from_raw_parts(storage.as_ptr().cast::<u8>(), filled) };
            return Ok((PyBytes::new(py, part), word, errno));
        }
    }

    /// Read and drop `length` bytes within so many seconds, the GIL released: (bytes read, word, errno).
    #[pyfunction]
    pub fn drain_length(
        py: Python<'_>,
        fd: i32,
        length: u64,
        within: f64,
    ) -> PyResult<(u64, &'static str, i32)> {
        let (fd, patience) = (borrow(fd)?, patience(None, Some(within))?);
        let mut read = 0;
        loop {
            let (got, outcome) = py.detach(|| socket::drain_length(fd, length - read, patience));
            read += got;
            if outcome == Outcome::Interrupted {
                py.check_signals()?;
                continue;
            }
            let (word, errno) = ending(outcome);
            return Ok((read, word, errno));
        }
    }

    /// Read and drop the rest of a chunked body: (bytes read, word, errno, whether bytes came behind the body).
    #[pyfunction]
    pub fn drain_chunked(
        py: Python<'_>,
        fd: i32,
        decoder: &Bound<'_, ChunkedDecoder>,
        limit: u64,
        within: f64,
    ) -> PyResult<(u64, &'static str, i32, bool)> {
        let (fd, patience) = (borrow(fd)?, patience(None, Some(within))?);
        // A copy, so that no lock is held while the GIL is released.
        let mut copy = decoder.get().with(|decoder| decoder.clone());
        let mut bytes = 0;
        loop {
            let drained =
                py.detach(|| socket::drain_chunked(fd, &mut copy, limit - bytes, patience))?;
            bytes += drained.bytes;
            if drained.outcome == Outcome::Interrupted {
                py.check_signals()?;
                continue;
            }
            let (word, errno) = ending(drained.outcome);
            return Ok((bytes, word, errno, drained.excess));
        }
    }
}

/// The byte work of holdfast.
#[pymodule]
mod _core {
    #[cfg(unix)]
    #[pymodule_export]
    use super::io::{drain_chunked, drain_length, read_exact, readable};
    #[pymodule_export]
    use super::{
        build_head, identical, keyed_digest, parse_head, split_url, unchanged, ChunkedDecoder,
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
}
