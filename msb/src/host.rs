//! State and settings of this machine: home, catalog, driver, guest kernel and initramfs.

use crate::apply::ephemeral;
use crate::cli::Global;
use crate::error::{CliError, Context};
use executor::apply::SuperviseCommand;
use executor::catalog::Catalog;
use executor::launch::BootSettings;
use executor_host::home::Home;
use executor_net::Pools;
use executor_registry::{HostSettings, Proxies, Settings};
use executor_vm::{DriverKind, FuseProblem, HostFacts, host};
use schemas::config::{Config, Driver};
use schemas::model::Model;
use schemas::snapshot::MountObstacle;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The variable for the folder of all state.
const HOME_VARIABLE: &str = "MSB_HOME";
/// The variable for another guest kernel.
const KERNEL_VARIABLE: &str = "MSB_KERNEL";
/// The variable for another initramfs.
const INITRAMFS_VARIABLE: &str = "MSB_INITRAMFS";
/// The variables that a supervisor inherits.
const INHERITED_VARIABLES: [&str; 5] = ["PATH", "HOME", "TMPDIR", "MSB_LOG", "RUST_BACKTRACE"];

/// Opens the home that the environment names, `~/.microsandbox` by default.
///
/// # Errors
///
/// If it cannot be created, or belongs to another user.
pub fn open_home() -> Result<Home, CliError> {
    Ok(Home::open(home_root()?)?)
}

fn home_root() -> Result<PathBuf, CliError> {
    if let Some(path) = path_variable(HOME_VARIABLE) {
        return std::path::absolute(path).context(format_args!("cannot use {HOME_VARIABLE}"));
    }
    let home = path_variable("HOME").map(|home| home.join(".microsandbox"));
    home.ok_or_else(|| {
        CliError::new("neither MSB_HOME nor HOME is set").hint("set MSB_HOME to a folder of yours")
    })
}

/// Returns the path in a variable of the environment; `None` if it is empty or not set.
pub fn path_variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The state of this machine.
#[derive(Clone)]
pub struct Machine {
    /// The folder of all state.
    pub home: Home,
    /// The catalog in it.
    pub catalog: Arc<Catalog>,
}

impl Machine {
    /// Opens home and catalog for a command, and removes abandoned sandboxes.
    ///
    /// # Errors
    ///
    /// If either cannot be created or read.
    pub fn open() -> Result<Self, CliError> {
        let machine = Self::of(open_home()?)?;
        ephemeral::remove_abandoned(&machine);
        Ok(machine)
    }

    /// Opens the catalog of a home.
    ///
    /// # Errors
    ///
    /// If it cannot be created or read.
    pub fn of(home: Home) -> Result<Self, CliError> {
        Ok(Self { catalog: Arc::new(Catalog::open(&home.catalog())?), home })
    }
}

/// Opens the catalog if it already exists and can be read.
pub fn existing_catalog() -> Option<Catalog> {
    let root = home_root().ok()?;
    let home = root.join("catalog.db").is_file().then(|| Home::open(root))?.ok()?;
    Catalog::open(&home.catalog()).ok()
}

/// Reads the user's settings.
///
/// # Errors
///
/// If `config.json` is invalid or cannot be read.
pub fn config(home: &Home) -> Result<Config, CliError> {
    Ok(executor_host::config::read(home)?)
}

/// Returns the networks that sandboxes get their addresses from.
///
/// # Errors
///
/// Those of [`config`].
pub fn pools(home: &Home) -> Result<Pools, CliError> {
    let schemas::config::Network { ipv4_pool, ipv6_pool } = config(home)?.network;
    Ok(Pools { ipv4: ipv4_pool, ipv6: ipv6_pool })
}

/// Returns the settings of registries, from `config.json` and from docker's configuration.
///
/// # Errors
///
/// Those of [`config`].
pub fn registries(home: &Home) -> Result<Settings, CliError> {
    let in_home = || path_variable("HOME").map(|home| home.join(".docker"));
    let docker = path_variable("DOCKER_CONFIG").or_else(in_home);
    Ok(Settings {
        hosts: HostSettings::of_config(&config(home)?.registries),
        docker_config: docker.map(|folder| folder.join("config.json")),
        proxies: Proxies::from_variables(|name| std::env::var(name).ok()),
        ..Settings::default()
    })
}

/// Observes what this host offers for running VMs.
pub fn facts() -> HostFacts {
    host::observe(std::env::var_os("PATH").as_deref())
}

/// Chooses driver, kernel and initramfs.
///
/// # Errors
///
/// If no driver works here, or a file of the guest is missing.
pub fn boot_settings(home: &Home, global: &Global) -> Result<BootSettings, CliError> {
    let choice = executor_vm::choose(&facts(), selected_driver(home, global)?)?;
    let [kernel, initramfs] = guest_files(home);
    Ok(BootSettings { backend: choice.backend, kernel: existing(kernel)?, initramfs: existing(initramfs)? })
}

/// Returns why the driver cannot serve the mounts of a model on this host; `None` if it can, or if there are none.
///
/// # Errors
///
/// Those of [`config`].
pub fn mount_obstacle(
    home: &Home,
    global: &Global,
    model: &Model,
) -> Result<Option<MountObstacle>, CliError> {
    // An external volume may be a directory.
    if model.sandboxes().iter().all(|sandbox| model.first_served_mount(sandbox, |_| false).is_none()) {
        return Ok(None);
    }
    // Without any driver, starting a sandbox says what is missing.
    let Ok(choice) = executor_vm::choose(&facts(), selected_driver(home, global)?) else { return Ok(None) };
    let obstacle = |problem: FuseProblem| MountObstacle {
        help: problem.help().to_owned(),
        problem: problem.to_string(),
    };
    Ok(choice.backend.check_mounts().err().map(obstacle))
}

/// Returns the driver that the command line, the environment or the settings select, if any.
///
/// # Errors
///
/// Those of [`config`].
pub fn selected_driver(home: &Home, global: &Global) -> Result<Option<DriverKind>, CliError> {
    if global.driver.is_some() {
        return Ok(global.driver);
    }
    Ok(config(home)?.driver.map(|driver| match driver {
        Driver::Krun => DriverKind::Krun,
        Driver::Qemu => DriverKind::Qemu,
    }))
}

/// The folder of the guest that an installed msb comes with, relative to that of its program.
const INSTALLED_GUEST: &str = "../lib/msb/guest";

/// Returns the path of a guest file, which may not exist. The guest that this msb was installed with precedes that of the
/// state folder, which may be from a build of another version.
fn guest_path(home: &Home, variable: &str, name: &str) -> PathBuf {
    let installed = || Some(installed_guest(&std::env::current_exe().ok()?)?.join(name));
    let path = path_variable(variable).or_else(|| installed().filter(|path| path.is_file()));
    let path = path.unwrap_or_else(|| home.root().join("guest").join(name));
    std::path::absolute(&path).unwrap_or(path)
}

/// Returns the folder of the guest beside an installed program; `None` if there is none.
fn installed_guest(program: &Path) -> Option<PathBuf> {
    std::fs::canonicalize(program.parent()?.join(INSTALLED_GUEST)).ok().filter(|folder| folder.is_dir())
}

/// A file that VMs boot from.
pub struct GuestFile {
    /// Its name in messages.
    pub name: &'static str,
    /// Its path, which may not exist.
    pub path: PathBuf,
    /// The variable that selects another one.
    pub variable: &'static str,
}

impl GuestFile {
    /// Returns the next step for a user without this file.
    pub fn hint(&self) -> String {
        format!(
            "a package of msb installs it in lib/msb/guest, and `make up` in msb's source builds it; {} selects another one",
            self.variable
        )
    }
}

/// Returns kernel and initramfs.
pub fn guest_files(home: &Home) -> [GuestFile; 2] {
    let file = |name, variable, file| GuestFile { name, path: guest_path(home, variable, file), variable };
    [
        file("guest kernel", KERNEL_VARIABLE, "vmlinux"),
        file("initramfs", INITRAMFS_VARIABLE, "initramfs.cpio"),
    ]
}

fn existing(file: GuestFile) -> Result<PathBuf, CliError> {
    if file.path.is_file() {
        // Resolved now, so that a supervisor that restarts its VM later boots the same file.
        return Ok(std::fs::canonicalize(&file.path).unwrap_or(file.path));
    }
    Err(CliError::new(format!("there is no {} at {}", file.name, file.path.display())).hint(file.hint()))
}

/// Returns the command that starts msb as a supervisor.
///
/// # Errors
///
/// If the path of msb is unknown.
pub fn supervise_command(home: &Home) -> Result<SuperviseCommand, CliError> {
    let program = std::env::current_exe().context("cannot find msb itself")?;
    let mut environment: Vec<(OsString, OsString)> =
        vec![(HOME_VARIABLE.into(), home.root().as_os_str().to_owned())];
    for name in INHERITED_VARIABLES {
        environment.extend(std::env::var_os(name).map(|value| (name.into(), value)));
    }
    Ok(SuperviseCommand { program, environment, lease: None })
}

/// Returns the memory of this host in MiB; `None` if it is unknown.
pub fn memory_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib >> 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_program_finds_the_guest_beside_it() {
        let prefix = tempfile::tempdir().unwrap();
        let prefix = std::fs::canonicalize(prefix.path()).unwrap();
        let program = prefix.join("bin/msb");
        std::fs::create_dir(prefix.join("bin")).unwrap();
        assert_eq!(installed_guest(&program), None);
        let guest = prefix.join("lib/msb/guest");
        std::fs::create_dir_all(&guest).unwrap();
        assert_eq!(installed_guest(&program), Some(guest));
        assert_eq!(installed_guest(Path::new("/")), None);
    }
}
