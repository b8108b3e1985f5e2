//! The bytes of the event bus, without Python, without I/O and without `unsafe`, so that they can be fuzzed.
//!
//! Everything here takes the common form only and answers `None` for whatever else: the caller then asks the pure
//! Python parser or pydantic, which know all forms. A function that answers must therefore answer as those do.
#![forbid(unsafe_code)]

pub mod acks;
pub mod base64;
pub mod class;
pub mod escapes;
pub mod frames;
pub mod headers;
pub mod json;
pub mod numbers;
pub mod same;
pub mod scan;
pub mod short;
pub mod traces;
