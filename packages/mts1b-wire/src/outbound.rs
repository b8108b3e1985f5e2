//! What waits for the server, as bytes in one buffer.

use crate::cell::Locked;
use mts1b_wire_bytes::frames;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyMemoryView, PyString};
use std::ffi::c_int;

const KEPT: u8 = 0;
const VOLATILE: u8 = 1;
const CONTROL: u8 = 2;

/// A buffer of more is given back when it is empty: what a burst needed is not kept for ever.
const MOST_KEPT: usize = 1 << 20;

/// What was taken, for transports to read. Its bytes stay as they are while anybody refers to it.
#[pyclass(frozen, module = "mts1b_wire")]
struct Taken(Locked<Vec<u8>>);

#[pymethods]
impl Taken {
    /// # Safety
    /// CPython calls it, with a view to fill.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let (data, size) = slf.get().0.with(slf.py(), |data| (data.as_ptr(), data.len()));
        // SAFETY: the view keeps this object, whose bytes are changed only when nobody else refers to it.
        match unsafe { ffi::PyBuffer_FillInfo(view, slf.as_ptr(), data.cast_mut().cast(), size as isize, 1, flags) } {
            0 => Ok(()),
            _ => Err(PyErr::fetch(slf.py())),
        }
    }
}

#[derive(Default)]
struct State {
    data: Vec<u8>,
    /// What was taken last, whose memory serves again when its transport is done with it.
    taken: Option<Py<Taken>>,
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
        self.data.clear();
        self.data.shrink_to(MOST_KEPT);
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
    fn take<'py>(&self, py: Python<'py>) -> PyResult<Option<(Bound<'py, PyMemoryView>, usize)>> {
        let before = self.state.with(py, |state| state.taken.take());
        let taken = match before {
            // SAFETY: alive. Nobody else refers to it, hence no view of it is left.
            Some(taken) if unsafe { ffi::Py_REFCNT(taken.as_ptr()) } == 1 => taken,
            _ => Py::new(py, Taken(Locked::new(Vec::new())))?,
        };
        let messages = self.state.with(py, |state| {
            let lines: usize =
                state.spans().iter().filter(|span| span.2 == CONTROL).map(|(begin, end, _)| end - begin).sum();
            let messages = state.ends.len() - lines;
            let nothing = state.ends.is_empty();
            if !nothing {
                let size = state.data.len();
                taken.get().0.with(py, |data| std::mem::swap(data, &mut state.data));
                state.clear();
                state.data.reserve(size.min(MOST_KEPT)); // the next burst is of the same size
            }
            state.taken = Some(taken.clone_ref(py));
            (!nothing).then_some(messages)
        });
        match messages {
            Some(messages) => Ok(Some((PyMemoryView::from(taken.bind(py))?, messages))),
            None => Ok(None),
        }
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
    fn above_high_water(&self, py: Python<'_>) -> bool {
        self.state.with(py, |state| state.data.len() > state.high_water)
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

    /// Queue a best-effort frame of so many bytes, `size` of them header block and payload, which `put` writes; false,
    /// with nothing done, when it is not sure to have room.
    #[inline(always)]
    pub fn put_volatile(
        &self,
        py: Python<'_>,
        line: usize,
        size: usize,
        put: impl FnOnce(&mut Vec<u8>),
    ) -> PyResult<bool> {
        let fits = self.state.with(py, |state| state.up && size <= state.max_payload && state.room_for(line + size));
        if fits {
            self.schedule(py)?;
            self.state.with(py, |state| {
                state.turn_to(VOLATILE);
                put(&mut state.data);
                state.ends.push(state.data.len());
            });
        }
        Ok(fits)
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

/// Add the class of this file.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<OutBuffer>()
}
