//! Runs other commands of this program for `msb top`, and takes their output.

use super::model::{Operation, Tab};
use crate::output::sanitize;
use std::io;
use std::process::Stdio;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::timeout;

/// The longest time for what is only shown.
const SHOW_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest time for a stop or a restart.
const OPERATION_TIMEOUT: Duration = Duration::from_secs(300);
/// The most bytes of output that are taken.
const OUTPUT_BYTES_MAX: u64 = 256 * 1024;
/// The most lines of logs.
const LINES: &str = "200";

/// What a command has printed.
#[derive(Debug)]
pub enum Printed {
    /// What is shown of a sandbox.
    Details(Tab, String, Vec<String>),
    /// How an operation has ended.
    Ended(String),
}

/// Starts to show something of a sandbox.
pub fn show(tab: Tab, name: String, printed: Sender<Printed>) {
    thread::spawn(move || {
        let words: &[&str] = match tab {
            Tab::Logs => &["logs", "--tail", LINES, &name],
            Tab::Events => &["events", "--tail", LINES, &name],
            Tab::Rules => &["net", "rules", &name],
            Tab::Processes => &["exec", &name, "--", "ps"],
        };
        let text = run(words, SHOW_TIMEOUT).unwrap_or_else(|error| error.to_string());
        let lines = text.lines().map(|line| sanitize(line).into_owned()).collect();
        // The program may have ended.
        let _ = printed.send(Printed::Details(tab, name, lines));
    });
}

/// Starts an operation.
pub fn operate(operation: Operation, name: String, printed: Sender<Printed>) {
    thread::spawn(move || {
        let verb = operation.command();
        let text = run(&[verb, "--quiet", &name], OPERATION_TIMEOUT);
        let said = match text {
            Ok(text) => text.lines().next().map(|line| sanitize(line).into_owned()),
            Err(error) => Some(error.to_string()),
        };
        let message = said.unwrap_or_else(|| format!("{verb} {name}: done"));
        let _ = printed.send(Printed::Ended(message));
    });
}

/// Runs this program, and returns the beginning of its output and of its errors.
fn run(words: &[&str], limit: Duration) -> io::Result<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut command = Command::new("/proc/self/exe");
        // By full names, so that the project of the current directory does not matter.
        command.args(["--color", "never", "--progress", "plain"]).args(words).current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let (output, errors) = (child.stdout.take(), child.stderr.take());
        let text = async {
            let (output, errors) = tokio::join!(beginning(output), beginning(errors));
            child.wait().await?;
            Ok(output? + &errors?)
        };
        let late = || io::Error::other(format!("no answer within {} s", limit.as_secs()));
        timeout(limit, text).await.unwrap_or_else(|_| Err(late()))
    })
}

/// Reads the beginning of an output.
async fn beginning(output: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(output) = output {
        output.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
