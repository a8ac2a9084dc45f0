//! Observes the users of the ports that a project publishes: sandboxes, and other programs.

use super::running;
use crate::catalog::{Catalog, CatalogError};
use executor_host::home::Home;
use executor_net::holder::{HeldSocket, Program, held, programs};
use schemas::name::{ProjectName, SandboxName};
use schemas::snapshot::{HeldPort, PortHolder};
use schemas::spec::{Port, PortProtocol};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The ports that a running sandbox listens on, by its recorded state.
type Listening = BTreeMap<(IpAddr, u16, PortProtocol), (ProjectName, SandboxName)>;

/// Finds the users of these ports. Sandboxes are found by their states; all processes are scanned only for the remaining
/// ports.
pub(super) fn held_ports(
    home: &Home,
    catalog: &Catalog,
    project: &ProjectName,
    ports: &BTreeSet<Port>,
) -> Result<BTreeSet<HeldPort>, CatalogError> {
    let sockets = held(ports);
    if sockets.is_empty() {
        return Ok(BTreeSet::new());
    }
    let key = |socket: &HeldSocket| (socket.bind, socket.host, socket.protocol);
    let mut known = listening(home, catalog, Some(project))?;
    if sockets.iter().any(|socket| !known.contains_key(&key(socket))) {
        known.extend(listening(home, catalog, None)?);
    }
    let programs = programs(sockets.iter().filter(|socket| !known.contains_key(&key(socket))));
    let holders = sockets.iter().map(|socket| {
        let holder = match (known.get(&key(socket)), programs.get(socket)) {
            (Some((project, name)), _) => {
                PortHolder::Sandbox { project: project.clone(), name: name.clone() }
            }
            (None, Some(Program { name, pid })) => PortHolder::Process { program: name.clone(), pid: *pid },
            (None, None) => PortHolder::Unknown,
        };
        let (bind, host, protocol) = key(socket);
        HeldPort { bind, host, protocol, holder }
    });
    Ok(holders.collect())
}

fn listening(
    home: &Home,
    catalog: &Catalog,
    project: Option<&ProjectName>,
) -> Result<Listening, CatalogError> {
    let mut listening = Listening::new();
    for (row, state) in running(home, catalog, project)? {
        for published in state.published {
            let key = (published.port.bind, published.host, published.port.protocol);
            listening.insert(key, (row.project.clone(), row.name.clone()));
        }
    }
    Ok(listening)
}
