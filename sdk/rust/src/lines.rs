//! The JSON lines of a running `msb`.

use crate::error::{Error, Result};
use crate::failure::failure;
use crate::msb::{Msb, Run, Running, tail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::ChildStdout;
use tokio::task::JoinHandle;

/// The longest line, in bytes: a log line of 1 MiB, escaped.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The lines of a running `msb`, which is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct JsonLines {
    running: Running,
    stdout: BufReader<ChildStdout>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    /// The start of an incomplete line, so that a cancelled call loses nothing.
    line: Vec<u8>,
    name: Option<String>,
    code: Option<i32>,
    is_closed: bool,
}

/// One step of the stream.
#[derive(Debug)]
pub(crate) enum Line {
    Document(Value),
    /// `msb` has ended, with its failure if it failed.
    End(Option<Error>),
}

impl JsonLines {
    pub fn start(msb: &Msb, run: &Run) -> Result<Self> {
        let (running, stdout, stderr) = msb.start(run)?;
        Ok(Self {
            running,
            stdout: BufReader::new(stdout),
            stderr: Some(tokio::spawn(tail(stderr))),
            line: Vec::new(),
            name: run.subject().map(str::to_owned),
            code: None,
            is_closed: false,
        })
    }

    /// Returns the next document, or the end. A cancelled call loses nothing.
    pub async fn next(&mut self) -> Result<Line> {
        while !self.is_closed {
            let room = (LINE_BYTES_MAX + 1 - self.line.len()) as u64;
            let read = (&mut self.stdout).take(room).read_until(b'\n', &mut self.line).await;
            read.map_err(|source| Error::host("read the output of", "msb", source))?;
            if self.line.len() > LINE_BYTES_MAX {
                self.close().await;
                return Err(Error::new("too-large", "msb printed a line that is too long"));
            }
            let is_end = !self.line.ends_with(b"\n");
            if !self.line.trim_ascii().is_empty() {
                let document = serde_json::from_slice(&self.line);
                self.line.clear();
                return document
                    .map(Line::Document)
                    .map_err(|error| Error::failed(format!("msb printed a line that is not JSON: {error}")));
            }
            self.line.clear();
            if is_end {
                return Ok(Line::End(self.failure().await?));
            }
        }
        Ok(Line::End(None))
    }

    /// Waits for the end of `msb`, and returns its failure.
    async fn failure(&mut self) -> Result<Option<Error>> {
        let code = match self.code {
            Some(code) => code,
            None => *self.code.insert(self.running.wait().await?),
        };
        let stderr = match &mut self.stderr {
            Some(stderr) if code != 0 => stderr.await.unwrap_or_default(),
            _ => Vec::new(),
        };
        (self.is_closed, self.stderr) = (true, None);
        Ok((code != 0).then(|| failure(code, &stderr, self.name.as_deref())))
    }

    /// Ends `msb`.
    pub async fn close(&mut self) {
        self.is_closed = true;
        self.running.end().await;
    }
}

impl Drop for JsonLines {
    fn drop(&mut self) {
        if let Some(stderr) = &self.stderr {
            stderr.abort();
        }
    }
}
