//! A table for people: columns as wide as their widest cell, two spaces apart, numbers on the right. Knows nothing of what it shows, and lets no
//! control character through.

use crate::units::shown;

/// Rows under a head.
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// A column's head, and the side that its cells keep to.
pub(crate) enum Column {
    Left(&'static str),
    Right(&'static str),
}

impl Table {
    pub(crate) fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// One cell for each column.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        debug_assert_eq!(N, self.columns.len(), "a cell for each column");
        self.rows.push(cells.iter().map(|cell| shown(cell)).collect());
    }

    /// The lines, each with its line break and without spaces at its end.
    pub(crate) fn render(&self) -> String {
        let heads: Vec<String> = self.columns.iter().map(|column| column.head().to_owned()).collect();
        let lines = || std::iter::once(&heads).chain(&self.rows);
        let width = |index: usize| lines().map(|cells| cells[index].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..heads.len()).map(width).collect();
        let line = |cells: &Vec<String>| {
            let cells = self.columns.iter().zip(cells).zip(&widths);
            let padded: Vec<String> = cells.map(|((column, cell), width)| column.pad(cell, *width)).collect();
            format!("{}\n", padded.join("  ").trim_end())
        };
        lines().map(line).collect()
    }
}

impl Column {
    fn head(&self) -> &'static str {
        match self {
            Self::Left(head) | Self::Right(head) => head,
        }
    }

    fn pad(&self, cell: &str, width: usize) -> String {
        match self {
            Self::Left(_) => format!("{cell:<width$}"),
            Self::Right(_) => format!("{cell:>width$}"),
        }
    }
}

/// A name with its mark: who is not fine stands out at the left. The column's head begins with two spaces.
pub(crate) fn marked(name: &str, is_fine: bool) -> String {
    format!("{} {name}", if is_fine { ' ' } else { '!' })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_lines_end_with_their_text() {
        let mut table = Table::new([Column::Left("NAME"), Column::Right("RTT"), Column::Left("NOTE")]);
        table.row(["a".into(), "100 ms".into(), String::new()]);
        table.row(["größer".into(), "1 ms".into(), "x\ny".into()]);
        assert_eq!(table.render(), "NAME       RTT  NOTE\na       100 ms\ngrößer    1 ms  x\\ny\n");
    }
}
