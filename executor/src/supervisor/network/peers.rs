//! The other sandboxes of the project: how they find this one, and how it finds them.
//!
//! Each sandbox that runs leaves a card in its folder of sockets, and listens beside it. Nobody keeps a list: a card is
//! looked at when its name is asked for.

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
struct Told {
    project: ProjectName,
    name: SandboxName,
    addresses: Addresses,
}

/// A card that lies there. Dropping it takes it away.
#[derive(Debug)]
pub struct Card {
    folder: RunFolder,
}

impl Drop for Card {
    fn drop(&mut self) {
        take_away(&self.folder);
    }
}

fn take_away(folder: &RunFolder) {
    let _ = fs::remove_file(folder.network_card());
    let _ = fs::remove_file(folder.network_socket());
}

/// Lets the others find this sandbox, and it them.
pub fn join(home: &Home, launch: &LaunchSpec, addresses: Addresses) -> io::Result<(Card, PeerDirectory)> {
    let folder = home.sandbox_run(&launch.full_name);
    // Left behind by a killed supervisor: this one has the lock.
    take_away(&folder);
    let listener = listen_at(&folder.network_socket())?;
    let told = Told { project: launch.project.clone(), name: launch.name.clone(), addresses };
    let card = Card { folder };
    atomic::write(&card.folder.network_card(), &serde_json::to_vec(&told)?, Sync::No)?;
    let (home, project) = (home.clone(), launch.project.clone());
    let lookup = Box::new(move |name: &SandboxName| find(&home, &project, name));
    Ok((card, PeerDirectory { project: launch.project.clone(), name: launch.name.clone(), listener, lookup }))
}

fn find(home: &Home, project: &ProjectName, name: &SandboxName) -> Option<PeerRecord> {
    let folder = home.sandbox_run(&full_name(project, name));
    let told: Told = read_json(&folder.network_card()).ok()??;
    // Two projects can have sandboxes of one full name, one after the other.
    let is_theirs = told.project == *project && told.name == *name;
    is_theirs.then(|| PeerRecord { addresses: told.addresses, socket: folder.network_socket() })
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
        let told = Told { project: project.clone(), name: name.clone(), addresses };
        fs::write(folder.network_card(), serde_json::to_vec(&told).unwrap()).unwrap();
        assert_eq!(find(&home, &project, &name).map(|found| found.addresses), Some(addresses));
        assert!(find(&home, &other, &short).is_none());
        assert!(find(&home, &project, &short).is_none());
        let card = Card { folder: folder.clone() };
        drop(card);
        assert!(find(&home, &project, &name).is_none());
    }
}
