//! The mounts of a VM under libkrun: its process mounts a FUSE file system where no other process sees it, passes the device
//! to the file server, and exports the mount.
//!
//! libkrun opens whatever file its guest names, with the rights of the VM's process. The mount is `nodev`, so that a
//! device node that the guest has made is never a device of the host.
#![allow(unsafe_code, reason = "namespaces have no safe interface")]

use crate::spec::MountsLink;
use crate::vmm::VmmError;
use executor_jail::child::run_in;
use executor_jail::{IdMapError, Namespace, Obtained, SpawnError, Users, Wish};
use rustix::fs::{Mode, OFlags};
use rustix::io::{Errno, retry_on_intr};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::process::{getegid, geteuid};
use serde::Serialize;
use std::ffi::CStr;
use std::io::{self, IoSlice, PipeReader, PipeWriter, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd};

/// The folder that the file system is mounted on. The VM's process uses no other file in it by its path.
pub(super) const FOLDER: &str = "/tmp";
/// The device of FUSE.
pub(super) const DEVICE: &str = "/dev/fuse";

/// The reason for which libkrun cannot serve mounts on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{step}{}", cause_text(*errno))]
pub struct FuseProblem {
    /// The failed step.
    pub step: FuseStep,
    /// The kernel's error number.
    pub errno: i32,
}

/// A step on the way to a FUSE mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum FuseStep {
    /// A process of its own did not start.
    #[error("no process can be started")]
    Process,
    /// The programs and ranges for other users of the guest in the user namespace.
    #[error("this user has no subordinate ids, or there is no newuidmap")]
    SubordinateIds,
    /// A user or mount namespace.
    #[error("this user may not create namespaces")]
    Namespace,
    /// The privileged programs that map the ids in the user namespace.
    #[error("newuidmap and newgidmap cannot map this user's subordinate ids")]
    IdMap,
    /// The ids in the user namespace.
    #[error("a user namespace cannot be set up")]
    Ids,
    /// Mounts that other namespaces do not see.
    #[error("mounts cannot be made private")]
    Private,
    /// The device.
    #[error("{DEVICE} cannot be opened")]
    Device,
    /// The mount itself.
    #[error("FUSE cannot be mounted on {FOLDER}")]
    Mount,
}

/// Formats the cause as ` (CAUSE)`, or as nothing if no system call has failed.
fn cause_text(errno: i32) -> String {
    if errno == 0 { String::new() } else { format!(" ({})", io::Error::from_raw_os_error(errno)) }
}

impl FuseStep {
    const ALL: [Self; 8] = [
        Self::Process,
        Self::SubordinateIds,
        Self::Namespace,
        Self::IdMap,
        Self::Ids,
        Self::Private,
        Self::Device,
        Self::Mount,
    ];

    /// Names a system call's failure.
    pub(super) fn failed(self) -> impl FnOnce(Errno) -> FuseProblem {
        move |errno| FuseProblem { step: self, errno: errno.raw_os_error() }
    }

    fn failed_with(self, error: &io::Error) -> FuseProblem {
        FuseProblem { step: self, errno: error.raw_os_error().unwrap_or_default() }
    }
}

impl From<&IdMapError> for FuseProblem {
    fn from(error: &IdMapError) -> Self {
        match error {
            IdMapError::SubordinateIds { source } => FuseStep::SubordinateIds.failed_with(source),
            IdMapError::Programs => FuseStep::IdMap.failed()(Errno::PERM),
            IdMapError::Write { source } => FuseStep::Ids.failed_with(source),
        }
    }
}

impl FuseProblem {
    /// Returns the next step.
    pub fn help(&self) -> &'static str {
        match self.step {
            FuseStep::SubordinateIds => {
                "install newuidmap (`apt-get install uidmap`) and add ranges for this user \
                 (`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER`), or run msb as root, \
                 or use --driver qemu"
            }
            FuseStep::IdMap => {
                "make them set-user-id root (`apt-get install --reinstall uidmap`), on a file system without `nosuid`, \
                 or run msb as root, or use --driver qemu"
            }
            FuseStep::Namespace | FuseStep::Ids | FuseStep::Private | FuseStep::Mount => {
                "allow user namespaces (`sysctl user.max_user_namespaces`, \
                 `kernel.apparmor_restrict_unprivileged_userns=0`), or run msb as root, or use --driver qemu"
            }
            FuseStep::Device if self.errno == Errno::NOENT.raw_os_error() => {
                "load the module with `modprobe fuse`, or use --driver qemu"
            }
            FuseStep::Device => "make /dev/fuse readable and writable for this user, or use --driver qemu",
            FuseStep::Process => "see `ulimit -u`",
        }
    }
}

/// Whether libkrun can serve mounts on this host: tries it in a process of its own.
///
/// # Errors
///
/// The step that fails.
pub(crate) fn can_mount_fuse() -> Result<(), FuseProblem> {
    let (reader, writer) = io::pipe().map_err(|error| FuseStep::Process.failed_with(&error))?;
    let try_it = |namespaces: &Obtained| report(&writer, mount_privately(namespaces).map(drop));
    // SAFETY: only system calls are made, nothing is allocated and no lock is taken.
    unsafe { run_in(Wish::All(Users::Guest), &try_it) }.map_err(|error| match error {
        SpawnError::Users { source } => FuseProblem::from(&source),
        SpawnError::Handover { source } | SpawnError::Spawn { source, .. } => {
            FuseStep::Process.failed_with(&source)
        }
    })?;
    drop(writer);
    read_report(reader).unwrap_or_else(|| Err(FuseStep::Process.failed()(Errno::CANCELED)))
}

/// Writes an outcome in the child.
fn report(mut writer: &PipeWriter, outcome: Result<(), FuseProblem>) {
    let (step, errno) = match outcome {
        Ok(()) => (u8::MAX, 0),
        Err(FuseProblem { step, errno }) => (step as u8, errno),
    };
    let [a, b, c, d] = errno.to_ne_bytes();
    let _ = writer.write_all(&[step, a, b, c, d]);
}

/// Reads an outcome; `None` if the child could not write one.
fn read_report(mut reader: PipeReader) -> Option<Result<(), FuseProblem>> {
    let mut bytes = [0; 5];
    reader.read_exact(&mut bytes).ok()?;
    let [step, errno @ ..] = bytes;
    let errno = i32::from_ne_bytes(errno);
    let step = FuseStep::ALL.into_iter().find(|known| *known as u8 == step);
    Some(step.map_or(Ok(()), |step| Err(FuseProblem { step, errno })))
}

/// Mounts the file system of a VM's mounts on [`FOLDER`], and passes its device to the file server.
///
/// # Errors
///
/// If this user may not, or the server has ended.
pub(super) fn mount_for(link: &MountsLink<RawFd>, namespaces: &Obtained) -> Result<(), VmmError> {
    // SAFETY: the configuration names an open descriptor that nothing else in this process closes.
    let socket = unsafe { BorrowedFd::borrow_raw(link.socket) };
    let device = mount_privately(namespaces)?;
    send(socket, device.as_fd()).map_err(|error| VmmError::MountsServer { source: error.into() })
}

/// Sends a descriptor with one byte.
fn send(socket: BorrowedFd<'_>, descriptor: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let descriptors = [descriptor];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(Errno::NOBUFS);
    }
    let sent = retry_on_intr(|| sendmsg(socket, &[IoSlice::new(&[0])], &mut control, SendFlags::NOSIGNAL))?;
    if sent == 1 { Ok(()) } else { Err(Errno::PIPE) }
}

/// Mounts FUSE on [`FOLDER`] in the mount namespace of this process, and returns the device.
///
/// Only makes system calls, so it may be called in a copy of a process with threads.
fn mount_privately(namespaces: &Obtained) -> Result<OwnedFd, FuseProblem> {
    if !namespaces.has(Namespace::Mount) {
        return Err(FuseStep::Namespace.failed()(Errno::PERM));
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(FuseStep::Private.failed())?;
    // In the new user namespace: FUSE refuses a device that another one has opened.
    let device = rustix::fs::open(DEVICE, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(FuseStep::Device.failed())?;
    let mut text = [0; 128];
    let options = mount_options(&mut text, device.as_fd()).map_err(FuseStep::Mount.failed())?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("msb-mounts", FOLDER, "fuse", flags, options).map_err(FuseStep::Mount.failed())?;
    Ok(device)
}

/// Writes the options of the mount. All users may access it: libkrun acts as the guest's users, and the guest's kernel
/// checks permissions.
fn mount_options<'a>(text: &'a mut [u8; 128], device: BorrowedFd<'_>) -> Result<&'a CStr, Errno> {
    use std::os::fd::AsRawFd;
    let mut rest = &mut text[..];
    write!(
        rest,
        "fd={},rootmode=40000,user_id={},group_id={},allow_other\0",
        device.as_raw_fd(),
        geteuid().as_raw(),
        getegid().as_raw()
    )
    .map_err(|_| Errno::NAMETOOLONG)?;
    CStr::from_bytes_until_nul(text).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_passes_through_the_pipe() {
        let problem = FuseStep::Device.failed()(Errno::ACCESS);
        for outcome in [Ok(()), Err(problem), Err(FuseStep::Process.failed()(Errno::AGAIN))] {
            let (reader, writer) = io::pipe().unwrap();
            report(&writer, outcome);
            assert_eq!(read_report(reader), Some(outcome));
        }
        let (reader, writer) = io::pipe().unwrap();
        drop(writer);
        assert_eq!(read_report(reader), None);
        assert_eq!(problem.to_string(), "/dev/fuse cannot be opened (Permission denied (os error 13))");
        let problem = FuseProblem { step: FuseStep::Device, errno: 0 };
        assert_eq!(problem.to_string(), "/dev/fuse cannot be opened");
        assert!(problem.help().contains("readable"), "{}", problem.help());
    }

    #[test]
    fn the_probe_leaves_this_process_in_its_namespaces() {
        let namespaces =
            || ["mnt", "user"].map(|name| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap());
        let mounts = || std::fs::read_to_string("/proc/self/mounts").unwrap().contains("msb-mounts");
        let before = namespaces();
        let outcome = can_mount_fuse();
        assert_eq!(namespaces(), before);
        assert!(!mounts());
        // Root of a host with FUSE always may.
        if geteuid().is_root() && std::fs::File::open(DEVICE).is_ok() {
            assert_eq!(outcome, Ok(()));
        }
    }
}
