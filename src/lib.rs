//! The byte work of holdfast: heads, body framing, small exchanges, draining, key digests, and what a session looks at.
//!
//! Bytes in, decisions out: no thread, no runtime, no policy and no Python object lives here. `python` is the only
//! module that knows of Python; the others are plain Rust and are tested as such.

pub mod body;
pub mod digest;
pub mod environment;
pub mod error;
pub mod framing;
pub mod head;
#[cfg(feature = "python")]
mod python;
pub mod request;
#[cfg(test)]
mod session_tests;
#[cfg(unix)]
pub mod socket;
#[cfg(test)]
mod tests;
pub mod url;
