//! `msb net`.

mod why;

use crate::cli::Global;
use crate::error::CliError;
use crate::output::print;
use crate::rules::{Projects, Rules};
use crate::{find, host, render};
use executor::catalog::Catalog;
use executor::home::Home;
use executor::observe::{Observation, observe_all};
use executor::state::{Orders, read_json};
use schemas::rule::Protocol;
use schemas::snapshot::Status;
use std::process::ExitCode;
use why::{Answer, Question, Sandbox, Target, Writing};

/// Arguments of `msb net`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Say whether a sandbox may reach HOST:PORT, and which rule decides.
    Why(Why),
    /// List the rules in force, in their order, with who wrote each.
    Rules(List),
}

#[derive(Debug, clap::Args)]
struct Why {
    /// The sandbox.
    name: String,
    /// A name or an address, and a port: `example.org:443`, `[2606:4700::1]:443`.
    #[arg(value_name = "HOST:PORT")]
    target: String,
    /// Over UDP.
    #[arg(long)]
    udp: bool,
}

#[derive(Debug, clap::Args)]
struct List {
    /// The sandbox.
    name: String,
}

/// Explains the network of a sandbox, as it is recorded.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let home = host::open_home()?;
    let catalog = host::open_catalog(&home)?;
    let name = match &arguments.command {
        Command::Why(Why { name, .. }) | Command::Rules(List { name }) => name,
    };
    let seen = find::sandbox(global, &home, &catalog, name)?;
    let mut projects = Projects::default();
    let known_by = Records { global, home: &home, catalog: &catalog };
    match &arguments.command {
        Command::Why(Why { name, target, udp }) => {
            let target = Target::read(target)?;
            let project = &seen.row.project;
            let others = match project.is_of_one() {
                true => Vec::new(),
                false => observe_all(&home, &catalog, Some(project))?.sandboxes,
            };
            let mut known = |seen: &Observation| recorded(&known_by, &mut projects, seen);
            let is_other = |other: &&Observation| other.row.name != seen.row.name;
            let neighbors: Vec<Sandbox> = others.iter().filter(is_other).map(&mut known).collect();
            let sandbox = known(&seen);
            let protocol = if *udp { Protocol::Udp } else { Protocol::Tcp };
            let writing = match (project.is_of_one(), sandbox.rules.is_yaml()) {
                (true, _) => Writing::Flags,
                (false, true) => Writing::Yaml,
                (false, false) => Writing::Kdl,
            };
            let question = Question { sandbox: &sandbox, neighbors: &neighbors, protocol, writing };
            let Answer { steps, notes, allowed } = question.explain(&target);
            let notes: String = notes.iter().map(|note| format!("{note}\n")).collect();
            print(&format!(
                "{name} to {target} over {protocol}\n{}{notes}",
                render::table::text(&["WHAT", "VERDICT", "BECAUSE OF", "ORIGIN"], &steps)
            ));
            Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Rules(_) => {
            print(&recorded(&known_by, &mut projects, &seen).rules.table());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Where it is recorded what sandboxes are.
struct Records<'a> {
    global: &'a Global,
    home: &'a Home,
    catalog: &'a Catalog,
}

/// What is recorded of a sandbox's network.
fn recorded(records: &Records<'_>, projects: &mut Projects, seen: &Observation) -> Sandbox {
    let Records { global, home, catalog } = records;
    let orders = read_json::<Orders>(&home.sandbox(&seen.row.id).orders()).ok().flatten();
    Sandbox {
        name: seen.row.name.clone(),
        rules: Rules::of(global, catalog, projects, seen),
        addresses: orders.as_ref().and_then(|orders| orders.addresses),
        runs: matches!(seen.status, Status::Running { .. }),
    }
}
