//! Whether attributes are still the objects that they were, at the price of a few comparisons.
//!
//! A type has a version: `CPython` draws a new one, never used before, after any attribute of it or of a base was set
//! or deleted. So has a dict (PEP 509), until 3.13. While the version is the one that was seen when all was right, it
//! still is. Without versions (the limited API, a later Python) everything is looked at each time.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString, PyTuple, PyType};

/// The version of a type; 0: it has none, look for yourself.
#[cfg(not(feature = "abi3"))]
fn version(owner: &Bound<'_, PyType>) -> u32 {
    // SAFETY: the pointer is that of a live type object, which `owner` keeps alive. The field is a plain integer
    // that is only written with the GIL held, which we hold.
    unsafe { (*owner.as_type_ptr()).tp_version_tag }
}

/// The limited API hides it.
#[cfg(feature = "abi3")]
fn version(_owner: &Bound<'_, PyType>) -> u32 {
    0
}

/// The version of a dict's contents; 0: it has none.
#[cfg(not(any(feature = "abi3", Py_3_14)))]
pub fn contents(dict: &Bound<'_, PyDict>) -> u64 {
    // SAFETY: the pointer is that of a live dict, which `dict` keeps alive; `PyDict` is never but a `PyDictObject`.
    // The field is a plain integer that is only written with the GIL held, which we hold.
    #[allow(deprecated)] // 3.12 to 3.13 still count it; 3.14 has it no more, and neither have we
    unsafe {
        (*dict.as_ptr().cast::<pyo3::ffi::PyDictObject>()).ma_version_tag
    }
}

/// Hidden or gone.
#[cfg(any(feature = "abi3", Py_3_14))]
pub fn contents(_dict: &Bound<'_, PyDict>) -> u64 {
    0
}

/// Who has the attributes.
enum Owner {
    Type(Py<PyType>, AtomicU32),
    Module(Py<PyDict>, AtomicU64),
    Other(Py<PyAny>),
}

type Pairs = Vec<(Py<PyString>, Py<PyAny>)>;

fn right<'py>(
    py: Python<'py>,
    pairs: &Pairs,
    find: impl Fn(&Bound<'py, PyString>) -> Option<Bound<'py, PyAny>>,
) -> bool {
    // One that was deleted has changed.
    pairs
        .iter()
        .all(|(name, value)| find(name.bind(py)).is_some_and(|found| found.is(value)))
}

/// Whether a type has all of them, and the version of which that is true; 0 if there is none.
fn look(kind: &Bound<'_, PyType>, pairs: &Pairs) -> (bool, u32) {
    let all = || right(kind.py(), pairs, |name| kind.getattr(name).ok());
    // The first look gives it a version; only what is right before and after that is right of it, since a metaclass
    // may run Python.
    if !all() {
        return (false, 0);
    }
    let then = version(kind);
    let still = all();
    (
        still,
        if still && version(kind) == then {
            then
        } else {
            0
        },
    )
}

impl Owner {
    fn of(owner: &Bound<'_, PyAny>) -> Self {
        if let Ok(kind) = owner.cast::<PyType>() {
            Self::Type(kind.clone().unbind(), AtomicU32::new(0))
        } else if let Ok(module) = owner.cast_exact::<PyModule>() {
            Self::Module(module.dict().unbind(), AtomicU64::new(0))
        } else {
            Self::Other(owner.clone().unbind())
        }
    }

    fn holds(&self, py: Python<'_>, pairs: &Pairs) -> bool {
        match self {
            Self::Module(dict, seen) => {
                let dict = dict.bind(py);
                let now = contents(dict);
                if now != 0 && now == seen.load(Ordering::Relaxed) {
                    return true;
                }
                // Looking into a module's dict runs no Python: nothing moves meanwhile.
                let all = right(py, pairs, |name| dict.get_item(name).ok().flatten());
                if all {
                    seen.store(now, Ordering::Relaxed);
                }
                all
            }
            Self::Other(owner) => {
                let owner = owner.bind(py);
                right(py, pairs, |name| owner.getattr(name).ok())
            }
            Self::Type(owner, seen) => {
                let owner = owner.bind(py);
                let now = version(owner);
                if now != 0 && now == seen.load(Ordering::Relaxed) {
                    return true;
                }
                let (all, then) = look(owner, pairs);
                if then != 0 {
                    seen.store(then, Ordering::Relaxed);
                }
                all
            }
        }
    }
}

/// Attributes of types, modules and other objects, `((owner, (name, ...), (value, ...)), ...)`, each to be the same object.
///
/// Not an equal one: a tracer's wrapper says that it equals what it wraps.
#[pyclass(frozen, module = "holdfast._core")]
pub struct Watch {
    entries: Vec<(Owner, Pairs)>,
}

#[pymethods]
impl Watch {
    #[new]
    fn new(watched: &Bound<'_, PyTuple>) -> PyResult<Self> {
        let entries = watched
            .iter()
            .map(|entry| {
                type Names<'py> = Vec<Bound<'py, PyString>>;
                let (owner, names, values): (Bound<'_, PyAny>, Names<'_>, Vec<Bound<'_, PyAny>>) =
                    entry.extract()?;
                let pairs = names
                    .into_iter()
                    .zip(values)
                    .map(|(name, value)| (name.unbind(), value.unbind()))
                    .collect();
                Ok((Owner::of(&owner), pairs))
            })
            .collect::<PyResult<_>>()?;
        Ok(Self { entries })
    }

    /// Whether all of them are.
    pub fn unchanged(&self, py: Python<'_>) -> bool {
        self.entries
            .iter()
            .all(|(owner, pairs)| owner.holds(py, pairs))
    }
}

/// How many classes a `Family` remembers; a program that has more heirs pays for looking.
const KNOWN: usize = 16;

/// Whether an object does some things as its family does: neither its class nor the object itself has ways of its own.
#[pyclass(frozen, module = "holdfast._core")]
pub struct Family {
    names: Vec<Py<PyString>>,
    judge: Py<PyAny>,
    watch: Py<Watch>,
    /// Versions of classes that passed; a version belongs to one class, and to one state of it and its bases.
    passed: [AtomicU32; KNOWN],
}

#[pymethods]
impl Family {
    /// `judge(class)` says whether a class passes; `names` are those that must not be in an object's own dict; what
    /// `watch` watches must be as it was.
    #[new]
    fn new(
        names: Vec<Bound<'_, PyString>>,
        judge: &Bound<'_, PyAny>,
        watch: &Bound<'_, Watch>,
    ) -> Self {
        Self {
            names: names.into_iter().map(Bound::unbind).collect(),
            judge: judge.clone().unbind(),
            watch: watch.clone().unbind(),
            passed: [const { AtomicU32::new(0) }; KNOWN],
        }
    }

    /// Whether `member`, whose own dict is `own`, passes.
    fn has(&self, member: &Bound<'_, PyAny>, own: &Bound<'_, PyDict>) -> PyResult<bool> {
        let py = member.py();
        if !self.watch.get().unchanged(py) {
            return Ok(false);
        }
        let kind = member.get_type();
        let now = version(&kind);
        let known = |now| {
            let mut passed = self.passed.iter();
            now != 0 && passed.any(|seen| seen.load(Ordering::Relaxed) == now)
        };
        if !known(now) {
            let judge = self.judge.bind(py);
            if !judge.call1((&kind,))?.is_truthy()? {
                return Ok(false);
            }
            // Looking gave the class a version. The judge runs Python: what it says counts for a version that was
            // there before it was asked.
            let then = version(&kind);
            if then != 0 && judge.call1((&kind,))?.is_truthy()? && then == version(&kind) {
                self.passed[then as usize % KNOWN].store(then, Ordering::Relaxed);
            }
        }
        for name in &self.names {
            if own.contains(name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
