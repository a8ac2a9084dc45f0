//! The guest kernel's log: kept up with the console, bounded, and its end for the report of a failed boot.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tokio::net::unix::pipe;

/// A hostile guest may print for ever: what is beyond this is dropped, in bytes.
const LOG_BYTES_MAX: u64 = 10 * 1024 * 1024;

/// How much of the log's end is looked at, in bytes.
const TAIL_BYTES: u64 = 4096;
/// How many lines are shown.
const TAIL_LINES: usize = 5;

/// Copies the console to the log until the VM closes it.
///
/// It goes on reading when the log is full: a guest whose console nobody reads would stall.
pub fn keep(console: OwnedFd, path: PathBuf) -> io::Result<()> {
    let mut log = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
    let mut written = log.metadata()?.len();
    let receiver = pipe::Receiver::from_owned_fd(console)?;
    tokio::task::spawn_local(async move {
        let mut buffer = [0; 4096];
        while receiver.readable().await.is_ok() {
            match receiver.try_read(&mut buffer) {
                Ok(0) => return,
                Ok(count) if written < LOG_BYTES_MAX => {
                    written += count as u64;
                    let _ = log.write_all(&buffer[..count]);
                }
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                Ok(_) | Err(_) => {}
            }
        }
    });
    Ok(())
}

/// The last lines that the guest printed since `from` (an offset into the log), or nothing.
pub fn tail(path: &Path, from: u64) -> Vec<String> {
    let Ok(mut file) = File::open(path) else { return Vec::new() };
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut bytes = Vec::new();
    let start = from.max(length.saturating_sub(TAIL_BYTES));
    if file.seek(SeekFrom::Start(start)).is_err() || file.take(TAIL_BYTES).read_to_end(&mut bytes).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(ToString::to_string).collect()
}
