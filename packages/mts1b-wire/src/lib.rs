//! The compiled core of MTS1B's event bus.
//!
//! Each part here has a twin in pure Python, which says what is right; what is unusual is left to it.
//!
//! Why there is `unsafe`: PyO3's safe layer takes a reference count, a borrow flag or an argument parser for each step,
//! and has no words for some of CPython's (`am_send`, slots of Python classes by their offset). What is unsafe stands
//! in `object.rs`, where each step is one small function with its reason, and in the functions that call these.

mod acker;
mod acks;
mod attribute;
mod awaitable;
mod cell;
mod clock;
mod drafts;
mod events;
mod message;
mod object;
mod outbound;
mod plan;
mod reader;
mod scanner;
mod sender;
mod share;
mod subjects;
mod template;
mod timer;
mod told;

use pyo3::prelude::*;

/// Counted up with every change of what Python calls here; `eventbus/core.py` names the number that it wants.
const INTERFACE: u32 = 10;

/// The compiled core; see the package's README.
#[pymodule]
fn mts1b_wire(module: &Bound<'_, PyModule>) -> PyResult<()> {
    object::import()?;
    module.add("INTERFACE", INTERFACE)?;
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    message::add(module)?;
    awaitable::add(module)?;
    plan::add(module)?;
    module.add_class::<scanner::Scanner>()?;
    module.add_function(wrap_pyfunction!(events::serve_events, module)?)?;
    module.add_class::<acker::Acker>()?;
    module.add_class::<timer::Timer>()?;
    module.add_class::<share::TraceShare>()?;
    reader::add(module)?;
    outbound::add(module)?;
    module.add_class::<sender::Sender>()?;
    module.add_class::<drafts::Drafts>()?;
    module.add_class::<drafts::Framer>()?;
    module.add_function(wrap_pyfunction!(template::find_templates, module)?)?;
    module.add_function(wrap_pyfunction!(acks::take_acks, module)?)?;
    module.add_function(wrap_pyfunction!(acks::plain_acks, module)?)?;
    module.add_function(wrap_pyfunction!(message::all_have_replies, module)?)?;
    module.add_class::<subjects::Subjects>()?;
    Ok(())
}
