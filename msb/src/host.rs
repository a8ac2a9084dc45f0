//! This host, as the commands need it: the home, the catalog, the driver, kernel and initramfs.

use crate::apply::ephemeral;
use crate::cli::Global;
use crate::error::CliError;
use executor::apply::SuperviseCommand;
use executor::catalog::Catalog;
use executor::launch::BootSettings;
use executor_host::home::Home;
use executor_net::Pools;
use executor_registry::{HostSettings, Proxies, Settings};
use executor_vm::{DriverKind, HostFacts, host};
use schemas::config::{Config, Driver};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Names the folder of all state.
const HOME_VARIABLE: &str = "MSB_HOME";
/// Names another guest kernel.
const KERNEL_VARIABLE: &str = "MSB_KERNEL";
/// Names another initramfs.
const INITRAMFS_VARIABLE: &str = "MSB_INITRAMFS";
/// What a supervisor may see of the environment.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "TMPDIR", "MSB_LOG", "RUST_BACKTRACE"];

/// Opens the home that the environment names, else `~/.microsandbox`.
pub fn open_home() -> Result<Home, CliError> {
    Ok(Home::open(home_root()?)?)
}

fn home_root() -> Result<PathBuf, CliError> {
    let path = match (std::env::var_os(HOME_VARIABLE), std::env::var_os("HOME")) {
        (Some(path), _) if !path.is_empty() => std::path::absolute(PathBuf::from(path))
            .map_err(|error| CliError::new(format!("cannot use {HOME_VARIABLE}: {error}")))?,
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".microsandbox"),
        _ => {
            return Err(
                CliError::new("neither MSB_HOME nor HOME is set").hint("set MSB_HOME to a folder of yours")
            );
        }
    };
    Ok(path)
}

/// The state of this machine: the folder of everything, and the catalog in it.
pub struct Machine {
    /// The home.
    pub home: Home,
    /// The catalog.
    pub catalog: Arc<Catalog>,
}

impl Machine {
    /// Opens the home that the environment names and its catalog.
    ///
    /// # Errors
    ///
    /// Fails where either cannot be created or read.
    pub fn open() -> Result<Self, CliError> {
        let home = open_home()?;
        let catalog = open_catalog(&home)?;
        Ok(Self { home, catalog })
    }
}

/// Opens a home's catalog for a command of the user's, which first removes what was abandoned.
pub fn open_catalog(home: &Home) -> Result<Arc<Catalog>, CliError> {
    let catalog = Arc::new(Catalog::open(&home.catalog())?);
    ephemeral::sweep(home, &catalog);
    Ok(catalog)
}

/// The catalog of the home, if there is one already and it can be read.
pub fn existing_catalog() -> Option<Catalog> {
    let root = home_root().ok()?;
    let home = root.join("catalog.db").is_file().then(|| Home::open(root))?.ok()?;
    Catalog::open(&home.catalog()).ok()
}

/// The user's settings.
pub fn config(home: &Home) -> Result<Config, CliError> {
    Ok(executor_host::config::read(home)?)
}

/// The networks that sandboxes get their addresses from.
pub fn pools(home: &Home) -> Result<Pools, CliError> {
    let schemas::config::Network { ipv4_pool, ipv6_pool } = config(home)?.network;
    Ok(Pools { ipv4: ipv4_pool, ipv6: ipv6_pool })
}

/// How registries are reached: as `config.json` says, else as docker does.
pub fn registries(home: &Home) -> Result<Settings, CliError> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let docker = variable("DOCKER_CONFIG").or_else(|| variable("HOME").map(|home| home.join(".docker")));
    Ok(Settings {
        hosts: HostSettings::of_config(&config(home)?.registries),
        docker_config: docker.map(|folder| folder.join("config.json")),
        proxies: Proxies::from_variables(|name| std::env::var(name).ok()),
        ..Settings::default()
    })
}

/// What this host offers for running VMs.
pub fn facts() -> HostFacts {
    host::observe(std::env::var_os("PATH").as_deref())
}

/// How VMs boot here.
pub fn boot_settings(home: &Home, global: &Global) -> Result<BootSettings, CliError> {
    let choice = executor_vm::choose(&facts(), wanted_driver(home, global)?)?;
    Ok(BootSettings {
        backend: choice.backend,
        kernel: guest_file(home, "kernel", KERNEL_VARIABLE, "vmlinux")?,
        initramfs: guest_file(home, "initramfs", INITRAMFS_VARIABLE, "initramfs.cpio")?,
    })
}

/// The driver that the command line, the environment or the settings ask for.
pub fn wanted_driver(home: &Home, global: &Global) -> Result<Option<DriverKind>, CliError> {
    if global.driver.is_some() {
        return Ok(global.driver);
    }
    Ok(config(home)?.driver.map(|driver| match driver {
        Driver::Krun => DriverKind::Krun,
        Driver::Qemu => DriverKind::Qemu,
    }))
}

/// Where a file of the guest is, whether it is there or not.
pub fn guest_path(home: &Home, variable: &str, name: &str) -> PathBuf {
    let named = std::env::var_os(variable).filter(|path| !path.is_empty()).map(PathBuf::from);
    let path = named.unwrap_or_else(|| home.root().join("guest").join(name));
    std::path::absolute(&path).unwrap_or(path)
}

/// Kernel and initramfs: what each is called, its path, and the variable that names another.
pub fn guest_files(home: &Home) -> [(&'static str, PathBuf, &'static str); 2] {
    [
        ("guest kernel", guest_path(home, KERNEL_VARIABLE, "vmlinux"), KERNEL_VARIABLE),
        ("initramfs", guest_path(home, INITRAMFS_VARIABLE, "initramfs.cpio"), INITRAMFS_VARIABLE),
    ]
}

fn guest_file(home: &Home, what: &str, variable: &str, name: &str) -> Result<PathBuf, CliError> {
    let path = guest_path(home, variable, name);
    if is_file(&path) {
        // Resolved now: a supervisor that restarts its VM later boots what it began with.
        return Ok(std::fs::canonicalize(&path).unwrap_or(path));
    }
    Err(CliError::new(format!("there is no guest {what} at {}", path.display()))
        .hint(format!("`make up` in msb's source builds and installs it; {variable} names another")))
}

fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

/// How msb calls itself as a supervisor.
pub fn supervise_command(home: &Home) -> Result<SuperviseCommand, CliError> {
    let program =
        std::env::current_exe().map_err(|error| CliError::new(format!("cannot find msb itself: {error}")))?;
    let mut environment: Vec<(OsString, OsString)> =
        vec![(HOME_VARIABLE.into(), home.root().as_os_str().to_owned())];
    for name in PASSED_ON {
        environment.extend(std::env::var_os(name).map(|value| (name.into(), value)));
    }
    Ok(SuperviseCommand { program, environment, lease: None })
}

/// The memory of this host in MiB, when it says so.
pub fn memory_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib >> 10)
}
