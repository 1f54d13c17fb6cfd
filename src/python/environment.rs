//! The environment, read from the bytes under `os.environ`.

use std::sync::atomic::{AtomicU64, AtomicU8, Ordering};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use super::watch::{contents, Watch};
use crate::environment;

/// The environment names a proxy, or says which hosts need none.
pub const PROXY: u8 = 1;
/// There may be a netrc file.
pub const NETRC: u8 = 2;
/// `REQUESTS_CA_BUNDLE` or `CURL_CA_BUNDLE` is set.
pub const BUNDLE: u8 = 4;
/// `NETRC` is set, or there is no `HOME`.
const ELSEWHERE: u8 = 8;

/// What an environment says to a request.
#[pyclass(frozen, module = "holdfast._core")]
pub struct Environment {
    variables: Py<PyAny>,
    watch: Py<Watch>,
    /// The version of the variables at which `found` was found: the same version, the same bytes.
    seen: AtomicU64,
    found: AtomicU8,
}

#[pymethods]
impl Environment {
    /// `variables` is `os.environ`; it says everything only while what `watch` watches is as it was.
    #[new]
    fn new(variables: &Bound<'_, PyAny>, watch: &Bound<'_, Watch>) -> Self {
        Self {
            variables: variables.clone().unbind(),
            watch: watch.clone().unbind(),
            seen: AtomicU64::new(0),
            found: AtomicU8::new(0),
        }
    }

    /// A sum of `ENVIRONMENT_*`; `netrc`: whether to look for one. Everything that there may be, where it can't be told.
    pub fn look(&self, py: Python<'_>, netrc: bool) -> PyResult<u8> {
        let data = self.variables.bind(py).getattr(intern!(py, "_data"));
        let Ok(data) = data.and_then(|data| Ok(data.cast_into_exact::<PyDict>()?)) else {
            return Ok(PROXY | NETRC | BUNDLE);
        };
        if !self.watch.get().unchanged(py) {
            return Ok(PROXY | NETRC | BUNDLE);
        }
        let now = contents(&data);
        let mut found = self.found.load(Ordering::Relaxed);
        if now == 0 || now != self.seen.load(Ordering::Relaxed) {
            found = read(&data);
            self.found.store(found, Ordering::Relaxed);
            self.seen.store(now, Ordering::Relaxed);
        }
        if netrc && (found & ELSEWHERE != 0 || has_netrc(&data)?) {
            found |= NETRC;
        }
        Ok(found & (PROXY | NETRC | BUNDLE))
    }

    /// The CA bundle that the environment names, as requests reads it: `REQUESTS_CA_BUNDLE`, or else `CURL_CA_BUNDLE`.
    fn bundle<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let variables = self.variables.bind(py);
        let data = variables.getattr(intern!(py, "_data"))?;
        for name in ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
            let found = data
                .cast_exact::<PyDict>()
                .ok()
                .map(|data| data.get_item(name.as_bytes()));
            let value = match found.transpose()?.flatten() {
                Some(value) => match value.cast::<PyBytes>() {
                    Ok(bytes) if bytes.as_bytes().is_ascii() => {
                        String::from_utf8_lossy(bytes.as_bytes())
                            .into_pyobject(py)?
                            .into_any()
                    }
                    // Decoded as the environment decodes.
                    _ => variables.call_method1(intern!(py, "get"), (name,))?,
                },
                None => continue,
            };
            if value.is_truthy()? {
                return Ok(value);
            }
        }
        Ok(py.None().into_bound(py))
    }
}

fn read(variables: &Bound<'_, PyDict>) -> u8 {
    let mut found = ELSEWHERE;
    for (name, value) in variables.iter() {
        let (Ok(name), Ok(_)) = (name.cast::<PyBytes>(), value.cast::<PyBytes>()) else {
            // Not the dict that we know: whoever reads it properly must.
            return PROXY | NETRC | BUNDLE | ELSEWHERE;
        };
        match name.as_bytes() {
            b"HOME" => found &= !ELSEWHERE,
            b"REQUESTS_CA_BUNDLE" | b"CURL_CA_BUNDLE" => found |= BUNDLE,
            name if environment::names_a_proxy(name) => found |= PROXY,
            _ => {}
        }
    }
    if variables
        .contains(PyBytes::new(variables.py(), b"NETRC"))
        .unwrap_or(true)
    {
        found |= ELSEWHERE;
    }
    found
}

#[cfg(unix)]
fn has_netrc(variables: &Bound<'_, PyDict>) -> PyResult<bool> {
    let py = variables.py();
    let Some(home) = variables.get_item(PyBytes::new(py, b"HOME"))? else {
        return Ok(true);
    };
    let home = home.cast_into::<PyBytes>()?;
    let home = home.as_bytes();
    // The GIL is released: a home directory may be on a network. The bytes are immutable, and `home` keeps them.
    Ok(py.detach(|| environment::has_netrc(home)))
}

#[cfg(not(unix))]
fn has_netrc(_variables: &Bound<'_, PyDict>) -> PyResult<bool> {
    Ok(true)
}
