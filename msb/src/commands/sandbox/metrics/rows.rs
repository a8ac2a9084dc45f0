//! The metrics of one sandbox, as they are shown.

use crate::commands::image::size;
use crate::output::table;
use crate::output::words::age;
use executor_host::home::Home;
use executor_metrics::{Registry, RegistryError, Sample, since_boot};
use schemas::name::{ProjectName, SandboxName, full_name};
use serde::Serialize;
use std::time::Duration;

/// The metrics of a running sandbox. What is not known is null.
#[derive(Clone, Debug, schemars::JsonSchema, Serialize)]
pub struct Row {
    /// The name in its project.
    pub name: String,
    /// The project.
    pub project: String,
    /// The name on this machine.
    pub full_name: String,
    /// The id.
    pub id: String,
    /// Whether its VM is paused.
    pub paused: bool,
    /// The time since its VM was started.
    pub uptime_ms: Option<u64>,
    /// The start of its VM, in milliseconds since 1970.
    pub started_unix_ms: Option<u64>,
    /// The age of the sample.
    pub age_ms: u64,
    /// The use of the host's processors within the last second: 100 is one of them all of the time.
    pub cpu_percent: f64,
    /// The processor time since the start of its VM.
    pub cpu_ms: u64,
    /// The number of its virtual processors.
    pub vcpus: u32,
    /// The memory of the host that it uses.
    pub memory_bytes: Option<u64>,
    /// The memory of its guest.
    pub memory_limit_bytes: u64,
    /// The bytes that were read from the host's disks.
    pub disk_read_bytes: Option<u64>,
    /// The bytes that were written to the host's disks.
    pub disk_written_bytes: Option<u64>,
    /// The bytes that its guest received.
    pub net_received_bytes: Option<u64>,
    /// The bytes that its guest sent.
    pub net_sent_bytes: Option<u64>,
    /// The refusals by its network's rules.
    pub refusals: Option<u64>,
    /// The restarts by its restart policy.
    pub restarts: u32,
}

impl Row {
    /// Describes a sample that was read at a time since the host's boot; `None` if its names are none.
    fn new(sample: Sample, now: Duration) -> Option<Self> {
        let project = ProjectName::try_from(sample.project.clone()).ok()?;
        let name = SandboxName::new(&sample.name).ok()?;
        let runs = sample.vmm_pid.is_some();
        Some(Self {
            full_name: full_name(&project, &name),
            paused: false,
            cpu_percent: (sample.cpu_use() * 1000.0).round() / 10.0,
            uptime_ms: runs.then(|| milliseconds(now.saturating_sub(sample.started))),
            started_unix_ms: runs.then_some(sample.started_unix_ms),
            age_ms: milliseconds(now.saturating_sub(sample.sampled)),
            cpu_ms: milliseconds(sample.cpu),
            name: sample.name,
            project: sample.project,
            id: sample.id,
            vcpus: sample.vcpus,
            memory_bytes: sample.memory_bytes,
            memory_limit_bytes: sample.memory_limit_bytes,
            disk_read_bytes: sample.disk_read_bytes,
            disk_written_bytes: sample.disk_written_bytes,
            net_received_bytes: sample.net_received_bytes,
            net_sent_bytes: sample.net_sent_bytes,
            refusals: sample.refusals,
            restarts: sample.restarts,
        })
    }
}

/// Returns the metrics of all running sandboxes of a state folder.
///
/// # Errors
///
/// If the registry cannot be read.
pub fn all(home: &Home) -> Result<Vec<Row>, RegistryError> {
    let samples = match Registry::open(home)? {
        Some(registry) => registry.samples()?,
        None => Vec::new(),
    };
    let now = since_boot();
    Ok(samples.into_iter().filter_map(|sample| Row::new(sample, now)).collect())
}

/// Formats a table; `of_one`: whether all sandboxes are of one project.
pub fn table(rows: &[Row], of_one: bool) -> String {
    const HEADINGS: [&str; 9] =
        ["NAME", "CPU", "MEMORY", "LIMIT", "DISK R / W", "NET IN / OUT", "REFUSED", "RESTARTS", "UPTIME"];
    let size = |bytes: Option<u64>| bytes.map_or("-".to_owned(), size);
    let both = |one, other| format!("{} / {}", size(one), size(other));
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![
                if of_one { row.name.clone() } else { row.full_name.clone() },
                format!("{:.1}%", row.cpu_percent),
                size(row.memory_bytes),
                size(Some(row.memory_limit_bytes)),
                both(row.disk_read_bytes, row.disk_written_bytes),
                both(row.net_received_bytes, row.net_sent_bytes),
                row.refusals.map_or("-".to_owned(), |count| count.to_string()),
                row.restarts.to_string(),
                match row.uptime_ms {
                    _ if row.paused => "paused".to_owned(),
                    Some(ms) => age(Duration::from_millis(ms)),
                    None => "-".to_owned(),
                },
            ]
        })
        .collect();
    table::text(&HEADINGS, &cells)
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn row(name: &str) -> Row {
        Row {
            name: name.to_owned(),
            project: "shop".to_owned(),
            full_name: format!("shop-{name}"),
            id: "0123".to_owned(),
            paused: false,
            uptime_ms: Some(62_000),
            started_unix_ms: Some(1_700_000_000_500),
            age_ms: 10,
            cpu_percent: 12.5,
            cpu_ms: 4_250,
            vcpus: 1,
            memory_bytes: Some(100 << 20),
            memory_limit_bytes: 128 << 20,
            disk_read_bytes: None,
            disk_written_bytes: Some(4096),
            net_received_bytes: Some(1),
            net_sent_bytes: Some(1_500_000),
            refusals: Some(3),
            restarts: 2,
        }
    }

    #[test]
    fn the_table_has_a_line_for_each_sandbox() {
        insta::assert_snapshot!(table(&[row("web"), row("worker")], true));
    }
}
