//! Which module of `crates/node` may use which: the arrows inside the one crate that could become the crate of everything.
//!
//! A module is a file or folder right under `src`. An arrow is a path from the crate's root (`crate::x`, or `super::x` where that is
//! the root), in a `use` or in the middle of code, in tests too. `lib.rs` may use all; an item of its own counts as the module `lib`.

use std::collections::BTreeSet;

use super::{Report, code::is_name};

/// Each module of `crates/node/src` with all that it may use. A new module needs a row; keep the rows short.
const MODULES: &[Row] = &[
    ("admin", &["events", "peers", "presence", "probed", "rates", "sessions", "shared"]),
    ("config", &[]),
    ("directory", &[]),
    ("events", &["local", "queue"]),
    ("fanout", &["rates", "sync", "tail"]),
    ("forgotten", &["sync"]),
    ("link", &["admin", "membership", "peers", "presence", "queue", "shared", "sync", "topology"]),
    ("local", &[]),
    (
        "membership",
        &["config", "directory", "metrics", "peers", "queue", "shared", "sync", "throttle", "topology", "watchdog"],
    ),
    ("metrics", &["queue"]),
    (
        "node",
        &[
            "admin",
            "config",
            "directory",
            "events",
            "fanout",
            "forgotten",
            "link",
            "local",
            "membership",
            "metrics",
            "peers",
            "presence",
            "probe",
            "probed",
            "queue",
            "router",
            "session",
            "sessions",
            "shared",
            "sync",
            "topology",
            "upkeep",
            "watchdog",
        ],
    ),
    ("peers", &["queue", "sync"]),
    ("presence", &["peers", "queue", "shared", "watchdog"]),
    ("probe", &["fanout", "metrics", "probed", "shared"]),
    ("probed", &["sync"]),
    ("queue", &[]),
    ("rates", &[]),
    ("router", &["fanout", "local", "metrics", "peers", "tail"]),
    ("session", &["events", "fanout", "peers", "presence", "queue", "sessions", "shared", "sync", "tail"]),
    ("sessions", &["sync"]),
    (
        "shared",
        &[
            "config",
            "directory",
            "events",
            "fanout",
            "forgotten",
            "local",
            "metrics",
            "peers",
            "presence",
            "probed",
            "router",
            "sessions",
            "sync",
            "throttle",
            "topology",
        ],
    ),
    ("sync", &[]),
    ("tail", &[]),
    ("throttle", &["sync"]),
    ("topology", &["events", "local", "peers", "queue", "sync", "watchdog"]),
    ("upkeep", &["metrics", "shared"]),
    ("watchdog", &["metrics", "queue"]),
];

/// A module and all that it may use.
type Row = (&'static str, &'static [&'static str]);

/// The faults of one source file, if it is one of the node's.
pub(super) fn check(file: &str, code: &str, report: &mut Report) {
    report.faults.extend(faults(MODULES, file, code));
}

/// Rows of modules that no file belongs to any more.
pub(super) fn stale_rows(files: &[String]) -> Vec<String> {
    let alive: BTreeSet<&str> = files.iter().filter_map(|file| module_of(file)).collect();
    let stale = MODULES.iter().filter(|(name, _)| !alive.contains(name));
    stale.map(|(name, _)| format!("{TABLE}: no file belongs to the row `{name}`")).collect()
}

fn faults(table: &[Row], file: &str, code: &str) -> Vec<String> {
    let Some(module) = module_of(file) else { return Vec::new() };
    let Some((_, allowed)) = row(table, module) else {
        return vec![format!("{file}: module `{module}` has no row in MODULES of {TABLE}; add what it may use")];
    };
    let used = names_from_root(table, code, depth_of(file));
    let broken = used.into_iter().filter(|name| *name != module && !allowed.contains(name));
    broken
        .map(|name| {
            format!(
                "{file}: `{module}` may not use `{name}`; go through a module that may, or weigh the arrow in {TABLE}"
            )
        })
        .collect()
}

/// The top-level module that a file belongs to; `None` for `lib.rs` and for files of other crates.
fn module_of(file: &str) -> Option<&str> {
    let path = file.strip_prefix(SOURCE)?;
    let name = path.split('/').next()?.trim_end_matches(".rs");
    (name != "lib").then_some(name)
}

/// How many `super` lead from the file to the crate's root.
fn depth_of(file: &str) -> usize {
    let path = file.strip_prefix(SOURCE).unwrap_or(file);
    path.matches('/').count() + usize::from(!path.ends_with("/mod.rs"))
}

/// The first name of every path that begins at the crate's root; `lib` for an item that lives there itself.
fn names_from_root<'a>(table: &[Row], code: &'a str, depth: usize) -> BTreeSet<&'a str> {
    let is_module = |name: &str| row(table, name).is_some();
    let from_crate = after_each(code, "crate::").flat_map(first_names);
    let up = "super::".repeat(depth);
    // From an inline module (tests) the same `super` ends lower: only names that are modules of the root can be told.
    let from_super = after_each(code, &up).flat_map(first_names).filter(|name| is_module(name));
    from_crate.map(|name| if is_module(name) { name } else { ROOT }).chain(from_super).collect()
}

/// What follows each path prefix that is not the end of a longer name or path.
fn after_each<'a>(code: &'a str, prefix: &str) -> impl Iterator<Item = &'a str> {
    let begins = |at: usize| !code[..at].ends_with(|c| is_name(c) || c == ':');
    code.match_indices(prefix).filter(move |(at, _)| begins(*at)).map(|(at, found)| &code[at + found.len()..])
}

/// The first name of a path, or of each path of a group in braces.
fn first_names(rest: &str) -> Vec<&str> {
    let Some(group) = rest.strip_prefix('{') else { return vec![leading_name(rest)] };
    let mut depth = 0;
    let mut starts = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    let names = starts.iter().map(|start| leading_name(group[*start..].trim_start()));
    // After a last comma comes no path.
    names.filter(|name| !name.is_empty()).collect()
}

fn leading_name(rest: &str) -> &str {
    &rest[..rest.find(|c| !is_name(c)).unwrap_or(rest.len())]
}

fn row<'t>(table: &'t [Row], module: &str) -> Option<&'t Row> {
    table.iter().find(|(name, _)| *name == module)
}

const SOURCE: &str = "crates/node/src/";
const TABLE: &str = "crates/xtask/src/tidy/modules.rs";
const ROOT: &str = "lib";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::code;

    const ABC: &[Row] = &[("a", &["b"]), ("b", &[]), ("c", &["a", "b", "lib"])];

    fn faults_in(file: &str, text: &str) -> Vec<String> {
        faults(ABC, &format!("{SOURCE}{file}"), &code::only(text))
    }

    #[test]
    fn listed_arrows_and_the_module_itself_pass() {
        for text in
            ["use crate::b::B;", "use crate::a::x::Y;", "use crate::{a, b::{B, C}};", "fn f() { crate::b::g(); }"]
        {
            assert!(faults_in("a.rs", text).is_empty(), "{text}");
        }
    }

    #[test]
    fn other_arrows_fail_in_every_form_of_path() {
        for text in [
            "use crate::c::C;",
            "use crate::c;",
            "pub(crate) use crate::{\n    a::A,\n    b::{B, D},\n    c::C,\n};",
            "use crate::{c as d};",
            "fn f() { crate::c::g(); }",
            "fn f(x: Option<crate::c::C>) {}",
            "macro_rules! m { () => { $crate::c::g() } }",
        ] {
            let faults = faults_in("a/deep/er.rs", text);
            assert_eq!(faults.len(), 1, "{text}: {faults:?}");
            assert!(faults[0].contains("`a` may not use `c`"), "{faults:?}");
        }
    }

    #[test]
    fn ways_around_the_crate_name_fail() {
        for (file, text) in [
            ("a.rs", "use super::c::C;"),
            ("a/mod.rs", "use super::c::C;"),
            ("a/inner.rs", "use super::super::c::C;"),
            ("a/inner/most.rs", "use super::super::super::{b, c};"),
        ] {
            assert_eq!(faults_in(file, text).len(), 1, "{file}: {text}");
        }
    }

    #[test]
    fn siblings_inside_a_module_pass() {
        assert!(faults_in("a/inner.rs", "use super::c::C; mod tests { use super::super::*; }").is_empty());
    }

    #[test]
    fn comments_strings_and_longer_names_are_no_arrows() {
        let text = "// crate::c\n/* crate::c */ const S: &str = \"crate::c\"; use my_crate::c; use other::crate::c;";
        assert!(faults_in("a.rs", text).is_empty());
    }

    #[test]
    fn items_of_the_root_need_an_arrow_to_lib() {
        assert!(faults_in("a.rs", "use crate::Error;")[0].contains("may not use `lib`"));
        assert!(faults_in("c.rs", "use crate::{Error, self as root};").is_empty());
    }

    #[test]
    fn unknown_modules_fail() {
        assert!(faults_in("d.rs", "")[0].contains("no row in MODULES"));
        assert!(faults_in("d/mod.rs", "")[0].contains("no row in MODULES"));
    }

    #[test]
    fn the_root_and_other_crates_are_free() {
        assert!(faults_in("lib.rs", "use crate::c::C;").is_empty());
        assert!(faults(ABC, "crates/cli/src/d.rs", "use crate::x;").is_empty());
    }

    #[test]
    fn rows_name_modules_that_have_rows() {
        let names = MODULES.iter().flat_map(|(_, allowed)| *allowed);
        let unknown: Vec<_> = names.filter(|name| **name != ROOT && row(MODULES, name).is_none()).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
