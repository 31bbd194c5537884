//! The binary as its users run it: real processes, a real mesh.

mod mesh;
mod support;
mod up;
