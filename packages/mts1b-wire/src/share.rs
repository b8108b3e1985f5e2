//! The share of traces that somebody wants to know of: what is in none of them is told to nobody.

use crate::object;
use mts1b_wire_bytes::{headers, traces};
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyString;

/// The traces whose last 64 bits are below a bound; `pure` is asked for ids that are not of the common form.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct TraceShare {
    bound: u128,
    pure: Py<PyAny>,
}

#[pymethods]
impl TraceShare {
    #[new]
    fn new(bound: u128, pure: Py<PyAny>) -> Self {
        Self { bound, pure }
    }

    /// Whether the trace with this id is one of them.
    pub fn has(&self, py: Python<'_>, trace_id: &Bound<'_, PyAny>) -> PyResult<bool> {
        let low = match trace_id.cast_exact::<PyString>() {
            // SAFETY: a string, alive while it is looked at.
            Ok(text) => unsafe { object::ascii(text.as_ptr()) }.and_then(traces::low_half),
            Err(_) => None,
        };
        match low {
            Some(low) => Ok(u128::from(low) < self.bound),
            None => self.pure.bind(py).call1((trace_id,))?.is_truthy(),
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.pure)
    }
}

impl TraceShare {
    /// Whether a message is in no trace of these, for certain: it names no span, and its trace is none of them.
    ///
    /// `ids` is what its header block has behind `mts-trace-id: `, as `headers::are_ids` knows it.
    #[inline(always)]
    pub fn leaves(&self, ids: &[u8]) -> bool {
        let low = headers::trace_without_span(ids).and_then(traces::low_half);
        low.is_some_and(|low| u128::from(low) >= self.bound)
    }
}
