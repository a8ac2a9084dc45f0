//! The metrics of running sandboxes.

use crate::error::{Error, Result};
use crate::lines::{JsonLines, Line};
use crate::msb::{Msb, Run, duration};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// The metrics of one sandbox. Counters count since its start.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct SandboxMetrics {
    /// The full name.
    #[serde(rename = "full_name")]
    pub name: String,
    /// The age of the measurement when it was read, in milliseconds.
    #[serde(default)]
    pub age_ms: u64,
    /// The time since its start, in milliseconds.
    #[serde(default)]
    pub uptime_ms: u64,
    /// Its use of processors since the measurement before; 100 is one processor. `None` without one.
    #[serde(default)]
    pub cpu_percent: Option<f64>,
    /// The processor time, in milliseconds.
    #[serde(default)]
    pub cpu_ms: u64,
    /// Its virtual processors.
    #[serde(default)]
    pub vcpus: u32,
    /// The memory that it takes of the host, in bytes.
    #[serde(default)]
    pub memory_bytes: u64,
    /// The memory that it may take, in bytes.
    #[serde(default)]
    pub memory_limit_bytes: u64,
    /// The bytes read from its disk.
    #[serde(default)]
    pub disk_read_bytes: u64,
    /// The bytes written to its disk.
    #[serde(default, rename = "disk_written_bytes")]
    pub disk_write_bytes: u64,
    /// The bytes received from the network.
    #[serde(default, rename = "net_received_bytes")]
    pub net_rx_bytes: u64,
    /// The bytes sent to the network.
    #[serde(default, rename = "net_sent_bytes")]
    pub net_tx_bytes: u64,
    /// Whether it is paused.
    #[serde(default)]
    pub paused: bool,
    /// The time when the measurement was read.
    #[serde(skip, default = "SystemTime::now")]
    read: SystemTime,
    /// All else, by the names of the JSON document.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

impl SandboxMetrics {
    /// Returns the time of the measurement.
    pub fn timestamp(&self) -> SystemTime {
        self.read.checked_sub(Duration::from_millis(self.age_ms)).unwrap_or(self.read)
    }
}

/// The document of `msb metrics`.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    #[serde(default)]
    pub sandboxes: Vec<SandboxMetrics>,
    #[serde(default)]
    missing: Vec<Value>,
}

/// Returns the metrics of one sandbox.
pub(crate) async fn of_sandbox(msb: &Msb, name: &str) -> Result<SandboxMetrics> {
    let document: Document = msb.json(Run::new(["metrics", "--", name]).about(name)).await?;
    document.sandboxes.into_iter().next().ok_or_else(|| {
        let text = format!("{name} has no metrics: it does not run, or has just started");
        Error::new("sandbox-not-running", text).about(name)
    })
}

/// Metrics again and again. Dropping it ends the measuring.
#[derive(Debug)]
pub struct MetricsStream {
    lines: JsonLines,
    has_ended: bool,
}

impl MetricsStream {
    pub(crate) fn start(msb: &Msb, name: &str, interval: Duration) -> Result<Self> {
        if interval.as_millis() == 0 {
            return Err(Error::invalid("the interval of metrics is at least a millisecond"));
        }
        let run =
            Run::new(["metrics", "--json", "--watch"]).arg(format!("--interval={}", duration(interval)));
        Ok(Self { lines: JsonLines::start(msb, &run.args(["--", name]).about(name))?, has_ended: false })
    }

    /// Returns the next metrics; `None` when the sandbox has ended. A cancelled call loses nothing.
    ///
    /// # Errors
    ///
    /// If `msb` fails.
    pub async fn next(&mut self) -> Result<Option<SandboxMetrics>> {
        while !self.has_ended {
            let document: Document = match self.lines.next().await? {
                Line::Document(document) => serde_json::from_value(document)
                    .map_err(|error| Error::failed(format!("msb printed unexpected metrics: {error}")))?,
                Line::End(None) => break,
                Line::End(Some(error)) => return Err(error),
            };
            if let Some(metrics) = document.sandboxes.into_iter().next() {
                return Ok(Some(metrics));
            }
            if !document.missing.is_empty() {
                self.has_ended = true;
                self.lines.close().await;
            }
        }
        Ok(None)
    }

    /// Ends the measuring, and waits for the end of its `msb`.
    pub async fn close(mut self) {
        self.lines.close().await;
    }
}
