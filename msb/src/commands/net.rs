//! `msb net`.

use crate::cli::Global;
use crate::error::CliError;
use crate::output::print;
use crate::rules::{Projects, Rules};
use crate::{find, host, render};
use executor::state::{Orders, read_json};
use executor_net::Pools;
use executor_net::policy::{Connection, Place, Policy, Verdict, Way, group_of, plain};
use schemas::rule::{DomainName, HOST_NAME, Protocol};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;

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
    let orders = read_json::<Orders>(&home.sandbox(&seen.row.id).orders()).ok().flatten();
    let rules = Rules::of(
        global,
        &mut Projects::default(),
        &seen,
        orders.and_then(|orders| orders.folder).as_deref(),
    );
    match &arguments.command {
        Command::Why(Why { name, target, udp }) => {
            let protocol = if *udp { Protocol::Udp } else { Protocol::Tcp };
            let target = Target::read(target)?;
            let origin = |verdict: &Verdict| rules.origin(verdict);
            let (lines, allowed) = explain(rules.policy(), &target, protocol, &origin);
            print(&format!(
                "{name} to {target} over {protocol}\n{}",
                render::table::text(&["WHAT", "VERDICT", "BECAUSE OF", "ORIGIN"], &lines)
            ));
            Ok(if allowed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Rules(_) => {
            print(&rules.table());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What is asked about.
enum Target {
    Address(SocketAddr),
    Name(DomainName, u16),
}

impl Target {
    fn read(text: &str) -> Result<Self, CliError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let parts = text.rsplit_once(':').and_then(|(name, port)| {
            Some((DomainName::new(name).ok()?, port.parse().ok().filter(|port| *port != 0)?))
        });
        let (name, port) = parts.ok_or_else(|| {
            CliError::new(format!("{text:?} is not a host and a port")).hint("such as example.org:443")
        })?;
        Ok(Self::Name(name, port))
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

/// A line for each step of the way, with who wrote what decides; and whether all of them may be taken.
fn explain(
    policy: &Policy,
    target: &Target,
    protocol: Protocol,
    origin: &dyn Fn(&Verdict) -> String,
) -> (Vec<Vec<String>>, bool) {
    let line = |what: &str, verdict: &Verdict| {
        let word = if verdict.allowed { "allowed" } else { "refused" };
        vec![what.to_owned(), word.to_owned(), verdict.reason.clone(), origin(verdict)]
    };
    let decide = |address: IpAddr, port: u16, names: &[DomainName], place: Place| {
        policy.decide(&Connection { way: Way::Out, protocol, address, port: Some(port), names, place })
    };
    match target {
        Target::Address(address) => {
            let ip = plain(address.ip());
            let place = if executor_net::is_own(ip) { Place::Host } else { Place::Elsewhere };
            let verdict = decide(ip, address.port(), &[], place);
            let kind = match (place, group_of(ip)) {
                (Place::Elsewhere, Some(group)) => format!("connect ({group})"),
                (Place::Elsewhere, None) => "connect (no public address)".to_owned(),
                _ => "connect (host)".to_owned(),
            };
            (vec![line(&kind, &verdict)], verdict.allowed)
        }
        Target::Name(name, port) => {
            // Where it leads is known when it is looked up; a public place is what it may lead to anyway.
            let (question, place) = if name.as_str() == HOST_NAME {
                let reason = "it is answered in every sandbox".to_owned();
                (
                    Verdict { allowed: true, rule: None, reason, by_name: false, is_fixed: false },
                    Place::Gateway,
                )
            } else {
                let label = name.as_str().strip_suffix(".msb.internal").unwrap_or(name.as_str());
                let short = DomainName::new(label).unwrap_or_else(|_| name.clone());
                (policy.decide_name(&short, Protocol::Udp), Place::Elsewhere)
            };
            // Names of one part, and those beneath the zone of sandboxes, are never public: other sandboxes have them.
            let is_inside = name.is_label() || name.as_str().ends_with(".msb.internal");
            let is_sandbox = is_inside && place == Place::Elsewhere;
            let address = match is_sandbox {
                true => Pools::default().ipv4.hosts().next().unwrap_or(Ipv4Addr::LOCALHOST),
                false => Ipv4Addr::new(8, 8, 8, 8),
            };
            let label = name.as_str().strip_suffix(".msb.internal").unwrap_or(name.as_str());
            let short = DomainName::new(label).unwrap_or_else(|_| name.clone());
            let known = if is_sandbox { &short } else { name };
            let connection = decide(address.into(), *port, std::slice::from_ref(known), place);
            let allowed = question.allowed && connection.allowed;
            let what = match place {
                Place::Gateway => "connect (host)",
                _ if is_sandbox => "connect, where it is a sandbox of this project",
                _ => "connect, where it is public",
            };
            let mut lines = vec![line("look up", &question), line(what, &connection)];
            if allowed && connection.by_name && !is_sandbox && place == Place::Elsewhere {
                lines.push(vec![
                    "TLS greeting, HTTP request".to_owned(),
                    "must show".to_owned(),
                    "a name of that rule".to_owned(),
                    origin(&connection),
                ]);
            }
            (lines, allowed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::rule::Rule;
    use schemas::spec::{Network, NetworkDefault, NetworkRule};

    fn told(default: NetworkDefault, rules: &[&str], target: &str) -> (String, bool) {
        let rules = rules.iter().map(|text| NetworkRule::from(&text.parse::<Rule>().unwrap())).collect();
        let target = Target::read(target).map_err(|_| target).unwrap();
        let policy = Policy::new(&Network { default, rules, ..Network::default() });
        let origin = |verdict: &Verdict| verdict.rule.map_or_else(|| "-".to_owned(), |rule| rule.to_string());
        let (lines, allowed) = explain(&policy, &target, Protocol::Tcp, &origin);
        (lines.iter().map(|line| line.join(" | ")).collect::<Vec<_>>().join("\n"), allowed)
    }

    #[test]
    fn the_rule_that_decides_is_named() {
        let public = NetworkDefault::Public;
        assert_eq!(
            told(public, &[], "10.0.0.1:80"),
            ("connect (private) | refused | no rule allows it | -".into(), false)
        );
        assert_eq!(
            told(NetworkDefault::Deny, &["allow@*.example.org:tcp:443"], "api.example.org:443"),
            (
                "look up | allowed | allow@*.example.org:tcp:443 | 0\n\
                 connect, where it is public | allowed | allow@*.example.org:tcp:443 | 0\n\
                 TLS greeting, HTTP request | must show | a name of that rule | 0"
                    .into(),
                true
            )
        );
        assert_eq!(
            told(public, &["deny@example.org"], "example.org:80"),
            (
                "look up | refused | deny@example.org | 0\n\
                 connect, where it is public | refused | deny@example.org | 0"
                    .into(),
                false
            )
        );
        // Another sandbox of the project is not public.
        let (lines, allowed) = told(public, &[], "backend:9091");
        assert!(
            !allowed && lines.contains("a sandbox of this project | refused | no rule allows it"),
            "{lines}"
        );
        assert!(!told(public, &[], "backend.msb.internal:9091").1);
        for name in ["backend:9091", "backend.msb.internal:9091"] {
            assert!(told(public, &["allow@domain=backend:tcp:9091"], name).1, "{name}");
        }
        assert!(Target::read("example.org").is_err() && Target::read("example.org:0").is_err());
    }
}
