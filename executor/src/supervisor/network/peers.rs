//! The other sandboxes of the project: how they find this one, and how it finds them.
//!
//! Each running sandbox writes a file into its run folder, and listens beside it. There is no list: a file is read when
//! its name is looked up.

use crate::launch::LaunchSpec;
use executor_fs::atomic::{self, Sync};
use executor_host::home::{Home, RunFolder};
use executor_host::state::read_json;
use executor_net::Addresses;
use executor_net::peer::{PeerDirectory, PeerRecord, listen_at};
use schemas::name::{ProjectName, SandboxName, full_name};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;

/// The description of a sandbox for the others.
#[derive(Serialize, Deserialize)]
struct Announcement {
    project: ProjectName,
    name: SandboxName,
    addresses: Addresses,
}

/// The file and the socket of a running sandbox. Dropping it removes them.
#[derive(Debug)]
pub struct PeerEntry {
    folder: RunFolder,
}

impl Drop for PeerEntry {
    fn drop(&mut self) {
        remove(&self.folder);
    }
}

fn remove(folder: &RunFolder) {
    let _ = fs::remove_file(folder.peer_file());
    let _ = fs::remove_file(folder.network_socket());
}

/// Lets the others find this sandbox, and it them.
pub fn join(
    home: &Home,
    launch: &LaunchSpec,
    addresses: Addresses,
) -> io::Result<(PeerEntry, PeerDirectory)> {
    let folder = home.sandbox_run(&launch.full_name);
    // Left behind by a killed supervisor: this one has the lock.
    remove(&folder);
    let listener = listen_at(&folder.network_socket())?;
    let (project, name) = (launch.project.clone(), launch.name.clone());
    let announcement = Announcement { project: project.clone(), name: name.clone(), addresses };
    let entry = PeerEntry { folder };
    atomic::write(&entry.folder.peer_file(), &serde_json::to_vec(&announcement)?, Sync::No)?;
    let (home, ours) = (home.clone(), project.clone());
    let lookup = Box::new(move |name: &SandboxName| find(&home, &ours, name));
    Ok((entry, PeerDirectory { project, name, listener, lookup }))
}

fn find(home: &Home, project: &ProjectName, name: &SandboxName) -> Option<PeerRecord> {
    let folder = home.sandbox_run(&full_name(project, name));
    let announcement: Announcement = read_json(&folder.peer_file()).ok()??;
    // Two projects can have sandboxes of one full name, one after the other.
    let is_theirs = announcement.project == *project && announcement.name == *name;
    is_theirs.then(|| PeerRecord { addresses: announcement.addresses, socket: folder.network_socket() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sandboxes_of_the_same_project_are_found() {
        let scratch = tempfile::tempdir().unwrap();
        let home = Home::open(scratch.path().join("home")).unwrap();
        let (project, other) = (ProjectName::new("a").unwrap(), ProjectName::new("a-b").unwrap());
        let (name, short) = (SandboxName::new("b-c").unwrap(), SandboxName::new("c").unwrap());
        assert_eq!(full_name(&project, &name), full_name(&other, &short));
        let addresses = executor_net::Pools::default().addresses(7).unwrap();
        let folder = home.sandbox_run(&full_name(&project, &name));
        fs::create_dir_all(folder.path()).unwrap();
        let announcement = Announcement { project: project.clone(), name: name.clone(), addresses };
        fs::write(folder.peer_file(), serde_json::to_vec(&announcement).unwrap()).unwrap();
        assert_eq!(find(&home, &project, &name).map(|found| found.addresses), Some(addresses));
        assert!(find(&home, &other, &short).is_none());
        assert!(find(&home, &project, &short).is_none());
        let entry = PeerEntry { folder: folder.clone() };
        drop(entry);
        assert!(find(&home, &project, &name).is_none());
    }
}
