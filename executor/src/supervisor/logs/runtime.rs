//! `runtime.log`: what the supervisor says of itself, and its virtual machine monitor with it.

use crate::supervisor::DRAIN_PATIENCE;
use executor_log::{Limits, RUNTIME_LOG, TextWriter, time};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

/// A longer line of the monitor comes in pieces, in bytes.
const LINE_BYTES_MAX: u64 = 8 * 1024;

/// Takes what is traced, an event with one write.
///
/// Until it is attached to the sandbox's log, that goes to standard error, which the spawner has made the newest file
/// of that log; afterwards standard error follows the log from file to file, for the words of a panic.
#[derive(Debug, Default)]
pub struct RuntimeLog {
    writer: Mutex<Option<TextWriter>>,
}

impl RuntimeLog {
    /// Goes on in this folder of logs, of which nobody else is a writer.
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

/// Lines behind an event's first one are indented: whatever is quoted there cannot pretend to be another event.
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
    // Where this fails they stay as they are: in the file before.
    let _ = rustix::stdio::dup2_stdout(writer.file());
    let _ = rustix::stdio::dup2_stderr(writer.file());
}

/// What a virtual machine monitor prints.
pub struct MonitorLog {
    copying: JoinHandle<()>,
}

impl MonitorLog {
    /// Traces it line by line until the monitor has ended.
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
                        // A monitor that floods must not starve the others.
                        tokio::task::yield_now().await;
                    }
                }
            }
        });
        Ok(Self { copying })
    }

    /// Waits, for a short time, until all is read of a monitor that has ended.
    pub async fn drain(&mut self) {
        let _ = tokio::time::timeout(DRAIN_PATIENCE, &mut self.copying).await;
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
        // The time is 24 characters long; a line that goes on has one as well, in front of its indentation.
        let lines: Vec<_> = text.lines().map(|line| &line[24..]).collect();
        assert_eq!(lines, [" INFO a", "     b"]);
    }
}
