//! A user namespace in which the guest's users exist: an ordinary user may mount only in one, and libkrun acts as the guest's
//! users.
//!
//! It maps the guest's root to this user, and the other users of the guest to this user's subordinate ids. Only
//! `newuidmap` and `newgidmap` may write such a map, and they gain no privileges in a process of a VM. So the launcher has
//! a child enter a new namespace, maps it, keeps its descriptor, and ends the child.
#![allow(unsafe_code, reason = "namespaces have no safe interface")]

use crate::krun::fuse::{FuseProblem, FuseStep};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Signal, getgid, getpid, getuid, set_parent_process_death_signal};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities, unshare_unsafe};
use std::fs;
use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The least number of subordinate ids: the largest id that distributions use is 65,534, of `nobody`.
const IDS_MIN: u32 = 65_534;

/// Creates a user namespace with the guest's users; `None` if this user may mount without.
///
/// # Errors
///
/// The step that fails.
pub(super) fn create() -> Result<Option<OwnedFd>, FuseProblem> {
    let may_mount = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN));
    if may_mount {
        return Ok(None);
    }
    let (uid, gid) = (getuid().as_raw(), getgid().as_raw());
    let name = user_name(&fs::read_to_string("/etc/passwd").unwrap_or_default(), uid);
    let range = |file| {
        let text = fs::read_to_string(file).unwrap_or_default();
        subordinate_ids(&text, name.as_deref(), uid).ok_or(FuseStep::SubordinateIds.failed()(Errno::NOENT))
    };
    let maps = [("newuidmap", uid, range("/etc/subuid")?), ("newgidmap", gid, range("/etc/subgid")?)];
    let holder = Holder::start()?;
    for (program, id, range) in maps {
        map(program, holder.pid, id, range)?;
    }
    holder.namespace().map(Some)
}

/// A range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct IdRange {
    first: u32,
    count: u32,
}

/// Finds a user's name in an `/etc/passwd`.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, id) = (fields.next()?, fields.next()?, fields.next()?);
        (id.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Finds a user's first sufficient range in an `/etc/subuid` or `/etc/subgid`, which name owners or have their numbers.
fn subordinate_ids(text: &str, name: Option<&str>, uid: u32) -> Option<IdRange> {
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (owner, first, count) = (fields.next()?, fields.next()?, fields.next()?);
        let range = IdRange { first: first.parse().ok()?, count: count.trim().parse().ok()? };
        let is_ours = Some(owner) == name || owner.parse() == Ok(uid);
        (is_ours && range.count >= IDS_MIN).then_some(range)
    })
}

/// Maps the guest's ids with one of the privileged programs.
fn map(program: &str, pid: i32, id: u32, range: IdRange) -> Result<(), FuseProblem> {
    let IdRange { first, count } = range;
    let ids = [pid.to_string(), "0".to_owned(), id.to_string(), "1".to_owned()];
    let others = ["1".to_owned(), first.to_string(), count.to_string()];
    let mut command = Command::new(program);
    command.args(ids).args(others).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        // They fail if they have lost their set-user-id bit or their capabilities, as copies do.
        Ok(_) => Err(FuseStep::IdMap.failed()(Errno::PERM)),
        Err(error) => Err(FuseProblem {
            step: FuseStep::SubordinateIds,
            errno: error.raw_os_error().unwrap_or_default(),
        }),
    }
}

/// A child that is in a new user namespace until it is dropped.
struct Holder {
    pid: i32,
    release: PipeWriter,
    /// Waits for the child's exec, which it never reaches.
    spawner: Option<std::thread::JoinHandle<()>>,
}

impl Holder {
    fn start() -> Result<Self, FuseProblem> {
        let failed = |error: io::Error| FuseProblem {
            step: FuseStep::Process,
            errno: error.raw_os_error().unwrap_or_default(),
        };
        let (mut started, report) = io::pipe().map_err(failed)?;
        let (released, release) = io::pipe().map_err(failed)?;
        let mut command = Command::new("/proc/self/exe");
        let stay = move || {
            hold(&report, &released);
            Err(Errno::CANCELED.into())
        };
        // SAFETY: between fork and exec only system calls are made, nothing is allocated and no lock is taken.
        unsafe { command.pre_exec(stay) };
        let spawner = std::thread::Builder::new().name("user namespace".to_owned());
        let spawner = spawner.spawn(move || drop(command.spawn())).map_err(failed)?;
        let mut answer = [0; 8];
        let read = started.read_exact(&mut answer);
        let mut holder = Self { pid: 0, release, spawner: Some(spawner) };
        read.map_err(failed)?;
        let [errno @ .., _, _, _, _] = answer;
        let [_, _, _, _, pid @ ..] = answer;
        match i32::from_ne_bytes(errno) {
            0 => holder.pid = i32::from_ne_bytes(pid),
            errno => return Err(FuseProblem { step: FuseStep::Namespace, errno }),
        }
        Ok(holder)
    }

    /// Opens its namespace.
    fn namespace(&self) -> Result<OwnedFd, FuseProblem> {
        let path = format!("/proc/{}/ns/user", self.pid);
        rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .map_err(FuseStep::Ids.failed())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.release.write_all(&[0]);
        if let Some(spawner) = self.spawner.take() {
            let _ = spawner.join();
        }
    }
}

/// Enters a new user namespace, reports that, and stays in it until it is released. The child ends with its launcher.
fn hold(mut report: &PipeWriter, mut released: &PipeReader) {
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    // SAFETY: the table of descriptors stays shared with no one.
    let entered = unsafe { unshare_unsafe(UnshareFlags::NEWUSER) };
    let errno = entered.err().map_or(0, Errno::raw_os_error);
    let mut answer = [0; 8];
    answer[..4].copy_from_slice(&errno.to_ne_bytes());
    answer[4..].copy_from_slice(&getpid().as_raw_nonzero().get().to_ne_bytes());
    if report.write_all(&answer).is_ok() && errno == 0 {
        let _ = released.read_exact(&mut [0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_by_number() {
        let range = |first, count| Some(IdRange { first, count });
        let text = "other:100000:65536\nwe:1:10\nwe:200000:65536\n1000:300000:65534\nbroken\n::\n";
        assert_eq!(subordinate_ids(text, Some("we"), 7), range(200_000, 65_536));
        assert_eq!(subordinate_ids(text, None, 1000), range(300_000, 65_534));
        assert_eq!(subordinate_ids(text, Some("nobody"), 7), None);
        assert_eq!(subordinate_ids("", None, 0), None);
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nwe:x:1000:1000::/home/we:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("we"));
        assert_eq!(user_name(passwd, 1), None);
    }

    #[test]
    fn a_holder_is_in_a_namespace_of_its_own_until_it_is_dropped() {
        // Not every host allows it.
        let Ok(holder) = Holder::start() else { return };
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
        let pid = holder.pid.to_string();
        assert_ne!(namespace(&pid), namespace("self"));
        holder.namespace().unwrap();
        drop(holder);
        assert!(fs::read_link(format!("/proc/{pid}/ns/user")).is_err());
    }
}
