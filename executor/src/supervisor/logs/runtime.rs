//! `runtime.log`: messages of the supervisor and of its virtual machine monitor.

use crate::supervisor::DRAIN_TIMEOUT;
use executor_log::{Limits, RUNTIME_LOG, TextWriter, time};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// The longest line of the monitor in bytes; longer ones are split.
const LINE_BYTES_MAX: u64 = 8 * 1024;

/// A writer for tracing: one write per event.
///
/// Until it is attached to the sandbox's log, events go to standard error, which the spawner has connected to the newest
/// file of that log. Afterwards standard error follows the log's rotation, for messages of a panic.
#[derive(Debug, Default)]
pub struct RuntimeLog {
    writer: Mutex<Option<TextWriter>>,
}

impl RuntimeLog {
    /// Attaches to the log in this folder, which must have no other writer.
    ///
    /// # Errors
    ///
    /// If the log cannot be opened.
    pub fn attach(&self, logs: &Path, limits: Limits) -> io::Result<()> {
        let writer = TextWriter::open(logs, RUNTIME_LOG, limits)?;
        redirect_standard_streams(&writer);
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(writer);
        Ok(())
    }
}

impl Write for &RuntimeLog {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = one_entry(event);
        match &mut *self.writer.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(writer) => {
                if writer.write(&text)? {
                    redirect_standard_streams(writer);
                }
            }
            None => {
                let stamped = [time::format(SystemTime::now()).as_bytes(), b" ", &text].concat();
                io::stderr().write_all(&stamped)?;
            }
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Indents all lines of an event but the first, so that quoted text cannot look like another event.
fn one_entry(event: &[u8]) -> Vec<u8> {
    let body = event.strip_suffix(b"\n").unwrap_or(event);
    let mut text = Vec::with_capacity(event.len() + 8);
    for (index, line) in body.split(|&byte| byte == b'\n').enumerate() {
        text.extend_from_slice(if index > 0 { b"\n    " } else { b"" });
        text.extend_from_slice(line);
    }
    text.push(b'\n');
    text
}

fn redirect_standard_streams(writer: &TextWriter) {
    // On failure they stay connected to the previous file.
    let _ = rustix::stdio::dup2_stdout(writer.file());
    let _ = rustix::stdio::dup2_stderr(writer.file());
}

/// The output of a virtual machine monitor.
pub struct MonitorLog {
    copying: JoinHandle<()>,
}

impl MonitorLog {
    /// Traces the output line by line until the monitor has ended.
    pub fn keep(output: OwnedFd) -> io::Result<Self> {
        let mut reader = BufReader::new(pipe::Receiver::from_owned_fd(output)?);
        let copying = tokio::task::spawn_local(async move {
            let mut line = Vec::new();
            loop {
                line.clear();
                match (&mut reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).await {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {
                        let text = String::from_utf8_lossy(&line);
                        tracing::info!(target: "monitor", "{}", text.trim_end().escape_debug());
                        // A flood of output must not starve other tasks.
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        Ok(Self { copying })
    }

    /// Waits a short time until the output of an ended monitor has been read.
    pub async fn drain(&mut self) {
        let _ = tokio::time::timeout(DRAIN_TIMEOUT, &mut self.copying).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor_log::Rotation;

    #[test]
    fn an_event_is_one_entry_whatever_it_quotes() {
        let quoted = b"WARN the guest said:\n2026-01-02T03:04:05.678Z INFO all is well\n";
        assert_eq!(
            one_entry(quoted),
            b"WARN the guest said:\n    2026-01-02T03:04:05.678Z INFO all is well\n"
        );
        assert_eq!(one_entry(b"x"), b"x\n");
    }

    #[test]
    fn events_are_stamped_in_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(RUNTIME_LOG);
        let log = RuntimeLog::default();
        *log.writer.lock().unwrap() =
            Some(TextWriter::open(folder.path(), RUNTIME_LOG, Rotation::default()).unwrap());
        (&log).write_all(b"INFO a\nb\n").unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        // The time is 24 characters long; a continued line has one as well, before its indentation.
        let lines: Vec<_> = text.lines().map(|line| &line[24..]).collect();
        assert_eq!(lines, [" INFO a", "     b"]);
    }
}
