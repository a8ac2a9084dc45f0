//! What a process reports about its jail, over a pipe to its launcher.

use crate::child::adopt;
use crate::confinement::Confinement;
use crate::probe::Attempt;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{OwnedFd, RawFd};

/// The longest report in bytes: what a pipe takes at once.
const REPORT_BYTES_MAX: usize = 64 * 1024;

/// The report.
#[derive(Clone, Debug, PartialEq, Eq, schemars::JsonSchema, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// What is in force.
    pub confinement: Confinement,
    /// The attempts of a probe; empty if the process has done its work instead.
    pub attempts: Vec<Attempt>,
}

impl Report {
    /// Sends it through the pipe of the configuration, and closes that. A launcher that has ended ends this process as well.
    pub fn send(&self, pipe: RawFd) {
        let Ok(pipe) = adopt(pipe) else { return };
        let text = serde_json::to_vec(self).unwrap_or_default();
        let _ = File::from(pipe).write_all(&text);
    }
}

/// The launcher's end of the pipe.
#[derive(Debug)]
pub struct JailReport(PipeReader);

impl JailReport {
    /// Creates the pipe; returns the launcher's end and that of the process.
    ///
    /// # Errors
    ///
    /// If the kernel refuses.
    pub fn pipe() -> io::Result<(Self, OwnedFd)> {
        let (reader, writer) = io::pipe()?;
        rustix::io::ioctl_fionbio(&reader, true)?;
        Ok((Self(reader), writer.into()))
    }

    /// Reads the report; `None` if the process has sent none yet. Does not wait: call it after a sign of life of the guest, or
    /// after the end of the process.
    pub fn read(mut self) -> Option<Report> {
        let mut text = vec![0; REPORT_BYTES_MAX];
        // A pipe gives all that has been written at once.
        let length = self.0.read(&mut text).ok()?;
        serde_json::from_slice(text.get(..length)?).ok()
    }
}
