#![allow(dead_code, clippy::print_stdout, reason = "x")]
mod world;
mod cases;
mod labels;
