//! Acknowledging the events of a consumer: what `Settler.acked` does, for nearly every event.

use crate::attribute::{Attribute, Learnt};
use crate::cell::Locked;
use crate::events;
use crate::object::{self, Object, Owned, Slot};
use crate::outbound::OutBuffer;
use crate::told::Told;
use pyo3::exceptions::{PyException, PyTypeError};
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyType};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering};

/// What a prefetch counts, which is looked at anew where the consumer has another one.
struct Prefetch {
    itself: Py<PyAny>,
    handled: Py<PyDict>,
    settled: Attribute,
    step: i64,
}

/// Acknowledges the events of one consumer.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct Acker {
    settler: Py<PyAny>,
    client: Py<PyAny>,
    buffer: Py<OutBuffer>,
    remember: Py<PyAny>,
    consumed: Py<PyDict>,
    not_sent: Py<PyType>,
    hooks: Attribute,
    prefetch: Attribute,
    suspect: Attribute,
    stopping: Attribute,
    pattern: Learnt,
    told: Told,
    held: Locked<Option<Arc<Prefetch>>>,
}

#[pymethods]
impl Acker {
    /// `not_sent` is the class of errors that mean no more than that the server delivers again; `deciding` says which
    /// hooks are told of a decision.
    #[new]
    fn new(
        settler: Bound<'_, PyAny>,
        client: Bound<'_, PyAny>,
        buffer: Py<OutBuffer>,
        remember: Py<PyAny>,
        consumed: Py<PyDict>,
        not_sent: Py<PyType>,
        deciding: Py<PyAny>,
    ) -> Self {
        remember_class(&settler);
        Self {
            hooks: Attribute::of(&client, "hooks"),
            prefetch: Attribute::of(&settler, "prefetch"),
            suspect: Attribute::of(&settler, "_suspect"),
            stopping: Attribute::of(&settler, "stopping"),
            settler: settler.unbind(),
            client: client.unbind(),
            buffer,
            remember,
            consumed,
            not_sent,
            pattern: Learnt::new("pattern"),
            told: Told::new(deciding),
            held: Locked::new(None),
        }
    }

    /// Acknowledge `event`; says whether to wait for room.
    pub fn acked(&self, py: Python<'_>, event: &Bound<'_, PyAny>) -> PyResult<bool> {
        let classes = events::classes().ok_or_else(events::no_classes)?;
        let own = &classes.durable;
        if event.get_type().as_ptr() != own.class.as_ptr() {
            return Err(PyTypeError::new_err("no event of a consumer"));
        }
        let object = event.as_ptr();
        // SAFETY: an event of the class whose slots these are; references of our own are held while others' code runs.
        unsafe {
            own.settled.set(object, Owned::of(ffi::Py_True()).into_ptr());
            let hooks = self.hooks.get(py, &self.client)?;
            if hooks.as_ptr() != ffi::Py_None() {
                match self.told.settled(py, &hooks, event) {
                    Err(error) if error.is_instance_of::<PyException>(py) => {
                        self.settler.bind(py).call_method1(intern!(py, "_hook_failed"), (event, error.value(py)))?;
                    }
                    told => told?,
                }
            }
            let reply = classes.live.reply.get(object);
            if reply.is_null() || ffi::PyBytes_CheckExact(reply) == 0 {
                return Err(PyTypeError::new_err("a reply subject is bytes"));
            }
            let reply = Owned::of(reply);
            let crowded = match self.buffer.get().acknowledge(py, object::bytes_of(reply.as_ptr())) {
                Ok(crowded) => crowded,
                Err(error) if error.is_instance(py, self.not_sent.bind(py)) => {
                    self.settler.bind(py).call_method1(intern!(py, "_not_sent"), (error.value(py),))?;
                    false
                }
                Err(error) => return Err(error),
            };
            self.count_settled(py, &reply)?;
            let remembered = Owned::new(ffi::PyObject_CallOneArg(self.remember.as_ptr(), reply.as_ptr()));
            if remembered.is_none() {
                return Err(object::raised(py));
            }
            let first = own.tries.get(object) == classes.one.as_ptr();
            if !first || self.suspect.get(py, &self.settler)?.as_ptr() == object {
                self.settler.bind(py).call_method1(intern!(py, "_acked_after_tries"), (event,))?;
            }
            if self.stopping.is_true(py, &self.settler)? {
                self.settler.bind(py).call_method0(intern!(py, "_release_if_done"))?;
            }
            let registered = Owned::of(classes.live.registered.get(object));
            let pattern = self.pattern.of(py, &registered)?;
            if !object::count(self.consumed.as_ptr(), pattern.as_ptr(), 1) {
                return Err(object::raised(py));
            }
            Ok(crowded)
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.settler)?;
        visit.call(&self.client)?;
        visit.call(&self.buffer)?;
        self.told.traverse(&visit)?;
        self.held.traversed(|held| match held {
            Some(held) => visit.call(&held.itself),
            None => Ok(()),
        })
    }
}

/// The class of settlers that keep their acker in a slot, and where: there is one such class.
static KEPT: AtomicPtr<(Py<PyType>, Slot)> = AtomicPtr::new(ptr::null_mut());

fn remember_class(settler: &Bound<'_, PyAny>) {
    if !KEPT.load(Ordering::Acquire).is_null() {
        return;
    }
    let class = settler.get_type();
    let Some(slot) = class.getattr("acker").ok().and_then(|found| Slot::new(&class, &found).ok()) else { return };
    KEPT.store(Box::into_raw(Box::new((class.unbind(), slot))), Ordering::Release); // for as long as the process
}

/// The acker that `settler` keeps; None where it has none, or is of another class.
///
/// # Safety
/// `settler` is alive.
#[inline(always)]
pub unsafe fn kept_by<'py>(py: Python<'py>, settler: Object) -> Option<Bound<'py, Acker>> {
    // SAFETY: what is remembered is never given back; the slot is one of the settler's own class.
    unsafe {
        let (class, slot) = KEPT.load(Ordering::Acquire).as_ref()?;
        if ffi::Py_TYPE(settler) != class.as_ptr().cast() {
            return None;
        }
        let kept = Bound::from_borrowed_ptr_or_opt(py, slot.get(settler))?;
        kept.cast_into_exact::<Acker>().ok()
    }
}

impl Acker {
    /// What `Prefetch.settled` does.
    fn count_settled(&self, py: Python<'_>, reply: &Owned) -> PyResult<()> {
        let prefetch = self.prefetch.get(py, &self.settler)?;
        let known = self.held.with(py, |held| held.clone().filter(|held| held.itself.as_ptr() == prefetch.as_ptr()));
        let held = match known {
            Some(held) => held,
            None => {
                // SAFETY: alive.
                let prefetch = unsafe { Bound::from_borrowed_ptr(py, prefetch.as_ptr()) };
                if prefetch.is_none() {
                    return Ok(());
                }
                self.look_at(py, &prefetch)?
            }
        };
        // SAFETY: a dict, and bytes.
        unsafe {
            if ffi::PyDict_DelItem(held.handled.as_ptr(), reply.as_ptr()) != 0 {
                if ffi::PyErr_ExceptionMatches(ffi::PyExc_KeyError) == 0 {
                    return Err(object::raised(py));
                }
                ffi::PyErr_Clear();
                return Ok(()); // settled before
            }
        }
        let count = held.settled.number(py, &held.itself)? + 1;
        if count < held.step {
            return held.settled.set_number(py, &held.itself, count);
        }
        held.settled.set_number(py, &held.itself, 0)?;
        held.itself.bind(py).call_method0(intern!(py, "_count"))?;
        Ok(())
    }

    #[cold]
    fn look_at(&self, py: Python<'_>, prefetch: &Bound<'_, PyAny>) -> PyResult<Arc<Prefetch>> {
        let made = Arc::new(Prefetch {
            itself: prefetch.clone().unbind(),
            handled: prefetch.getattr(intern!(py, "handled"))?.extract()?,
            settled: Attribute::of(prefetch, "_settled"),
            step: prefetch.getattr(intern!(py, "_step"))?.extract()?,
        });
        let old = self.held.with(py, |held| held.replace(Arc::clone(&made)));
        drop(old);
        Ok(made)
    }
}
