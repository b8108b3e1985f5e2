//! Events as readers hand them out: instances of the Python classes, with their slots filled where they lie; and
//! `async with` of them.

use crate::acker;
use crate::awaitable;
use crate::object::{self, Object, Owned, Slot};
use crate::reader::guarded;
use crate::subjects::Read;
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyType};
use std::ffi::{CStr, c_int};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

pub struct Live {
    class: Py<PyType>,
    pub registered: Slot,
    subject: Slot,
    payload: Slot,
    pub reply: Slot,
    wire: Slot,
    headers: Slot,
    hooks: Slot,
    entered: Slot,
}

pub struct Durable {
    pub class: Py<PyType>,
    settler: Slot,
    position: Slot,
    pub settled: Slot,
    pub tries: Slot,
    term: Slot,
    pub received_at: Slot,
}

/// What is known of the classes of events; one of each in a process.
pub struct Classes {
    pub live: Live,
    pub durable: Durable,
    handled: Py<PyAny>,
    pub one: Py<PyAny>,
    zero: Py<PyAny>,
    never: Py<PyAny>,
    acked: Py<PyString>,
    room: Py<PyString>,
    told_entered: Py<PyString>,
    told_left: Py<PyString>,
    hook_failed: Py<PyString>,
    pure_exit: Py<PyAny>,
    pure_exit_durable: Py<PyAny>,
}

static CLASSES: AtomicPtr<Classes> = AtomicPtr::new(ptr::null_mut());

pub fn classes() -> Option<&'static Classes> {
    // SAFETY: set once, to something that is never given back.
    unsafe { CLASSES.load(Ordering::Acquire).as_ref() }
}

fn slot(class: &Bound<'_, PyType>, name: &str) -> PyResult<Slot> {
    Slot::new(class, &class.getattr(name)?)
}

/// Make events of these classes from now on, and serve their `async with`.
///
/// `live` and `durable` have their fields in slots; `handled` is the variable that says what a task handles.
#[pyfunction]
pub fn serve_events(live: Bound<'_, PyType>, durable: Bound<'_, PyType>, handled: Bound<'_, PyAny>) -> PyResult<()> {
    let py = live.py();
    if !durable.is_subclass(&live)? {
        return Err(PyTypeError::new_err("a durable event is a live one"));
    }
    // SAFETY: only looks.
    if unsafe { ffi::PyContextVar_CheckExact(handled.as_ptr()) } == 0 {
        return Err(PyTypeError::new_err("handled is no context variable"));
    }
    let (enter, exit) = ("__aenter__", "__aexit__");
    let made = Classes {
        live: Live {
            registered: slot(&live, "registered")?,
            subject: slot(&live, "subject")?,
            payload: slot(&live, "payload")?,
            reply: slot(&live, "reply")?,
            wire: slot(&live, "_wire")?,
            headers: slot(&live, "_headers")?,
            hooks: slot(&live, "hooks")?,
            entered: slot(&live, "_entered")?,
            class: live.clone().unbind(),
        },
        durable: Durable {
            settler: slot(&durable, "_settler")?,
            position: slot(&durable, "_position")?,
            settled: slot(&durable, "settled")?,
            tries: slot(&durable, "tries")?,
            term: slot(&durable, "term")?,
            received_at: slot(&durable, "received_at")?,
            class: durable.clone().unbind(),
        },
        handled: handled.unbind(),
        one: 1i32.into_pyobject(py)?.into_any().unbind(),
        zero: 0i32.into_pyobject(py)?.into_any().unbind(),
        never: 0.0f64.into_pyobject(py)?.into_any().unbind(),
        acked: PyString::intern(py, "acked").unbind(),
        room: PyString::intern(py, "room").unbind(),
        told_entered: PyString::intern(py, "entered").unbind(),
        told_left: PyString::intern(py, "left").unbind(),
        hook_failed: PyString::intern(py, "_hook_failed").unbind(),
        pure_exit: live.getattr(exit)?.unbind(),
        pure_exit_durable: durable.getattr(exit)?.unbind(),
    };
    let old = CLASSES.swap(Box::leak(Box::new(made)), Ordering::AcqRel);
    if !old.is_null() {
        CLASSES.store(old, Ordering::Release);
        return Err(PyRuntimeError::new_err("events are served already"));
    }
    for class in [&live, &durable] {
        class.setattr(
            exit,
            method(class, c"__aexit__", ffi::PyMethodDefPointer { PyCFunctionFast: leave }, ffi::METH_FASTCALL)?,
        )?;
    }
    live.setattr(
        enter,
        method(&live, c"__aenter__", ffi::PyMethodDefPointer { PyCFunction: begin }, ffi::METH_NOARGS)?,
    )?;
    Ok(())
}

/// A method of `class`, which binds as those do that are written in Python.
fn method<'py>(
    class: &Bound<'py, PyType>,
    name: &'static CStr,
    function: ffi::PyMethodDefPointer,
    flags: c_int,
) -> PyResult<Bound<'py, PyAny>> {
    let definition = Box::leak(Box::new(ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: function,
        ml_flags: flags,
        ml_doc: ptr::null(),
    }));
    // SAFETY: the definition lives as long as the process; the function has the signature that the flags say.
    unsafe { Bound::from_owned_ptr_or_err(class.py(), ffi::PyDescr_NewMethod(class.as_type_ptr(), definition)) }
}

/// Fill what both kinds of events have.
unsafe fn fill(classes: &Classes, made: Object, read: Read, message: Owned, reply: Owned, hooks: Owned) {
    // SAFETY: a fresh instance of a class that has these slots.
    unsafe {
        let live = &classes.live;
        live.registered.fill(made, Owned::of(read.known.registered.as_ptr()).into_ptr());
        live.subject.fill(made, Owned::of(read.known.name.as_ptr()).into_ptr());
        live.payload.fill(made, read.payload.into_ptr());
        live.reply.fill(made, reply.into_ptr());
        live.wire.fill(made, message.into_ptr());
        live.headers.fill(made, Owned::of(ffi::Py_None()).into_ptr());
        live.hooks.fill(made, hooks.into_ptr());
        live.entered.fill(made, Owned::of(ffi::Py_None()).into_ptr());
    }
}

pub fn no_classes() -> PyErr {
    PyRuntimeError::new_err("no classes of events were named")
}

/// A `LiveEvent` of what was read of `message`.
pub fn live(py: Python<'_>, read: Read, message: Owned, reply: &[u8], hooks: Owned) -> PyResult<Owned> {
    let classes = classes().ok_or_else(no_classes)?;
    // SAFETY: a class with slots, made by its own allocator.
    unsafe {
        let reply = object::bytes(reply).ok_or_else(|| object::raised(py))?;
        let made = object::allocate(classes.live.class.as_ptr().cast()).ok_or_else(|| object::raised(py))?;
        fill(classes, made.as_ptr(), read, message, reply, hooks);
        Ok(made)
    }
}

/// An `Event` of what was read of `message`, to be settled by `settler`.
pub fn durable(
    py: Python<'_>,
    read: Read,
    message: Owned,
    reply: Owned,
    hooks: Owned,
    settler: Owned,
    received_at: Option<Owned>,
) -> PyResult<Owned> {
    let classes = classes().ok_or_else(no_classes)?;
    // SAFETY: a class with slots, made by its own allocator.
    unsafe {
        let made = object::allocate(classes.durable.class.as_ptr().cast()).ok_or_else(|| object::raised(py))?;
        fill(classes, made.as_ptr(), read, message, reply, hooks);
        let own = &classes.durable;
        own.settler.fill(made.as_ptr(), settler.into_ptr());
        own.position.fill(made.as_ptr(), Owned::of(ffi::Py_None()).into_ptr());
        own.settled.fill(made.as_ptr(), Owned::of(ffi::Py_False()).into_ptr());
        own.tries.fill(made.as_ptr(), Owned::of(classes.one.as_ptr()).into_ptr());
        own.term.fill(made.as_ptr(), Owned::of(classes.zero.as_ptr()).into_ptr());
        let received_at = received_at.unwrap_or_else(|| Owned::of(classes.never.as_ptr()));
        own.received_at.fill(made.as_ptr(), received_at.into_ptr());
        Ok(made)
    }
}

/// `__aenter__`: from here on the event is what its task handles.
unsafe extern "C" fn begin(event: Object, _: Object) -> Object {
    // SAFETY: the descriptor has looked that it is an event.
    unsafe {
        let Some(classes) = classes() else { return ptr::null_mut() };
        let hooks = classes.live.hooks.get(event);
        let mark = if hooks.is_null() || hooks == ffi::Py_None() {
            Owned::of(ffi::Py_None())
        } else {
            let mark = Owned::new(ffi::PyObject_CallMethodOneArg(hooks, classes.told_entered.as_ptr(), event));
            match mark {
                Some(mark) => mark,
                None if failed(classes, event) => Owned::of(ffi::Py_None()),
                None => return ptr::null_mut(),
            }
        };
        let Some(token) = Owned::new(ffi::PyContextVar_Set(classes.handled.as_ptr(), event)) else {
            return ptr::null_mut();
        };
        let Some(entered) = Owned::new(ffi::PyTuple_Pack(2, token.as_ptr(), mark.as_ptr())) else {
            return ptr::null_mut();
        };
        classes.live.entered.set(event, entered.into_ptr());
        awaitable::ready(Owned::of(event))
    }
}

/// Have the event say that a hook has failed; false when what was raised is to go on.
#[cold]
unsafe fn failed(classes: &Classes, event: Object) -> bool {
    // SAFETY: an event, alive; an exception is set.
    unsafe {
        if ffi::PyErr_ExceptionMatches(ffi::PyExc_Exception) == 0 {
            return false;
        }
        let error = PyErr::fetch(Python::assume_attached());
        let said = ffi::PyObject_CallMethodOneArg(
            event,
            classes.hook_failed.as_ptr(),
            error.value(Python::assume_attached()).as_ptr(),
        );
        Owned::new(said).is_some()
    }
}

/// `__aexit__`: the event is handled no more; one that ended well is acknowledged.
unsafe extern "C" fn leave(event: Object, arguments: *mut Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: the descriptor has looked that it is an event; CPython hands in so many arguments.
    unsafe {
        let Some(classes) = classes() else { return ptr::null_mut() };
        let class = ffi::Py_TYPE(event);
        let is_durable = class == classes.durable.class.as_ptr().cast()
            || ffi::PyType_IsSubtype(class, classes.durable.class.as_ptr().cast()) != 0;
        let entered = classes.live.entered.get(event);
        let plain = count == 3
            && *arguments == ffi::Py_None()
            && !entered.is_null()
            && ffi::PyTuple_CheckExact(entered) != 0
            && ffi::PyTuple_GET_SIZE(entered) == 2;
        if !plain {
            let pure = if is_durable { &classes.pure_exit_durable } else { &classes.pure_exit };
            return call_with(pure.as_ptr(), event, arguments, count);
        }
        let entered = Owned::of(entered);
        classes.live.entered.set(event, Owned::of(ffi::Py_None()).into_ptr());
        let token = ffi::PyTuple_GET_ITEM(entered.as_ptr(), 0);
        if ffi::PyContextVar_Reset(classes.handled.as_ptr(), token) != 0 {
            if ffi::PyErr_ExceptionMatches(ffi::PyExc_ValueError) == 0 {
                return ptr::null_mut();
            }
            ffi::PyErr_Clear(); // entered in another task: what was set there is gone with it
        }
        let hooks = classes.live.hooks.get(event);
        if hooks != ffi::Py_None() && !hooks.is_null() {
            let mark = ffi::PyTuple_GET_ITEM(entered.as_ptr(), 1);
            let words = [hooks, mark, event, ffi::Py_None()];
            let told = ffi::PyObject_VectorcallMethod(
                classes.told_left.as_ptr(),
                words.as_ptr(),
                words.len(),
                ptr::null_mut(),
            );
            if Owned::new(told).is_none() && !failed(classes, event) {
                return ptr::null_mut();
            }
        }
        if !is_durable || classes.durable.settled.get(event) != ffi::Py_False() {
            return awaitable::ready_false();
        }
        let settler = classes.durable.settler.get(event);
        let py = Python::assume_attached();
        if let Some(acker) = acker::kept_by(py, settler) {
            return match guarded(py, || acker.get().acked(py, &Bound::from_borrowed_ptr(py, event))) {
                Some(false) => awaitable::ready_false(),
                Some(true) => ffi::PyObject_CallMethodNoArgs(settler, classes.room.as_ptr()),
                None => ptr::null_mut(),
            };
        }
        let Some(crowded) = Owned::new(ffi::PyObject_CallMethodOneArg(settler, classes.acked.as_ptr(), event)) else {
            return ptr::null_mut();
        };
        if crowded.as_ptr() == ffi::Py_False() {
            return awaitable::ready_false();
        }
        ffi::PyObject_CallMethodNoArgs(settler, classes.room.as_ptr()) // its None is no True
    }
}

unsafe fn call_with(function: Object, event: Object, arguments: *mut Object, count: ffi::Py_ssize_t) -> Object {
    // SAFETY: at most as many as there is room for, all of them alive.
    unsafe {
        let mut all = [event; 5];
        let count = count as usize;
        if count >= all.len() {
            ffi::PyErr_SetString(ffi::PyExc_TypeError, c"__aexit__ takes three arguments".as_ptr());
            return ptr::null_mut();
        }
        ptr::copy_nonoverlapping(arguments, all.as_mut_ptr().add(1), count);
        ffi::PyObject_Vectorcall(function, all.as_ptr(), count + 1, ptr::null_mut())
    }
}
