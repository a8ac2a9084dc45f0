//! The smallest set of rules that allows what a sandbox did.

mod needs;
mod print;

use super::syntax::RuleSyntax;
use crate::commands::sandbox::logs::parse_moment;
use crate::error::{CliError, Context};
use crate::output::{print_json, print_raw};
use clap::ValueEnum;
use executor_client::event::SandboxEvent;
use executor_log::{LogLine, ReadOptions, Source, read_logs};
use executor_net::Addresses;
pub use needs::Learned;
use needs::Learner;
use std::path::Path;
use std::process::ExitCode;
use std::time::SystemTime;

/// Arguments of `msb net learn`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The sandbox.
    pub name: String,
    /// The syntax of the rules. Default: that of the sandbox's file or flags.
    #[arg(long, value_enum, value_name = "SYNTAX")]
    format: Option<Format>,
    /// Learn only from what happened since this time: RFC 3339, or an age such as `10m`.
    #[arg(long, value_name = "TIME", value_parser = parse_moment)]
    since: Option<SystemTime>,
    /// Print JSON.
    #[arg(long, conflicts_with = "format")]
    json: bool,
}

/// The syntax of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// KDL.
    Kdl,
    /// YAML.
    Yaml,
    /// Flags of `msb run` and `msb create`.
    Flags,
}

/// Prints the rules that a sandbox needs according to its logs.
pub fn run(
    arguments: &Args,
    logs: &Path,
    addresses: Option<Addresses>,
    syntax: RuleSyntax,
) -> Result<ExitCode, CliError> {
    let Args { name, format, since, json } = arguments;
    let syntax = match format {
        Some(Format::Kdl) => RuleSyntax::Kdl,
        Some(Format::Yaml) => RuleSyntax::Yaml,
        Some(Format::Flags) => RuleSyntax::Flags,
        None => syntax,
    };
    let sources = vec![Source::Network, Source::Flows];
    let options = ReadOptions { sources, since: *since, ..ReadOptions::default() };
    let is_event = |line: &LogLine| !line.note;
    let mut learner = Learner::new(addresses);
    let lines = read_logs(logs, &options, &is_event).context("cannot read the logs of the network")?;
    for line in lines {
        let line = line.context("cannot read the logs of the network")?;
        // Events of another version of msb are skipped.
        match serde_json::from_slice(&line.data) {
            Ok(SandboxEvent::Allowed(allowed)) => learner.allowed(line.time, &allowed),
            Ok(SandboxEvent::Refused(refused)) => learner.refused(line.time, &refused),
            Ok(_) | Err(_) => {}
        }
    }
    let learned: Learned = learner.learn();
    if *json {
        print_json(&learned);
    } else {
        print_raw(&print::text(name, &learned, syntax));
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests;
