//! What each file must be: small, documented at its top, finished, and free of secrets.
//!
//! Knows nothing of the file's place in the workspace beyond its path.

use super::Report;

/// The rules for every file: its size, and no private key in it.
pub(super) fn check_any(file: &str, bytes: &[u8], report: &mut Report) {
    if bytes.len() > FILE_BYTES_MAX {
        report.faults.push(format!("{file}: {} KiB; files over 1 MiB stay out of the repository", bytes.len() / 1024));
    }
    if has_private_key(&String::from_utf8_lossy(bytes)) {
        report.faults.push(format!(
            "{file}: contains a private key; make it when it is needed, and replace this one everywhere"
        ));
    }
}

/// The rules for Rust: `text` is the file as it stands, `code` the same with comments and strings blanked.
pub(super) fn check_source(file: &str, text: &str, code: &str, report: &mut Report) {
    let lines = text.lines().count();
    if lines > LINES_MAX {
        report.faults.push(format!("{file}: {lines} lines; split it, {LINES_MAX} is the most"));
    } else if lines > LINES_GOOD {
        report.notes.push(format!("{file}: {lines} lines; up to {LINES_GOOD} is the aim"));
    }
    let is_ours = file.starts_with("crates/") || file.starts_with("tests/");
    if is_ours && !text.starts_with("//!") {
        report
            .faults
            .push(format!("{file}: begin it with `//!`: what it is, what it is not, its invariants, who calls it"));
    }
    for (number, line) in code.lines().enumerate() {
        if let Some((found, remedy)) = UNFINISHED.iter().find(|(found, _)| line.contains(found)) {
            report.faults.push(format!("{file}:{}: `{found}`: {remedy}", number + 1));
        }
    }
}

/// Whether a PEM header of a private key is followed by key material. A header alone, as in code that looks for one, is none.
fn has_private_key(text: &str) -> bool {
    text.split(BEGIN).skip(1).any(|after| {
        let Some((label, body)) = after.split_once("-----") else { return false };
        // Between the header and the key stand line breaks, or, inside a string, their escapes and the next line's quote.
        let body = body.trim_start_matches("\\r").trim_start_matches("\\n");
        let body = body.trim_start_matches(|c: char| c.is_whitespace() || "\\\"'|+,#>-".contains(c));
        let key = body.chars().take_while(|c| c.is_ascii_alphanumeric() || "+/=".contains(*c)).count();
        label.ends_with("PRIVATE KEY") && key >= KEY_CHARACTERS_MIN
    })
}

const FILE_BYTES_MAX: usize = 1024 * 1024;
const LINES_GOOD: usize = 500;
const LINES_MAX: usize = 800;

const BEGIN: &str = "-----BEGIN ";

/// The shortest key, Ed25519, is one line of 64 characters.
const KEY_CHARACTERS_MIN: usize = 24;

const UNFINISHED: &[(&str, &str)] = &[
    ("#[ignore", "a test runs or does not exist"),
    ("todo!(", "write it, or leave out what needs it"),
    ("unimplemented!(", "write it, or leave out what needs it"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::code;

    fn report_on(file: &str, text: &str) -> Report {
        let mut report = Report::default();
        check_any(file, text.as_bytes(), &mut report);
        check_source(file, text, &code::only(text), &mut report);
        report
    }

    fn with_lines(lines: usize) -> String {
        "//! Long.\n".repeat(lines)
    }

    #[test]
    fn good_files_pass() {
        let report =
            report_on("crates/a/src/b.rs", "//! Good: no `todo!()`, no `#[ignore]`.\nfn f() -> &str { \"todo!()\" }\n");
        assert!(report.faults.is_empty() && report.notes.is_empty(), "{report:?}");
    }

    #[test]
    fn long_files_are_noted_and_longer_ones_fail() {
        assert!(report_on("crates/a.rs", &with_lines(500)).notes.is_empty());
        assert_eq!(report_on("crates/a.rs", &with_lines(501)).notes.len(), 1);
        assert!(report_on("crates/a.rs", &with_lines(800)).faults.is_empty());
        assert!(report_on("crates/a.rs", &with_lines(801)).faults[0].contains("801 lines"));
    }

    #[test]
    fn files_without_module_docs_fail() {
        for text in ["fn main() {}", "// No doc.\n", "\n//! Late.\n", ""] {
            assert!(report_on("crates/a/build.rs", text).faults[0].contains("`//!`"), "{text:?}");
        }
        assert!(report_on("deploy/a.rs", "fn main() {}").faults.is_empty());
    }

    #[test]
    fn unfinished_code_fails_with_its_line() {
        for code in ["#[ignore]", "#[ignore = \"slow\"]", "todo!()", "unimplemented!(\"later\")"] {
            let faults = report_on("tests/a.rs", &format!("//! Doc.\n\n{code}\n")).faults;
            assert!(faults[0].starts_with("tests/a.rs:3: "), "{faults:?}");
        }
    }

    #[test]
    fn large_files_fail() {
        let mut report = Report::default();
        check_any("data.bin", &vec![0; FILE_BYTES_MAX], &mut report);
        assert!(report.faults.is_empty());
        check_any("data.bin", &vec![0; FILE_BYTES_MAX + 1], &mut report);
        assert_eq!(report.faults.len(), 1);
    }

    #[test]
    fn private_keys_fail_in_any_wrapping() {
        let key = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF";
        for label in ["PRIVATE KEY", "EC PRIVATE KEY", "ENCRYPTED PRIVATE KEY"] {
            for gap in ["\n", "\r\n", "\\n", "\\n\\\n    ", "\",\n\"", "\n  "] {
                let text = format!("{BEGIN}{label}-----{gap}{key}");
                assert!(has_private_key(&text), "{text:?}");
            }
        }
    }

    #[test]
    fn headers_alone_and_public_parts_pass() {
        for text in [
            format!("{BEGIN}PRIVATE KEY-----\" => key,"),
            format!("{BEGIN}CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUabcdef\n"),
        ] {
            assert!(!has_private_key(&text), "{text:?}");
        }
    }
}
