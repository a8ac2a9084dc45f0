//! `msb doctor`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::{self, GuestFile};
use crate::output::{print, print_json};
use executor::supervisor::{SelfLauncher, host_limits};
use executor_host::home::Home;
use executor_jail::confinement::LIMITS;
use executor_jail::probe::Attempt;
use executor_jail::{Cgroup, Report};
use executor_vm::report::Check;
use executor_vm::{Backend, HostReport};
use schemas::spec::defaults;
use serde::Serialize;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;

/// Arguments of `msb doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The next step for a jail with gaps.
const JAIL_HELP: &str = "a newer kernel, Landlock (`lsm=landlock,…`) and user namespaces \
    (`sysctl user.max_user_namespaces`) make it tighter; containers often forbid these";

/// The next step for a jail without limits.
const LIMITS_HELP: &str = "memory and processor time of its processes are limited where the host delegates control groups: \
    to users with a session of systemd, and to units with `Delegate=yes` and `DelegateSubgroup=`";

/// Version of the JSON format.
const VERSION: u32 = 1;

#[derive(schemars::JsonSchema, Serialize)]
pub struct Document {
    version: u32,
    host: HostReport,
    /// The finding about mounts with the chosen driver.
    mounts: Option<Check>,
    /// What a process in the jail of the chosen driver's virtual machines has found.
    jail: Option<JailCheck>,
    files: Vec<FileCheck>,
    home: String,
    ok: bool,
}

/// The process of a virtual machine, among those in jails.
const MACHINE: &str = "virtual machine";

/// The finding about the jails of virtual machines and file servers.
#[derive(Default, schemars::JsonSchema, Serialize)]
struct JailCheck {
    /// Whether all attempts from inside have failed that should.
    holds: bool,
    /// What is in force round a virtual machine.
    in_force: Vec<String>,
    /// What is not, with the reasons.
    gaps: Vec<String>,
    /// The attempts that ended as they should not.
    unexpected: Vec<Attempt>,
    /// The number of attempts.
    attempts: usize,
    /// The reason for which there was no probe.
    problem: Option<String>,
}

impl JailCheck {
    /// Starts processes in the jails of a virtual machine and of a file server, which try what they must not do.
    fn of(backend: &Backend, home: &Home) -> Self {
        let mut check = Self::default();
        match Self::probe(backend, home) {
            Ok(reports) => {
                for (who, Report { confinement, attempts }) in reports {
                    if who == MACHINE {
                        (check.in_force, check.gaps) = (confinement.in_force(), confinement.gaps());
                    }
                    check.attempts += attempts.len();
                    let unexpected = attempts.into_iter().filter(|attempt| !attempt.is_as_expected());
                    check.unexpected.extend(
                        unexpected
                            .map(|attempt| Attempt { what: format!("{} ({who})", attempt.what), ..attempt }),
                    );
                }
                check.holds = check.unexpected.is_empty();
            }
            Err(problem) => check.problem = Some(problem),
        }
        check
    }

    fn probe(backend: &Backend, home: &Home) -> Result<[(&'static str, Report); 2], String> {
        let foreign = ["/etc/passwd", "/etc/shadow", "/root", "/home", "/proc/1/environ"].map(str::to_owned);
        let own = home.root().display().to_string();
        let foreign: Vec<String> = foreign.into_iter().chain([own]).collect();
        let log = || {
            let null = File::options().write(true).open("/dev/null");
            null.map(OwnedFd::from).map_err(|error| error.to_string())
        };
        let cgroup = Arc::new(Cgroup::create(&host_limits(defaults::CPUS, defaults::MEMORY_MIB)));
        let command = SelfLauncher::vmm(log()?, cgroup.clone());
        let machine = executor_vm::probe(command, backend, home.root(), foreign.clone())
            .map_err(|error| error.to_string())?;
        let server = executor_share::probe(SelfLauncher::share(log()?, cgroup), home.root(), foreign)
            .map_err(|error| error.to_string())?;
        Ok([(MACHINE, machine), ("file server", server)])
    }

    /// Describes it on one line.
    fn detail(&self) -> String {
        match &self.problem {
            Some(problem) => format!("not tried: {problem}"),
            None => format!("{}; {} attempts from inside", self.in_force.join(", "), self.attempts),
        }
    }
}

#[derive(schemars::JsonSchema, Serialize)]
struct FileCheck {
    what: &'static str,
    path: String,
    found: bool,
    variable: &'static str,
}

/// Checks for everything that a sandbox needs.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let home = host::open_home()?;
    let report = HostReport::new(&host::facts(), host::selected_driver(&home, global)?);
    let guest = host::guest_files(&home);
    let check = |GuestFile { name, path, variable }: &GuestFile| FileCheck {
        what: name,
        found: path.is_file(),
        path: path.display().to_string(),
        variable,
    };
    let files: Vec<_> = guest.iter().map(check).collect();
    let problem = report.chosen.as_ref().map(Backend::check_mounts);
    let mounts = problem.map(|problem| Check {
        usable: problem.is_ok(),
        detail: problem.map_or_else(
            |problem| problem.to_string(),
            |()| "folders of this host can be mounted".to_owned(),
        ),
    });
    let jail = report.chosen.as_ref().map(|backend| JailCheck::of(backend, &home));
    let ok = report.chosen.is_some() && files.iter().all(|file| file.found);
    let code = if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if arguments.json {
        let home = home.root().display().to_string();
        print_json(&Document { version: VERSION, host: report, mounts, jail, files, home, ok });
        return Ok(code);
    }
    let mut text = String::new();
    let mut line = |good: bool, what: &str, detail: &str| {
        text.push_str(&format!("{} {what:<13} {detail}\n", if good { "ok     " } else { "missing" }));
    };
    match &report.chosen {
        Some(backend) => line(true, "driver", &format!("{} ({})", backend.kind(), report.why)),
        None => line(false, "driver", &report.why),
    }
    line(report.kvm.usable, "kvm", &report.kvm.detail);
    line(report.krun.usable, "krun", &report.krun.detail);
    line(report.qemu.usable, "qemu", &report.qemu.detail);
    if let Some(Check { usable, detail }) = &mounts {
        line(*usable, "mounts", detail);
    }
    if let Some(jail) = &jail {
        line(jail.holds, "jail", &jail.detail());
    }
    for file in &files {
        line(file.found, file.what, &file.path);
    }
    line(true, "state", &home.root().display().to_string());
    for missing in &report.missing {
        let weight = if missing.fatal { "needed" } else { "optional" };
        text.push_str(&format!("\n{weight}: {}\n  {}\n", missing.what, missing.next_step));
    }
    if let Some(Err(problem)) = problem {
        text.push_str(&format!("\noptional: for mounts: {problem}\n  {}\n", problem.help()));
    }
    for gap in jail.iter().flat_map(|jail| &jail.gaps) {
        let help = if gap.starts_with(LIMITS) { LIMITS_HELP } else { JAIL_HELP };
        text.push_str(&format!("\noptional: in the jail of virtual machines, {gap}\n  {help}\n"));
    }
    for attempt in jail.iter().flat_map(|jail| &jail.unexpected) {
        let how = if attempt.is_allowed { "cannot" } else { "can" };
        text.push_str(&format!("\nwarning: a process in the jail {how} {}\n  {JAIL_HELP}\n", attempt.what));
    }
    for (file, _) in guest.iter().zip(&files).filter(|(_, check)| !check.found) {
        text.push_str(&format!("\nneeded: the {}\n  {}\n", file.name, file.hint()));
    }
    print(&text);
    Ok(code)
}
