//! Chunked bodies, as an object that keeps its place.

use std::sync::{Mutex, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::body::Chunked;

/// A chunked body's decoder. The lock is held for one call; calls of one decoder never overlap in the package.
#[pyclass(frozen, module = "holdfast._core")]
pub struct ChunkedDecoder {
    decoder: Mutex<Chunked>,
}

impl ChunkedDecoder {
    /// A panic under the lock would have left a decoder that is merely useless, so poison is no reason for another.
    pub fn with<T>(&self, work: impl FnOnce(&mut Chunked) -> T) -> T {
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
