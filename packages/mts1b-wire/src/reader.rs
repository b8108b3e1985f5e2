//! `async for` over the events of a listener or a consumer.

use crate::awaitable::{self, Stepped};
use crate::cell::Locked;
use crate::events;
use crate::message::Message;
use crate::object::{self, Object, Owned};
use crate::subjects::Subjects;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Whether somebody watches handlers, remembered for the hooks that were asked last.
#[derive(Default)]
pub struct Watched {
    hooks: Option<Py<PyAny>>,
    handlers: bool,
}

/// The hooks of `client` that are told of handlers; `wanted` is what they must be beside `handlers`.
pub fn hooks_of(py: Python<'_>, client: &Py<PyAny>, watched: &Locked<Watched>, also: Option<&str>) -> PyResult<Owned> {
    let hooks = client.bind(py).getattr(intern!(py, "hooks"))?;
    // SAFETY: None and the hooks are alive.
    unsafe {
        if hooks.is_none() {
            return Ok(Owned::of(ffi::Py_None()));
        }
        let known = watched.with(py, |known| {
            known.hooks.as_ref().is_some_and(|last| last.as_ptr() == hooks.as_ptr()).then_some(known.handlers)
        });
        let handlers = match known {
            Some(handlers) => handlers,
            None => {
                let mut handlers = hooks.getattr(intern!(py, "handlers"))?.is_truthy()?;
                if let Some(also) = also {
                    handlers = handlers && hooks.getattr(also)?.is_truthy()?;
                }
                let now = Watched { hooks: Some(hooks.clone().unbind()), handlers };
                let old = watched.with(py, |known| std::mem::replace(known, now));
                drop(old);
                handlers
            }
        };
        Ok(Owned::of(if handlers { hooks.as_ptr() } else { ffi::Py_None() }))
    }
}

/// Take one step in a way that a panic of ours is an error, not the end of the process.
pub fn guarded(py: Python<'_>, step: impl FnOnce() -> PyResult<Stepped>) -> Stepped {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(Ok(stepped)) => stepped,
        Ok(Err(error)) => {
            error.restore(py);
            Stepped::Raised
        }
        Err(_) => {
            PyRuntimeError::new_err("the compiled core is wrong about something; MTS1B_PURE=1 does without it")
                .restore(py);
            Stepped::Raised
        }
    }
}

/// Iterates a listener whose events wait in a deque; what is not common is the listener's own `__anext__`.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct ListenReader {
    listener: Py<PyAny>,
    client: Py<PyAny>,
    queue: Py<PyAny>,
    popleft: Py<PyAny>,
    appendleft: Py<PyAny>,
    subjects: Py<Subjects>,
    consumed: Py<PyDict>,
    watched: Locked<Watched>,
}

#[pymethods]
impl ListenReader {
    #[new]
    fn new(
        listener: Bound<'_, PyAny>,
        client: Py<PyAny>,
        queue: Bound<'_, PyAny>,
        subjects: Py<Subjects>,
        consumed: Py<PyDict>,
    ) -> PyResult<Self> {
        Ok(Self {
            listener: listener.unbind(),
            client,
            popleft: queue.getattr("popleft")?.unbind(),
            appendleft: queue.getattr("appendleft")?.unbind(),
            queue: queue.unbind(),
            subjects,
            consumed,
            watched: Locked::new(Watched::default()),
        })
    }

    fn __aiter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __anext__(this: Py<Self>, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        // SAFETY: a new reference, or NULL with an error.
        unsafe { Bound::from_owned_ptr_or_err(py, listen_next(this.as_ptr())) }
    }

    /// The event in `message`, counted; None when the listener has to look at it itself.
    fn event<'py>(&self, py: Python<'py>, message: &Bound<'py, PyAny>) -> PyResult<Option<Bound<'py, PyAny>>> {
        // SAFETY: references of our own, with the GIL.
        unsafe {
            let made = self.made(py, &Owned::of(message.as_ptr()))?;
            Ok(made.map(|made| Bound::from_owned_ptr(py, made.into_ptr())))
        }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.listener)?;
        visit.call(&self.client)?;
        visit.call(&self.queue)?;
        visit.call(&self.popleft)?;
        visit.call(&self.appendleft)?;
        visit.call(&self.subjects)?;
        self.watched.traversed(|watched| visit.call(&watched.hooks))
    }
}

impl ListenReader {
    #[inline(always)]
    fn made(&self, py: Python<'_>, message: &Owned) -> PyResult<Option<Owned>> {
        let Some(read) = self.subjects.get().read(py, message.as_ptr())? else { return Ok(None) };
        // SAFETY: the counters are a dict, the pattern a string; the message is alive.
        unsafe {
            if !object::count(self.consumed.as_ptr(), read.known.pattern.as_ptr(), 1) {
                return Err(object::raised(py));
            }
            let hooks = hooks_of(py, &self.client, &self.watched, Some("best_effort"))?;
            let reply = Message::of(message.as_ptr()).map_or(&b""[..], |message| message.reply());
            events::live(py, read, Owned::of(message.as_ptr()), reply, hooks).map(Some)
        }
    }

    #[inline(always)]
    fn step(&self, py: Python<'_>) -> PyResult<Stepped> {
        // SAFETY: the deque is alive; a reference to what it gave is ours.
        unsafe {
            if ffi::PySequence_Size(self.queue.as_ptr()) > 0 {
                let message = Owned::new(ffi::PyObject_CallNoArgs(self.popleft.as_ptr()));
                let message = message.ok_or_else(|| object::raised(py))?;
                match self.made(py, &message) {
                    Ok(Some(event)) => return Ok(Stepped::Item(event)),
                    Ok(None) => (),
                    Err(error) => {
                        self.appendleft.call1(py, (Bound::from_borrowed_ptr(py, message.as_ptr()),))?;
                        return Err(error);
                    }
                }
                self.appendleft.call1(py, (Bound::from_borrowed_ptr(py, message.as_ptr()),))?;
            }
            let waiting = self.listener.bind(py).call_method0(intern!(py, "__anext__"))?;
            Ok(Stepped::Wait(Owned::of(waiting.as_ptr())))
        }
    }
}

unsafe fn listen_step(reader: Object) -> Stepped {
    // SAFETY: called by CPython with the GIL, for readers of this class, which are frozen.
    unsafe {
        let py = Python::assume_attached();
        let reader = Bound::from_borrowed_ptr(py, reader).cast_into_unchecked::<ListenReader>();
        guarded(py, || reader.get().step(py))
    }
}

unsafe extern "C" fn listen_next(reader: Object) -> Object {
    // SAFETY: CPython calls it for readers of this class.
    unsafe { awaitable::next(Owned::of(reader), listen_step) }
}

/// Seconds after which the event loop gets a turn.
const TURN: f64 = 0.005;

/// The prefetch that a consumer had when it was looked at last, and what is asked of it for each event.
struct Prefetch {
    itself: Py<PyAny>,
    queue: Py<PyAny>,
    popleft: Py<PyAny>,
    handled: Py<PyDict>,
}

/// What waits, how one is taken, and where those are that are being handled.
type Held = (Py<PyAny>, Py<PyAny>, Py<PyDict>);

/// Iterates a consumer; what is not common is the consumer's own `__anext__`, as is every turn of the event loop.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct ConsumeReader {
    consumer: Py<PyAny>,
    client: Py<PyAny>,
    settler: Py<PyAny>,
    pause: Py<PyAny>,
    subjects: Py<Subjects>,
    watched: Locked<Watched>,
    prefetch: Locked<Option<Prefetch>>,
    /// The module `time`, so that simulated clocks are read as in pure Python.
    time: Py<PyAny>,
    turned: Locked<f64>,
}

#[pymethods]
impl ConsumeReader {
    #[new]
    fn new(
        consumer: Py<PyAny>,
        client: Py<PyAny>,
        settler: Bound<'_, PyAny>,
        subjects: Py<Subjects>,
    ) -> PyResult<Self> {
        Ok(Self {
            time: settler.py().import("time")?.into_any().unbind(),
            consumer,
            client,
            pause: settler.getattr("pause")?.unbind(),
            settler: settler.unbind(),
            subjects,
            watched: Locked::new(Watched::default()),
            prefetch: Locked::new(None),
            turned: Locked::new(0.0),
        })
    }

    fn __aiter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __anext__(this: Py<Self>, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        // SAFETY: a new reference, or NULL with an error.
        unsafe { Bound::from_owned_ptr_or_err(py, consume_next(this.as_ptr())) }
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.consumer)?;
        visit.call(&self.client)?;
        visit.call(&self.settler)?;
        visit.call(&self.pause)?;
        visit.call(&self.subjects)?;
        self.watched.traversed(|watched| visit.call(&watched.hooks))?;
        self.prefetch.traversed(|known| {
            let Some(known) = known else { return Ok(()) };
            visit.call(&known.itself)?;
            visit.call(&known.queue)?;
            visit.call(&known.popleft)?;
            visit.call(&known.handled)
        })
    }
}

impl ConsumeReader {
    fn step(&self, py: Python<'_>) -> PyResult<Stepped> {
        if let Some(event) = self.common(py)? {
            return Ok(Stepped::Item(event));
        }
        let waiting = self.consumer.bind(py).call_method0(intern!(py, "__anext__"))?;
        // SAFETY: alive.
        Ok(Stepped::Wait(unsafe { Owned::of(waiting.as_ptr()) }))
    }

    /// The next event, when nothing about it is to be decided.
    #[inline(always)]
    fn common(&self, py: Python<'_>) -> PyResult<Option<Owned>> {
        let time = self.time.bind(py);
        let now: f64 = time.call_method0(intern!(py, "monotonic"))?.extract()?;
        let turn = self.turned.with(py, |turned| {
            let over = now - *turned > TURN;
            if over {
                *turned = now;
            }
            over
        });
        let consumer = self.consumer.bind(py);
        if turn
            || consumer.getattr(intern!(py, "_stopping"))?.is_truthy()?
            || !self.pause.bind(py).getattr(intern!(py, "reason"))?.is_none()
        {
            return Ok(None);
        }
        let Some((queue, popleft, handled)) = self.prefetched(py, &consumer.getattr(intern!(py, "_prefetch"))?)? else {
            return Ok(None);
        };
        let first = consumer.getattr(intern!(py, "_first_delivery"))?;
        let Ok(first) = first.cast::<PyBytes>() else { return Ok(None) };
        // SAFETY: the deque is alive; references to what it gives are ours.
        unsafe {
            if ffi::PySequence_Size(queue.as_ptr()) <= 0 {
                return Ok(None);
            }
            let raw = Owned::new(ffi::PySequence_GetItem(queue.as_ptr(), 0)).ok_or_else(|| object::raised(py))?;
            let Some(message) = Message::of(raw.as_ptr()) else { return Ok(None) };
            if !message.reply().starts_with(first.as_bytes()) {
                return Ok(None);
            }
            let Some(read) = self.subjects.get().read(py, raw.as_ptr())? else { return Ok(None) };
            let reply = object::bytes(message.reply()).ok_or_else(|| object::raised(py))?;
            let taken = Owned::new(ffi::PyObject_CallNoArgs(popleft.as_ptr())).ok_or_else(|| object::raised(py))?;
            if ffi::PyDict_SetItem(handled.as_ptr(), reply.as_ptr(), taken.as_ptr()) != 0 {
                return Err(object::raised(py));
            }
            let watched = self.client.bind(py).getattr(intern!(py, "hooks"))?;
            let mut received_at = None;
            if !watched.is_none() {
                received_at = Some(Owned::of(time.call_method0(intern!(py, "time"))?.as_ptr()));
            }
            let hooks = hooks_of(py, &self.client, &self.watched, None)?;
            let settler = Owned::of(self.settler.as_ptr());
            events::durable(py, read, taken, reply, hooks, settler, received_at).map(Some)
        }
    }

    /// What the consumer's prefetch holds.
    #[inline(always)]
    fn prefetched(&self, py: Python<'_>, prefetch: &Bound<'_, PyAny>) -> PyResult<Option<Held>> {
        let known = self.prefetch.with(py, |known| {
            known
                .as_ref()
                .filter(|known| known.itself.as_ptr() == prefetch.as_ptr())
                .map(|known| (known.queue.clone_ref(py), known.popleft.clone_ref(py), known.handled.clone_ref(py)))
        });
        if known.is_some() || prefetch.is_none() {
            return Ok(known);
        }
        let queue = prefetch.getattr(intern!(py, "queue"))?;
        let handled: Py<PyDict> = prefetch.getattr(intern!(py, "handled"))?.extract()?;
        let popleft = queue.getattr(intern!(py, "popleft"))?.unbind();
        let found = (queue.clone().unbind(), popleft.clone_ref(py), handled.clone_ref(py));
        let now = Prefetch { itself: prefetch.clone().unbind(), queue: queue.unbind(), popleft, handled };
        let old = self.prefetch.with(py, |known| known.replace(now));
        drop(old);
        Ok(Some(found))
    }
}

unsafe fn consume_step(reader: Object) -> Stepped {
    // SAFETY: called by CPython with the GIL, for readers of this class, which are frozen.
    unsafe {
        let py = Python::assume_attached();
        let reader = Bound::from_borrowed_ptr(py, reader).cast_into_unchecked::<ConsumeReader>();
        guarded(py, || reader.get().step(py))
    }
}

unsafe extern "C" fn consume_next(reader: Object) -> Object {
    // SAFETY: CPython calls it for readers of this class.
    unsafe { awaitable::next(Owned::of(reader), consume_step) }
}

/// Set the slot `am_anext` of a class, which is asked for each item: PyO3's own goes through its machinery for methods.
pub fn iterate_by<T: pyo3::PyClass>(py: Python<'_>, next: unsafe extern "C" fn(Object) -> Object) -> PyResult<()> {
    let class = py.get_type::<T>();
    // SAFETY: a heap type has its own table of these slots, and nobody iterates it before the module is there.
    unsafe {
        let heap = class.as_type_ptr().cast::<ffi::PyHeapTypeObject>();
        (*heap).as_async.am_anext = Some(next);
        (*class.as_type_ptr()).tp_as_async = &raw mut (*heap).as_async;
        ffi::PyType_Modified(class.as_type_ptr());
    }
    Ok(())
}

/// Add the classes of this file.
pub fn add(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<ListenReader>()?;
    module.add_class::<ConsumeReader>()?;
    iterate_by::<ListenReader>(module.py(), listen_next)?;
    iterate_by::<ConsumeReader>(module.py(), consume_next)
}
