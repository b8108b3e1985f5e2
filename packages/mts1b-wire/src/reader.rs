//! `async for` over the events of a listener or a consumer.

use crate::attribute::Attribute;
use crate::awaitable::{self, Stepped};
use crate::cell::Locked;
use crate::clock::Clock;
use crate::events;
use crate::message::Message;
use crate::object::{self, Object, Owned};
use crate::share::TraceShare;
use crate::subjects::Subjects;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// The hooks of a client that are told of handlers, remembered for the hooks that were asked last.
pub struct Watching {
    hooks: Attribute,
    /// Says of hooks which are told; None for none of them.
    told: Py<PyAny>,
    last: Locked<Option<Arc<Asked>>>,
}

/// Hooks, which of them are told, and the traces that these want to know of, when not of all.
struct Asked {
    hooks: Py<PyAny>,
    told: Py<PyAny>,
    share: Option<Py<TraceShare>>,
}

impl Watching {
    fn new(client: &Bound<'_, PyAny>, told: Py<PyAny>) -> Self {
        Self { hooks: Attribute::of(client, "hooks"), told, last: Locked::new(None) }
    }

    /// All hooks of `client`, or None, and those of them that are told of the handler of a message with these `ids`, or
    /// None.
    #[inline(always)]
    fn hooks(&self, py: Python<'_>, client: &Py<PyAny>, ids: &[u8]) -> PyResult<(Owned, Owned)> {
        let hooks = self.hooks.get(py, client)?;
        // SAFETY: None and the hooks are alive.
        unsafe {
            let none = ffi::Py_None();
            let told = if hooks.as_ptr() == none {
                Owned::of(none)
            } else {
                let asked = self.asked(py, &hooks)?;
                let left = asked.share.as_ref().is_some_and(|share| share.get().leaves(ids));
                Owned::of(if left { none } else { asked.told.as_ptr() })
            };
            Ok((hooks, told))
        }
    }

    fn asked(&self, py: Python<'_>, hooks: &Owned) -> PyResult<Arc<Asked>> {
        let known = self.last.with(py, |last| last.clone().filter(|last| last.hooks.as_ptr() == hooks.as_ptr()));
        match known {
            Some(known) => Ok(known),
            None => self.ask(py, hooks),
        }
    }

    #[cold]
    fn ask(&self, py: Python<'_>, hooks: &Owned) -> PyResult<Arc<Asked>> {
        // SAFETY: alive.
        let hooks = unsafe { Bound::from_borrowed_ptr(py, hooks.as_ptr()) };
        let told = self.told.bind(py).call1((&hooks,))?;
        let share = match told.getattr_opt(intern!(py, "share"))? {
            Some(share) => share.getattr_opt(intern!(py, "compiled"))?.and_then(|found| found.extract().ok()),
            None => None, // hooks that do not say want to know of all
        };
        let made = Arc::new(Asked { hooks: hooks.unbind(), told: told.unbind(), share });
        let old = self.last.with(py, |last| last.replace(Arc::clone(&made)));
        drop(old);
        Ok(made)
    }

    fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.told)?;
        self.last.traversed(|last| match last {
            Some(last) => {
                visit.call(&last.hooks)?;
                visit.call(&last.told)?;
                visit.call(&last.share)
            }
            None => Ok(()),
        })
    }
}

/// Do one thing in a way that a panic of ours is an error, not the end of the process; None when an exception is set.
#[inline(always)]
pub fn guarded<T>(py: Python<'_>, thing: impl FnOnce() -> PyResult<T>) -> Option<T> {
    match catch_unwind(AssertUnwindSafe(thing)) {
        Ok(Ok(done)) => return Some(done),
        Ok(Err(error)) => error.restore(py),
        Err(_) => PyRuntimeError::new_err("the compiled core is wrong about something; MTS1B_PURE=1 does without it")
            .restore(py),
    }
    None
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
    watching: Watching,
}

#[pymethods]
impl ListenReader {
    #[new]
    fn new(
        listener: Bound<'_, PyAny>,
        client: Bound<'_, PyAny>,
        queue: Bound<'_, PyAny>,
        subjects: Py<Subjects>,
        consumed: Py<PyDict>,
        told: Py<PyAny>,
    ) -> PyResult<Self> {
        Ok(Self {
            watching: Watching::new(&client, told),
            listener: listener.unbind(),
            client: client.unbind(),
            popleft: queue.getattr("popleft")?.unbind(),
            appendleft: queue.getattr("appendleft")?.unbind(),
            queue: queue.unbind(),
            subjects,
            consumed,
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
        self.watching.traverse(&visit)
    }
}

impl ListenReader {
    #[inline(always)]
    fn made(&self, py: Python<'_>, message: &Owned) -> PyResult<Option<Owned>> {
        let Some(read) = self.subjects.get().read(py, message.as_ptr())? else { return Ok(None) };
        // SAFETY: the counters are a dict, the pattern a string; the message is alive.
        unsafe {
            let Some(seen) = Message::of(message.as_ptr()) else { return Ok(None) };
            let (_, hooks) = self.watching.hooks(py, &self.client, &seen.head()[read.ids_at..])?;
            if !object::count(self.consumed.as_ptr(), read.known.pattern.as_ptr(), 1) {
                return Err(object::raised(py));
            }
            events::live(py, read, Owned::of(message.as_ptr()), seen.reply(), hooks).map(Some)
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
        guarded(py, || reader.get().step(py)).unwrap_or(Stepped::Raised)
    }
}

unsafe extern "C" fn listen_next(reader: Object) -> Object {
    // SAFETY: CPython calls it for readers of this class.
    unsafe { awaitable::next(Owned::of(reader), listen_step) }
}

/// The prefetch that a consumer had when it was looked at last, and what is asked of it for each event.
struct Prefetch {
    itself: Py<PyAny>,
    queue: Py<PyAny>,
    popleft: Py<PyAny>,
    handled: Py<PyDict>,
}

/// Iterates a consumer; what is not common is the consumer's own `__anext__`, as is every turn of the event loop.
#[pyclass(frozen, module = "mts1b_wire")]
pub struct ConsumeReader {
    consumer: Py<PyAny>,
    client: Py<PyAny>,
    settler: Py<PyAny>,
    pause: Py<PyAny>,
    subjects: Py<Subjects>,
    watching: Watching,
    stopping: Attribute,
    reason: Attribute,
    prefetch: Attribute,
    first_delivery: Attribute,
    held: Locked<Option<Arc<Prefetch>>>,
    clock: Clock,
    /// Seconds after which the event loop gets a turn.
    turn: f64,
    turned: Locked<f64>,
}

/// What comes next of a consumer.
enum Found {
    Event(Owned),
    /// The event loop is to get a turn first.
    Turn,
    /// Nothing waits.
    Nothing,
    /// What comes is for the consumer to see.
    Unclear,
}

#[pymethods]
impl ConsumeReader {
    #[new]
    fn new(
        consumer: Bound<'_, PyAny>,
        client: Bound<'_, PyAny>,
        settler: Bound<'_, PyAny>,
        subjects: Py<Subjects>,
        told: Py<PyAny>,
        turn: f64,
    ) -> PyResult<Self> {
        let pause = settler.getattr("pause")?;
        Ok(Self {
            watching: Watching::new(&client, told),
            stopping: Attribute::of(&consumer, "_stopping"),
            reason: Attribute::of(&pause, "reason"),
            prefetch: Attribute::of(&consumer, "_prefetch"),
            first_delivery: Attribute::of(&consumer, "_first_delivery"),
            held: Locked::new(None),
            clock: Clock::new(settler.py())?,
            turn,
            turned: Locked::new(f64::NEG_INFINITY),
            consumer: consumer.unbind(),
            client: client.unbind(),
            pause: pause.unbind(),
            settler: settler.unbind(),
            subjects,
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
        self.watching.traverse(&visit)?;
        self.held.traversed(|known| {
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
        let consumer = self.consumer.bind(py);
        // SAFETY: what is awaited is alive.
        let awaited = |first: Bound<'_, PyAny>| unsafe { Owned::of(first.as_ptr()) };
        Ok(match self.common(py)? {
            Found::Event(event) => Stepped::Item(event),
            Found::Turn => Stepped::First(awaited(consumer.call_method0(intern!(py, "_turn"))?)),
            Found::Nothing => Stepped::First(awaited(consumer.call_method0(intern!(py, "_arrival"))?)),
            Found::Unclear => Stepped::Wait(awaited(consumer.call_method0(intern!(py, "__anext__"))?)),
        })
    }

    /// The next event, when nothing about it is to be decided.
    #[inline(always)]
    fn common(&self, py: Python<'_>) -> PyResult<Found> {
        let now = self.clock.monotonic(py)?;
        let turn = self.turned.with(py, |turned| {
            let over = now - *turned > self.turn || now < *turned;
            if over {
                *turned = now;
            }
            over
        });
        if turn {
            return Ok(Found::Turn);
        }
        // SAFETY: what is looked at is kept alive by references of our own.
        unsafe {
            if self.stopping.is_true(py, &self.consumer)?
                || self.reason.get(py, &self.pause)?.as_ptr() != ffi::Py_None()
            {
                return Ok(Found::Unclear);
            }
            let prefetch = self.prefetch.get(py, &self.consumer)?;
            let Some(held) = self.prefetched(py, &prefetch)? else { return Ok(Found::Unclear) };
            let first = self.first_delivery.get(py, &self.consumer)?;
            if ffi::PyBytes_CheckExact(first.as_ptr()) == 0 {
                return Ok(Found::Unclear);
            }
            if ffi::PySequence_Size(held.queue.as_ptr()) <= 0 {
                return Ok(Found::Nothing);
            }
            let raw = Owned::new(ffi::PySequence_GetItem(held.queue.as_ptr(), 0)).ok_or_else(|| object::raised(py))?;
            let Some(message) = Message::of(raw.as_ptr()) else { return Ok(Found::Unclear) };
            if !message.reply().starts_with(object::bytes_of(first.as_ptr())) {
                return Ok(Found::Unclear);
            }
            let Some(read) = self.subjects.get().read(py, raw.as_ptr())? else { return Ok(Found::Unclear) };
            let reply = object::bytes(message.reply()).ok_or_else(|| object::raised(py))?;
            let taken =
                Owned::new(ffi::PyObject_CallNoArgs(held.popleft.as_ptr())).ok_or_else(|| object::raised(py))?;
            if ffi::PyDict_SetItem(held.handled.as_ptr(), reply.as_ptr(), taken.as_ptr()) != 0 {
                return Err(object::raised(py));
            }
            let (all, hooks) = self.watching.hooks(py, &self.client, &message.head()[read.ids_at..])?;
            let received_at = if all.as_ptr() == ffi::Py_None() { None } else { Some(self.clock.time(py)?) };
            let settler = Owned::of(self.settler.as_ptr());
            events::durable(py, read, taken, reply, hooks, settler, received_at).map(Found::Event)
        }
    }

    /// What the consumer's prefetch holds.
    #[inline(always)]
    fn prefetched(&self, py: Python<'_>, prefetch: &Owned) -> PyResult<Option<Arc<Prefetch>>> {
        let known = self.held.with(py, |held| held.clone().filter(|held| held.itself.as_ptr() == prefetch.as_ptr()));
        if known.is_some() {
            return Ok(known);
        }
        // SAFETY: alive.
        let prefetch = unsafe { Bound::from_borrowed_ptr(py, prefetch.as_ptr()) };
        if prefetch.is_none() {
            return Ok(None);
        }
        let queue = prefetch.getattr(intern!(py, "queue"))?;
        let made = Arc::new(Prefetch {
            handled: prefetch.getattr(intern!(py, "handled"))?.extract()?,
            popleft: queue.getattr(intern!(py, "popleft"))?.unbind(),
            queue: queue.unbind(),
            itself: prefetch.unbind(),
        });
        let old = self.held.with(py, |held| held.replace(Arc::clone(&made)));
        drop(old);
        Ok(Some(made))
    }
}

unsafe fn consume_step(reader: Object) -> Stepped {
    // SAFETY: called by CPython with the GIL, for readers of this class, which are frozen.
    unsafe {
        let py = Python::assume_attached();
        let reader = Bound::from_borrowed_ptr(py, reader).cast_into_unchecked::<ConsumeReader>();
        guarded(py, || reader.get().step(py)).unwrap_or(Stepped::Raised)
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
