//! The command line of Farwire.
fn main() {}
