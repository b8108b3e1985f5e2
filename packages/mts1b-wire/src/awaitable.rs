//! What `await` takes, without a coroutine: a value that is there, or the next item of a reader.
//!
//! PyO3 has no word for `am_send`, the slot by which `await` gets a value without raising `StopIteration`; the types are
//! therefore made of slots.

use crate::object::{self, Object, Owned};
use pyo3::ffi;
use pyo3::prelude::*;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

static READY: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());
static FALSE: AtomicPtr<ffi::PyObject> = AtomicPtr::new(ptr::null_mut());
static NEXT: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());
/// The memory of the `Next` that was given back last, for the following one: there is one for each event.
static SPARE: AtomicPtr<Next> = AtomicPtr::new(ptr::null_mut());

/// A value that is there. Only ever between a call and its `await`, hence unknown to the garbage collector.
#[repr(C)]
struct Ready {
    head: ffi::PyObject,
    value: Object,
}

/// What gives items: called when its turn has come.
pub type Step = unsafe fn(reader: Object) -> Stepped;

pub enum Stepped {
    Item(Owned),
    /// The pure reader says: await this, which is the item.
    Wait(Owned),
    /// There is none yet: await this, then take the next step.
    First(Owned),
    /// An exception is set.
    Raised,
}

/// The next item of a reader.
#[repr(C)]
struct Next {
    head: ffi::PyObject,
    step: Step,
    reader: Object,
    /// What is awaited meanwhile; the object is known to the garbage collector from then on.
    inner: Object,
    /// Whether there is a further step when that is over.
    again: bool,
}

/// An awaitable of `value`.
#[inline(always)]
pub fn ready(value: Owned) -> Object {
    // SAFETY: the object is made here, and its one field set before anybody sees it.
    unsafe {
        let made = ffi::PyObject_New::<Ready>(READY.load(Ordering::Relaxed));
        if made.is_null() {
            return ptr::null_mut();
        }
        (*made).value = value.into_ptr();
        made.cast()
    }
}

/// An awaitable of False, the same one each time.
#[inline(always)]
pub fn ready_false() -> Object {
    // SAFETY: made with the module, and kept.
    unsafe { Owned::of(FALSE.load(Ordering::Relaxed)).into_ptr() }
}

/// An awaitable of the next item of `reader`.
///
/// # Safety
/// `step` takes objects of `reader`'s class.
#[inline(always)]
pub unsafe fn next(reader: Owned, step: Step) -> Object {
    // SAFETY: the object is made here, and its fields set before anybody sees it.
    unsafe {
        let spare = SPARE.load(Ordering::Relaxed);
        let made = if spare.is_null() {
            ffi::PyObject_GC_New::<Next>(NEXT.load(Ordering::Relaxed))
        } else {
            SPARE.store(ptr::null_mut(), Ordering::Relaxed);
            ffi::PyObject_Init(spare.cast(), NEXT.load(Ordering::Relaxed)).cast()
        };
        if made.is_null() {
            return ptr::null_mut();
        }
        (*made).step = step;
        (*made).reader = reader.into_ptr();
        (*made).inner = ptr::null_mut();
        (*made).again = false;
        made.cast()
    }
}

unsafe extern "C" fn itself(object: Object) -> Object {
    // SAFETY: CPython's own reference keeps it alive.
    unsafe { Owned::of(object).into_ptr() }
}

unsafe extern "C" fn ready_dealloc(object: Object) {
    // SAFETY: made by `ready`, of a type on the heap.
    unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::Py_XDECREF((*object.cast::<Ready>()).value);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn ready_send(object: Object, _: Object, result: *mut Object) -> ffi::PySendResult {
    // SAFETY: the value is handed on once; whoever awaits it again gets None, as from a generator that is over.
    unsafe {
        if object == FALSE.load(Ordering::Relaxed) {
            *result = Owned::of(ffi::Py_False()).into_ptr();
        } else {
            let value = std::mem::replace(&mut (*object.cast::<Ready>()).value, ptr::null_mut());
            *result = if value.is_null() { Owned::of(ffi::Py_None()).into_ptr() } else { value };
        }
        ffi::PySendResult::PYGEN_RETURN
    }
}

unsafe extern "C" fn next_dealloc(object: Object) {
    // SAFETY: made by `next`, of a type on the heap, which stays for ever. Nobody refers to it any more, so that its memory
    // may serve again, as long as the collector does not know it; the GIL is held wherever it is taken or left.
    unsafe {
        let class = ffi::Py_TYPE(object);
        let Next { reader, inner, .. } = *object.cast::<Next>();
        ffi::PyObject_GC_UnTrack(object.cast());
        ffi::Py_XDECREF(reader);
        ffi::Py_XDECREF(inner);
        if SPARE.load(Ordering::Relaxed).is_null() {
            SPARE.store(object.cast(), Ordering::Relaxed);
        } else {
            ffi::PyObject_GC_Del(object.cast());
        }
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn next_traverse(object: Object, visit: ffi::visitproc, argument: *mut c_void) -> c_int {
    // SAFETY: shows the collector what it refers to.
    unsafe {
        let next = object.cast::<Next>();
        for held in [ffi::Py_TYPE(object).cast(), (*next).reader, (*next).inner] {
            if !held.is_null() {
                let found = visit(held, argument);
                if found != 0 {
                    return found;
                }
            }
        }
        0
    }
}

unsafe extern "C" fn next_clear(object: Object) -> c_int {
    // SAFETY: gives back what it refers to; a `send` after that says that it is over.
    unsafe {
        let next = object.cast::<Next>();
        let (reader, inner) = ((*next).reader, (*next).inner);
        (*next).reader = ptr::null_mut();
        (*next).inner = ptr::null_mut();
        ffi::Py_XDECREF(reader);
        ffi::Py_XDECREF(inner);
        0
    }
}

unsafe extern "C" fn next_send(object: Object, mut argument: Object, result: *mut Object) -> ffi::PySendResult {
    // SAFETY: the object is alive during the call, as is what it refers to: a reference of its own is held where code of
    // others runs.
    unsafe {
        let next = object.cast::<Next>();
        loop {
            *result = ptr::null_mut();
            if (*next).inner.is_null() {
                // taken: who asks again while it is asked finds that it is over
                let Some(reader) = Owned::new(std::mem::replace(&mut (*next).reader, ptr::null_mut())) else {
                    *result = Owned::of(ffi::Py_None()).into_ptr();
                    return ffi::PySendResult::PYGEN_RETURN;
                };
                let inner = match ((*next).step)(reader.as_ptr()) {
                    Stepped::Item(item) => {
                        *result = item.into_ptr();
                        return ffi::PySendResult::PYGEN_RETURN;
                    }
                    Stepped::Wait(inner) => inner,
                    Stepped::First(inner) => {
                        (*next).again = true;
                        (*next).reader = reader.into_ptr();
                        inner
                    }
                    Stepped::Raised => return ffi::PySendResult::PYGEN_ERROR,
                };
                (*next).inner = inner.into_ptr();
                if ffi::PyObject_GC_IsTracked(object) == 0 {
                    ffi::PyObject_GC_Track(object.cast());
                }
            }
            let inner = Owned::of((*next).inner);
            let how = ffi::PyIter_Send(inner.as_ptr(), argument, result);
            if how != ffi::PySendResult::PYGEN_RETURN || !(*next).again {
                return how;
            }
            ffi::Py_XDECREF(*result);
            go_on(next);
            argument = ffi::Py_None();
        }
    }
}

/// What was to be awaited first is over.
unsafe fn go_on(next: *mut Next) {
    // SAFETY: alive; what it referred to is given back last.
    unsafe {
        (*next).again = false;
        let over = std::mem::replace(&mut (*next).inner, ptr::null_mut());
        ffi::Py_XDECREF(over);
    }
}

/// What `send` answers, in the words of a generator.
unsafe fn in_words(how: ffi::PySendResult, result: Object) -> Object {
    // SAFETY: the result is ours.
    unsafe {
        match how {
            ffi::PySendResult::PYGEN_NEXT => result,
            ffi::PySendResult::PYGEN_RETURN => {
                object::set_stop_iteration(result);
                ffi::Py_XDECREF(result);
                ptr::null_mut()
            }
            ffi::PySendResult::PYGEN_ERROR => ptr::null_mut(),
        }
    }
}

macro_rules! generator_words {
    ($send:ident, $iternext:ident, $send_method:ident) => {
        unsafe extern "C" fn $iternext(object: Object) -> Object {
            // SAFETY: as `send`.
            unsafe {
                let mut result = ptr::null_mut();
                let how = $send(object, ffi::Py_None(), &mut result);
                in_words(how, result)
            }
        }

        unsafe extern "C" fn $send_method(object: Object, argument: Object) -> Object {
            // SAFETY: as `send`.
            unsafe {
                let mut result = ptr::null_mut();
                let how = $send(object, argument, &mut result);
                in_words(how, result)
            }
        }
    };
}

generator_words!(ready_send, ready_iternext, ready_send_method);
generator_words!(next_send, next_iternext, next_send_method);

/// `throw` and `close` of what is awaited; what awaits nothing raises what it is thrown.
unsafe fn throw_into(inner: Object, arguments: Object) -> Object {
    // SAFETY: the arguments are a tuple, from CPython.
    unsafe {
        if !inner.is_null() {
            let inner = Owned::of(inner);
            let Some(throw) = Owned::new(ffi::PyObject_GetAttrString(inner.as_ptr(), c"throw".as_ptr())) else {
                return ptr::null_mut();
            };
            return ffi::PyObject_Call(throw.as_ptr(), arguments, ptr::null_mut());
        }
        let mut kind: Object = ptr::null_mut();
        let mut value: Object = ptr::null_mut();
        let mut traceback: Object = ptr::null_mut();
        let format = c"O|OO:throw".as_ptr();
        if ffi::PyArg_ParseTuple(arguments, format, &mut kind, &mut value, &mut traceback) == 0 {
            return ptr::null_mut();
        }
        if ffi::PyExceptionInstance_Check(kind) != 0 {
            ffi::PyErr_SetObject(ffi::Py_TYPE(kind).cast(), kind);
        } else {
            ffi::PyErr_SetObject(kind, if value.is_null() { ffi::Py_None() } else { value });
        }
        ptr::null_mut()
    }
}

/// It is over: the reader is asked no more.
unsafe fn end(next: *mut Next) {
    // SAFETY: alive; the reader is given back last, as that may run code of its own.
    unsafe { ffi::Py_XDECREF(std::mem::replace(&mut (*next).reader, ptr::null_mut())) }
}

unsafe extern "C" fn next_throw(object: Object, arguments: Object) -> Object {
    // SAFETY: alive; an exception is looked at where one is set.
    unsafe {
        let next = object.cast::<Next>();
        if (*next).inner.is_null() {
            end(next);
        }
        let result = throw_into((*next).inner, arguments);
        if result.is_null() && (*next).again && ffi::PyErr_ExceptionMatches(ffi::PyExc_StopIteration) != 0 {
            ffi::PyErr_Clear(); // it ended well all the same
            go_on(next);
            return next_iternext(object);
        }
        result
    }
}

unsafe extern "C" fn ready_throw(_: Object, arguments: Object) -> Object {
    // SAFETY: it awaits nothing.
    unsafe { throw_into(ptr::null_mut(), arguments) }
}

unsafe extern "C" fn next_close(object: Object, _: Object) -> Object {
    // SAFETY: alive.
    unsafe {
        let next = object.cast::<Next>();
        end(next);
        let inner = (*next).inner;
        if inner.is_null() {
            return Owned::of(ffi::Py_None()).into_ptr();
        }
        let inner = Owned::of(inner);
        ffi::PyObject_CallMethod(inner.as_ptr(), c"close".as_ptr(), ptr::null())
    }
}

unsafe extern "C" fn ready_close(_: Object, _: Object) -> Object {
    // SAFETY: None is alive.
    unsafe { Owned::of(ffi::Py_None()).into_ptr() }
}

/// Lives as long as the process, as CPython wants of method tables.
fn methods(send: ffi::PyCFunction, throw: ffi::PyCFunction, close: ffi::PyCFunction) -> *mut c_void {
    let method = |name: &'static std::ffi::CStr, function, flags| ffi::PyMethodDef {
        ml_name: name.as_ptr(),
        ml_meth: ffi::PyMethodDefPointer { PyCFunction: function },
        ml_flags: flags,
        ml_doc: ptr::null(),
    };
    Box::leak(Box::new([
        method(c"send", send, ffi::METH_O),
        method(c"throw", throw, ffi::METH_VARARGS),
        method(c"close", close, ffi::METH_NOARGS),
        ffi::PyMethodDef::zeroed(),
    ]))
    .as_mut_ptr()
    .cast()
}

/// Make the types.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let slot = |slot, pfunc| ffi::PyType_Slot { slot, pfunc };
    let mut ready = [
        slot(ffi::Py_tp_dealloc, ready_dealloc as *mut c_void),
        slot(ffi::Py_am_await, itself as *mut c_void),
        slot(ffi::Py_am_send, ready_send as *mut c_void),
        slot(ffi::Py_tp_iter, itself as *mut c_void),
        slot(ffi::Py_tp_iternext, ready_iternext as *mut c_void),
        slot(ffi::Py_tp_methods, methods(ready_send_method, ready_throw, ready_close)),
        slot(0, ptr::null_mut()),
    ];
    let mut next = [
        slot(ffi::Py_tp_dealloc, next_dealloc as *mut c_void),
        slot(ffi::Py_tp_traverse, next_traverse as *mut c_void),
        slot(ffi::Py_tp_clear, next_clear as *mut c_void),
        slot(ffi::Py_am_await, itself as *mut c_void),
        slot(ffi::Py_am_send, next_send as *mut c_void),
        slot(ffi::Py_tp_iter, itself as *mut c_void),
        slot(ffi::Py_tp_iternext, next_iternext as *mut c_void),
        slot(ffi::Py_tp_methods, methods(next_send_method, next_throw, next_close)),
        slot(0, ptr::null_mut()),
    ];
    let flags = (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION) as u32;
    let size = size_of::<Ready>() as c_int;
    READY.store(object::make_type(module, c"mts1b_wire.Ready", size, 0, flags, &mut ready)?, Ordering::Relaxed);
    let size = size_of::<Next>() as c_int;
    let flags = flags | ffi::Py_TPFLAGS_HAVE_GC as u32;
    NEXT.store(object::make_type(module, c"mts1b_wire.Next", size, 0, flags, &mut next)?, Ordering::Relaxed);
    // SAFETY: None is alive; the awaitable is kept for ever.
    FALSE.store(ready_of_nothing(), Ordering::Relaxed);
    Ok(())
}

fn ready_of_nothing() -> Object {
    // SAFETY: None is alive.
    ready(unsafe { Owned::of(ffi::Py_None()) })
}
