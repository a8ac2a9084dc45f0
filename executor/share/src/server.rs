//! The file server's process: its launch by the supervisor, and what it does.

use crate::change::Reporter;
use crate::fuse::{self, FuseError};
use crate::notify;
use crate::vhost_user::{self, VhostUserError};
use crate::{Limits, Share, ShareError, ShareFs, SharePolicy};
use executor_host::child::{
    ChildProcess, Inheritance, InternalCommand, SpawnError, adopt, read_config, spawn, tie_to_launcher,
};
use rustix::fs::Mode;
use rustix::process::{getpid, umask};
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
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
    /// The launcher's pid: the server must not outlive it.
    pub parent_pid: i32,
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
    let ServerSpec { transport, socket, reports, shares, limits } = spec;
    let mut descriptors = Vec::new();
    let mut keep = |descriptor: OwnedFd| {
        let number = descriptor.as_raw_fd();
        descriptors.push(descriptor);
        number
    };
    let config = ServerConfig {
        parent_pid: getpid().as_raw_nonzero().get(),
        transport,
        socket: keep(socket),
        reports: keep(reports),
        shares: shares
            .into_iter()
            .map(|Share { name, source, policy }| ShareConfig { name, source: keep(source), policy })
            .collect(),
        limits,
    };
    spawn(command, Inheritance { name: "msb-share-config", config: &config, descriptors })
}

/// A failure of a file server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The descriptor is not open, or contains no configuration.
    #[error(
        "descriptor {descriptor} holds no configuration of a file server: `msb share` is started by msb itself"
    )]
    Config {
        /// The given number.
        descriptor: RawFd,
        /// The cause.
        source: io::Error,
    },
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
    /// The launcher has ended.
    #[error("the process that launched this file server has ended")]
    Orphaned,
    /// The kernel refused to send a signal at the launcher's end.
    #[error("cannot tie this file server to its launcher")]
    Tie {
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
    let config: ServerConfig = read_config(config_descriptor)
        .map_err(|source| ServerError::Config { descriptor: config_descriptor, source })?;
    let ServerConfig { parent_pid, transport, socket, reports, shares, limits } = config;
    match tie_to_launcher(parent_pid) {
        Ok(true) => {}
        Ok(false) => return Err(ServerError::Orphaned),
        Err(source) => return Err(ServerError::Tie { source }),
    }
    let socket = UnixStream::from(take("the socket to the VM's process", socket)?);
    let reporter = Reporter::new(take("the socket for reports", reports)?);
    let shares = shares
        .into_iter()
        .map(|ShareConfig { name, source, policy }| {
            let source = take(&format!("the share `{name}`"), source)?;
            Ok(Share { name, source, policy })
        })
        .collect::<Result<_, ServerError>>()?;
    // The modes of files come from the guest and the policies alone.
    umask(Mode::empty());
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
