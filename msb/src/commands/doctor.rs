//! `msb doctor`.

use crate::cli::Global;
use crate::error::CliError;
use crate::host::{self, GuestFile};
use crate::output::{print, print_json};
use executor_vm::report::Check;
use executor_vm::{Backend, HostReport};
use serde::Serialize;
use std::process::ExitCode;

/// Arguments of `msb doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Version of the JSON format.
const VERSION: u32 = 1;

#[derive(Serialize)]
struct Document {
    version: u32,
    host: HostReport,
    /// The finding about mounts with the chosen driver.
    mounts: Option<Check>,
    files: Vec<FileCheck>,
    home: String,
    ok: bool,
}

#[derive(Serialize)]
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
    let ok = report.chosen.is_some() && files.iter().all(|file| file.found);
    let code = if ok { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if arguments.json {
        let home = home.root().display().to_string();
        print_json(&Document { version: VERSION, host: report, mounts, files, home, ok });
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
    for (file, _) in guest.iter().zip(&files).filter(|(_, check)| !check.found) {
        text.push_str(&format!("\nneeded: the {}\n  {}\n", file.name, file.hint()));
    }
    print(&text);
    Ok(code)
}
