//! Farwire.

pub mod config;
