//! Where the core reads a socket itself: the GIL is released, signals are looked at in between.

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use pyo3::exceptions::PyValueError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};

use super::body::ChunkedDecoder;
use super::head::head_of;
use crate::head;
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

/// What comes with one `recv`: most small answers come whole with it.
const RECEIVE: usize = 65536;

/// The answer to a small message: (head, what came behind it, bytes sent, seconds for that, word, errno).
///
/// Written and awaited in one step, with the GIL released once; `within` bounds the wait, None does not. The head is as
/// `parse_head` gives it. It is None, and everything that came is in its place, if not all was sent, or what came is no
/// final head, complete and well-formed: the caller goes on from there.
#[pyfunction]
#[pyo3(signature = (fd, data, to_head, limit, within))]
#[allow(clippy::type_complexity)] // a tuple for Python
pub fn converse<'py>(
    py: Python<'py>,
    fd: i32,
    data: &Bound<'py, PyBytes>,
    to_head: bool,
    limit: usize,
    within: Option<f64>,
) -> PyResult<(
    Option<Bound<'py, PyTuple>>,
    Bound<'py, PyBytes>,
    usize,
    f64,
    &'static str,
    i32,
)> {
    let (fd, patience) = (borrow(fd)?, patience(None, within)?);
    // Immutable, and `data` keeps them.
    let message = data.as_bytes();
    let mut buffer: Vec<u8> = Vec::with_capacity(RECEIVE);
    let mut sent = None;
    let (sent, seconds, outcome) = loop {
        let room = buffer.spare_capacity_mut();
        let (got, step) = py.detach(|| {
            let began = Instant::now();
            let (n, outcome) = match sent {
                Some((n, _)) => (n, Outcome::Complete),
                None => socket::write_now(fd, message),
            };
            let seconds = sent.map_or_else(|| began.elapsed().as_secs_f64(), |(_, before)| before);
            if n < message.len() || outcome != Outcome::Complete {
                return (0, (n, seconds, outcome));
            }
            let (got, outcome) = socket::read_some(fd, room, patience);
            (got, (n, seconds, outcome))
        });
        // SAFETY: `read_some` has initialised the first `got` bytes of the spare capacity, and the vector was empty.
        unsafe { buffer.set_len(got) };
        let (n, seconds, outcome) = step;
        if outcome != Outcome::Interrupted {
            break step;
        }
        sent = Some((n, seconds));
        py.check_signals()?;
    };
    let (word, errno) = ending(outcome);
    let head = match head::parse(&buffer, limit) {
        Ok(Some(head)) if head.status >= 200 || head.status == 101 => Some(head),
        _ => None,
    };
    let (head, rest) = match head {
        // What has no framing is refused by whoever goes on.
        Some(head) => match head_of(py, &head, to_head) {
            Ok(made) => (Some(made), &buffer[head.len..]),
            Err(_) => (None, &buffer[..]),
        },
        None => (None, &buffer[..]),
    };
    Ok((head, PyBytes::new(py, rest), sent, seconds, word, errno))
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
        Bound::from_owned_ptr_or_err(py, ffi::PyBytes_FromStringAndSize(std::ptr::null(), length))?
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
