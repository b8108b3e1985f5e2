//! What the readers of some subjects receive, decoded: the pure decoder learns how the messages of a concrete subject
//! begin, and those that begin so are read here.

use crate::cell::Locked;
use crate::message::Message;
use crate::object::{Object, Owned};
use crate::plan::Plan;
use mts1b_wire_bytes::headers;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

const MOST_SUBJECTS: usize = 16_384;
const MOST_PREFIXES: usize = 8;

/// What is known of one concrete subject.
pub struct Known {
    subject: Box<[u8]>,
    pub registered: Py<PyAny>,
    pub name: Py<PyString>,
    pub pattern: Py<PyString>,
    plan: Py<Plan>,
    /// How the header blocks of its messages begin, up to the ids: one for each actor.
    prefixes: Vec<Box<[u8]>>,
}

/// Multiplies word by word: subjects come from our own server, and there are at most 16,384 of them.
#[derive(Default)]
pub struct Mixing(u64);

impl Hasher for Mixing {
    fn finish(&self) -> u64 {
        self.0
    }

    #[inline(always)]
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= crate::plan::hash(bytes) as u64;
    }

    #[inline(always)]
    fn write_usize(&mut self, number: usize) {
        self.0 = self.0.rotate_left(5) ^ number as u64;
    }
}

type ByName = HashMap<Box<[u8]>, Arc<Known>, BuildHasherDefault<Mixing>>;

#[derive(Default)]
struct State {
    known: ByName,
    last: Option<Arc<Known>>,
}

/// Decodes the common messages of some subjects.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Subjects {
    state: Locked<State>,
}

/// A message that was read.
pub struct Read {
    pub known: Arc<Known>,
    pub payload: Owned,
    /// Where in its header block the ids begin.
    pub ids_at: usize,
}

#[pymethods]
impl Subjects {
    #[new]
    fn new() -> Self {
        Self { state: Locked::new(State::default()) }
    }

    /// From now on, read messages of `subject` whose header block begins with `prefix` and goes on as ours do.
    #[allow(clippy::too_many_arguments)] // one call, in Python
    fn remember(
        &self,
        py: Python<'_>,
        subject: &Bound<'_, PyBytes>,
        prefix: &Bound<'_, PyBytes>,
        registered: Py<PyAny>,
        name: Py<PyString>,
        pattern: Py<PyString>,
        plan: Py<Plan>,
    ) {
        let key: Box<[u8]> = subject.as_bytes().into();
        let prefix: Box<[u8]> = prefix.as_bytes().into();
        let old = self.state.with(py, |state| {
            let last = state.last.take();
            let cleared =
                if state.known.len() >= MOST_SUBJECTS { Some(std::mem::take(&mut state.known)) } else { None };
            let mut prefixes = match state.known.get(&key) {
                Some(known) => known.prefixes.iter().filter(|each| **each != prefix).cloned().collect(),
                None => Vec::new(),
            };
            prefixes.insert(0, prefix);
            prefixes.truncate(MOST_PREFIXES);
            let replaced = {
                let subject = key.clone();
                let known = Known { subject, registered, name, pattern, plan, prefixes };
                state.known.insert(key, Arc::new(known))
            };
            (last, cleared, replaced)
        });
        drop(old);
    }

    /// The registered subject, the concrete one, the payload, and that the envelope is plain; None for the pure decoder.
    fn decode<'py>(&self, py: Python<'py>, message: &Bound<'py, PyAny>) -> PyResult<Option<Decoded<'py>>> {
        let Some(read) = self.read(py, message.as_ptr())? else { return Ok(None) };
        // SAFETY: an owned reference, with the GIL.
        let payload = unsafe { Bound::from_owned_ptr(py, read.payload.into_ptr()) };
        Ok(Some((read.known.registered.clone_ref(py), read.known.name.clone_ref(py), payload, true)))
    }
}

type Decoded<'py> = (Py<PyAny>, Py<PyString>, Bound<'py, PyAny>, bool);

impl Subjects {
    /// What `message` holds; None when it is for the pure decoder.
    #[inline(always)]
    pub fn read(&self, py: Python<'_>, message: Object) -> PyResult<Option<Read>> {
        // SAFETY: the caller's reference keeps it alive.
        let Some(message) = (unsafe { Message::of(message) }) else { return Ok(None) };
        let subject = message.subject();
        let (known, old) = self.state.with(py, |state| {
            if let Some(known) = &state.last {
                if *known.subject == *subject {
                    return (Some(Arc::clone(known)), None);
                }
            }
            let known = state.known.get(subject).map(Arc::clone);
            let old = known.as_ref().and_then(|known| state.last.replace(Arc::clone(known)));
            (known, old)
        });
        drop(old);
        let Some(known) = known else { return Ok(None) };
        let head = message.head();
        let begun = known.prefixes.iter().find(|prefix| head.strip_prefix(&***prefix).is_some_and(headers::are_ids));
        let Some(ids_at) = begun.map(|prefix| prefix.len()) else { return Ok(None) };
        let read = known.plan.get().read(py, message.payload())?;
        Ok(read.map(|payload| Read { known, payload, ids_at }))
    }
}
