//! `__pydantic_fields_set__` of events that were read: few ever ask for it, so the set is made when it is asked for.
//!
//! An event that was read has a [`GIVEN`] in the slot of that name, which all events with the same fields share. A
//! descriptor on the model, in front of pydantic's own, puts a set of the event's own in its place before anybody sees it.

use crate::object::{self, Object, Owned, Slot};
use pyo3::ffi;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyType;
use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

static GIVEN: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());
static DESCRIPTOR: AtomicPtr<ffi::PyTypeObject> = AtomicPtr::new(ptr::null_mut());
const NAME: &str = "__pydantic_fields_set__";

/// Stands for a new set of these names. It refers to strings only, hence is unknown to the garbage collector.
#[repr(C)]
struct Given {
    head: ffi::PyObject,
    names: Object,
}

/// The attribute, as the member descriptor of `class` has it in `slot`.
#[repr(C)]
struct Descriptor {
    head: ffi::PyObject,
    class: *mut ffi::PyTypeObject,
    slot: Slot,
}

/// What stands for a new set of `names`, a set that nobody else has.
pub fn of(names: Owned) -> Option<Owned> {
    // SAFETY: the object is made here, and its one field set before anybody sees it.
    unsafe {
        let made = ptr::NonNull::new(ffi::PyObject_New::<Given>(GIVEN.load(Ordering::Relaxed)))?.as_ptr();
        (*made).names = names.into_ptr();
        Owned::new(made.cast())
    }
}

/// Have the instances of `model` make their sets when they are asked for; `member` is pydantic's descriptor of the slot.
pub fn serve(model: &Bound<'_, PyType>, member: &Bound<'_, PyAny>) -> PyResult<Slot> {
    let py = model.py();
    let name = intern!(py, NAME);
    let slot = Slot::new(model, member)?;
    let class = member.getattr(intern!(py, "__objclass__"))?.cast_into::<PyType>()?;
    // SAFETY: the model is alive; the object is made here, and its fields set before anybody sees it.
    let made: Bound<'_, PyAny> = unsafe {
        let found = object::lookup(model.as_type_ptr(), name.as_ptr());
        if !found.is_null() && ffi::Py_TYPE(found) == DESCRIPTOR.load(Ordering::Relaxed) {
            return Ok(slot);
        }
        let made = ffi::PyObject_New::<Descriptor>(DESCRIPTOR.load(Ordering::Relaxed));
        if made.is_null() {
            return Err(object::raised(py));
        }
        (*made).class = class.into_ptr().cast();
        (*made).slot = slot;
        Bound::from_owned_ptr(py, made.cast())
    };
    model.setattr(name, made)?;
    Ok(slot)
}

/// The slot, where `object` has it; an error is set where it has not.
unsafe fn slot_of(descriptor: Object, object: Object) -> Option<Slot> {
    // SAFETY: CPython calls with a descriptor of ours and an object, alive.
    unsafe {
        let Descriptor { class, slot, .. } = *descriptor.cast::<Descriptor>();
        let class_of = ffi::Py_TYPE(object);
        if class_of == class || ffi::PyType_IsSubtype(class_of, class) != 0 {
            return Some(slot);
        }
        ffi::PyErr_SetString(ffi::PyExc_TypeError, c"__pydantic_fields_set__ is for models of pydantic".as_ptr());
        None
    }
}

unsafe fn absent() {
    // SAFETY: with the GIL.
    unsafe { ffi::PyErr_SetString(ffi::PyExc_AttributeError, c"__pydantic_fields_set__".as_ptr()) }
}

unsafe extern "C" fn get(descriptor: Object, object: Object, _: Object) -> Object {
    // SAFETY: alive during the call; the slot is one of the object's class.
    unsafe {
        if object.is_null() {
            return Owned::of(descriptor).into_ptr();
        }
        let Some(slot) = slot_of(descriptor, object) else { return ptr::null_mut() };
        let held = slot.get(object);
        if held.is_null() {
            absent();
            return ptr::null_mut();
        }
        if ffi::Py_TYPE(held) != GIVEN.load(Ordering::Relaxed) {
            return Owned::of(held).into_ptr();
        }
        let held = Owned::of(held); // making a set may begin a collection, in which somebody asks for this one
        let names = (*held.as_ptr().cast::<Given>()).names;
        let Some(made) = Owned::new(ffi::PySet_New(names)) else { return ptr::null_mut() };
        let now = slot.get(object);
        if now != held.as_ptr() && !now.is_null() {
            return Owned::of(now).into_ptr();
        }
        slot.set(object, Owned::of(made.as_ptr()).into_ptr());
        made.into_ptr()
    }
}

unsafe extern "C" fn set(descriptor: Object, object: Object, value: Object) -> c_int {
    // SAFETY: as `get`; NULL deletes it.
    unsafe {
        let Some(slot) = slot_of(descriptor, object) else { return -1 };
        if value.is_null() {
            if slot.get(object).is_null() {
                absent();
                return -1;
            }
            slot.set(object, ptr::null_mut());
        } else {
            slot.set(object, Owned::of(value).into_ptr());
        }
        0
    }
}

unsafe extern "C" fn given_dealloc(object: Object) {
    // SAFETY: made by `of`, of a type on the heap.
    unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::Py_DECREF((*object.cast::<Given>()).names);
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

unsafe extern "C" fn descriptor_dealloc(object: Object) {
    // SAFETY: made by `serve`, of a type on the heap.
    unsafe {
        let class = ffi::Py_TYPE(object);
        ffi::Py_DECREF((*object.cast::<Descriptor>()).class.cast());
        ffi::PyObject_Free(object.cast());
        ffi::Py_DECREF(class.cast());
    }
}

/// Make the types, and put them into the module.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    let flags = (ffi::Py_TPFLAGS_DEFAULT | ffi::Py_TPFLAGS_DISALLOW_INSTANTIATION) as u32;
    let end = ffi::PyType_Slot { slot: 0, pfunc: ptr::null_mut() };
    let mut slots = [ffi::PyType_Slot { slot: ffi::Py_tp_dealloc, pfunc: given_dealloc as *mut c_void }, end];
    let size = size_of::<Given>() as c_int;
    let class = object::make_type(module, c"mts1b_wire.GivenFields", size, 0, flags, &mut slots)?;
    GIVEN.store(class, Ordering::Relaxed);
    let mut slots = [
        ffi::PyType_Slot { slot: ffi::Py_tp_dealloc, pfunc: descriptor_dealloc as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_tp_descr_get, pfunc: get as *mut c_void },
        ffi::PyType_Slot { slot: ffi::Py_tp_descr_set, pfunc: set as *mut c_void },
        end,
    ];
    let size = size_of::<Descriptor>() as c_int;
    let class = object::make_type(module, c"mts1b_wire.FieldsSet", size, 0, flags, &mut slots)?;
    DESCRIPTOR.store(class, Ordering::Relaxed);
    Ok(())
}
