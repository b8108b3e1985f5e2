//! The clocks of the module `time`, which simulations replace.

use crate::object::{self, Owned};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyModule, PyString};
use std::time::Instant;

/// The module `time`.
pub struct Clock {
    names: Py<PyDict>,
    monotonic: Py<PyString>,
    time: Py<PyString>,
    /// `time.monotonic` as it is written in C, where it was so: the standard library reads the same clock, at once.
    own: Py<PyAny>,
    begun: Instant,
}

impl Clock {
    pub fn new(py: Python<'_>) -> PyResult<Self> {
        let module: Bound<'_, PyModule> = py.import("time")?;
        let monotonic = module.getattr("monotonic")?;
        // SAFETY: only looks.
        let written_in_c = unsafe { ffi::PyCFunction_CheckExact(monotonic.as_ptr()) } != 0;
        Ok(Self {
            names: module.dict().unbind(),
            monotonic: PyString::intern(py, "monotonic").unbind(),
            time: PyString::intern(py, "time").unbind(),
            own: if written_in_c { monotonic.unbind() } else { py.None() },
            begun: Instant::now(),
        })
    }

    /// Seconds, from one reading to the next; never compared with what Python has read.
    #[inline(always)]
    pub fn monotonic(&self, py: Python<'_>) -> PyResult<f64> {
        // SAFETY: the module's dict is alive.
        unsafe {
            let found = ffi::PyDict_GetItemWithError(self.names.as_ptr(), self.monotonic.as_ptr());
            if found == self.own.as_ptr() {
                return Ok(self.begun.elapsed().as_secs_f64());
            }
            let read = self.called(py, found)?;
            let seconds = ffi::PyFloat_AsDouble(read.as_ptr());
            if seconds == -1.0 && PyErr::occurred(py) { Err(object::raised(py)) } else { Ok(seconds) }
        }
    }

    /// `time.time()`.
    #[inline(always)]
    pub fn time(&self, py: Python<'_>) -> PyResult<Owned> {
        // SAFETY: the module's dict is alive.
        unsafe { self.called(py, ffi::PyDict_GetItemWithError(self.names.as_ptr(), self.time.as_ptr())) }
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
