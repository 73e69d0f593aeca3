//! Tables as kumactl prints them: columns aligned with three spaces between, no borders, no colours.

use std::io::{self, Write};

const GAP: usize = 3;
/// A column is not wrapped into less.
const NARROWEST: usize = 16;

/// A header and rows. Rows may be shorter than the header; empty cells print as `-`, so that columns can be counted.
#[derive(Debug, Default)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Columns that a narrow terminal can do without, the first of them most easily.
    optional: Vec<String>,
}

impl Table {
    /// A table without rows.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self {
            header: header.map(str::to_owned).to_vec(),
            rows: Vec::new(),
            optional: Vec::new(),
        }
    }

    /// Names columns that a narrow terminal can do without, the first of them most easily.
    pub fn optional<const N: usize>(mut self, columns: [&str; N]) -> Self {
        self.optional.extend(columns.map(str::to_owned));
        self
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
        let all: Vec<usize> = (0..self.header.len()).collect();
        let widths = all.iter().map(|column| self.natural_width(*column)).collect::<Vec<_>>();
        self.write_columns(out, indent, &all, &widths)
    }

    /// As [`Table::write`], within so many columns of characters: without optional columns, then with cells on several
    /// lines. `None` is no limit.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_within(&self, out: &mut dyn Write, indent: &str, limit: Option<usize>) -> io::Result<()> {
        let Some(limit) = limit else {
            return self.write(out, indent);
        };
        let limit = limit.saturating_sub(indent.chars().count());
        let mut columns: Vec<usize> = (0..self.header.len()).collect();
        let natural: Vec<usize> = columns.iter().map(|column| self.natural_width(*column)).collect();
        let total = |columns: &[usize]| {
            let cells: usize = columns.iter().filter_map(|column| natural.get(*column)).sum();
            cells + GAP * columns.len().saturating_sub(1)
        };
        let mut dropped = Vec::new();
        for name in &self.optional {
            if total(&columns) <= limit {
                break;
            }
            if let Some(place) = columns.iter().position(|column| self.header.get(*column) == Some(name)) {
                columns.remove(place);
                dropped.push(name.as_str());
            }
        }
        let mut widths: Vec<usize> = columns
            .iter()
            .filter_map(|column| natural.get(*column).copied())
            .collect();
        let gaps = GAP * columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > limit {
            match widths.iter_mut().max().filter(|width| **width > NARROWEST) {
                Some(widest) => *widest -= 1,
                None => break,
            }
        }
        self.write_columns(out, indent, &columns, &widths)?;
        if !dropped.is_empty() && !self.is_empty() {
            writeln!(out, "{indent}({} with -o wide)", dropped.join(", "))?;
        }
        Ok(())
    }

    fn natural_width(&self, column: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(column));
        let widths = cells.map(|cell| shown(cell).chars().count());
        let header = self.header.get(column).map_or(0, |name| name.chars().count());
        widths.chain([header]).max().unwrap_or_default()
    }

    fn write_columns(&self, out: &mut dyn Write, indent: &str, columns: &[usize], widths: &[usize]) -> io::Result<()> {
        for row in std::iter::once(&self.header).chain(&self.rows) {
            let cells: Vec<Vec<String>> = columns
                .iter()
                .zip(widths)
                .filter_map(|(column, width)| Some(wrapped(&shown(row.get(*column)?), *width)))
                .collect();
            let lines = cells.iter().map(Vec::len).max().unwrap_or_default();
            for number in 0..lines {
                let mut line = indent.to_owned();
                for (cell, width) in cells.iter().zip(widths) {
                    let part = cell.get(number).map_or("", String::as_str);
                    line.push_str(part);
                    line.push_str(&" ".repeat((width + GAP).saturating_sub(part.chars().count())));
                }
                writeln!(out, "{}", line.trim_end())?;
            }
        }
        Ok(())
    }
}

/// A text in lines of at most `width` characters, broken at spaces where there are any.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        } else if used > 0 {
            line.push(' ');
        }
        while word.len() > width.max(1) {
            let rest = word.split_off(width.max(1));
            lines.push(word.into_iter().collect());
            word = rest;
        }
        line.extend(word);
    }
    lines.push(line);
    lines
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

    #[test]
    fn a_narrow_terminal_gets_fewer_columns_and_then_lines() {
        let mut table = Table::new(["NAME", "VERSION", "NOTES"]).optional(["VERSION"]);
        table.add(vec![
            "redis-1".into(),
            "1.40.0".into(),
            "no instance is ready in west, nor in east".into(),
        ]);
        let within = |limit| {
            let mut out = Vec::new();
            table.write_within(&mut out, "", limit).unwrap();
            String::from_utf8(out).unwrap()
        };
        let full = "NAME      VERSION   NOTES\nredis-1   1.40.0    no instance is ready in west, nor in east\n";
        assert_eq!(within(None), full);
        assert_eq!(within(Some(80)), full);
        let fewer = "NAME      NOTES\nredis-1   no instance is ready in west, nor in east\n(VERSION with -o wide)\n";
        assert_eq!(within(Some(52)), fewer);
        let lines = within(Some(34));
        assert!(lines.lines().all(|line| line.chars().count() <= 34), "{lines}");
        assert_eq!(lines.lines().nth(1), Some("redis-1   no instance is ready in"));
        assert_eq!(lines.lines().nth(2), Some("          west, nor in east"));
    }
}
