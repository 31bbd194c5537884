//! Runs `farwire_tests::fuzz::config::check` on inputs that libFuzzer makes up.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| farwire_tests::fuzz::config::check(input));
