//! The file with its sections, and from rounds to a table: medians of the ratios of each round, their spread, and what they
//! are held against.

use anyhow::{Context, Result};

const FILE: &str = "bench/report.md";
const HEAD: &str = "# ChatCluster beside Node's Socket.IO\n\nWritten by `make bench`; do not edit. Each section says when the machine was busy: its figures are then no result.\n";
/// The sections in their order.
const SECTIONS: [&str; 2] = ["single", "nats"];

/// The report: a run replaces the sections that it measured.
pub(crate) struct Report {
    /// As it is in the file.
    sections: [Option<String>; 2],
}

impl Report {
    /// What earlier runs left.
    pub(crate) fn read() -> Result<Self> {
        let text = std::fs::read_to_string(FILE).with_context(|| format!("read {FILE}"))?;
        Ok(Self {
            sections: SECTIONS.map(|name| {
                let (_, after) = text.split_once(&mark(name))?;
                let end = after.find("<!-- section ").unwrap_or(after.len());
                Some(after[..end].trim().to_owned())
            }),
        })
    }

    /// Sets a section.
    pub(crate) fn put(&mut self, name: &str, text: &str) {
        for (index, section) in SECTIONS.iter().enumerate() {
            if *section == name {
                println!("\n{text}");
                self.sections[index] = Some(text.trim().to_owned());
            }
        }
    }

    /// Writes the file, unless the run was not a whole one.
    pub(crate) fn finish(&self, is_whole: bool) -> Result<()> {
        if !is_whole {
            println!("not a whole run: {FILE} is left as it is");
            return Ok(());
        }
        let mut text = HEAD.to_owned();
        for (name, section) in SECTIONS.iter().zip(&self.sections) {
            if let Some(section) = section {
                text.push_str(&format!("\n{}\n\n{section}\n", mark(name)));
            }
        }
        std::fs::write(FILE, &text).with_context(|| format!("write {FILE}"))?;
        println!("written to {FILE}");
        Ok(())
    }
}

fn mark(name: &str) -> String {
    format!("<!-- section {name} -->")
}

/// Ratios that differ more than this between rounds are shown, but not as a result.
const STEADY_SPREAD: f64 = 0.15;

/// One figure of both servers, round by round.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) node: Vec<f64>,
    pub(crate) ours: Vec<f64>,
    /// What the project aims at, as a ratio to Node.
    pub(crate) aim: Option<f64>,
    /// What must hold, as a ratio to Node.
    pub(crate) must: Option<f64>,
}

/// Median of ratios with the smallest and the largest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Ratio {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Row {
    /// Ours divided by Node's, paired by round.
    pub(crate) fn ratio(&self) -> Ratio {
        let ratios: Vec<f64> = self
            .ours
            .iter()
            .zip(&self.node)
            .map(|(ours, node)| ours / node)
            .collect();
        Ratio {
            median: median(&ratios),
            min: ratios.iter().copied().fold(f64::INFINITY, f64::min),
            max: ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }

    /// What the ratio means, in words.
    pub(crate) fn verdict(&self) -> String {
        let ratio = self.ratio();
        let held = verdict_of(ratio.median, self.aim, self.must);
        let spread = (ratio.max - ratio.min) / ratio.median;
        if spread > STEADY_SPREAD {
            format!(
                "unsteady (spread {:.0} %): no result; median says {held}",
                spread * 100.0
            )
        } else {
            held.to_owned()
        }
    }
}

/// What a figure means, in words; without a goal it is a ratio.
pub(crate) fn verdict_of(figure: f64, aim: Option<f64>, must: Option<f64>) -> &'static str {
    match (aim, must) {
        (Some(aim), _) if figure <= aim => "aim reached",
        (_, Some(must)) if figure <= must => "must holds, aim not reached",
        (_, Some(_)) => "MUST NOT HELD",
        (Some(_), None) => "aim not reached",
        (None, None) if figure < 1.0 => "ahead",
        (None, None) => "not ahead",
    }
}

/// The middle value; of two, their mean.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The rows as a Markdown table that is aligned for reading on a terminal, too.
pub(crate) fn table(rows: &[Row]) -> String {
    let limit =
        |limit: Option<f64>| limit.map_or_else(|| "-".to_owned(), |limit| format!("{limit:.2}"));
    let mut cells = vec![
        [
            "figure",
            "unit",
            "Node",
            "ours",
            "ratio (min-max)",
            "aim",
            "must",
            "verdict",
        ]
        .map(String::from),
    ];
    for row in rows {
        let ratio = row.ratio();
        cells.push([
            row.name.clone(),
            row.unit.to_owned(),
            format!("{:.2}", median(&row.node)),
            format!("{:.2}", median(&row.ours)),
            format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.min, ratio.max),
            limit(row.aim),
            limit(row.must),
            row.verdict(),
        ]);
    }
    aligned(&cells)
}

/// Rows of cells with columns as wide as their widest cell; the first row is the heading.
pub(crate) fn aligned<const N: usize>(cells: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|column| {
        cells
            .iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for (index, row) in cells.iter().enumerate() {
        for (cell, width) in row.iter().zip(widths) {
            text.push_str(&format!("| {cell:width$} "));
        }
        text.push_str("|\n");
        if index == 0 {
            for width in widths {
                text.push_str(&format!("| {} ", "-".repeat(width)));
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(node: &[f64], ours: &[f64]) -> Row {
        Row {
            name: "x".into(),
            unit: "us",
            node: node.to_vec(),
            ours: ours.to_vec(),
            aim: Some(0.6),
            must: Some(0.7),
        }
    }

    #[test]
    fn ratios_are_paired_by_round() {
        let ratio = row(&[10.0, 20.0, 10.0], &[5.0, 12.0, 7.0]).ratio();
        assert_eq!(
            ratio,
            Ratio {
                median: 0.6,
                min: 0.5,
                max: 0.7
            }
        );
    }

    #[test]
    fn the_median_of_two_is_their_mean() {
        assert_eq!(median(&[1.0, 2.0]), 1.5);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_missed_must_is_said_and_a_wide_spread_is_no_result() {
        assert_eq!(row(&[10.0, 10.0], &[5.0, 5.0]).verdict(), "aim reached");
        assert_eq!(
            row(&[10.0, 10.0], &[6.5, 6.5]).verdict(),
            "must holds, aim not reached"
        );
        assert_eq!(row(&[10.0, 10.0], &[9.0, 9.0]).verdict(), "MUST NOT HELD");
        assert!(
            row(&[10.0, 10.0], &[5.0, 9.0])
                .verdict()
                .starts_with("unsteady (spread 57 %)")
        );
    }
}
