//! The sandbox's network: its stack, its published ports, and live changes of both.

pub mod peers;
mod records;

use crate::supervisor::DRAIN_TIMEOUT;
use crate::supervisor::agent_link::exec_logger::ExecLogger;
use crate::supervisor::interception::Interception;
use crate::supervisor::logs::events::EventLog;
use crate::supervisor::machine::Machine;
use crate::supervisor::network::peers::PeerEntry;
use crate::supervisor::network::records::{allowed, refused};
use crate::supervisor::values::HeldValues;
use executor_client::event::SandboxEvent;
use executor_host::state::PublishedPort;
use executor_net::{
    Addresses, Allowed, BoundPort, CommandError, Counters, PortError, Refusal, Settings, Stack, StackError,
};
use executor_vm::{MacAddress, NetworkLink};
use protocol::latest::Network as GuestNetwork;
use rules::port::binds_overlap;
use rules::rule::DomainName;
use schemas::spec::{Port, SandboxSpec};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// The most records that wait to be logged; the stack counts repeats by itself.
const RECORDS_WAITING: usize = 2048;

/// A failure to start the network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A port of the host cannot be bound.
    #[error(transparent)]
    Port(#[from] PortError),
    /// The stack does not start.
    #[error(transparent)]
    Stack(#[from] StackError),
    /// The socket for other sandboxes cannot be opened.
    #[error("cannot open the socket for other sandboxes")]
    Peers(#[source] io::Error),
    /// The link to the VM cannot be created.
    #[error("cannot make the network link")]
    Link(#[source] io::Error),
}

/// A failure to change a running network.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A port of the host cannot be bound.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A CA cannot be read.
    #[error(transparent)]
    Authority(#[from] io::Error),
    /// The stack refuses the change.
    #[error(transparent)]
    Stack(#[from] CommandError),
}

/// A running network.
pub struct Network {
    stack: Stack,
    published: RefCell<Vec<PublishedPort>>,
    written: RefCell<Option<JoinHandle<()>>>,
    counters: Arc<Counters>,
    failure: watch::Receiver<Option<String>>,
    interception: Option<Rc<Interception>>,
    values: Rc<HeldValues>,
    _entry: PeerEntry,
}

impl Network {
    /// Starts the stack; returns the network with the VM's end of the link.
    pub fn start(
        machine: &Machine<'_>,
        addresses: Addresses,
    ) -> Result<(Rc<Self>, NetworkLink), NetworkError> {
        let Machine { home, launch, store, exec_log, interception, .. } = *machine;
        let spec = store.spec();
        let ports = executor_net::bind(&spec.definition.ports)?;
        let published = published(&ports);
        let (entry, peers) = peers::join(home, launch, addresses).map_err(NetworkError::Peers)?;
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(NetworkError::Link)?;
        let (records, records_in) = mpsc::channel(RECORDS_WAITING);
        let by_flags = launch.project.is_of_one();
        let written =
            tokio::task::spawn_local(write_down(records_in, (exec_log.clone(), store.events()), by_flags));
        let (failed, failure) = watch::channel(None);
        let refusals = records.clone();
        // If the log cannot keep up, lines are lost, but no connections.
        let on_refusal = move |refusal: Refusal| _ = refusals.try_send(Record::Refused(refusal));
        let on_allowed = move |allowed: Allowed| _ = records.try_send(Record::Allowed(allowed));
        let counters = Arc::<Counters>::default();
        let settings = Settings {
            addresses,
            mtu: launch.boot.backend.features().mtu,
            network: spec.definition.network.clone(),
            proxy_password: store.values().proxy_password(),
            ports,
            peers: Some(peers),
            interception: interception.map(|proxy| proxy.of_network(&spec.definition)),
            counters: counters.clone(),
            on_refusal: Box::new(on_refusal),
            on_allowed: Box::new(on_allowed),
            on_failure: Box::new(move |why| _ = failed.send_replace(Some(why))),
        };
        let stack = Stack::start(ours.into(), settings)?;
        store.change(|state| state.published.clone_from(&published));
        let link = NetworkLink { socket: theirs.into(), mac: MacAddress(executor_net::GUEST_MAC) };
        let (published, written) = (RefCell::new(published), RefCell::new(Some(written)));
        let (interception, values) = (interception.cloned(), store.values().clone());
        let network =
            Self { stack, published, written, counters, failure, interception, values, _entry: entry };
        Ok((Rc::new(network), link))
    }

    /// Returns what is counted of it.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Waits until the stack fails; returns the reason. Its end together with the VM is no failure.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let why = failure.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
        match why {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }

    /// Ends the network, and returns after everything that it reported has been logged.
    pub async fn end(self: Rc<Self>) {
        let written = self.written.take();
        // The stack reports the remaining repeats when it is dropped.
        drop(self);
        if let Some(written) = written {
            let _ = tokio::time::timeout(DRAIN_TIMEOUT, written).await;
        }
    }

    /// Follows another spec, and the current values; if a port cannot be bound, nothing changes.
    pub fn change(&self, spec: &SandboxSpec) -> Result<Vec<PublishedPort>, ChangeError> {
        let wanted = &spec.definition.ports;
        let known: BTreeSet<Port> = self.published.borrow().iter().map(|published| published.port).collect();
        let added: BTreeSet<Port> = wanted.difference(&known).copied().collect();
        let mut now = self.published.borrow().clone();
        let is_in_the_way = |published: &PublishedPort| {
            let PublishedPort { port: Port { bind, protocol, .. }, host } = *published;
            let mut others = added.iter().filter(|port| port.host == host && port.protocol == protocol);
            !wanted.contains(&published.port) && others.any(|port| binds_overlap(port.bind, bind))
        };
        // The sandbox's own ports that the new ones replace: they are closed for a moment.
        let replaced: BTreeSet<Port> =
            now.iter().filter(|published| is_in_the_way(published)).map(|published| published.port).collect();
        if !replaced.is_empty() {
            self.stack.unpublish(replaced.clone())?;
        }
        let added = match executor_net::bind(&added) {
            Ok(added) => added,
            Err(error) => {
                self.stack.publish(executor_net::bind(&replaced).unwrap_or_default())?;
                return Err(error.into());
            }
        };
        now.retain(|published| wanted.contains(&published.port));
        now.extend(published(&added));
        self.published.replace(now.clone());
        let gone: BTreeSet<Port> =
            known.difference(wanted).filter(|port| !replaced.contains(port)).copied().collect();
        if !gone.is_empty() {
            self.stack.unpublish(gone)?;
        }
        self.stack.publish(added)?;
        self.stack.set_rules(spec.definition.network.clone(), self.values.proxy_password())?;
        if let Some(interception) = &self.interception {
            interception.follow(&spec.definition)?;
        }
        Ok(now)
    }
}

fn published(ports: &[BoundPort]) -> Vec<PublishedPort> {
    ports.iter().map(|bound| PublishedPort { port: bound.port, host: bound.host }).collect()
}

/// A report of the stack.
enum Record {
    Refused(Refusal),
    Allowed(Allowed),
}

async fn write_down(
    mut records: mpsc::Receiver<Record>,
    (exec_log, events): (Rc<RefCell<ExecLogger>>, Rc<RefCell<EventLog>>),
    by_flags: bool,
) {
    while let Some(record) = records.recv().await {
        let event = match record {
            Record::Refused(refusal) => {
                let refused = refused(refusal, by_flags);
                exec_log.borrow_mut().system(&format!("network: {refused}"));
                SandboxEvent::Refused(refused)
            }
            Record::Allowed(one) => SandboxEvent::Allowed(allowed(one)),
        };
        events.borrow_mut().write(&event);
    }
}

/// Returns the guest's side of the network.
pub fn guest_network(addresses: &Addresses, search: &[DomainName], mtu: u16) -> GuestNetwork {
    let Addresses { guest_ipv4, gateway_ipv4, guest_ipv6, gateway_ipv6 } = addresses;
    GuestNetwork {
        addresses: vec![
            format!("{guest_ipv4}/{}", executor_net::IPV4_PREFIX),
            format!("{guest_ipv6}/{}", executor_net::IPV6_PREFIX),
        ],
        gateways: vec![gateway_ipv4.to_string(), gateway_ipv6.to_string()],
        nameservers: vec![gateway_ipv4.to_string()],
        search: search.iter().map(ToString::to_string).collect(),
        mtu,
    }
}
