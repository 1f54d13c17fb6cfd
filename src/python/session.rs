//! What a session does before it sends: URL, headers, and the whole request where all of it is plain.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyList, PyModule, PyString, PyTuple, PyType};

use super::environment::{Environment, NETRC};
use super::head::lowered;
use crate::request::is_valid_field;
use crate::url;

/// What `PreparedRequest.prepare_url` would make of a URL that is normal already; None for any other.
#[pyfunction]
pub fn plain_url<'py>(url: &Bound<'py, PyString>) -> Option<Bound<'py, PyString>> {
    // A lone surrogate has no UTF-8: not for us.
    let text = url.to_str().ok()?;
    url::prepared(text).map(|prepared| match prepared {
        url::Prepared::Same => url.clone(),
        url::Prepared::Slash => PyString::new(url.py(), &format!("{text}/")),
    })
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
    updates: Vec<Bound<'py, PyDict>>,
) -> PyResult<Option<Bound<'py, PyDict>>> {
    merged(store, updates.into_iter())
}

fn merged<'py>(
    store: &Bound<'py, PyDict>,
    updates: impl Iterator<Item = Bound<'py, PyDict>>,
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
    for update in updates {
        for (name, value) in update.iter() {
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
            let lower = lowered(&text, text.to_str()?);
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

/// Makes whole requests: those that a session with nothing but headers sends, in one step.
#[pyclass(frozen, module = "holdfast._core")]
pub struct Preparer {
    request: Py<PyType>,
    fields: Py<PyType>,
    jar: Py<PyType>,
    policy: Py<PyType>,
    policy_state: Py<PyDict>,
    events: Py<PyList>,
    threading: Py<PyModule>,
    environment: Py<Environment>,
}

/// A new object of a plain Python class, whose dict is `state`.
fn made<'py>(kind: &Py<PyType>, state: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyAny>> {
    let py = state.py();
    let kind = kind.bind(py);
    let object = kind.call_method1(intern!(py, "__new__"), (kind,))?;
    object.setattr(intern!(py, "__dict__"), state)?;
    Ok(object)
}

#[pymethods]
impl Preparer {
    /// The classes `PreparedRequest`, `CaseInsensitiveDict`, `RequestsCookieJar` and `DefaultCookiePolicy`, the state of
    /// a new policy, `requests.hooks.HOOKS`, the module `threading` and the environment.
    #[new]
    #[allow(clippy::too_many_arguments)] // what a request is made of
    fn new(
        request: Py<PyType>,
        fields: Py<PyType>,
        jar: Py<PyType>,
        policy: Py<PyType>,
        policy_state: Py<PyDict>,
        events: Py<PyList>,
        threading: Py<PyModule>,
        environment: Py<Environment>,
    ) -> Self {
        Self {
            request,
            fields,
            jar,
            policy,
            policy_state,
            events,
            threading,
            environment,
        }
    }

    /// Whether a cookie jar is of requests' own kind, class and policy, with no method of its own put onto it; its cookies.
    fn plain_jar<'py>(&self, jar: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyDict>>> {
        let py = jar.py();
        if !jar.get_type().is(&self.jar) {
            return Ok(None);
        }
        let state = jar
            .getattr(intern!(py, "__dict__"))?
            .cast_into::<PyDict>()?;
        let known = 3 + usize::from(state.contains(intern!(py, "_now"))?);
        let (Some(cookies), Some(policy), true) = (
            state.get_item(intern!(py, "_cookies"))?,
            state.get_item(intern!(py, "_policy"))?,
            state.contains(intern!(py, "_cookies_lock"))? && state.len() == known,
        ) else {
            return Ok(None);
        };
        if !policy.get_type().is(&self.policy) {
            return Ok(None);
        }
        Ok(cookies.cast_into_exact::<PyDict>().ok())
    }

    /// A jar as `RequestsCookieJar()` makes it.
    fn empty_jar<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let policy = made(&self.policy, &self.policy_state.bind(py).copy()?)?;
        let state = PyDict::new(py);
        state.set_item(intern!(py, "_policy"), policy)?;
        let lock = self
            .threading
            .bind(py)
            .getattr(intern!(py, "RLock"))?
            .call0()?;
        state.set_item(intern!(py, "_cookies_lock"), lock)?;
        state.set_item(intern!(py, "_cookies"), PyDict::new(py))?;
        made(&self.jar, &state)
    }

    /// The prepared request of a session whose dict is `session`, and what the environment says; None if anything is out
    /// of the ordinary, and then nothing has been touched.
    ///
    /// `params` is what goes behind the question mark. A body is for the caller to add.
    fn prepare<'py>(
        &self,
        session: &Bound<'py, PyDict>,
        method: &Bound<'py, PyString>,
        url: &Bound<'py, PyAny>,
        headers: Option<&Bound<'py, PyAny>>,
        params: &Bound<'py, PyString>,
    ) -> PyResult<Option<(Bound<'py, PyAny>, u8)>> {
        let py = session.py();
        let Some(store) = self.store(session, headers)? else {
            return Ok(None);
        };
        if !self.has_nothing_to_add(session)? {
            return Ok(None);
        }
        let Some(url) = whole_url(url, params) else {
            return Ok(None);
        };
        let trusts = session.get_item(intern!(py, "trust_env"))?;
        let Some(Ok(trusts)) = trusts.map(pyo3::Bound::cast_into_exact::<PyBool>) else {
            return Ok(None);
        };
        let found = if trusts.is_true() {
            self.environment.get().look(py, true)?
        } else {
            0
        };
        if found & NETRC != 0 {
            return Ok(None);
        }
        let fields = PyDict::new(py);
        fields.set_item(intern!(py, "_store"), store)?;
        let hooks = PyDict::new(py);
        hooks.set_item(intern!(py, "response"), PyList::empty(py))?;
        let state = PyDict::new(py);
        state.set_item(intern!(py, "method"), method)?;
        state.set_item(intern!(py, "url"), url)?;
        state.set_item(intern!(py, "headers"), made(&self.fields, &fields)?)?;
        state.set_item(intern!(py, "_cookies"), self.empty_jar(py)?)?;
        state.set_item(intern!(py, "body"), py.None())?;
        state.set_item(intern!(py, "hooks"), hooks)?;
        state.set_item(intern!(py, "_body_position"), py.None())?;
        Ok(Some((made(&self.request, &state)?, found)))
    }
}

impl Preparer {
    /// The header store of the request.
    fn store<'py>(
        &self,
        session: &Bound<'py, PyDict>,
        headers: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Option<Bound<'py, PyDict>>> {
        let py = session.py();
        let Some(own) = session.get_item(intern!(py, "headers"))? else {
            return Ok(None);
        };
        if !own.get_type().is(&self.fields) {
            return Ok(None);
        }
        let Ok(own) = own.getattr(intern!(py, "_store"))?.cast_into::<PyDict>() else {
            return Ok(None);
        };
        match headers {
            None => merged(&own, std::iter::empty()),
            Some(headers) => match headers.cast_exact::<PyDict>() {
                Ok(headers) => merged(&own, std::iter::once(headers.clone())),
                Err(_) => Ok(None),
            },
        }
    }

    /// Whether a session has no cookie, credential, parameter or hook for its requests.
    fn has_nothing_to_add(&self, session: &Bound<'_, PyDict>) -> PyResult<bool> {
        let py = session.py();
        let (Some(cookies), Some(auth), Some(params), Some(hooks)) = (
            session.get_item(intern!(py, "cookies"))?,
            session.get_item(intern!(py, "auth"))?,
            session.get_item(intern!(py, "params"))?,
            session.get_item(intern!(py, "hooks"))?,
        ) else {
            return Ok(false);
        };
        let no_params = params
            .cast_exact::<PyDict>()
            .is_ok_and(pyo3::types::PyDictMethods::is_empty);
        let no_cookies = self
            .plain_jar(&cookies)?
            .is_some_and(|cookies| cookies.is_empty());
        Ok(auth.is_none() && no_params && no_cookies && self.no_hooks(&hooks)?)
    }

    /// Whether there is no hook, and no event but the one that requests has.
    fn no_hooks(&self, hooks: &Bound<'_, PyAny>) -> PyResult<bool> {
        let py = hooks.py();
        let response = intern!(py, "response");
        let events = self.events.bind(py);
        if events.len() != 1 || !events.get_item(0)?.eq(response)? {
            return Ok(false);
        }
        let Ok(hooks) = hooks.cast_exact::<PyDict>() else {
            return Ok(false);
        };
        let none = hooks.get_item(response)?.is_some_and(|hooks| {
            hooks
                .cast_exact::<PyList>()
                .is_ok_and(pyo3::types::PyListMethods::is_empty)
        });
        Ok(none && hooks.len() == 1)
    }
}

/// The adapter for a plain URL, as `Session.get_adapter` finds it; None if that must look.
#[pyfunction]
pub fn find_adapter<'py>(
    adapters: &Bound<'py, PyAny>,
    url: &str,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    // Through its own iterator: an OrderedDict has an order of its own.
    let items = adapters.call_method0(intern!(adapters.py(), "items"))?;
    for item in items.try_iter()? {
        let Ok((prefix, adapter)) = item?.extract::<(Bound<'py, PyString>, Bound<'py, PyAny>)>()
        else {
            return Ok(None);
        };
        let Some(prefix) = prefix.to_str().ok().filter(|prefix| prefix.is_ascii()) else {
            return Ok(None);
        };
        let start = url.as_bytes().get(..prefix.len());
        if start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())) {
            return Ok(Some(adapter));
        }
    }
    Ok(None)
}

/// The URL with its parameters, if it is a plain one.
fn whole_url<'py>(
    url: &Bound<'py, PyAny>,
    params: &Bound<'py, PyString>,
) -> Option<Bound<'py, PyString>> {
    let url = plain_url(url.cast_exact::<PyString>().ok()?)?;
    let (text, params) = (url.to_str().ok()?, params.to_str().ok()?);
    if params.is_empty() {
        return Some(url);
    }
    let joint = if text.contains('?') { '&' } else { '?' };
    plain_url(&PyString::new(url.py(), &format!("{text}{joint}{params}")))
}
