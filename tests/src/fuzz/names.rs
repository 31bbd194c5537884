//! Names and patterns, against their rules written down once more as naively as possible.
//!
//! Input: lines of text. Each is tried as every kind of name; the first line that is a channel is matched with every
//! line that is a pattern.

use farwire_core::patterns::PatternMap;
use farwire_wire::{ChannelName, ClientId, Filter, NodeName, Pattern};

/// Lines beyond these are not looked at.
const LINES_MAX: usize = 24;

/// Panics when a rule is broken.
///
/// # Panics
/// See above.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let lines: Vec<&str> = text.split('\n').take(LINES_MAX).collect();
    lines.iter().for_each(|line| assert_names(line));
    let patterns: Vec<Pattern> = lines.iter().filter_map(|line| Pattern::parse(line).ok()).collect();
    for channel in lines.iter().filter_map(|line| ChannelName::parse(line).ok()).take(2) {
        assert_matches(&patterns, &channel);
    }
}

fn assert_names(line: &str) {
    let prefixes = ["farwire:presence.", "farwire:counts."];
    let subject = prefixes.iter().find_map(|prefix| line.strip_prefix(prefix)).unwrap_or(line);
    let segments: Vec<&str> = subject.split('.').collect();
    let is_word = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let is_label = is_word(line, "-") && line.len() <= 32 && !line.chars().any(|c| c.is_ascii_uppercase());
    let is_client_id = is_word(line, "_:.@-") && line.len() <= 64;
    let is_channel = segments.iter().all(|segment| is_word(segment, "_:-")) && subject.len() <= 255;
    let is_pattern = is_channel || is_wild(&segments, &|segment| is_word(segment, "_:-")) && subject.len() <= 255;
    assert_eq!(NodeName::parse(line).is_ok(), is_label, "node {line:?}");
    assert_eq!(ClientId::parse(line).is_ok(), is_client_id, "client id {line:?}");
    assert_eq!(ChannelName::parse(line).is_ok(), is_channel, "channel {line:?}");
    assert_eq!(Pattern::parse(line).is_ok(), is_pattern, "pattern {line:?}");
    if let Ok(pattern) = Pattern::parse(line) {
        assert_eq!(pattern.as_str(), line);
        assert_eq!(pattern.channel().map(|channel| channel.to_string()), is_channel.then(|| line.to_owned()));
        assert_eq!(pattern.subject().map(|about| about.to_string()), (subject != line).then(|| subject.to_owned()));
        assert_eq!(pattern.presence().as_str(), format!("farwire:presence.{subject}"));
        assert_eq!(pattern.counts().as_str(), format!("farwire:counts.{subject}"));
    }
}

fn is_wild(segments: &[&str], is_plain: &dyn Fn(&str) -> bool) -> bool {
    let Some((last, before)) = segments.split_last() else { return false };
    let allowed = |segment: &&str| *segment == "*" || is_plain(segment);
    segments.len() <= 16 && before.iter().all(allowed) && (*last == ">" || allowed(last))
}

fn assert_matches(patterns: &[Pattern], channel: &ChannelName) {
    let segments: Vec<&str> = channel.as_str().split('.').collect();
    let mut map = PatternMap::default();
    for (place, pattern) in patterns.iter().enumerate() {
        // No wildcard stands for a first segment of the mesh's own.
        let is_kept_apart = channel.is_reserved() && pattern.as_str().starts_with(['*', '>']);
        let wanted = !is_kept_apart && naive(&pattern.as_str().split('.').collect::<Vec<_>>(), &segments);
        assert_eq!(pattern.matches(channel), wanted, "{pattern:?} {channel:?}");
        if pattern.subject().is_none() && channel.subject() == channel.as_str() {
            assert_eq!(pattern.presence().matches(&channel.presence()), wanted, "presence: {pattern:?} {channel:?}");
        }
        assert!(!pattern.covers(&channel.clone().into()) || wanted, "{pattern:?} covers {channel:?}");
        for other in patterns.iter().filter(|other| pattern.covers(other)) {
            assert!(wanted || !other.matches(channel), "{pattern:?} covers {other:?} but not {channel:?}");
        }
        map.insert(pattern, place);
    }
    assert_eq!(found(&map, channel), matching(patterns, channel), "{patterns:?} {channel:?}");
    if let Ok(filter) = Filter::new(patterns.to_vec()) {
        assert_eq!(filter.matches(channel), patterns.iter().any(|pattern| pattern.matches(channel)));
    }
    patterns.iter().enumerate().for_each(|(place, pattern)| map.remove(pattern, place));
    assert!(map.is_empty(), "something stays of {patterns:?}");
}

fn found(map: &PatternMap<usize>, channel: &ChannelName) -> Vec<usize> {
    let mut found = Vec::new();
    map.for_each_match(channel, |place| found.push(place));
    found.sort_unstable();
    found
}

fn matching(patterns: &[Pattern], channel: &ChannelName) -> Vec<usize> {
    (0..patterns.len()).filter(|place| patterns[*place].matches(channel)).collect()
}

/// The definition of a match.
fn naive(pattern: &[&str], channel: &[&str]) -> bool {
    match (pattern, channel) {
        ([], []) => true,
        ([">"], rest) => !rest.is_empty(),
        (["*", p @ ..], [_, c @ ..]) => naive(p, c),
        ([a, p @ ..], [b, c @ ..]) => a == b && naive(p, c),
        _ => false,
    }
}
