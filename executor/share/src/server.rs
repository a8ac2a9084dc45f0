//! The file server's process: its launch by the supervisor, and what it does.

use crate::change::Reporter;
use crate::fs::MAX_WATCHES;
use crate::fuse::{self, FuseError};
use crate::notify;
use crate::vhost_user::{self, VhostUserError};
use crate::{Limits, Share, ShareError, ShareFs, SharePolicy};
use executor_jail::child::{EnterError, Launcher, adopt, enter};
use executor_jail::probe::{self, ProbeTargets};
use executor_jail::{
    Access, ChildProcess, Confinement, Files, Handed, Inheritance, InternalCommand, Jail, JailReport, Layer,
    Obtained, Report, SpawnError, Wish, spawn, syscalls,
};
use rustix::fs::Mode;
use rustix::process::umask;
use rustix::thread::CapabilitySet;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;

/// What the socket to the VM's process carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// The vhost-user protocol, with the VM's process as the front end.
    VhostUser,
    /// One message from the VM's process, with the descriptor of a mounted FUSE device.
    Fuse,
}

/// The specification of a file server. Its descriptors move to the server's process; the launcher keeps no copy.
#[derive(Debug)]
pub struct ServerSpec {
    /// What the socket carries.
    pub transport: Transport,
    /// One end of a stream socket pair, whose other end the VM's process has.
    pub socket: OwnedFd,
    /// One end of a packet socket, on which the server reports changes of the host: see [`crate::receive_change`].
    pub reports: OwnedFd,
    /// The shares, in the order of their entries in the root: `0`, `1`, and so on.
    pub shares: Vec<Share>,
    /// The limits of the file system.
    pub limits: Limits,
}

/// The configuration of a server's process. All numbers are descriptors that the process has inherited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// What the socket carries.
    pub transport: Transport,
    /// The socket to the VM's process.
    pub socket: RawFd,
    /// The socket for reports to the launcher.
    pub reports: RawFd,
    /// The shares in order.
    pub shares: Vec<ShareConfig>,
    /// The limits of the file system.
    pub limits: Limits,
    /// What the process tries from inside its jail, instead of serving.
    pub probe: Option<Probe>,
}

/// A probe in the configuration of a server's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Probe {
    /// The files to try.
    pub targets: ProbeTargets,
    /// The pipe for the report.
    pub report: RawFd,
}

/// A share in the configuration of a server's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShareConfig {
    /// Its name in errors and logs.
    pub name: String,
    /// The directory or regular file.
    pub source: RawFd,
    /// Its policy.
    pub policy: SharePolicy,
}

/// A running file server. Dropping it kills the server.
pub type ShareProcess = ChildProcess;

/// Starts a file server.
///
/// It dies with the *thread* that calls this, as [`spawn`] says.
///
/// # Errors
///
/// If the configuration cannot be written, or the program does not start.
pub fn launch(command: InternalCommand, spec: ServerSpec) -> Result<ShareProcess, SpawnError> {
    start(command, spec, None)
}

/// Starts a process in the jail of file servers, which tries what it must not do, and ends.
///
/// `folder` is on a file system with files of mounts. `foreign` names files of the host.
///
/// # Errors
///
/// If the process does not start, or ends without a report.
pub fn probe(command: InternalCommand, folder: &Path, foreign: Vec<String>) -> Result<Report, SpawnError> {
    let handover = |source: io::Error| SpawnError::Handover { source };
    let share = |name: &str, source: OwnedFd, read_only| Share {
        name: name.to_owned(),
        source,
        policy: SharePolicy { read_only, ..SharePolicy::default() },
    };
    let (targets, read_only, writable) = ProbeTargets::create(folder, foreign).map_err(handover)?;
    let targets = ProbeTargets { changes_modes: true, ..targets };
    let (socket, _peer) = UnixStream::pair().map_err(handover)?;
    let (reports, _reader) = UnixStream::pair().map_err(handover)?;
    let spec = ServerSpec {
        transport: Transport::VhostUser,
        socket: socket.into(),
        reports: reports.into(),
        shares: vec![share("read-only", read_only, true), share("writable", writable, false)],
        limits: Limits::default(),
    };
    let (report, report_end) = JailReport::pipe().map_err(handover)?;
    let mut process = start(command, spec, Some((targets, report_end)))?;
    process.wait().map_err(handover)?;
    report.read().ok_or_else(|| handover(io::ErrorKind::UnexpectedEof.into()))
}

fn start(
    command: InternalCommand,
    spec: ServerSpec,
    probe: Option<(ProbeTargets, OwnedFd)>,
) -> Result<ShareProcess, SpawnError> {
    let ServerSpec { transport, socket, reports, shares, limits } = spec;
    let mut descriptors = Vec::new();
    let mut keep = |descriptor: OwnedFd| {
        let number = descriptor.as_raw_fd();
        descriptors.push(descriptor);
        number
    };
    let config = ServerConfig {
        transport,
        socket: keep(socket),
        reports: keep(reports),
        shares: shares
            .into_iter()
            .map(|Share { name, source, policy }| ShareConfig { name, source: keep(source), policy })
            .collect(),
        limits,
        probe: probe.map(|(targets, report)| Probe { targets, report: keep(report) }),
    };
    let inheritance = Inheritance { name: "msb-share-config", config: &config, descriptors };
    Ok(spawn(command, inheritance, Wish::HostFiles)?.process)
}

/// A failure of a file server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The process has no configuration, or no launcher.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A descriptor of the configuration is not open.
    #[error("{what} is not open")]
    Descriptor {
        /// The file that it should be.
        what: String,
        /// The cause.
        source: io::Error,
    },
    /// A thread does not start.
    #[error("cannot start a thread")]
    Thread {
        /// The cause.
        source: io::Error,
    },
    /// A share cannot be served.
    #[error(transparent)]
    Share(#[from] ShareError),
    /// The VM's process is no good peer.
    #[error(transparent)]
    VhostUser(#[from] VhostUserError),
    /// The FUSE mount cannot be served.
    #[error(transparent)]
    Fuse(#[from] FuseError),
}

/// Serves the mounts of the configuration in a descriptor, whose number is the last argument of the program that
/// [`launch`] starts, until the VM has ended. Call it before the process opens any file.
///
/// # Errors
///
/// If the descriptor contains no configuration, a share cannot be served, or the VM's process breaks the protocol.
pub fn run_share_server(config_descriptor: RawFd) -> Result<(), ServerError> {
    let Handed { config, namespaces, limits: group, launcher } = enter::<ServerConfig>(config_descriptor)?;
    let ServerConfig { transport, socket, reports, shares, limits, probe } = config;
    let socket = UnixStream::from(take("the socket to the VM's process", socket)?);
    let reporter = Reporter::new(take("the socket for reports", reports)?);
    let shares = shares
        .into_iter()
        .map(|ShareConfig { name, source, policy }| {
            let source = take(&format!("the share `{name}`"), source)?;
            Ok(Share { name, source, policy })
        })
        .collect::<Result<Vec<Share>, ServerError>>()?;
    // The modes of files come from the guest and the policies alone.
    umask(Mode::empty());
    let confinement = enter_jail(&shares, &namespaces, &group, &launcher)?;
    if let Some(Probe { targets, report }) = probe {
        Report { confinement, attempts: probe::run(&targets) }.send(report);
        return Ok(());
    }
    for gap in confinement.gaps() {
        tracing::warn!("not in force round the file server: {gap}");
    }
    let fs = Arc::new(ShareFs::new(shares, limits)?.with_changes());
    match transport {
        Transport::VhostUser => {
            report_changes(fs.clone(), reporter, None)?;
            vhost_user::serve(fs, socket)?;
        }
        Transport::Fuse => {
            if let Some(device) = fuse::receive_device(&socket)? {
                let notified = device.try_clone().map_err(|source| ServerError::Thread { source })?;
                report_changes(fs.clone(), reporter, Some(notified))?;
                fuse::serve(fs, device)?;
            }
        }
    }
    Ok(())
}

/// The capabilities of root that a file server keeps: it reads and writes files of any owner.
const CAPABILITIES: CapabilitySet = CapabilitySet::DAC_OVERRIDE
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

/// Leaves this process only what it needs: its shares, and few system calls.
fn enter_jail(
    shares: &[Share],
    namespaces: &Obtained,
    limits: &Layer,
    launcher: &Launcher,
) -> Result<Confinement, ServerError> {
    let mut jail = Jail::new(namespaces, limits);
    jail.capabilities(CAPABILITIES);
    // New credentials may have cleared it.
    launcher.tie()?;
    let mut files = Files::default();
    for share in shares {
        let access = if share.policy.read_only { Access::Read } else { Access::Tree };
        files.allow(share.source.as_fd(), access);
    }
    files.allow_path(MAX_WATCHES, Access::Read);
    jail.files(files);
    Ok(jail.syscalls(&syscalls::share()))
}

/// Starts a thread that reports changes: to the kernel that has mounted the FUSE device, if there is one, and to the
/// launcher.
fn report_changes(fs: Arc<ShareFs>, reporter: Reporter, device: Option<OwnedFd>) -> Result<(), ServerError> {
    let run = move || {
        let reported = fs.report_changes(|changes| {
            if let Some(device) = &device {
                notify::invalidate(device, changes);
            }
            reporter.report(changes.iter().map(|host| &host.change))
        });
        if let Err(error) = reported
            // This process ends with the supervisor in any case.
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            // Without reports, the guest would work with old files.
            tracing::error!("cannot report changes of the host: {error}");
            std::process::exit(1);
        }
    };
    let started = std::thread::Builder::new().name("changes".to_owned()).spawn(run);
    started.map(drop).map_err(|source| ServerError::Thread { source })
}

fn take(what: &str, descriptor: RawFd) -> Result<OwnedFd, ServerError> {
    adopt(descriptor).map_err(|source| ServerError::Descriptor { what: what.to_owned(), source })
}
