//! Taking the times of events that were consumed: what `Timings.settled` does, for nearly every event.

use crate::attribute::{Attribute, Learnt};
use crate::clock::Clock;
use crate::events;
use crate::object::{self, Owned};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};

/// Digits of a moment in nanoseconds, until the year 2286.
const NANOSECONDS: usize = 19;

/// Takes the times of the events of one bus; `pure` is asked for what is not common.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Timer {
    pure: Py<PyAny>,
    latency: Py<PyDict>,
    handler: Py<PyDict>,
    bounds: Vec<f64>,
    counts: Attribute,
    total: Attribute,
    pattern: Learnt,
    clock: Clock,
}

/// Where one observation is counted: everything is found before anything is changed.
struct Place {
    histogram: Py<PyAny>,
    counts: Owned,
    at: ffi::Py_ssize_t,
    count: i64,
    total: f64,
}

#[pymethods]
impl Timer {
    /// `latency` and `handler` have objects of the class `histogram` by pattern, whose counts stand between `bounds`.
    #[new]
    fn new(
        pure: Py<PyAny>,
        latency: Bound<'_, PyDict>,
        handler: Py<PyDict>,
        histogram: Bound<'_, PyType>,
        bounds: Vec<f64>,
    ) -> PyResult<Self> {
        Ok(Self {
            pure,
            clock: Clock::new(latency.py())?,
            latency: latency.unbind(),
            handler,
            bounds,
            counts: Attribute::of_class(&histogram, "counts"),
            total: Attribute::of_class(&histogram, "total"),
            pattern: Learnt::new("pattern"),
        })
    }

    /// Take the times of `event`, on which its consumer has decided.
    pub fn __call__(&self, py: Python<'_>, event: &Bound<'_, PyAny>) -> PyResult<()> {
        if !self.took(py, event)? {
            self.pure.call1(py, (event,))?;
        }
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pure)?;
        visit.call(&self.latency)?;
        visit.call(&self.handler)
    }
}

impl Timer {
    fn took(&self, py: Python<'_>, event: &Bound<'_, PyAny>) -> PyResult<bool> {
        let classes = events::classes().ok_or_else(events::no_classes)?;
        if event.get_type().as_ptr() != classes.durable.class.as_ptr() {
            return Ok(false);
        }
        // SAFETY: an event of the class whose slots these are; what is in them is kept by references of our own where
        // code of others may run.
        unsafe {
            let received_at = classes.durable.received_at.get(event.as_ptr());
            if received_at.is_null() || ffi::PyFloat_CheckExact(received_at) == 0 {
                return Ok(false);
            }
            let received_at = ffi::PyFloat_AS_DOUBLE(received_at);
            if received_at == 0.0 {
                return Ok(true); // it was handed out before anybody watched
            }
            let reply = classes.live.reply.get(event.as_ptr());
            if reply.is_null() || ffi::PyBytes_CheckExact(reply) == 0 {
                return Ok(false);
            }
            let Some(stored_at) = stored_at(object::bytes_of(reply)) else { return Ok(false) };
            let registered = classes.live.registered.get(event.as_ptr());
            if registered.is_null() {
                return Ok(false);
            }
            let pattern = self.pattern.of(py, &Owned::of(registered))?;
            let waited = received_at - stored_at as f64 * 1e-9;
            let worked = self.clock.seconds(py)? - received_at;
            let Some(latency) = self.place(py, &self.latency, &pattern, waited)? else { return Ok(false) };
            let Some(handler) = self.place(py, &self.handler, &pattern, worked)? else { return Ok(false) };
            self.observe(py, latency)?;
            self.observe(py, handler)?;
            Ok(true)
        }
    }

    /// Where to count `seconds`; None for a clock that ran backwards, and for the first observation of a pattern.
    fn place(&self, py: Python<'_>, histograms: &Py<PyDict>, pattern: &Owned, seconds: f64) -> PyResult<Option<Place>> {
        if !(seconds >= 0.0) {
            return Ok(None);
        }
        // SAFETY: a dict and a key; what it gives is borrowed, and kept at once.
        unsafe {
            let found = ffi::PyDict_GetItemWithError(histograms.as_ptr(), pattern.as_ptr());
            if found.is_null() {
                return if PyErr::occurred(py) { Err(object::raised(py)) } else { Ok(None) };
            }
            let histogram: Py<PyAny> = Bound::from_borrowed_ptr(py, found).unbind();
            let counts = self.counts.get(py, &histogram)?;
            let total = self.total.get(py, &histogram)?;
            let at = self.bounds.partition_point(|bound| *bound < seconds);
            if ffi::PyList_CheckExact(counts.as_ptr()) == 0
                || ffi::PyFloat_CheckExact(total.as_ptr()) == 0
                || at as ffi::Py_ssize_t >= ffi::PyList_GET_SIZE(counts.as_ptr())
            {
                return Ok(None);
            }
            let at = at as ffi::Py_ssize_t;
            let count = ffi::PyLong_AsLongLong(ffi::PyList_GET_ITEM(counts.as_ptr(), at));
            if count == -1 && PyErr::occurred(py) {
                return Err(object::raised(py));
            }
            let total = ffi::PyFloat_AS_DOUBLE(total.as_ptr()) + seconds;
            Ok(Some(Place { histogram, counts, at, count: count + 1, total }))
        }
    }

    fn observe(&self, py: Python<'_>, place: Place) -> PyResult<()> {
        // SAFETY: the place was looked at, and no code of others ran since; the list takes the reference over.
        unsafe {
            let count = Owned::new(ffi::PyLong_FromLongLong(place.count)).ok_or_else(|| object::raised(py))?;
            if ffi::PyList_SetItem(place.counts.as_ptr(), place.at, count.into_ptr()) != 0 {
                return Err(object::raised(py));
            }
            let total = Owned::new(ffi::PyFloat_FromDouble(place.total)).ok_or_else(|| object::raised(py))?;
            self.total.set(py, &place.histogram, total)
        }
    }
}

/// When the stream stored it, in nanoseconds, as the last token but one of a reply subject says; None for other forms.
fn stored_at(reply: &[u8]) -> Option<u64> {
    let last = reply.iter().rposition(|byte| *byte == b'.')?;
    let before = reply[..last].iter().rposition(|byte| *byte == b'.')?;
    let digits = &reply[before + 1..last];
    if digits.len() != NANOSECONDS {
        return None;
    }
    digits.iter().try_fold(0u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}
