//! The crate against real servers on the loopback interface.

mod server;

/// Chat endpoints: good ones, busy ones, broken ones.
mod endpoint;

/// The model hub: whole files, broken ones, missing ones.
mod hub;
