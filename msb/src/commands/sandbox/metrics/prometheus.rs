//! The text format of Prometheus, version 0.0.4:
//! <https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>.

use super::rows::Row;
use std::fmt::Write;

/// The media type of the format.
pub const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A family of metrics: its name after `msb_sandbox_`, its kind, its description, and its value of a sandbox.
type Family = (&'static str, &'static str, &'static str, fn(&Row) -> Option<f64>);

/// Counters begin at 0 with each start of a sandbox's VM.
const FAMILIES: [Family; 13] = [
    ("up", "gauge", "Whether the VM runs, or waits for its restart.", |row| {
        Some(if row.uptime_ms.is_some() { 1.0 } else { 0.0 })
    }),
    ("paused", "gauge", "Whether the VM is paused.", |row| Some(if row.paused { 1.0 } else { 0.0 })),
    ("start_time_seconds", "gauge", "The start of the VM, in seconds since 1970.", |row| {
        row.started_unix_ms.map(|ms| ms as f64 / 1000.0)
    }),
    ("cpu_seconds_total", "counter", "The processor time on the host.", |row| {
        Some(row.cpu_ms as f64 / 1000.0)
    }),
    ("vcpus", "gauge", "The number of virtual processors.", |row| Some(row.vcpus.into())),
    ("memory_bytes", "gauge", "The memory of the host in use.", |row| number(row.memory_bytes)),
    ("memory_limit_bytes", "gauge", "The memory of the guest.", |row| number(Some(row.memory_limit_bytes))),
    ("disk_read_bytes_total", "counter", "The bytes read from the host's disks.", |row| {
        number(row.disk_read_bytes)
    }),
    ("disk_written_bytes_total", "counter", "The bytes written to the host's disks.", |row| {
        number(row.disk_written_bytes)
    }),
    ("network_received_bytes_total", "counter", "The bytes that the guest received.", |row| {
        number(row.net_received_bytes)
    }),
    ("network_sent_bytes_total", "counter", "The bytes that the guest sent.", |row| {
        number(row.net_sent_bytes)
    }),
    ("network_refusals_total", "counter", "The refusals by the network's rules.", |row| number(row.refusals)),
    ("restarts_total", "counter", "The restarts by the restart policy.", |row| Some(row.restarts.into())),
];

fn number(number: Option<u64>) -> Option<f64> {
    number.map(|number| number as f64)
}

/// Formats the metrics of sandboxes.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for (name, kind, help, value) in FAMILIES {
        // Writing to a string does not fail.
        let _ = writeln!(text, "# HELP msb_sandbox_{name} {help}\n# TYPE msb_sandbox_{name} {kind}");
        for row in rows {
            let Some(value) = value(row) else { continue };
            // Names contain nothing that would need an escape.
            let Row { project, name: sandbox, id, .. } = row;
            let _ = writeln!(
                text,
                "msb_sandbox_{name}{{project=\"{project}\",sandbox=\"{sandbox}\",id=\"{id}\"}} {value}"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::row;

    #[test]
    fn families_have_a_line_for_each_sandbox_that_has_a_value() {
        let text = super::text(&[row("web"), row("db")]);
        insta::assert_snapshot!(text);
    }
}
