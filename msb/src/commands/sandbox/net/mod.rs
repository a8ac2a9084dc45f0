//! `msb net`.

mod learn;
mod syntax;
mod why;

pub use learn::Learned;

use crate::cli::Global;
use crate::error::CliError;
use crate::host::Machine;
use crate::output;
use crate::output::print;
use crate::project::find;
use crate::project::rule_sources::{Projects, Rules};
use executor::observe::{Observation, observe_all, observe_named};
use executor_host::home::Home;
use executor_net::Addresses;
use executor_net::policy::plain;
use rules::rule::Protocol;
use schemas::name::SandboxName;
use std::process::ExitCode;
use syntax::RuleSyntax;
use why::{Answer, Query, Sandbox, Target};

/// Arguments of `msb net`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show whether a sandbox can reach HOST:PORT, and which rule decides.
    Why {
        /// The sandbox.
        name: String,
        /// A name or an address with a port: `example.org:443`, `[2606:4700::1]:443`.
        #[arg(value_name = "HOST:PORT")]
        target: String,
        /// Use UDP.
        #[arg(long)]
        udp: bool,
    },
    /// Print the smallest set of rules that allows what a sandbox did, for a network that denies the rest.
    Learn(learn::Args),
    /// List the rules in effect, in their order, with their sources.
    Rules {
        /// The sandbox.
        name: String,
    },
}

/// Explains the recorded network of a sandbox.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let machine = Machine::open()?;
    let (Command::Why { name, .. } | Command::Learn(learn::Args { name, .. }) | Command::Rules { name }) =
        &arguments.command;
    let seen = find::sandbox(global, &machine, name)?;
    let mut records = Records { global, machine: &machine, projects: Projects::default() };
    match &arguments.command {
        Command::Why { name, target, udp } => {
            let target = Target::read(target)?;
            let Others { peers, names } = others(&mut records, &seen, &target)?;
            let sandbox = recorded(&mut records, &seen);
            let protocol = if *udp { Protocol::Udp } else { Protocol::Tcp };
            let syntax = syntax_of(&seen, &sandbox.rules);
            let query = Query { sandbox: &sandbox, peers: &peers, others: &names, protocol, syntax };
            let Answer { steps, notes, allowed } = query.explain(&target);
            let notes: String = notes.iter().map(|note| format!("{note}\n")).collect();
            print(&format!(
                "{name} to {target} over {protocol}\n{}{notes}",
                output::table::text(&["WHAT", "VERDICT", "REASON", "ORIGIN"], &steps)
            ));
            Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Learn(arguments) => {
            let Sandbox { rules, addresses, .. } = recorded(&mut records, &seen);
            let logs = machine.home.sandbox(&seen.row.id).logs();
            learn::run(arguments, &logs, addresses, syntax_of(&seen, &rules))
        }
        Command::Rules { .. } => {
            print(&recorded(&mut records, &seen).rules.table());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Returns the syntax in which the rules of a sandbox were written.
fn syntax_of(seen: &Observation, rules: &Rules) -> RuleSyntax {
    match (seen.row.project.is_of_one(), rules.is_yaml()) {
        (true, _) => RuleSyntax::Flags,
        (false, true) => RuleSyntax::Yaml,
        (false, false) => RuleSyntax::Kdl,
    }
}

/// Records of sandboxes and of their rules.
struct Records<'a> {
    global: &'a Global,
    machine: &'a Machine,
    projects: Projects,
}

/// The other sandboxes of a project.
#[derive(Default)]
struct Others {
    /// Those that the target may be.
    peers: Vec<Sandbox>,
    /// The names of all, if the target is an unknown name.
    names: Vec<SandboxName>,
}

/// Finds the other sandboxes that a target may be. Reads no more than needed, because a project may be large.
fn others(records: &mut Records<'_>, seen: &Observation, target: &Target) -> Result<Others, CliError> {
    let Machine { home, catalog } = records.machine;
    let project = &seen.row.project;
    if project.is_of_one() {
        return Ok(Others::default());
    }
    let is_other = |other: &Observation| other.row.project == *project && other.row.name != seen.row.name;
    let all = || observe_all(home, catalog, Some(project)).map(|observed| observed.sandboxes);
    let matching: Vec<Observation> = match (target, target.label()) {
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
    let mut names = Vec::new();
    if matching.is_empty() && target.label().is_some() {
        names.extend(all()?.into_iter().filter(is_other).map(|other| other.row.name));
    }
    Ok(Others { peers: matching.iter().map(|other| recorded(records, other)).collect(), names })
}

/// Returns the addresses of a sandbox when it last ran.
fn addresses(home: &Home, seen: &Observation) -> Option<Addresses> {
    find::launch_spec(home, &seen.row.id)?.addresses
}

/// Returns the recorded network of a sandbox.
fn recorded(Records { global, machine, projects }: &mut Records<'_>, seen: &Observation) -> Sandbox {
    Sandbox {
        name: seen.row.name.clone(),
        rules: Rules::of(global, &machine.catalog, projects, seen),
        addresses: addresses(&machine.home, seen),
        runs: seen.status.is_up(),
    }
}
