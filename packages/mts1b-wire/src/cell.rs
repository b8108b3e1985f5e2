//! State behind the GIL.

use pyo3::Python;
use std::cell::UnsafeCell;

/// What only the holder of the GIL may look at, for a moment.
///
/// The class that owns it is frozen, so that Python and other classes reach it without a borrow flag.
pub struct Locked<T>(UnsafeCell<T>);

// SAFETY: `with` takes the token of the GIL, which one thread holds at a time; a module for free-threaded Python is not
// built (`gil_used` stays true, so that such an interpreter turns its lock on when it imports this one).
unsafe impl<T: Send> Sync for Locked<T> {}

impl<T> Locked<T> {
    pub fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Look at the value. `look` must not call into Python: whatever runs there may come back here.
    #[inline(always)]
    pub fn with<R>(&self, _py: Python<'_>, look: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the GIL is held, and `look` does not come back here, so that this is the only reference.
        look(unsafe { &mut *self.0.get() })
    }

    /// Look at the value from `__traverse__`, which the garbage collector calls while it holds the GIL.
    pub fn traversed<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        // SAFETY: the GIL is held, and no `with` is under way: what it is given does not call into Python, where alone a
        // collection begins.
        look(unsafe { &*self.0.get() })
    }
}
