//! The clocks of the module `time`, which simulations replace.

use crate::object::{self, Owned};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The module `time`.
pub struct Clock {
    names: Py<PyDict>,
    monotonic: Py<PyString>,
    time: Py<PyString>,
    /// `time.monotonic` and `time.time` as they are written in C, where they were so: the standard library reads the
    /// same clocks, at once.
    own_monotonic: Py<PyAny>,
    own_time: Py<PyAny>,
    begun: Instant,
}

impl Clock {
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        let module: Bound<'_, PyModule> = py.import("time")?;
        let own = |name| -> PyResult<Py<PyAny>> {
            let clock = module.getattr(name)?;
            // SAFETY: only looks.
            let written_in_c = unsafe { ffi::PyCFunction_CheckExact(clock.as_ptr()) } != 0;
            Ok(if written_in_c { clock.unbind() } else { py.None() })
        };
        Ok(Self {
            names: module.dict().unbind(),
            monotonic: PyString::intern(py, "monotonic").unbind(),
            time: PyString::intern(py, "time").unbind(),
            own_monotonic: own("monotonic")?,
            own_time: own("time")?,
            begun: Instant::now(),
        })
    }

    /// Seconds, from one reading to the next; never compared with what Python has read.
    #[inline(always)]
    pub fn monotonic(&self, py: Python<'_>) -> PyResult<f64> {
        // SAFETY: the module's dict is alive.
        unsafe {
            let found = ffi::PyDict_GetItemWithError(self.names.as_ptr(), self.monotonic.as_ptr());
            if found == self.own_monotonic.as_ptr() {
                return Ok(self.begun.elapsed().as_secs_f64());
            }
            let read = self.called(py, found)?;
            let seconds = ffi::PyFloat_AsDouble(read.as_ptr());
            if seconds == -1.0 && PyErr::occurred(py) { Err(object::raised(py)) } else { Ok(seconds) }
        }
    }

    /// `time.time()`.
    #[inline(always)]
    pub fn seconds(&self, py: Python<'_>) -> PyResult<f64> {
        // SAFETY: the module's dict is alive.
        unsafe {
            let found = ffi::PyDict_GetItemWithError(self.names.as_ptr(), self.time.as_ptr());
            if found == self.own_time.as_ptr() {
                if let Ok(since) = SystemTime::now().duration_since(UNIX_EPOCH) {
                    return Ok(since.as_nanos() as i64 as f64 / 1e9); // rounded as CPython does
                }
            }
            let read = self.called(py, found)?;
            let seconds = ffi::PyFloat_AsDouble(read.as_ptr());
            if seconds == -1.0 && PyErr::occurred(py) { Err(object::raised(py)) } else { Ok(seconds) }
        }
    }

    /// `time.time()`, as an object.
    #[inline(always)]
    pub fn time(&self, py: Python<'_>) -> PyResult<Owned> {
        let seconds = self.seconds(py)?;
        // SAFETY: a new reference, or NULL with an error.
        unsafe { Owned::new(ffi::PyFloat_FromDouble(seconds)).ok_or_else(|| object::raised(py)) }
    }

    unsafe fn called(&self, py: Python<'_>, clock: object::Object) -> PyResult<Owned> {
        // SAFETY: a reference of our own is held while it runs.
        unsafe {
            if clock.is_null() {
                return Err(pyo3::exceptions::PyAttributeError::new_err("the module time has lost a clock"));
            }
            let clock = Owned::of(clock);
            Owned::new(ffi::PyObject_CallNoArgs(clock.as_ptr())).ok_or_else(|| object::raised(py))
        }
    }
}
