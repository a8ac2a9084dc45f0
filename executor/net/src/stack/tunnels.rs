//! Connections to other machines through the sandbox's proxy.

use super::budget::FlowKind;
use super::handle::Command;
use super::tcp::{Endpoint, Flow, Phase};
use super::{FlowKey, Worker, wake_up};
use crate::event::Subject;
use crate::policy::{FlowDirection, Locality, plain};
use crate::proxy::{Connector, Destination, Password, ProxyFailure, UpstreamProxy};
use crate::wire::Packet;
use rules::rule::{DomainName, Protocol};
use schemas::spec::Network;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

/// The proxy, and the thread that connects through it.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) proxy: Arc<UpstreamProxy>,
    connector: Connector,
}

/// The end of an attempt to connect.
pub(super) struct Tunnel {
    /// The number of the flow.
    flow: u64,
    proxy: Arc<UpstreamProxy>,
    opened: Result<TcpStream, ProxyFailure>,
}

impl Worker {
    /// Follows another proxy, or none. Connections that would now take another way are closed.
    pub(super) fn set_proxy(&mut self, network: &Network, password: Option<Password>) -> std::io::Result<()> {
        let wanted = network.proxy.as_ref().map(|proxy| {
            let url = proxy.url.clone();
            UpstreamProxy { password: password.filter(|_| url.user().is_some()), url }
        });
        let known = self.upstream.as_ref().map(|upstream| &*upstream.proxy);
        if known == wanted.as_ref() {
            return Ok(());
        }
        // Another password alone is for new connections.
        let is_same_way = known.map(|proxy| &proxy.url) == wanted.as_ref().map(|proxy| &proxy.url);
        self.upstream = match (wanted, self.upstream.take()) {
            (None, _) => None,
            (Some(proxy), Some(Upstream { connector, .. })) => {
                Some(Upstream { proxy: proxy.into(), connector })
            }
            (Some(proxy), None) => Some(Upstream { proxy: proxy.into(), connector: Connector::start()? }),
        };
        if !is_same_way {
            self.cut_outbound();
        }
        Ok(())
    }

    /// Closes the connections of the guest to other machines.
    fn cut_outbound(&mut self) {
        let names = &self.names;
        let is_outbound = |flow: &Flow| {
            flow.direction == FlowDirection::Outbound
                && flow.locality == Locality::Elsewhere
                && !matches!(flow.endpoint, Endpoint::NameServer(_))
                && !names.is_peer(flow.key.remote.ip())
        };
        let cut: Vec<u64> =
            self.flows.iter().filter(|(_, flow)| is_outbound(flow)).map(|(id, _)| *id).collect();
        for id in cut {
            let Some(flow) = self.flows.get(&id) else { continue };
            let subject = Subject::outbound(Protocol::Tcp, flow.key.remote, flow.names.first());
            self.cut(id);
            self.refuse(subject, "cut: the proxy has changed");
        }
        self.udp.close_all();
    }

    /// Whether connections to an address go through the proxy: those to other machines do.
    pub(super) fn uses_proxy(&self, locality: Locality) -> bool {
        self.upstream.is_some() && locality == Locality::Elsewhere
    }

    /// Starts a connection through the proxy. `names` are those of the address, and whether a rule on names allows it.
    pub(super) fn connect_through_proxy(
        &mut self,
        key: FlowKey,
        packet: &Packet<'_>,
        (by_name, names): (bool, Arc<[DomainName]>),
    ) {
        let Some(grant) = self.reserve_outbound(FlowKind::Outbound, key, packet) else { return };
        let Some(Upstream { proxy, connector }) = &self.upstream else { return self.budget.release(grant) };
        let destination = match &*names {
            // The rule vouches for the name, so that the proxy may resolve it. A rule on addresses would not hold there.
            [name] if by_name => Destination::Name(name.clone(), key.remote.port()),
            _ => Destination::Address(SocketAddr::new(plain(key.remote.ip()), key.remote.port())),
        };
        self.next += 1;
        let (id, commands, wake) = (self.next, self.commands.clone(), self.wake.clone());
        let asked = proxy.clone();
        let done = move |opened| {
            let _ = commands.send(Command::Tunnel(Tunnel { flow: id, proxy: asked, opened }));
            wake_up(&wake);
        };
        let pending = connector.open(proxy.clone(), destination, Box::new(done));
        let mut flow = Flow::through_proxy(key, pending, packet.bytes.to_vec(), grant);
        flow.names = names;
        self.flow_of.insert(key, id);
        self.flows.insert(id, flow);
    }

    /// Continues after an attempt to connect.
    pub(super) fn on_tunnel(&mut self, Tunnel { flow: id, proxy, opened }: Tunnel) {
        let Some(flow) = self.flows.get_mut(&id) else { return };
        let Phase::Connecting { syn } = &flow.phase else { return };
        match opened {
            Ok(stream) => {
                flow.endpoint = Endpoint::Host(stream);
                self.watch_host(id);
                self.on_connected(id);
            }
            Err(failure) => {
                let (syn, remote) = (syn.clone(), flow.key.remote);
                self.record_tcp(id);
                self.remove_flow(id);
                self.refuse_tcp(&syn);
                let reason = format!("the proxy {} {failure}", proxy.url.without_user());
                let name = self.name_of(remote.ip());
                self.refuse(Subject::outbound(Protocol::Tcp, remote, name.as_ref()), reason.as_str());
            }
        }
    }
}
