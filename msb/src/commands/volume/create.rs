//! `msb volume create`.

use super::check;
use crate::apply::{self, ApplyOptions, LockedProject};
use crate::cli::{Global, JsonResults, LockTimeout};
use crate::error::CliError;
use crate::host::Machine;
use crate::output::results::{CreatedVolume, VERSION};
use crate::output::{OutputOptions, print, print_json};
use rules::unit::{format_size_mib, parse_size_bytes};
use schemas::name::{ProjectName, VolumeName};
use schemas::spec::limits::{DISK_MIB_MAX, DISK_MIB_MIN};
use schemas::spec::{VolumeKind, VolumeSpec, defaults};
use std::process::ExitCode;

/// Arguments of `msb volume create`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name of the volume.
    #[arg(value_name = "NAME")]
    name: String,
    /// The size of the disk, or the most that the directory can contain, such as 2G.
    #[arg(long, value_name = "SIZE")]
    size: Option<String>,
    /// `directory`, or `disk`, which has one writer or any number of readers. Default: a disk if it has a size.
    #[arg(long, value_name = "KIND", value_parser = kind)]
    kind: Option<VolumeKind>,
    /// Whether several sandboxes may write to the directory at the same time.
    #[arg(long)]
    shared: bool,
    #[command(flatten)]
    lock: LockTimeout,
    #[command(flatten)]
    json: JsonResults,
}

/// Creates a volume of no project.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let Args { name, size: _, kind: _, shared: _, lock, json: _ } = arguments;
    let spec = spec(arguments)?;
    let name = VolumeName::new(name.as_str())
        .map_err(|reason| CliError::usage(format!("{name:?} is not the name of a volume: {reason}")))?;
    let machine = Machine::open()?;
    let locked = LockedProject {
        output: OutputOptions::of(global).silent(),
        ..LockedProject::acquire(&machine, &ProjectName::none(), "volume create", lock.timeout)?
    };
    let converged = apply::converge(
        &locked,
        |snapshot| planner::plan_volume_creation(snapshot, &name, &spec).map_err(CliError::from),
        || apply::settings(&machine.home, None),
        ApplyOptions::default(),
    )?;
    let is_new = check(converged)?;
    if global.json {
        print_json(&CreatedVolume { version: VERSION, name: name.as_str(), created: is_new });
    } else if !global.quiet {
        print(&format!("{name}: {}\n", if is_new { "created" } else { "exists already" }));
    }
    Ok(ExitCode::SUCCESS)
}

fn kind(text: &str) -> Result<VolumeKind, String> {
    let known = if text == "dir" { Some(VolumeKind::Directory) } else { VolumeKind::from_word(text) };
    known.ok_or_else(|| "expected directory or disk".to_owned())
}

/// Returns the spec that the flags describe.
fn spec(Args { name: _, size, kind, shared, lock: _, json: _ }: &Args) -> Result<VolumeSpec, CliError> {
    let kind = kind.unwrap_or(if size.is_some() { VolumeKind::Disk } else { VolumeKind::Directory });
    let least = if kind == VolumeKind::Disk { DISK_MIB_MIN } else { 1 };
    let size_mib = size.as_deref().map(|size| size_mib(size, least)).transpose()?;
    match (kind, *shared) {
        (VolumeKind::Disk, true) => Err(CliError::usage("a disk cannot be shared: it has one writer")
            .hint("--kind directory makes it a directory, which can have a size too")),
        (VolumeKind::Disk, false) => Ok(VolumeSpec::disk(size_mib.unwrap_or(defaults::VOLUME_MIB))),
        (VolumeKind::Directory, shared) => Ok(VolumeSpec { shared, ..VolumeSpec::directory(size_mib) }),
    }
}

fn size_mib(text: &str, least: u32) -> Result<u32, CliError> {
    let invalid = |problem: String| CliError::usage(format!("--size {text:?}: {problem}"));
    let bytes = parse_size_bytes(text)
        .map_err(|reason| invalid(reason.to_string()).hint("write it as 512M or 2G"))?;
    let mib = u32::try_from(bytes >> 20).unwrap_or(u32::MAX);
    if bytes.is_multiple_of(1 << 20) && (least..=DISK_MIB_MAX).contains(&mib) {
        return Ok(mib);
    }
    let (least, most) = (format_size_mib(least.into()), format_size_mib(DISK_MIB_MAX.into()));
    Err(invalid(format!("give whole MiB from {least} to {most}")))
}
