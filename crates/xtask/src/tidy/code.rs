//! Tells code from text: what a rule about code must not find in a comment or a string.
//!
//! No parser of Rust: it knows the forms of comments and literals, which is enough to blank them. Called once for each source file.

/// The source with every comment, string and character literal blanked. Lines stay where they are.
pub(super) fn only(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    let mut in_name = false;
    while let Some(first) = rest.chars().next() {
        let skipped = text_bytes(rest, in_name);
        let (taken, remaining) = rest.split_at(skipped.max(first.len_utf8()));
        if skipped == 0 {
            code.push(first);
        } else {
            code.extend(taken.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        }
        in_name = skipped == 0 && is_name(first);
        rest = remaining;
    }
    code
}

/// Whether the character may stand in an identifier.
pub(super) fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// How many bytes of comment or literal `rest` begins with; 0 if it begins with code.
fn text_bytes(rest: &str, in_name: bool) -> usize {
    match rest.as_bytes() {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_bytes(rest),
        [b'"', ..] => quoted_bytes(rest, '"'),
        [b'\'', ..] => character_bytes(rest),
        [b'r' | b'b' | b'c', ..] if !in_name => raw_string_bytes(rest),
        _ => 0,
    }
}

fn block_comment_bytes(rest: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted_bytes(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// A quote begins a character, or else a lifetime, which is code.
fn character_bytes(rest: &str) -> usize {
    let mut chars = rest.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => quoted_bytes(rest, '\''),
        (Some(c), Some('\'')) => c.len_utf8() + 2,
        _ => 0,
    }
}

/// `r"…"`, `r#"…"#`, and so on, also with `b` or `c` in front.
fn raw_string_bytes(rest: &str) -> usize {
    let Some(after_r) = rest.trim_start_matches(['b', 'c']).strip_prefix('r') else { return 0 };
    let body = after_r.trim_start_matches('#');
    if !body.starts_with('"') {
        return 0;
    }
    let hashes = after_r.len() - body.len();
    let end = format!("\"{}", "#".repeat(hashes));
    let body_start = rest.len() - body.len() + 1;
    body[1..].find(&end).map_or(rest.len(), |at| body_start + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The code's words, without the blanks.
    fn words(source: &str) -> Vec<String> {
        only(source).split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn comments_are_blanked() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g /// h"), ["a", "c", "g"]);
    }

    #[test]
    fn strings_are_blanked() {
        assert_eq!(words(r#"a "b \" c" d b"e" "#), ["a", "d", "b"]);
        assert_eq!(words("a r\"b\\\" c br##\"d\"# e\"## f"), ["a", "c", "f"]);
    }

    #[test]
    fn characters_are_blanked_and_lifetimes_are_not() {
        assert_eq!(words(r"a '\'' b '/' c 'é' d"), ["a", "b", "c", "d"]);
        assert_eq!(words("&'a str // c"), ["&'a", "str"]);
    }

    #[test]
    fn raw_identifiers_and_names_that_end_in_r_are_code() {
        assert_eq!(words("r#type for\"x\" after"), ["r#type", "for", "after"]);
    }

    #[test]
    fn lines_stay() {
        assert_eq!(only("a\n\"b\nc\"\n/*\n*/d").lines().count(), "a\n\"b\nc\"\n/*\n*/d".lines().count());
    }

    #[test]
    fn text_that_never_ends_is_text() {
        assert_eq!(words("a \"b"), ["a"]);
        assert_eq!(words("a /* b"), ["a"]);
        assert_eq!(words("a r#\"b\""), ["a"]);
    }
}
