//! The report: Markdown that reads well on a terminal.

use std::fmt;
use std::time::Duration;

use crate::race::Tally;

/// A table whose columns are aligned.
#[derive(Debug)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(header: &[&str]) -> Self {
        Self {
            header: header.iter().map(|&cell| cell.to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    fn widths(&self) -> Vec<usize> {
        let column = |index: usize| {
            let cells = self.rows.iter().chain([&self.header]);
            cells.map(|row| row[index].chars().count()).max()
        };
        (0..self.header.len())
            .map(|index| column(index).unwrap_or_default().max(3))
            .collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths = self.widths();
        let line = |f: &mut fmt::Formatter<'_>, cells: &[String]| {
            for (index, (cell, &width)) in cells.iter().zip(&widths).enumerate() {
                // Words are aligned to the left, numbers to the right.
                if index == 0 || index + 1 == cells.len() && self.header[index].is_empty() {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            writeln!(f, "|")
        };
        line(f, &self.header)?;
        for (index, &width) in widths.iter().enumerate() {
            let dashes = "-".repeat(width + 1);
            write!(f, "|{dashes}{}", if index == 0 { "-" } else { ":" })?;
        }
        writeln!(f, "|")?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

/// The table of a race: ratios first.
pub(crate) fn race(tallies: &[Tally]) -> Table {
    let mut table = Table::new(&["", "ratio", "rounds", "per second", "p50 ms", "p99 ms"]);
    for tally in tallies {
        let ratio = tally.ratio(&tallies[0]);
        table.row([
            tally.name.clone(),
            format!("{:.2}", ratio.median),
            format!("{:.2} to {:.2}", ratio.least, ratio.greatest),
            format!("{:.0}", tally.rate()),
            milliseconds(tally.quantile(0.5)),
            milliseconds(tally.quantile(0.99)),
        ]);
    }
    table
}

/// A duration as a number with three digits after the point.
pub(crate) fn milliseconds(duration: Duration) -> String {
    format!("{:.3}", 1000.0 * duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned_markdown() {
        let mut table = Table::new(&["name", "number"]);
        table.row(["a longer name".to_owned(), "1.00".to_owned()]);
        let expected = "\
| name          | number |
|---------------|-------:|
| a longer name |   1.00 |
";
        assert_eq!(table.to_string(), expected);
    }
}
