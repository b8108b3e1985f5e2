//! From a chunk of what a server sent to the messages of the subscriptions that collect them.

use crate::cell::Locked;
use crate::message;
use crate::object;
use mts1b_wire_bytes::scan;
use pyo3::buffer::PyBuffer;
use pyo3::exceptions::{PyBufferError, PyMemoryError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};
use std::collections::HashMap;

struct Route {
    key: Py<PyBytes>,
    list: Py<PyList>,
}

/// Collects messages as the pure parser does, up to the first thing that is not a message of a known subscription.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Scanner {
    routes: Locked<HashMap<u64, Route>>,
    most: usize,
}

#[pymethods]
impl Scanner {
    #[new]
    fn new(max_message: usize) -> Self {
        Self { routes: Locked::new(HashMap::new()), most: max_message }
    }

    /// Collect the messages of the subscription `sid`, whose id is spelled `key`, in `list`.
    fn route(&self, py: Python<'_>, sid: u64, key: Py<PyBytes>, list: Py<PyList>) {
        let old = self.routes.with(py, |routes| routes.insert(sid, Route { key, list }));
        drop(old);
    }

    /// Collect them no more.
    fn unroute(&self, py: Python<'_>, sid: u64) {
        let old = self.routes.with(py, |routes| routes.remove(&sid));
        drop(old);
    }

    /// Collect what is in `data` from `begin` on; how many bytes that was, and how many of them were payload.
    ///
    /// `data` is `bytes`, or a buffer that nobody writes to meanwhile. The keys of those whose list was empty are
    /// appended to `touched`.
    #[pyo3(signature = (data, touched, begin = 0))]
    fn scan(
        &self,
        py: Python<'_>,
        data: PyBuffer<u8>,
        touched: &Bound<'_, PyList>,
        begin: usize,
    ) -> PyResult<(usize, usize)> {
        if !data.is_c_contiguous() {
            return Err(PyBufferError::new_err("a chunk is read in one piece"));
        }
        // SAFETY: the buffer is held, hence not given back; only the holder of the GIL writes to it, and nothing below
        // runs Python code: messages are no matter of the garbage collector, and a list takes them without asking it.
        let data = unsafe { std::slice::from_raw_parts(data.buf_ptr().cast::<u8>(), data.len_bytes()) };
        let (mut at, mut payload) = (begin, 0);
        let mut last: Option<(u64, Bound<'_, PyList>)> = None;
        let mut lead = None;
        while let Some(found) = scan::message(data, at, self.most, &mut lead) {
            if last.as_ref().is_none_or(|(sid, _)| *sid != found.sid) {
                let route = self.routes.with(py, |routes| {
                    routes.get(&found.sid).map(|route| (route.key.clone_ref(py), route.list.clone_ref(py)))
                });
                let Some((key, list)) = route else { break };
                let list = list.into_bound(py);
                if list.is_empty() {
                    touched.append(key)?;
                }
                last = Some((found.sid, list));
            }
            let Some((_, list)) = &last else { break };
            let made = message::make(
                &data[found.subject],
                &data[found.reply],
                &data[found.head..found.payload],
                &data[found.payload..found.end],
            )
            .ok_or_else(|| PyMemoryError::new_err("no memory for a message"))?;
            // SAFETY: a list, alive; it takes a reference of its own.
            if unsafe { ffi::PyList_Append(list.as_ptr(), made.as_ptr()) } != 0 {
                return Err(object::raised(py));
            }
            payload += found.end - found.payload;
            at = found.next;
        }
        Ok((at - begin, payload))
    }
}
