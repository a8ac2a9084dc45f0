//! `msb cp`.

use crate::cli::{Global, JsonResults};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::results::{Copied, VERSION};
use crate::output::{OutputOptions, print_json, words};
use crate::progress::spinner;
use crate::project::find::{self, full_name_of};
use crate::session::unresponsive;
use executor_client::agent::AgentClient;
use executor_client::copy::{Progress, Skipped, into_guest, out_of_guest};
use indicatif::ProgressBar;
use schemas::name::check_name;
use std::convert::Infallible;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Arguments of `msb cp`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A path of the host, or NAME:PATH in a sandbox. With `/.` at its end, the contents of a directory.
    source: String,
    /// The target, a path of the host or NAME:PATH. If it is a directory, the source is copied into it.
    target: String,
    #[command(flatten)]
    json: JsonResults,
}

/// Interval between updates of the bar.
const TICK: Duration = Duration::from_millis(100);

/// A source or target.
enum Endpoint {
    Host(PathBuf),
    Guest { name: String, path: String },
}

impl Endpoint {
    /// Parses a path: `NAME:/PATH` is in a sandbox, `./a:b` on the host.
    fn parse(text: &str) -> Result<Self, CliError> {
        match text.split_once(':') {
            Some((name, path)) if check_name(name).is_ok() => {
                if !path.starts_with('/') {
                    let failure = CliError::usage(format!("{text:?}: a path in a sandbox starts with `/`"));
                    return Err(
                        failure.hint(format!("write {name}:/{path}, or ./{text} for a file of the host"))
                    );
                }
                Ok(Self::Guest { name: name.to_owned(), path: path.to_owned() })
            }
            _ if text.is_empty() => Err(CliError::usage("a path is empty")),
            _ => Ok(Self::Host(PathBuf::from(text))),
        }
    }
}

/// Copies files, directories and links into or out of a running sandbox.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let (host_path, name, guest_path, into_sandbox) =
        match (Endpoint::parse(&arguments.source)?, Endpoint::parse(&arguments.target)?) {
            (Endpoint::Host(source), Endpoint::Guest { name, path }) => (source, name, path, true),
            (Endpoint::Guest { name, path }, Endpoint::Host(target)) => (target, name, path, false),
            (Endpoint::Host(_), Endpoint::Host(_)) => {
                return Err(CliError::usage("neither path is in a sandbox").hint("write one as NAME:/path"));
            }
            (Endpoint::Guest { .. }, Endpoint::Guest { .. }) => {
                return Err(CliError::usage("both paths are in sandboxes")
                    .hint("copy to the host first, then into the other one"));
            }
        };
    let machine = Machine::open()?;
    let seen = find::running(global, &machine, &name)?;
    let run_folder = machine.home.sandbox_run(&full_name_of(&seen));
    let output = OutputOptions::of(global);
    let (began, progress) = (Instant::now(), Progress::default());
    let event_loop = crate::commands::event_loop()?;
    let copied = event_loop.block_on(async {
        let mut client = match AgentClient::connect(&run_folder.agent_socket()).await {
            Ok(client) => client,
            Err(error) => return Err(unresponsive::failure(&error, &run_folder, &name).await),
        };
        let copy = async {
            if into_sandbox {
                into_guest(&mut client, &host_path, guest_path.as_bytes(), &progress).await
            } else {
                out_of_guest(&mut client, guest_path.as_bytes(), &host_path, &progress).await
            }
        };
        let bar = output.bars.then(|| spinner("  {spinner} {msg} {bytes} {bytes_per_sec}"));
        let copied = tokio::select! {
            copied = copy => copied,
            never = show(bar.as_ref(), &progress) => match never {},
        };
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        match copied {
            Ok(skipped) => Ok(skipped),
            Err(error) => Err(unresponsive::failure(&error, &run_folder, &name).await),
        }
    });
    event_loop.shutdown_background();
    let Skipped { paths, count, kernel, unreadable, failed } = copied?;
    if !kernel.is_empty() {
        output.warn(&format!("skipped {}, which the sandbox's kernel generates", kernel.join(", ")));
    }
    if count > 0 {
        let names = paths.join(", ");
        output.warn(&format!("skipped {count} that are neither files nor directories nor links: {names}"));
    }
    let rate = progress.bytes() as f64 / 1_048_576.0 / began.elapsed().as_secs_f64().max(0.001);
    let files = words::count(progress.files(), "file", "files");
    output.say(&format!("{files}, {} bytes, {rate:.1} MiB/s", progress.bytes()));
    if output.json {
        let (files, bytes) = (progress.files(), progress.bytes());
        print_json(&Copied { version: VERSION, files, bytes, skipped: count, failed });
    }
    if failed > 0 {
        return Err(CliError::new(format!("{failed} could not be copied")).because_all(unreadable));
    }
    Ok(ExitCode::SUCCESS)
}

/// Draws the progress in a bar, if there is one, until it is aborted.
async fn show(bar: Option<&ProgressBar>, progress: &Progress) -> Infallible {
    let Some(bar) = bar else { return std::future::pending().await };
    loop {
        tokio::time::sleep(TICK).await;
        bar.set_position(progress.bytes());
        bar.set_message(format!("{} files", progress.files()));
        bar.tick();
    }
}
