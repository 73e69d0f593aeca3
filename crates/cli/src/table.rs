//! Tables as kumactl prints them: columns aligned with three spaces between, no borders, no colours.

use std::io::{self, Write};

const GAP: usize = 3;

/// A header and rows. Rows may be shorter than the header; empty cells print as `-`, so that columns can be counted.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table without rows.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            header: header.map(str::to_owned).to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a column at the right.
    pub fn add_column(&mut self, name: &str) {
        self.header.push(name.to_owned());
    }

    /// Adds a row.
    pub fn add(&mut self, row: Vec<String>) {
        self.rows.push(row);
    }

    /// True if there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes header and rows, each line starting with `indent`.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut dyn Write, indent: &str) -> io::Result<()> {
        let mut widths: Vec<usize> = self.header.iter().map(|cell| cell.chars().count()).collect();
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(shown(cell).chars().count());
            }
        }
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let mut line = indent.to_owned();
            for (width, cell) in widths.iter().zip(row) {
                let cell = shown(cell);
                line.push_str(&cell);
                line.push_str(&" ".repeat(width + GAP - cell.chars().count()));
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// What is shown of a text that others wrote: `-` for nothing, and no control characters, which must not reach the terminal.
pub fn shown(text: &str) -> String {
    if text.is_empty() {
        return "-".to_owned();
    }
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn columns_are_aligned_and_empty_cells_visible() {
        let mut table = Table::new(["NAME", "TAGS", "AGE"]);
        table.add(vec!["redis".into(), String::new(), "3h".into()]);
        table.add(vec!["ü".into(), "a=b\u{1b}[31m".into()]);
        let mut out = Vec::new();
        table.write(&mut out, "  ").unwrap();
        let expected = "  NAME    TAGS       AGE\n  redis   -          3h\n  ü       a=b [31m\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
