//! Whole meshes with real clients.

mod python;
mod volatile;
