//! The hooks that are told of what becomes of an event, one after the other.

use crate::cell::Locked;
use crate::object::{self, Object, Owned};
use crate::timer::Timer;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use std::sync::Arc;

struct Known {
    hooks: Py<PyAny>,
    each: Py<PyTuple>,
}

/// Tells hooks of decisions; which of them are told is remembered for the hooks that were told last.
pub struct Told {
    deciding: Py<PyAny>,
    last: Locked<Option<Arc<Known>>>,
}

impl Told {
    /// `deciding` says of hooks which are told, in their order.
    pub fn new(deciding: Py<PyAny>) -> Self {
        Self { deciding, last: Locked::new(None) }
    }

    /// Call `settled` of each of `hooks` that is told, up to the first that fails.
    #[inline(always)]
    pub fn settled(&self, py: Python<'_>, hooks: &Owned, event: &Bound<'_, PyAny>) -> PyResult<()> {
        let known = self.last.with(py, |last| last.clone().filter(|last| last.hooks.as_ptr() == hooks.as_ptr()));
        let known = match known {
            Some(known) => known,
            None => self.look_at(py, hooks.as_ptr())?,
        };
        for hook in known.each.bind(py).iter_borrowed() {
            let settled = hook.getattr(intern!(py, "settled"))?;
            match settled.cast_exact::<Timer>() {
                Ok(timer) => timer.get().__call__(py, event)?,
                // SAFETY: both are alive.
                Err(_) => unsafe {
                    Owned::new(ffi::PyObject_CallOneArg(settled.as_ptr(), event.as_ptr()))
                        .ok_or_else(|| object::raised(py))?;
                },
            }
        }
        Ok(())
    }

    #[cold]
    fn look_at(&self, py: Python<'_>, hooks: Object) -> PyResult<Arc<Known>> {
        // SAFETY: alive.
        let hooks = unsafe { Bound::from_borrowed_ptr(py, hooks) };
        let each = self.deciding.bind(py).call1((&hooks,))?.cast_into::<PyTuple>()?;
        let made = Arc::new(Known { hooks: hooks.unbind(), each: each.unbind() });
        let old = self.last.with(py, |last| last.replace(Arc::clone(&made)));
        drop(old);
        Ok(made)
    }

    pub fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.deciding)?;
        self.last.traversed(|last| match last {
            Some(known) => {
                visit.call(&known.hooks)?;
                visit.call(&known.each)
            }
            None => Ok(()),
        })
    }
}
