//! JetStream's answers to many publishes.

use crate::message::Message;
use crate::object::{self, Object, Owned};
use mts1b_wire_bytes::acks;
use pyo3::exceptions::PyTypeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString, PyTuple, PyType};

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
    kept: &Bound<'_, PyDict>,
) -> PyResult<usize> {
    let begin = begin.as_bytes();
    let mut taken = 0;
    for message in batch.iter() {
        // SAFETY: the list keeps it alive while it is looked at; keys and values are made here.
        unsafe {
            let Some((subject, payload)) = parts(message.as_ptr()) else { break };
            let Some(number) = subject.get(start..).and_then(acks::whole_number) else { break };
            let Some(sequence) = acks::sequence(payload, begin) else { break };
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
                || ffi::PyDict_SetItem(kept.as_ptr(), token.as_ptr(), value.as_ptr()) != 0
            {
                return Err(object::raised(py));
            }
        }
        taken += 1;
    }
    Ok(taken)
}

/// Subject and payload of a message, in one object or as the pure parser collects it.
unsafe fn parts<'a>(message: Object) -> Option<(&'a [u8], &'a [u8])> {
    // SAFETY: the caller keeps the message alive, which keeps its parts.
    unsafe {
        if let Some(message) = Message::of(message) {
            return Some((message.subject(), message.payload()));
        }
        if ffi::PyTuple_CheckExact(message) == 0 || ffi::PyTuple_GET_SIZE(message) != 4 {
            return None;
        }
        let (subject, payload) = (ffi::PyTuple_GET_ITEM(message, 0), ffi::PyTuple_GET_ITEM(message, 3));
        if ffi::PyBytes_CheckExact(subject) == 0 || ffi::PyBytes_CheckExact(payload) == 0 {
            return None;
        }
        Some((object::bytes_of(subject), object::bytes_of(payload)))
    }
}

/// An `ack`, a tuple of five, for each sequence of `sequences`, in their order: stream, sequence, that it is no
/// duplicate, concrete subject, message id.
#[pyfunction]
pub fn plain_acks<'py>(
    ack: &Bound<'py, PyType>,
    stream: &Bound<'py, PyString>,
    sequences: &Bound<'py, PyDict>,
    names: &Bound<'py, PyList>,
    ids: &Bound<'py, PyList>,
) -> PyResult<Bound<'py, PyList>> {
    let py = ack.py();
    if !ack.is_subclass_of::<PyTuple>()? || names.len() != sequences.len() || ids.len() != sequences.len() {
        return Err(PyTypeError::new_err("a tuple, and as many names and ids as sequences"));
    }
    let made = PyList::empty(py);
    for (at, (_, sequence)) in sequences.iter().enumerate() {
        let (name, id) = (names.get_item(at)?, ids.get_item(at)?);
        // SAFETY: a tuple of five of a class that adds no fields; filled before anybody sees it.
        unsafe {
            let class = ack.as_type_ptr();
            let one = Bound::from_owned_ptr_or_err(py, ((*class).tp_alloc.unwrap_unchecked())(class, 5))?;
            let parts = [stream.as_ptr(), sequence.as_ptr(), ffi::Py_False(), name.as_ptr(), id.as_ptr()];
            for (at, part) in parts.into_iter().enumerate() {
                ffi::PyTuple_SET_ITEM(one.as_ptr(), at as isize, Owned::of(part).into_ptr());
            }
            made.append(one)?;
        }
    }
    Ok(made)
}
