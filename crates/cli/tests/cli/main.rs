//! The binary as its users run it: real processes, a real mesh.

mod clients;
mod mesh;
mod operators;
mod support;
mod up;
