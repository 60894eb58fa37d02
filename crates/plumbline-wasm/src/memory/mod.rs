//! Linear memory that can be frozen into an image, and images that can be made live again.
//!
//! On Linux an image is mapped copy-on-write, so that making it live costs what is touched
//! and not what it holds. Elsewhere it is copied.

#[cfg(any(test, not(target_os = "linux")))]
mod copied;
#[cfg(target_os = "linux")]
mod mapped;

#[cfg(not(target_os = "linux"))]
pub(crate) use copied::{Image, Room, Spent, configure, freeze, prepare, restore};
#[cfg(target_os = "linux")]
pub(crate) use mapped::{Image, Room, Spent, configure, freeze, prepare, restore};
