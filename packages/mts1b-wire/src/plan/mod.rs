//! A payload model as a table of fields: JSON to instance, instance to JSON.
//!
//! The table is made in Python from pydantic's core schema (`codec/plan.py`), which refuses what it does not know. What
//! is read here is what pydantic would make of the same bytes; whatever fails a check, or has another form than the
//! common one, goes to pydantic's own validator, and what is written in another form to the pure encoder.

mod decimals;
mod dicts;
mod given;
mod hits;
mod instants;
mod kind;
mod read;
mod repeats;
mod strings;
mod write;

use crate::cell::Locked;
use crate::object::{self, Object, Owned};
use decimals::Decimals;
use instants::Instants;
use kind::{After, Making, Shape};
use mts1b_wire_bytes::json;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString, PyTuple, PyType};
use read::Parts;
use repeats::Repeats;
use std::cell::Cell;
use strings::Strings;
pub use strings::hash;

/// Make the types of this module's own.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    given::add(module)?;
    module.add_class::<Plan>()
}

/// What pydantic has made for a model, which has another one when it was changed.
struct Made {
    name: Py<PyString>,
    was: Py<PyAny>,
}

impl Made {
    fn of(model: &Bound<'_, PyType>, name: &str) -> PyResult<Self> {
        let name = PyString::intern(model.py(), name);
        Ok(Self { was: model.getattr(&name)?.unbind(), name: name.unbind() })
    }

    /// Whether `model`, for which the plan was made, has it still.
    #[inline(always)]
    fn is_of(&self, model: *mut ffi::PyTypeObject) -> bool {
        // SAFETY: the name is a string, and the class is alive as long as the plan.
        unsafe { object::lookup(model, self.name.as_ptr()) == self.was.as_ptr() }
    }
}

struct State {
    scratch: Vec<u8>,
    decoded: u64,
    left: u64,
    changed: bool,
}

/// A model of known fields, read and written without pydantic where it is sure to be what pydantic does.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Plan {
    shape: Shape,
    parts: Parts,
    validator: Made,
    serializer: Made,
    /// What reads and writes whatever is not taken here, and what is told once that the model has changed.
    pure_decode: Py<PyAny>,
    pure_encode: Py<PyAny>,
    on_change: Py<PyAny>,
    state: Locked<State>,
}

#[pymethods]
impl Plan {
    /// `fields`: name, kind, its options, whether it may be null, whether it must be there, its default.
    #[new]
    #[pyo3(signature = (model, fields, *, slots, after, utc, decode, encode, changed))]
    #[allow(clippy::too_many_arguments)] // named by the caller
    fn new(
        py: Python<'_>,
        model: Bound<'_, PyType>,
        fields: Vec<Bound<'_, PyTuple>>,
        slots: [Bound<'_, PyAny>; 3],
        after: Option<After>,
        utc: Py<PyAny>,
        decode: Py<PyAny>,
        encode: Py<PyAny>,
        changed: Py<PyAny>,
    ) -> PyResult<Self> {
        // SAFETY: only looks; the datetime API takes whatever it is given for a tzinfo.
        if !utc.is_none(py) && unsafe { ffi::PyTZInfo_Check(utc.as_ptr()) } == 0 {
            return Err(PyTypeError::new_err("utc is no tzinfo"));
        }
        let decimal = py.import("decimal")?.getattr("Decimal")?;
        let zero = decimal.call1(("0",))?.unbind();
        let making = Making { slots: &slots, zero: &zero, values: Cell::new(0) };
        let shape = Shape::new(&model, fields, after, &making)?;
        let values = making.values.get();
        let parts = Parts {
            instants: Instants::new(utc),
            decimals: Decimals::new(decimal.unbind(), values),
            strings: Strings::new(values),
            repeats: Repeats::new(values),
        };
        Ok(Self {
            shape,
            parts,
            validator: Made::of(&model, "__pydantic_validator__")?,
            serializer: Made::of(&model, "__pydantic_serializer__")?,
            pure_decode: decode,
            pure_encode: encode,
            on_change: changed,
            state: Locked::new(State { scratch: Vec::with_capacity(4096), decoded: 0, left: 0, changed: false }),
        })
    }

    /// The event in `data`; raises pydantic's error.
    fn decode<'py>(&self, py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if let Ok(bytes) = data.cast_exact::<PyBytes>() {
            if let Some(found) = self.read(py, bytes.as_bytes())? {
                // SAFETY: an owned reference, with the GIL.
                return Ok(unsafe { Bound::from_owned_ptr(py, found.into_ptr()) });
            }
        }
        self.decode_pure(py, data)
    }

    /// `event` as JSON.
    fn encode<'py>(&self, py: Python<'py>, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        let mut scratch = self.state.with(py, |state| std::mem::take(&mut state.scratch));
        scratch.clear();
        let written = self.write(py, event.as_ptr(), &mut scratch);
        let made = written.then(|| PyBytes::new(py, &scratch).into_any());
        self.state.with(py, |state| state.scratch = scratch);
        match made {
            Some(made) => Ok(made),
            None => self.encode_pure(py, event),
        }
    }

    /// How many payloads were decoded here, and how many were left to pydantic.
    #[getter]
    fn counts(&self, py: Python<'_>) -> (u64, u64) {
        self.state.with(py, |state| (state.decoded, state.left))
    }
}

impl Plan {
    /// The model that `data` holds; None when it is for pydantic to decide; an error that no pydantic changes.
    #[inline]
    pub fn read(&self, py: Python<'_>, data: &[u8]) -> PyResult<Option<Owned>> {
        let found = if self.validator.is_of(self.model()) { self.whole(py, data) } else { None };
        // SAFETY: only looks.
        if found.is_none() && unsafe { !ffi::PyErr_Occurred().is_null() } {
            return Err(object::raised(py)); // no memory, or a validator that was interrupted
        }
        self.state.with(py, |state| *(if found.is_some() { &mut state.decoded } else { &mut state.left }) += 1);
        Ok(found)
    }

    /// The instance that all of `data` is.
    #[inline(always)]
    fn whole(&self, py: Python<'_>, data: &[u8]) -> Option<Owned> {
        let begin = json::blanks(data);
        let (found, size) = read::object(py, &self.parts, &self.shape, &data[begin..])?;
        let end = begin + size;
        (end + json::blanks(&data[end..]) == data.len()).then_some(found)
    }

    /// The event in `data` as pydantic reads it.
    #[cold]
    pub fn decode_pure<'py>(&self, py: Python<'py>, data: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.validator.is_of(self.model()) {
            return self.pure_decode.bind(py).call1((data,));
        }
        self.say_changed(py)?;
        let validator = self.shape.model.bind(py).getattr(&self.validator.name)?;
        validator.call_method1(intern!(py, "validate_json"), (data,))
    }

    /// `event` as the pure encoder writes it.
    #[cold]
    pub fn encode_pure<'py>(&self, py: Python<'py>, event: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
        if self.serializer.is_of(self.model()) {
            return self.pure_encode.bind(py).call1((event,));
        }
        self.say_changed(py)?;
        let serializer = event.getattr(&self.serializer.name)?;
        serializer.call_method1(intern!(py, "to_json"), (event,))
    }

    fn say_changed(&self, py: Python<'_>) -> PyResult<()> {
        if !self.state.with(py, |state| std::mem::replace(&mut state.changed, true)) {
            self.on_change.call0(py)?;
        }
        Ok(())
    }

    /// Append `event` as JSON; false, with whatever was appended, when it is for the pure encoder to write.
    #[inline]
    pub fn write(&self, _py: Python<'_>, event: Object, out: &mut Vec<u8>) -> bool {
        // SAFETY: the caller holds the GIL and a reference to the event.
        self.serializer.is_of(self.model()) && unsafe { write::object(&self.parts, &self.shape, event, out) }
    }

    /// The class whose instances are read and written.
    pub fn model(&self) -> *mut ffi::PyTypeObject {
        self.shape.model.as_ptr().cast()
    }
}
