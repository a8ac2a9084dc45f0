//! `msb net`.

mod why;

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output;
use crate::output::print;
use crate::project::find;
use crate::project::rule_sources::{Projects, Rules};
use executor::catalog::Catalog;
use executor::launch::LaunchSpec;
use executor::observe::{Observation, observe_all, observe_named};
use executor_host::home::Home;
use executor_host::state::read_json;
use executor_net::Addresses;
use executor_net::policy::plain;
use rules::rule::Protocol;
use schemas::name::SandboxName;
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
    let Machine { home, catalog } = Machine::open()?;
    let name = match &arguments.command {
        Command::Why(Why { name, .. }) | Command::Rules(List { name }) => name,
    };
    let seen = find::sandbox(global, &home, &catalog, name)?;
    let mut projects = Projects::default();
    let known_by = Records { global, home: &home, catalog: &catalog };
    match &arguments.command {
        Command::Why(Why { name, target, udp }) => {
            let target = Target::read(target)?;
            let (peers, others) = others(&known_by, &mut projects, &seen, &target)?;
            let sandbox = recorded(&known_by, &mut projects, &seen);
            let protocol = if *udp { Protocol::Udp } else { Protocol::Tcp };
            let writing = match (seen.row.project.is_of_one(), sandbox.rules.is_yaml()) {
                (true, _) => Writing::Flags,
                (false, true) => Writing::Yaml,
                (false, false) => Writing::Kdl,
            };
            let question = Question { sandbox: &sandbox, peers: &peers, others: &others, protocol, writing };
            let Answer { steps, notes, allowed } = question.explain(&target);
            let notes: String = notes.iter().map(|note| format!("{note}\n")).collect();
            print(&format!(
                "{name} to {target} over {protocol}\n{}{notes}",
                output::table::text(&["WHAT", "VERDICT", "BECAUSE OF", "ORIGIN"], &steps)
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

/// The other sandboxes of the project that a target may mean; and the names of all of them where it is a name that none
/// of them has. Nothing more is read than that: a project may be large.
fn others(
    records: &Records<'_>,
    projects: &mut Projects,
    seen: &Observation,
    target: &Target,
) -> Result<(Vec<Sandbox>, Vec<SandboxName>), CliError> {
    let Records { global: _, home, catalog } = records;
    let project = &seen.row.project;
    if project.is_of_one() {
        return Ok((Vec::new(), Vec::new()));
    }
    let is_other = |other: &Observation| other.row.project == *project && other.row.name != seen.row.name;
    let all = || observe_all(home, catalog, Some(project)).map(|observed| observed.sandboxes);
    let meant: Vec<Observation> = match (target, target.label()) {
        (Target::Address(address), _) => {
            let address = plain(address.ip());
            let has_it = |other: &Observation| {
                addresses(home, other).is_some_and(|addresses| addresses.is_guest(address))
            };
            all()?.into_iter().filter(|other| is_other(other) && has_it(other)).collect()
        }
        (Target::Name(..), Some(label)) => {
            let named = observe_named(home, catalog, Some(project), label)?.sandboxes;
            let is_it = |other: &Observation| is_other(other) && other.row.name.as_str() == label;
            named.into_iter().filter(is_it).collect()
        }
        (Target::Name(..), None) => Vec::new(),
    };
    let names = match meant.is_empty() && target.label().is_some() {
        true => all()?.into_iter().filter(is_other).map(|other| other.row.name).collect(),
        false => Vec::new(),
    };
    Ok((meant.iter().map(|other| recorded(records, projects, other)).collect(), names))
}

/// The addresses that a sandbox had when it last ran.
fn addresses(home: &Home, seen: &Observation) -> Option<Addresses> {
    read_json::<LaunchSpec>(&home.sandbox(&seen.row.id).launch_spec()).ok().flatten()?.addresses
}

/// What is recorded of a sandbox's network.
fn recorded(records: &Records<'_>, projects: &mut Projects, seen: &Observation) -> Sandbox {
    let Records { global, home, catalog } = records;
    Sandbox {
        name: seen.row.name.clone(),
        rules: Rules::of(global, catalog, projects, seen),
        addresses: addresses(home, seen),
        runs: matches!(seen.status, Status::Running { .. }),
    }
}
