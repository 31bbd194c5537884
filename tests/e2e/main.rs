//! Whole meshes with real clients.

mod volatile;
