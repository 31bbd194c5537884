//! The binary as its users run it: real processes, a real mesh.

#![allow(clippy::panic, reason = "a test that cannot go on fails")]

mod clients;
mod mesh;
mod operators;
mod presence;
mod support;
mod up;
