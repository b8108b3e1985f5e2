//! What waits for the server, as bytes in one buffer, and who writes into it.

use crate::cell::Locked;
use crate::object::{self, Object, Owned, Slot};
use crate::plan::Plan;
use mts1b_wire_bytes::class;
use mts1b_wire_bytes::frames::{self, Lead};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple, PyType};
use std::ptr;

const KEPT: u8 = 0;
const VOLATILE: u8 = 1;
const CONTROL: u8 = 2;

#[derive(Default)]
struct State {
    data: Vec<u8>,
    /// Where each frame ends.
    ends: Vec<usize>,
    kinds: Vec<(usize, u8)>,
    kind: u8,
    up: bool,
    scheduled: bool,
    high_water: usize,
    limit: usize,
    max_payload: usize,
    dropped: u64,
}

impl State {
    #[inline(always)]
    fn turn_to(&mut self, kind: u8) {
        if self.kind != kind {
            self.kind = kind;
            self.kinds.push((self.ends.len(), kind));
        }
    }

    #[inline(always)]
    fn put(&mut self, kind: u8, frame: &[u8]) {
        self.turn_to(kind);
        self.data.extend_from_slice(frame);
        self.ends.push(self.data.len());
    }

    #[inline(always)]
    fn room_for(&self, size: usize) -> bool {
        self.data.len() + size <= self.limit || self.ends.is_empty()
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.kinds.clear();
        self.kind = KEPT;
        if self.data.capacity() > 1 << 20 {
            self.data = Vec::new(); // what a burst needed is not kept for ever
        } else {
            self.data.clear();
        }
    }

    /// Begin, end and kind of each run of frames.
    fn spans(&self) -> Vec<(usize, usize, u8)> {
        let mut found = Vec::new();
        let (mut begin, mut kind) = (0, KEPT);
        for &(at, next) in self.kinds.iter().chain(std::iter::once(&(self.ends.len(), KEPT))) {
            if at > begin {
                found.push((begin, at, kind));
            }
            (begin, kind) = (at, next);
        }
        found
    }

    fn frame(&self, at: usize) -> &[u8] {
        let begin = if at == 0 { 0 } else { self.ends[at - 1] };
        &self.data[begin..self.ends[at]]
    }
}

/// The buffer of one connection; a twin of the hot half of the pure `Outbound`, which owns it.
///
/// What is not common is asked of the owner: `_schedule()`, `check_open()`, `_too_large(frame)`, `_full()`.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct OutBuffer {
    owner: Py<PyAny>,
    state: Locked<State>,
}

enum Refusal {
    None,
    TooLarge,
    Full,
}

#[pymethods]
impl OutBuffer {
    #[new]
    fn new(owner: Py<PyAny>, limit: usize, high_water: usize, max_payload: usize) -> Self {
        let state = State { limit, high_water, max_payload, ..State::default() };
        Self { owner, state: Locked::new(state) }
    }

    /// Queue a frame that is kept over a reconnect.
    fn send(&self, py: Python<'_>, frame: &Bound<'_, PyBytes>) -> PyResult<()> {
        let data = frame.as_bytes();
        self.check_open(py)?;
        match self.state.with(py, |state| refusal(state, data)) {
            Refusal::None => (),
            Refusal::TooLarge => return Err(self.refused(py, intern!(py, "_too_large"), Some(frame))),
            Refusal::Full => return Err(self.refused(py, intern!(py, "_full"), None)),
        }
        self.schedule(py)?;
        self.state.with(py, |state| state.put(KEPT, data));
        Ok(())
    }

    /// Queue frames together, all or none.
    fn send_many(&self, py: Python<'_>, frames: &Bound<'_, PyList>) -> PyResult<()> {
        let frames: Vec<Bound<'_, PyBytes>> =
            frames.iter().map(|frame| Ok(frame.cast_into::<PyBytes>()?)).collect::<PyResult<_>>()?;
        self.check_open(py)?;
        let size: usize = frames.iter().map(|frame| frame.as_bytes().len()).sum();
        let most = self.state.with(py, |state| state.max_payload);
        if size > most {
            for frame in &frames {
                let data = frame.as_bytes();
                if data.len() > most && frames::frame_size(data).is_none_or(|size| size > most) {
                    return Err(self.refused(py, intern!(py, "_too_large"), Some(frame)));
                }
            }
        }
        if !self.state.with(py, |state| state.room_for(size)) {
            return Err(self.refused(py, intern!(py, "_full"), None));
        }
        self.schedule(py)?;
        self.state.with(py, |state| frames.iter().for_each(|frame| state.put(KEPT, frame.as_bytes())));
        Ok(())
    }

    /// Queue a frame that is worth nothing later; false when it was dropped, and counted, instead.
    fn send_volatile(&self, py: Python<'_>, frame: &Bound<'_, PyBytes>) -> PyResult<bool> {
        let data = frame.as_bytes();
        if !self.state.with(py, |state| state.up) {
            self.owner.call_method0(py, intern!(py, "check_open"))?;
            self.state.with(py, |state| state.dropped += 1);
            return Ok(false);
        }
        match self.state.with(py, |state| refusal(state, data)) {
            Refusal::None => (),
            Refusal::TooLarge => return Err(self.refused(py, intern!(py, "_too_large"), Some(frame))),
            Refusal::Full => {
                self.state.with(py, |state| state.dropped += 1);
                return Ok(false);
            }
        }
        self.schedule(py)?;
        self.state.with(py, |state| state.put(VOLATILE, data));
        Ok(true)
    }

    /// Acknowledge a delivery; true when above the high-water mark.
    fn ack(&self, py: Python<'_>, reply: &Bound<'_, PyBytes>) -> PyResult<bool> {
        self.acknowledge(py, reply.as_bytes())
    }

    /// Queue a line for this server only; without a connection it is not needed.
    fn control(&self, py: Python<'_>, line: &Bound<'_, PyBytes>) -> PyResult<()> {
        if self.state.with(py, |state| state.up) {
            self.schedule(py)?;
            self.state.with(py, |state| state.put(CONTROL, line.as_bytes()));
        }
        Ok(())
    }

    /// Take all that waits: the bytes, and how many messages they are; None when nothing does.
    fn take<'py>(&self, py: Python<'py>) -> Option<(Bound<'py, PyBytes>, usize)> {
        let (data, messages) = self.state.with(py, |state| {
            if state.ends.is_empty() {
                return None;
            }
            let lines: usize =
                state.spans().iter().filter(|span| span.2 == CONTROL).map(|(begin, end, _)| end - begin).sum();
            let messages = state.ends.len() - lines;
            let data = std::mem::take(&mut state.data);
            state.ends.clear();
            state.kinds.clear();
            state.kind = KEPT;
            Some((data, messages))
        })?;
        let taken = PyBytes::new(py, &data);
        self.state.with(py, |state| {
            if state.data.is_empty() && data.capacity() <= 1 << 20 {
                state.data = data; // its memory, for the next ones
                state.data.clear();
            }
        });
        Some((taken, messages))
    }

    /// All that waits, frame by frame, each with its kind.
    fn frames<'py>(&self, py: Python<'py>) -> Vec<(Bound<'py, PyBytes>, u8)> {
        let copied: Vec<(Vec<u8>, u8)> = self.state.with(py, |state| {
            let spans = state.spans();
            spans
                .iter()
                .flat_map(|&(begin, end, kind)| (begin..end).map(move |at| (at, kind)))
                .map(|(at, kind)| (state.frame(at).to_vec(), kind))
                .collect()
        });
        copied.into_iter().map(|(frame, kind)| (PyBytes::new(py, &frame), kind)).collect()
    }

    /// Let these frames wait, and no others.
    fn replace(&self, py: Python<'_>, frames: Vec<(Bound<'_, PyBytes>, u8)>) {
        self.state.with(py, |state| {
            state.clear();
            for (frame, kind) in &frames {
                state.put(*kind, frame.as_bytes());
            }
        });
    }

    #[getter]
    fn waiting(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.data.len())
    }

    #[getter]
    fn up(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.up)
    }

    #[setter]
    fn set_up(&self, py: Python<'_>, up: bool) {
        self.state.with(py, |state| state.up = up);
    }

    #[getter]
    fn scheduled(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.scheduled)
    }

    #[setter]
    fn set_scheduled(&self, py: Python<'_>, scheduled: bool) {
        self.state.with(py, |state| state.scheduled = scheduled);
    }

    #[getter]
    fn high_water(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.high_water)
    }

    #[setter]
    fn set_high_water(&self, py: Python<'_>, most: usize) {
        self.state.with(py, |state| state.high_water = most);
    }

    #[getter]
    fn max_payload(&self, py: Python<'_>) -> usize {
        self.state.with(py, |state| state.max_payload)
    }

    #[setter]
    fn set_max_payload(&self, py: Python<'_>, most: usize) {
        self.state.with(py, |state| state.max_payload = most);
    }

    #[getter]
    fn dropped(&self, py: Python<'_>) -> u64 {
        self.state.with(py, |state| state.dropped)
    }

    #[setter]
    fn set_dropped(&self, py: Python<'_>, dropped: u64) {
        self.state.with(py, |state| state.dropped = dropped);
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.owner)
    }
}

#[inline(always)]
fn refusal(state: &State, frame: &[u8]) -> Refusal {
    let most = state.max_payload;
    if frame.len() > most && frames::frame_size(frame).is_none_or(|size| size > most) {
        return Refusal::TooLarge;
    }
    if state.room_for(frame.len()) { Refusal::None } else { Refusal::Full }
}

impl OutBuffer {
    #[inline(always)]
    fn check_open(&self, py: Python<'_>) -> PyResult<()> {
        if !self.state.with(py, |state| state.up) {
            self.owner.call_method0(py, intern!(py, "check_open"))?;
        }
        Ok(())
    }

    #[inline(always)]
    fn schedule(&self, py: Python<'_>) -> PyResult<()> {
        if !self.state.with(py, |state| state.scheduled) {
            self.owner.call_method0(py, intern!(py, "_schedule"))?;
        }
        Ok(())
    }

    /// The error that the owner makes of it.
    #[cold]
    fn refused(&self, py: Python<'_>, why: &Bound<'_, PyString>, frame: Option<&Bound<'_, PyBytes>>) -> PyErr {
        let made = match frame {
            Some(frame) => self.owner.bind(py).call_method1(why, (frame,)),
            None => self.owner.bind(py).call_method0(why),
        };
        made.map_or_else(|error| error, PyErr::from_value)
    }

    /// See `ack`.
    #[inline(always)]
    pub fn acknowledge(&self, py: Python<'_>, reply: &[u8]) -> PyResult<bool> {
        let size = reply.len() + 14;
        let simple = self.state.with(py, |state| state.up && state.data.len() + size <= state.high_water);
        if simple {
            self.schedule(py)?;
            self.state.with(py, |state| {
                state.turn_to(KEPT);
                frames::put_ack(&mut state.data, reply);
                state.ends.push(state.data.len());
            });
            return Ok(false);
        }
        let mut frame = Vec::with_capacity(size);
        frames::put_ack(&mut frame, reply);
        self.send(py, &PyBytes::new(py, &frame))?;
        Ok(self.state.with(py, |state| state.data.len() > state.high_water))
    }
}

/// Where a template of the pure encoder keeps its bytes.
#[derive(Clone, Copy)]
struct TemplateSlots {
    line: Slot,
    block: Slot,
}

impl TemplateSlots {
    fn new(class: &Bound<'_, PyType>) -> PyResult<Self> {
        Ok(Self {
            line: Slot::new(class, &class.getattr("_line")?)?,
            block: Slot::new(class, &class.getattr("_block")?)?,
        })
    }

    /// What `template` writes in front.
    ///
    /// # Safety
    /// `template` is of the class, and alive as long as what is returned.
    #[inline(always)]
    unsafe fn lead<'a>(self, template: Object) -> Option<Lead<'a>> {
        // SAFETY: see above; a template never changes.
        unsafe {
            let (line, block) = (self.line.get(template), self.block.get(template));
            if line.is_null()
                || block.is_null()
                || ffi::PyBytes_CheckExact(line) == 0
                || ffi::PyBytes_CheckExact(block) == 0
            {
                return None;
            }
            Some(Lead { line: object::bytes_of(line), block: object::bytes_of(block) })
        }
    }
}

/// An id that goes into a header as it is.
///
/// # Safety
/// The slice is looked at while `object` is alive.
#[inline(always)]
unsafe fn plain_id<'a>(object: Object) -> Option<&'a [u8]> {
    // SAFETY: see above.
    unsafe {
        if ffi::PyUnicode_CheckExact(object) == 0 {
            return None;
        }
        let text = object::ascii(object)?;
        (!text.is_empty() && class::run(text, class::IDENTIFIER) == text.len()).then_some(text)
    }
}

/// Publishes best-effort events of one subject: from the event to its bytes in the buffer, in one go.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Sender {
    pure: Py<PyAny>,
    trace_id_for: Py<PyAny>,
    buffer: Py<OutBuffer>,
    plan: Py<Plan>,
    templates: Py<PyDict>,
    template: Py<PyType>,
    slots: TemplateSlots,
    names: Vec<Py<PyString>>,
    denials: Py<PyAny>,
    published: Py<PyDict>,
    pattern: Py<PyString>,
    scratch: Locked<Vec<u8>>,
}

#[pymethods]
impl Sender {
    /// `pure` is called for what is not common; `templates` are the encoder's, by the values of the fields `names`.
    #[new]
    #[allow(clippy::too_many_arguments)] // one call, in Python, by name
    #[pyo3(signature = (*, pure, trace_id_for, buffer, plan, templates, template, names, denials, published, pattern))]
    fn new(
        pure: Py<PyAny>,
        trace_id_for: Py<PyAny>,
        buffer: Py<OutBuffer>,
        plan: Py<Plan>,
        templates: Py<PyDict>,
        template: Bound<'_, PyType>,
        names: Vec<Bound<'_, PyString>>,
        denials: Py<PyAny>,
        published: Py<PyDict>,
        pattern: Py<PyString>,
    ) -> PyResult<Self> {
        let py = template.py();
        Ok(Self {
            pure,
            trace_id_for,
            buffer,
            plan,
            templates,
            slots: TemplateSlots::new(&template)?,
            template: template.unbind(),
            names: names
                .iter()
                .map(|name| Ok(PyString::intern(py, name.to_str()?).unbind()))
                .collect::<PyResult<_>>()?,
            denials,
            published,
            pattern,
            scratch: Locked::new(Vec::with_capacity(4096)),
        })
    }

    /// Publish `event`; false when it was dropped and counted.
    #[pyo3(signature = (event, trace_id = None))]
    fn send_volatile<'py>(
        &self,
        py: Python<'py>,
        event: &Bound<'py, PyAny>,
        trace_id: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let trace_id = match trace_id {
            Some(given) if given.is_truthy()? => given.clone(),
            _ => self.trace_id_for.bind(py).call0()?,
        };
        if self.sent(py, event.as_ptr(), trace_id.as_ptr())? {
            return Ok(true.into_pyobject(py)?.to_owned().into_any());
        }
        self.pure.bind(py).call1((event, trace_id))
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pure)?;
        visit.call(&self.buffer)?;
        visit.call(&self.denials)
    }
}

impl Sender {
    /// Whether it is in the buffer; what is not, nothing was done for.
    #[inline(always)]
    fn sent(&self, py: Python<'_>, event: Object, trace_id: Object) -> PyResult<bool> {
        let plan = self.plan.get();
        let buffer = self.buffer.get();
        // SAFETY: the event and what it holds are alive during the call; a template is kept while its bytes are read.
        unsafe {
            let Some(trace_id) = plain_id(trace_id) else { return Ok(false) };
            if ffi::Py_TYPE(event) != plan.model() || self.names.is_empty() {
                return Ok(false);
            }
            if !self.denials.bind(py).getattr(intern!(py, "recent"))?.is(&*pyo3::types::PyBool::new(py, false)) {
                return Ok(false);
            }
            let Some(template) = self.template_of(py, event)? else { return Ok(false) };
            let Some(lead) = self.slots.lead(template.as_ptr()) else { return Ok(false) };
            let mut scratch = self.scratch.with(py, std::mem::take);
            scratch.clear();
            let written = plan.write(py, event, &mut scratch);
            let message = frames::Message { trace_id, payload: &scratch, ..frames::Message::default() };
            let size = message.size(&lead);
            let fits = written
                && buffer.state.with(py, |state| {
                    state.up && size <= state.max_payload && state.room_for(lead.line.len() + size + 64)
                });
            if fits {
                if let Err(error) = buffer.schedule(py) {
                    self.scratch.with(py, |kept| *kept = scratch);
                    return Err(error);
                }
                buffer.state.with(py, |state| {
                    state.turn_to(VOLATILE);
                    message.put(&lead, &mut state.data);
                    state.ends.push(state.data.len());
                });
            }
            self.scratch.with(py, |kept| *kept = scratch);
            if fits && !object::count(self.published.as_ptr(), self.pattern.as_ptr(), 1) {
                return Err(object::raised(py));
            }
            Ok(fits)
        }
    }

    /// The template for what is said in the fields that it depends on, if there is one.
    #[inline(always)]
    unsafe fn template_of(&self, py: Python<'_>, event: Object) -> PyResult<Option<Owned>> {
        // SAFETY: values are borrowed from the event's dict, and kept by a tuple of our own where there are several.
        unsafe {
            let Some(dict) = object::dict_of(event) else { return Err(object::raised(py)) };
            let found = if let [name] = &self.names[..] {
                let key = ffi::PyDict_GetItemWithError(dict.as_ptr(), name.as_ptr());
                if key.is_null() { ptr::null_mut() } else { ffi::PyDict_GetItemWithError(self.templates.as_ptr(), key) }
            } else {
                let Some(key) = Owned::new(ffi::PyTuple_New(self.names.len() as isize)) else {
                    return Err(object::raised(py));
                };
                for (at, name) in self.names.iter().enumerate() {
                    let value = ffi::PyDict_GetItemWithError(dict.as_ptr(), name.as_ptr());
                    if value.is_null() {
                        return if ffi::PyErr_Occurred().is_null() { Ok(None) } else { Err(object::raised(py)) };
                    }
                    ffi::PyTuple_SET_ITEM(key.as_ptr(), at as isize, Owned::of(value).into_ptr());
                }
                ffi::PyDict_GetItemWithError(self.templates.as_ptr(), key.as_ptr())
            };
            if found.is_null() {
                return if ffi::PyErr_Occurred().is_null() { Ok(None) } else { Err(object::raised(py)) };
            }
            Ok((ffi::Py_TYPE(found) == self.template.as_ptr().cast()).then(|| Owned::of(found)))
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
        let made = PyList::empty(py);
        let mut frame = Vec::with_capacity(2048);
        for (at, draft) in drafts.iter().enumerate() {
            let Ok(draft) = draft.cast_into::<PyTuple>() else { return Ok(None) };
            // SAFETY: the draft keeps what is in it alive.
            unsafe {
                let draft = draft.as_ptr();
                if ffi::PyTuple_GET_SIZE(draft) != 5 {
                    return Ok(None);
                }
                let [template, payload, trace_id, msg_id, extra] =
                    [0, 1, 2, 3, 4].map(|at| ffi::PyTuple_GET_ITEM(draft, at));
                if ffi::Py_TYPE(template) != self.template.as_ptr().cast()
                    || ffi::PyBytes_CheckExact(payload) == 0
                    || ffi::PyBytes_CheckExact(extra) == 0
                {
                    return Ok(None);
                }
                let Some(lead) = self.slots.lead(template) else { return Ok(None) };
                let Some(trace_id) = plain_id(trace_id) else { return Ok(None) };
                let id = if msg_id == ffi::Py_None() { None } else { plain_id(msg_id) };
                if id.is_none() && msg_id != ffi::Py_None() {
                    return Ok(None);
                }
                frame.clear();
                frames::Message {
                    reply: reply.as_bytes(),
                    token: Some(first + at as u64),
                    trace_id,
                    msg_id: id,
                    extra: object::bytes_of(extra),
                    payload: object::bytes_of(payload),
                }
                .put(&lead, &mut frame);
            }
            made.append(PyBytes::new(py, &frame))?;
        }
        Ok(Some(made))
    }
}

/// Write down the plain acks in front of `batch`: those of `bulk`, in the stream whose acks begin with `begin`.
///
/// Answers how many those were. `start` is where the number of a publish begins in the subject of its ack.
#[pyfunction]
pub fn take_acks(
    py: Python<'_>,
    batch: &Bound<'_, PyList>,
    start: usize,
    pending: &Bound<'_, PyDict>,
    bulk: &Bound<'_, PyAny>,
    begin: &Bound<'_, PyBytes>,
    acks: &Bound<'_, PyDict>,
) -> PyResult<usize> {
    let begin = begin.as_bytes();
    let mut taken = 0;
    for message in batch.iter() {
        // SAFETY: the list keeps it alive while it is looked at; keys and values are made here.
        unsafe {
            let Some(message) = crate::message::Message::of(message.as_ptr()) else { break };
            let Some(number) = message.subject().get(start..).and_then(mts1b_wire_bytes::acks::whole_number) else {
                break;
            };
            let Some(sequence) = mts1b_wire_bytes::acks::sequence(message.payload(), begin) else { break };
            let token = Owned::new(ffi::PyLong_FromUnsignedLongLong(number)).ok_or_else(|| object::raised(py))?;
            let waiter = ffi::PyDict_GetItemWithError(pending.as_ptr(), token.as_ptr());
            if waiter != bulk.as_ptr() {
                if !ffi::PyErr_Occurred().is_null() {
                    return Err(object::raised(py));
                }
                break;
            }
            let value = Owned::new(ffi::PyLong_FromUnsignedLongLong(sequence)).ok_or_else(|| object::raised(py))?;
            if ffi::PyDict_DelItem(pending.as_ptr(), token.as_ptr()) != 0
                || ffi::PyDict_SetItem(acks.as_ptr(), token.as_ptr(), value.as_ptr()) != 0
            {
                return Err(object::raised(py));
            }
        }
        taken += 1;
    }
    Ok(taken)
}

/// Add the classes of this file.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<OutBuffer>()?;
    module.add_class::<Sender>()?;
    module.add_class::<Framer>()?;
    module.add_function(wrap_pyfunction!(take_acks, module)?)
}
