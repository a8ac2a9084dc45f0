//! `msb cp`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output::{OutputOptions, escape_controls};
use crate::project::find;
use crate::session::unresponsive;
use executor_client::agent::AgentClient;
use executor_client::copy::{CopyError, Progress, Skipped, into_guest, out_of_guest};
use indicatif::{ProgressBar, ProgressStyle};
use schemas::name::{check_name, full_name};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Arguments of `msb cp`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path of the host, or NAME:PATH in a sandbox. `/.` at its end stands for what is in a directory.
    source: String,
    /// Where it goes, NAME:PATH or a path of the host; into it, where that is a directory.
    target: String,
}

/// How often a bar is drawn.
const TICK: Duration = Duration::from_millis(100);

/// A path of one side.
enum Place {
    Host(PathBuf),
    Guest { name: String, path: String },
}

impl Place {
    /// `NAME:PATH` with an absolute path is a sandbox's; `./a:b` is the host's.
    fn parse(text: &str) -> Result<Self, CliError> {
        match text.split_once(':') {
            Some((name, path)) if check_name(name).is_ok() => {
                if !path.starts_with('/') {
                    let failure = CliError::usage(format!("{text:?}: a path in a sandbox begins with `/`"));
                    return Err(failure.hint(format!("{name}:/{path}; a file of the host is ./{text}")));
                }
                Ok(Self::Guest { name: name.to_owned(), path: path.to_owned() })
            }
            _ if text.is_empty() => Err(CliError::usage("a path is empty")),
            _ => Ok(Self::Host(PathBuf::from(text))),
        }
    }
}

/// Copies files, directories and links into a sandbox that runs, or out of it.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let (host_path, name, guest_path, inward) =
        match (Place::parse(&arguments.source)?, Place::parse(&arguments.target)?) {
            (Place::Host(source), Place::Guest { name, path }) => (source, name, path, true),
            (Place::Guest { name, path }, Place::Host(target)) => (target, name, path, false),
            (Place::Host(_), Place::Host(_)) => {
                return Err(CliError::usage("neither path is in a sandbox").hint("write one as NAME:/path"));
            }
            (Place::Guest { .. }, Place::Guest { .. }) => {
                return Err(CliError::usage("both paths are in sandboxes")
                    .hint("copy to the host first, and from there into the other one"));
            }
        };
    let Machine { home, catalog } = Machine::open()?;
    let seen = find::running(global, &home, &catalog, &name)?;
    let run_folder = home.sandbox_run(&full_name(&seen.row.project, &seen.row.name));
    let verbosity = OutputOptions::of(global);
    let (began, progress) = (Instant::now(), Arc::new(Progress::default()));
    let event_loop = crate::commands::event_loop()?;
    let copied = event_loop.block_on(async {
        let mut client = match AgentClient::connect(&run_folder.agent_socket()).await {
            Err(error) if unresponsive::is_silence(&error) => {
                return Err(unresponsive::explain(&run_folder, &name).await);
            }
            connected => connected?,
        };
        let bar = verbosity.bars.then(|| tokio::spawn(show(progress.clone())));
        let copied = copy(&mut client, &host_path, guest_path.as_bytes(), inward, &progress).await;
        if let Some(bar) = bar {
            bar.abort();
            let _ = bar.await;
        }
        match copied {
            Err(error) if unresponsive::is_silence(&error) => {
                Err(unresponsive::explain(&run_folder, &name).await)
            }
            copied => copied.map_err(|error| explained(&error)),
        }
    });
    event_loop.shutdown_background();
    let Skipped { paths, count, kernel, unreadable, failed } = copied?;
    if !kernel.is_empty() {
        verbosity.warn(&format!("left out {}, which the sandbox's kernel makes up", kernel.join(", ")));
    }
    if count > 0 {
        let named = escape_controls(&paths.join(", "));
        verbosity.warn(&format!("left out {count}, neither files nor directories nor links: {named}"));
    }
    let files = progress.files();
    let rate = progress.bytes() as f64 / 1_048_576.0 / began.elapsed().as_secs_f64().max(0.001);
    verbosity.say(&format!(
        "{files} {}, {} bytes, {rate:.1} MiB/s",
        if files == 1 { "file" } else { "files" },
        progress.bytes(),
    ));
    if failed > 0 {
        let mut failure = CliError::new(format!("{failed} could not be copied"));
        failure.causes = unreadable.iter().map(|text| escape_controls(text)).collect();
        return Err(failure);
    }
    Ok(ExitCode::SUCCESS)
}

async fn copy(
    client: &mut AgentClient,
    host: &Path,
    guest: &[u8],
    inward: bool,
    progress: &Progress,
) -> Result<Skipped, CopyError> {
    match inward {
        true => into_guest(client, host, guest, progress).await,
        false => out_of_guest(client, guest, host, progress).await,
    }
}

/// What the guest says is shown as text.
fn explained(error: &CopyError) -> CliError {
    let mut failure = CliError::from_error(error);
    failure.message = escape_controls(&failure.message);
    failure.causes.iter_mut().for_each(|cause| *cause = escape_controls(cause));
    failure
}

/// Draws how far it is, until it is aborted.
async fn show(progress: Arc<Progress>) {
    let style = ProgressStyle::with_template("  {spinner} {msg} {bytes} {bytes_per_sec}");
    let bar =
        ProgressBar::new_spinner().with_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    let _cleared = Cleared(bar.clone());
    loop {
        tokio::time::sleep(TICK).await;
        bar.set_position(progress.bytes());
        bar.set_message(format!("{} files", progress.files()));
        bar.tick();
    }
}

/// A bar that is gone when nobody draws it any more.
struct Cleared(ProgressBar);

impl Drop for Cleared {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
