//! The node's config file.
//!
//! Input: the file; after a zero byte, pairs `key=value` as given with `--set`, a line each.

use std::path::Path;

use farwire_node::Config;

use super::assert_printable;

/// Panics when a rule is broken.
///
/// # Panics
/// See above.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (file, sets) = text.split_once('\0').unwrap_or((text, ""));
    let pair = |line: &str| line.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()));
    let sets: Vec<_> = sets.lines().filter_map(pair).collect();
    match Config::parse(file, Path::new("node.toml"), |_| None, &sets) {
        Ok(config) => assert_sound(&config),
        Err(faults) => assert_printable(&faults),
    }
}

/// Some of what the node relies on without looking again.
fn assert_sound(config: &Config) {
    assert!(config.admin.bind.ip().is_loopback(), "the admin endpoint is open to others");
    assert!((1..=16).contains(&config.weight), "weight {}", config.weight);
    assert!(!config.auth.issuers.is_empty(), "nobody's tokens are believed");
    assert!(config.client.advertise.is_some() || !config.client.bind.ip().is_unspecified(), "nowhere for clients");
    assert!(config.peer.advertise.is_some() || !config.peer.bind.ip().is_unspecified(), "nowhere for peers");
}
