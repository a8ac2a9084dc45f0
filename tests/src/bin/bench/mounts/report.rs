//! The times that the guest measured, and their limits.

use crate::large::Row;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// The file systems, in the order of the table.
const NAMES: [&str; 6] = ["mount", "volume", "disk", "virtiofsd", "virtiofsd-always", "9p"];
/// The measured operations: the guest's name, the text, and the unit.
const PHASES: [(&str, &str, Unit); 10] = [
    ("stat-cold", "stat, cold", Unit::Files),
    ("stat-warm", "stat, warm", Unit::Files),
    ("list-cold", "list and stat, cold", Unit::Files),
    ("create", "create", Unit::Files),
    ("delete", "delete", Unit::Files),
    ("git-cold", "git status, cold", Unit::Once),
    ("git-warm", "git status, warm", Unit::Once),
    ("read", "sequential read, cold", Unit::Stream),
    ("write", "sequential write", Unit::Stream),
    ("random-read", "random read of 4 KiB, cold", Unit::Reads),
];
/// The operations with cold caches, or without any, and the streams.
const COLD: [&str; 8] =
    ["stat-cold", "list-cold", "create", "delete", "git-cold", "read", "write", "random-read"];
/// The size of a stream, and the number of random reads; `guest.c` has the same.
const STREAM_MIB: f64 = 128.0;
const RANDOM_READS: f64 = 2_000.0;
/// The limits: the least gain of a warm stat, and the longest times of the cold operations.
const WARM_GAIN: f64 = 10.0;
const BY_VIRTIOFSD_MAX: f64 = 1.5;
const BY_9P_MAX: f64 = 1.0;

/// The unit of an operation.
#[derive(Clone, Copy)]
enum Unit {
    /// Microseconds per file.
    Files,
    /// Milliseconds.
    Once,
    /// MiB per second.
    Stream,
    /// Microseconds per read.
    Reads,
}

impl Unit {
    fn of(self, time: f64, files: usize) -> f64 {
        match self {
            Self::Files => time * 1e6 / files as f64,
            Self::Once => time * 1e3,
            Self::Stream => STREAM_MIB / time,
            Self::Reads => time * 1e6 / RANDOM_READS,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Files => "µs/file",
            Self::Once => "ms",
            Self::Stream => "MiB/s",
            Self::Reads => "µs/read",
        }
    }
}

/// The figures of all file systems.
#[derive(Debug)]
pub struct Report {
    /// The number of files that an operation works with.
    files: usize,
    /// The times in seconds, by file system and operation, in the order of the rounds.
    times: BTreeMap<(String, String), Vec<f64>>,
}

impl Report {
    pub(super) fn of_files(files: usize) -> Self {
        Self { files, times: BTreeMap::new() }
    }

    pub(super) fn add(&mut self, name: &str, phase: &str, time: Duration) {
        self.times.entry((name.to_owned(), phase.to_owned())).or_default().push(time.as_secs_f64());
    }

    fn times(&self, name: &str, phase: &str) -> Option<&[f64]> {
        self.times.get(&(name.to_owned(), phase.to_owned())).map(Vec::as_slice)
    }

    /// Returns the median of the ratios of each round; `None` if one of both was not measured.
    fn ratio(&self, phase: &str, name: &str, other: &str) -> Option<f64> {
        let pairs = self.times(name, phase)?.iter().zip(self.times(other, phase)?);
        median(pairs.map(|(time, other)| time / other).collect())
    }

    /// Returns the ratios that have limits.
    pub(super) fn goals(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(ratio) = self.ratio("stat-warm", "mount", "virtiofsd") {
            rows.push(Row::new("mount: stat, warm, by the time of virtiofsd", ratio, "x", 1.0 / WARM_GAIN));
        }
        for (phase, what, _) in PHASES.iter().filter(|(phase, ..)| COLD.contains(phase)) {
            for (other, limit) in [("virtiofsd", BY_VIRTIOFSD_MAX), ("9p", BY_9P_MAX)] {
                if let Some(ratio) = self.ratio(phase, "mount", other) {
                    rows.push(Row::new(format!("mount: {what}, by the time of {other}"), ratio, "x", limit));
                }
            }
        }
        rows
    }

    /// Returns the medians as a table.
    pub fn table(&self) -> String {
        let mut text = format!("{:<28}{:<9}", "", "");
        for name in NAMES {
            text.push_str(&format!("{name:>18}"));
        }
        for (phase, what, unit) in PHASES {
            text.push_str(&format!("\n{what:<28}{:<9}", unit.name()));
            for name in NAMES {
                let value = self.times(name, phase).and_then(|times| median(times.to_vec()));
                let value = value.map_or(String::new(), |time| format!("{:.1}", unit.of(time, self.files)));
                text.push_str(&format!("{value:>18}"));
            }
        }
        text + "\n"
    }

    /// Returns JSON.
    pub fn json(&self) -> Value {
        let row = |(phase, what, unit): &(&str, &str, Unit)| {
            let values: serde_json::Map<_, _> = NAMES
                .iter()
                .filter_map(|name| {
                    let time = median(self.times(name, phase)?.to_vec())?;
                    Some(((*name).to_owned(), json!(unit.of(time, self.files))))
                })
                .collect();
            json!({ "what": what, "unit": unit.name(), "p50": values })
        };
        PHASES.iter().map(row).collect()
    }
}

/// Returns the median; `None` if there are no values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
