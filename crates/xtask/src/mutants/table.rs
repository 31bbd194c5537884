//! The table of mutants in tests/README.md: who found each, and how soon. Reads and writes text, and runs nothing.
//!
//! Invariant: a row is what a run said; of mutants that did not run this time the row stays, of those that are no more it goes.

use anyhow::{Context, Result};

/// What a test said of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) found_by: String,
    pub(super) within: String,
}

impl Row {
    /// The row of a mutant, from the first lines of a failed test's report: "81 of 102 seeds failed", "seed 0:", a violation.
    pub(super) fn of(name: &str, test: &str, report: Option<&[&str; 3]>) -> Self {
        let (found_by, within) = match report {
            Some([failed, seed, violation]) => {
                let word = violation.trim().split(':').next().unwrap_or_default();
                let seeds = failed.split(" seeds failed").next().unwrap_or_default();
                let count = seeds.rsplit_once(": ").map_or(seeds, |(_, count)| count);
                (format!("`{test}`, {word}"), format!("{count} seeds, first {}", seed.trim().trim_end_matches(':')))
            }
            None => (NOT_FOUND.to_owned(), String::new()),
        };
        Self { name: name.to_owned(), found_by, within }
    }

    pub(super) fn is_found(&self) -> bool {
        self.found_by != NOT_FOUND
    }

    fn parse(line: &str) -> Option<Self> {
        let cells: Vec<_> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::to_owned).collect();
        let [name, found_by, within] = cells.try_into().ok()?;
        Some(Self { name, found_by, within })
    }
}

/// The rows as a table.
pub(super) fn table(rows: &[Row]) -> String {
    let lines = rows.iter().map(|row| format!("| {} | {} | {} |\n", row.name, row.found_by, row.within));
    format!("{HEAD}{}", lines.collect::<String>())
}

/// The document with these rows in its table, in the order of `names`, with those rows beside them that it had of others.
pub(super) fn put_into(document: &str, names: &[&str], rows: &[Row]) -> Result<String> {
    let missing = || format!("tests/README.md has no lines {BEGIN} and {END} around its table");
    let (before, rest) = document.split_once(BEGIN).with_context(missing)?;
    let (old, after) = rest.split_once(END).with_context(missing)?;
    let old: Vec<_> = old.lines().filter_map(Row::parse).collect();
    let row = |name: &&str| rows.iter().chain(&old).find(|row| row.name == **name).cloned();
    let rows: Vec<_> = names.iter().filter_map(row).collect();
    Ok(format!("{before}{BEGIN}\n{}{END}{after}", table(&rows)))
}

const HEAD: &str = "| mutant | found by | within |\n|---|---|---|\n";
const NOT_FOUND: &str = "NOT FOUND";
const BEGIN: &str = "<!-- mutants: begin -->";
const END: &str = "<!-- mutants: end -->";

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, found_by: &str) -> Row {
        Row { name: name.to_owned(), found_by: found_by.to_owned(), within: "1 of 6 seeds".to_owned() }
    }

    #[test]
    fn a_report_becomes_a_row() {
        let report = ["81 of 102 seeds failed", "seed 3:", "  missed: iad-a did not get 4 messages"];
        let found = Row::of("a: b", "mixed", Some(&report));
        assert_eq!(table(&[found]), format!("{HEAD}| a: b | `mixed`, missed | 81 of 102 seeds, first seed 3 |\n"));
        assert!(!Row::of("a: b", "mixed", None).is_found());
    }

    #[test]
    fn rows_of_what_did_not_run_stay_and_of_what_is_no_more_go() {
        let document = |rows: &[Row]| format!("# Doc\n\n{BEGIN}\n{}{END}\nmore\n", table(rows));
        let before = document(&[row("gone", "x"), row("b", "old"), row("a", "old")]);
        let after = put_into(&before, &["a", "b", "c"], &[row("b", "new")]).unwrap();
        assert_eq!(after, document(&[row("a", "old"), row("b", "new")]));
        assert!(put_into("# Doc\n", &["a"], &[]).is_err());
    }
}
