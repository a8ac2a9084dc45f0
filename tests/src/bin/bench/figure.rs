//! Figures: measured values beside a reference, and their output.

use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::Duration;

/// The unit of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// KiB.
    Kib,
    /// MiB per second; more is better.
    MibPerSecond,
    /// Lines per second; more is better.
    LinesPerSecond,
    /// Requests per second; more is better.
    RequestsPerSecond,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Ms if value >= 1_000.0 => format!("{:.2} s", value / 1_000.0),
            Self::Ms => format!("{value:.1} ms"),
            Self::Kib => format!("{:.1} MiB", value / 1_024.0),
            Self::MibPerSecond => format!("{value:.0} MiB/s"),
            Self::LinesPerSecond => format!("{value:.0} lines/s"),
            Self::RequestsPerSecond => format!("{value:.0} requests/s"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ms => "ms",
            Self::Kib => "KiB",
            Self::MibPerSecond => "MiB/s",
            Self::LinesPerSecond => "lines/s",
            Self::RequestsPerSecond => "requests/s",
        }
    }
}

/// Sorted values, at least one.
#[derive(Debug)]
pub struct Samples {
    unit: Unit,
    values: Vec<f64>,
}

impl Samples {
    fn of(unit: Unit, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { unit, values }
    }

    /// Times.
    pub fn of_times(times: &[Duration]) -> Self {
        Self::of(Unit::Ms, times.iter().map(|time| time.as_secs_f64() * 1_000.0).collect())
    }

    /// Rates in MiB per second.
    pub fn of_rates(values: Vec<f64>) -> Self {
        Self::of(Unit::MibPerSecond, values)
    }

    /// Requests per second.
    pub fn of_requests(values: Vec<f64>) -> Self {
        Self::of(Unit::RequestsPerSecond, values)
    }

    /// Lines per second, from the durations of runs with this number of lines.
    pub fn of_lines(lines: usize, times: &[Duration]) -> Self {
        Self::of(Unit::LinesPerSecond, times.iter().map(|time| lines as f64 / time.as_secs_f64()).collect())
    }

    /// A single amount of memory.
    pub fn of_kib(kib: f64) -> Self {
        Self { unit: Unit::Kib, values: vec![kib] }
    }

    /// The quantile of this share.
    fn quantile(&self, share: f64) -> f64 {
        let rank = (share * self.values.len() as f64).ceil() as usize;
        self.values[rank.clamp(1, self.values.len()) - 1]
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    fn json(&self) -> Value {
        json!({
            "unit": self.unit.name(),
            "samples": self.values.len(),
            "p50": self.median(),
            "p99": self.quantile(0.99),
        })
    }
}

/// A limit.
#[derive(Clone, Copy, Debug)]
pub enum Limit {
    /// The most that the median may exceed the reference by, in its unit.
    More(f64),
    /// The least ratio of the median to the reference.
    AtLeast(f64),
}

/// A measurement and its reference.
#[derive(Debug)]
pub struct Figure {
    /// A short name.
    pub name: &'static str,
    /// The measured action.
    pub what: Cow<'static, str>,
    /// Its values.
    pub measured: Samples,
    /// The reference action, in the same run.
    pub beside: &'static str,
    /// Its values.
    pub reference: Samples,
    /// The limit, if there is one.
    pub limit: Option<Limit>,
}

impl Figure {
    /// The ratio of the measurement to the reference.
    pub fn ratio(&self) -> f64 {
        self.measured.median() / self.reference.median()
    }

    fn more(&self) -> f64 {
        self.measured.median() - self.reference.median()
    }

    fn is_within(&self, limit: Limit) -> bool {
        match limit {
            Limit::More(more) => self.more() <= more,
            Limit::AtLeast(ratio) => self.ratio() >= ratio,
        }
    }

    /// Returns JSON.
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "what": self.what,
            "measured": self.measured.json(),
            "beside": self.beside,
            "reference": self.reference.json(),
            "ratio": self.ratio(),
            "more": self.more(),
            "limit": self.limit.map(|limit| match limit {
                Limit::More(more) => json!({ "more": more }),
                Limit::AtLeast(ratio) => json!({ "ratio": ratio }),
            }),
            "within_limit": self.limit.map(|limit| self.is_within(limit)),
        })
    }

    fn row(&self) -> [String; 8] {
        let unit = self.measured.unit;
        let limit = self.limit.map_or(String::new(), |limit| {
            let verdict = if self.is_within(limit) { "ok" } else { "missed" };
            match limit {
                Limit::More(more) => format!("at most {} more ({verdict})", unit.show(more)),
                Limit::AtLeast(ratio) => format!("at least {ratio:.1} x ({verdict})"),
            }
        });
        [
            self.what.to_string(),
            unit.show(self.measured.median()),
            unit.show(self.measured.quantile(0.99)),
            self.beside.to_owned(),
            unit.show(self.reference.median()),
            format!("{:.1} x", self.ratio()),
            unit.show(self.more()),
            limit,
        ]
    }
}

/// Returns all figures as a table.
pub fn table(figures: &[Figure]) -> String {
    let heading = ["", "p50", "p99", "beside", "p50", "ratio", "more", "limit"].map(str::to_owned);
    let rows: Vec<_> = std::iter::once(heading).chain(figures.iter().map(Figure::row)).collect();
    let widths: Vec<usize> =
        (0..8).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}
