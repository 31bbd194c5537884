//! Farwire.
