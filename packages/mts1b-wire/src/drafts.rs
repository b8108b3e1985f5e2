//! Many publishes with an ack each: from the events to drafts, and from these to frames.

use crate::cell::Locked;
use crate::object::{self, Object, Owned};
use crate::plan::Plan;
use crate::share::TraceShare;
use crate::template::{TemplateSlots, plain_id};
use mts1b_wire_bytes::frames::{Lead, Message};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple, PyType};

/// A message id that is one field with something before and behind it.
struct Key {
    before: Py<PyString>,
    field: Py<PyString>,
    after: Py<PyString>,
    plain: bool,
}

/// The drafts of some events of one subject, made as they are asked for.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Drafts {
    events: Py<PyList>,
    templates: Py<PyList>,
    plan: Py<Plan>,
    draft: Py<PyType>,
    key: Option<Key>,
    message_id: Py<PyAny>,
    trace_id: Option<Py<PyAny>>,
    new_trace_ids: Py<PyAny>,
    extra: Py<PyAny>,
    begin: Option<Py<PyAny>>,
    share: Option<Py<TraceShare>>,
    at: Locked<usize>,
}

#[pymethods]
impl Drafts {
    /// `draft` is the class of drafts, a tuple of five; `key` what `message_id` makes ids of, if that is one field; all
    /// are of the trace `trace_id`, or each of its own.
    ///
    /// `begin` is shown those in the traces of `share`, or all, and answers with the draft to send.
    #[new]
    #[allow(clippy::too_many_arguments)] // one call, in Python, by name
    #[pyo3(signature = (*, events, templates, plan, draft, key, message_id, trace_id, new_trace_ids, extra, begin, share))]
    fn new(
        events: Py<PyList>,
        templates: Py<PyList>,
        plan: Py<Plan>,
        draft: Bound<'_, PyType>,
        key: Option<(Bound<'_, PyString>, Bound<'_, PyString>, Bound<'_, PyString>)>,
        message_id: Py<PyAny>,
        trace_id: Option<Py<PyAny>>,
        new_trace_ids: Py<PyAny>,
        extra: Py<PyAny>,
        begin: Option<Py<PyAny>>,
        share: Option<Py<TraceShare>>,
    ) -> PyResult<Self> {
        let py = draft.py();
        if !draft.is_subclass_of::<PyTuple>()? {
            return Err(PyTypeError::new_err("a draft is a tuple"));
        }
        let key = match key {
            None => None,
            Some((before, field, after)) => Some(Key {
                plain: before.is_empty()? && after.is_empty()?,
                before: before.unbind(),
                field: PyString::intern(py, field.to_str()?).unbind(),
                after: after.unbind(),
            }),
        };
        Ok(Self {
            events,
            templates,
            plan,
            draft: draft.unbind(),
            key,
            message_id,
            trace_id,
            new_trace_ids,
            extra,
            begin,
            share,
            at: Locked::new(0),
        })
    }

    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.chunk(py, 1, 0)?.iter().next().map_or(Ok(None), |first| Ok(Some(first)))
    }

    /// The next drafts: at most `most`, and none behind the one with which their payloads are more than `size` bytes.
    fn chunk<'py>(&self, py: Python<'py>, most: usize, size: usize) -> PyResult<Bound<'py, PyList>> {
        let (events, templates) = (self.events.bind(py), self.templates.bind(py));
        if events.len() != templates.len() {
            return Err(PyValueError::new_err("the list of events was changed while they were published"));
        }
        let begin = self.at.with(py, |at| *at);
        let end = events.len().min(begin.saturating_add(most));
        let made = PyList::empty(py);
        if end == begin {
            return Ok(made);
        }
        let traces = match &self.trace_id {
            Some(_) => None,
            None => Some(self.new_trace_ids.bind(py).call1((end - begin,))?.cast_into::<PyList>()?),
        };
        let (mut bytes, mut scratch) = (0, Vec::with_capacity(1024));
        for at in begin..end {
            let trace_id = match (&self.trace_id, &traces) {
                (Some(same), _) => same.bind(py).clone(),
                (None, Some(traces)) => traces.get_item(at - begin)?,
                (None, None) => py.None().into_bound(py),
            };
            self.at.with(py, |next| *next = at + 1);
            let event = events.get_item(at)?;
            let (draft, payload) = self.draft_of(py, &event, &templates.get_item(at)?, &trace_id, &mut scratch)?;
            made.append(self.begun(py, at, event, draft, &trace_id)?)?;
            bytes += payload;
            if bytes > size {
                break;
            }
        }
        Ok(made)
    }
}

impl Drafts {
    /// The draft of one event, and the bytes of its payload.
    fn draft_of<'py>(
        &self,
        py: Python<'py>,
        event: &Bound<'py, PyAny>,
        template: &Bound<'py, PyAny>,
        trace_id: &Bound<'py, PyAny>,
        scratch: &mut Vec<u8>,
    ) -> PyResult<(Bound<'py, PyAny>, usize)> {
        let plan = self.plan.get();
        scratch.clear();
        let payload = if plan.write(py, event.as_ptr(), scratch) {
            PyBytes::new(py, scratch).into_any()
        } else {
            plan.encode_pure(py, event)?
        };
        let size = payload.len()?;
        let msg_id = match self.id_of(py, event.as_ptr()) {
            // SAFETY: a reference of our own.
            Some(id) => unsafe { Bound::from_owned_ptr(py, id.into_ptr()) },
            None => self.message_id.bind(py).call1((event,))?,
        };
        let parts = [template, &payload, trace_id, &msg_id, self.extra.bind(py)];
        // SAFETY: a tuple of five of a class that adds no fields; the slots are filled before anybody sees it.
        unsafe {
            let class = self.draft.as_ptr().cast::<ffi::PyTypeObject>();
            let made = ((*class).tp_alloc.unwrap_unchecked())(class, parts.len() as isize);
            let made = Bound::from_owned_ptr_or_err(py, made)?;
            for (at, part) in parts.iter().enumerate() {
                ffi::PyTuple_SET_ITEM(made.as_ptr(), at as isize, Owned::of(part.as_ptr()).into_ptr());
            }
            Ok((made, size))
        }
    }

    /// `draft` as it is sent: what watches is shown it first, when it wants to know of its trace.
    fn begun<'py>(
        &self,
        py: Python<'py>,
        at: usize,
        event: Bound<'py, PyAny>,
        draft: Bound<'py, PyAny>,
        trace_id: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let Some(begin) = &self.begin else { return Ok(draft) };
        let wanted = match &self.share {
            Some(share) => share.get().has(py, trace_id)?,
            None => true,
        };
        if wanted { begin.bind(py).call1((at, event, draft)) } else { Ok(draft) }
    }

    /// The message id, where it is one string with something around it.
    fn id_of(&self, _py: Python<'_>, event: Object) -> Option<Owned> {
        let key = self.key.as_ref()?;
        // SAFETY: an instance of a model, of which the value is borrowed; strings are alive.
        unsafe {
            if ffi::Py_TYPE(event) != self.plan.get().model() {
                return None;
            }
            let dict = object::dict_of(event)?;
            let value = ffi::PyDict_GetItemWithError(dict.as_ptr(), key.field.as_ptr());
            let made = if value.is_null() || ffi::PyUnicode_CheckExact(value) == 0 {
                None
            } else if key.plain {
                Some(Owned::of(value))
            } else {
                let begun = Owned::new(ffi::PyUnicode_Concat(key.before.as_ptr(), value))?;
                Owned::new(ffi::PyUnicode_Concat(begun.as_ptr(), key.after.as_ptr()))
            };
            if made.is_none() {
                ffi::PyErr_Clear(); // the pure way says what is wrong
            }
            made
        }
    }
}

/// Encodes drafts: what many publishes with an ack each have in common is looked at once.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Framer {
    template: Py<PyType>,
    slots: TemplateSlots,
}

#[pymethods]
impl Framer {
    #[new]
    fn new(template: Bound<'_, PyType>) -> PyResult<Self> {
        Ok(Self { slots: TemplateSlots::new(&template)?, template: template.unbind() })
    }

    /// The frames of `drafts`, whose acks go to `reply` and a number from `first` on; None for the pure encoder.
    fn frames<'py>(
        &self,
        py: Python<'py>,
        drafts: &Bound<'py, PyList>,
        reply: &Bound<'py, PyBytes>,
        first: u64,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let reply = reply.as_bytes();
        self.each(py, drafts, &Last { reply, lines: None, first })
    }

    /// The frames of `drafts` as messages of an atomic batch, which `lead` names, numbered from `first` on; None for the
    /// pure encoder.
    fn batch_frames<'py>(
        &self,
        py: Python<'py>,
        drafts: &Bound<'py, PyList>,
        lead: &Bound<'py, PyBytes>,
        first: u64,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let lead = lead.as_bytes();
        self.each(py, drafts, &Last { reply: b"", lines: Some(lead), first })
    }
}

/// What the frames of one call end up with: where their acks go, or how their batch is named; and from which number on.
struct Last<'a> {
    reply: &'a [u8],
    lines: Option<&'a [u8]>,
    first: u64,
}

impl Framer {
    /// The frame of each of `drafts`, of which `last` says the rest.
    fn each<'py>(
        &self,
        py: Python<'py>,
        drafts: &Bound<'py, PyList>,
        last: &Last<'_>,
    ) -> PyResult<Option<Bound<'py, PyList>>> {
        let made = PyList::empty(py);
        let mut frame = Vec::with_capacity(2048);
        for (number, draft) in drafts.iter().enumerate() {
            let Ok(draft) = draft.cast_into::<PyTuple>() else { return Ok(None) };
            // SAFETY: the draft keeps what is in it alive.
            unsafe {
                let Some((lead, message)) = self.parts(draft.as_ptr()) else { return Ok(None) };
                frame.clear();
                let number = last.first + number as u64;
                let token = last.lines.is_none().then_some(number);
                let numbered = last.lines.map(|lines| (lines, number));
                Message { reply: last.reply, token, numbered, ..message }.put(&lead, &mut frame);
            }
            made.append(PyBytes::new(py, &frame))?;
        }
        Ok(Some(made))
    }

    /// What a draft says, where it goes on the wire as it is.
    ///
    /// # Safety
    /// `draft` is a tuple, alive as long as what is returned.
    #[inline(always)]
    unsafe fn parts<'a>(&self, draft: Object) -> Option<(Lead<'a>, Message<'a>)> {
        // SAFETY: see above.
        unsafe {
            if ffi::PyTuple_GET_SIZE(draft) != 5 {
                return None;
            }
            let [template, payload, trace_id, msg_id, extra] =
                [0, 1, 2, 3, 4].map(|at| ffi::PyTuple_GET_ITEM(draft, at));
            if ffi::Py_TYPE(template) != self.template.as_ptr().cast()
                || ffi::PyBytes_CheckExact(payload) == 0
                || ffi::PyBytes_CheckExact(extra) == 0
            {
                return None;
            }
            let lead = self.slots.lead(template)?;
            let trace_id = plain_id(trace_id)?;
            let msg_id = if msg_id == ffi::Py_None() { None } else { Some(plain_id(msg_id)?) };
            let (extra, payload) = (object::bytes_of(extra), object::bytes_of(payload));
            Some((lead, Message { trace_id, msg_id, extra, payload, ..Message::default() }))
        }
    }
}
