//! The report: Markdown that reads well on a terminal.

use std::fmt;
use std::time::Duration;

use crate::race::{Ratio, Tally};

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

/// The table of a race that was held in so many runs: ratios first.
pub(crate) fn race(tallies: &[Tally], runs: usize) -> Table {
    let header = [
        "",
        "ratio",
        "runs",
        "rounds",
        "per second",
        "p50 ms",
        "p99 ms",
    ];
    let mut table = Table::new(&header);
    for tally in tallies {
        let base = &tallies[0];
        let ratio = tally.ratio(base);
        let rounds = tally.rates.len() / runs;
        let of_runs = tally.rates.chunks(rounds).zip(base.rates.chunks(rounds));
        let of_runs = of_runs.map(|(own, base)| format!("{:.2}", Ratio::of(own, base).median));
        table.row([
            tally.name.clone(),
            format!("{:.2}", ratio.median),
            of_runs.collect::<Vec<_>>().join(", "),
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
