//! One TCP connection: the guest's side in the engine, the other side a socket of the host.

mod forbidden;

use super::FlowKey;
use super::budget::Grant;
use crate::dns::TcpSession;
use crate::guard::{Guard, INSPECT_BYTES_MAX, Step};
use crate::host;
use crate::link::{LinkDevice, TxQueue};
use crate::peer;
use crate::policy::{Connection, FlowDirection, Locality};
use crate::poller::Ready;
use crate::proxy::PendingTunnel;
use rules::rule::{DomainName, Protocol};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use smoltcp::iface::{Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::IpEndpoint;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The idle time before the engine probes the guest's side.
const KEEP_ALIVE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(60);
/// How long the guest may leave data and keep-alive probes unanswered. A running guest answers at once, if only with a
/// reset; this is for a paused one.
const ANSWER_TIMEOUT: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(15 * 60);

/// The phase of a connection.
pub enum Phase {
    /// The host's side is being connected; the guest's SYN waits.
    Connecting {
        /// The SYN packet.
        syn: Vec<u8>,
    },
    /// A domain rule allowed it: only bytes that the guard admits pass from the guest.
    Guarded {
        /// Inspects the guest's bytes.
        guard: Guard,
        /// The number of bytes that may pass before the next inspection.
        passing: u64,
    },
    /// Data flows freely.
    Open,
    /// A request was refused with an answer.
    Forbidden {
        /// When it is aborted unless the guest has closed it.
        until: Instant,
    },
}

/// The server name of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// It was not inspected, or nothing was sent yet.
    Unknown,
    /// The protocol has none.
    Absent,
    /// The last admitted name.
    Name(DomainName),
}

/// The other side of a connection.
pub enum Endpoint {
    /// A socket of the host.
    Host(TcpStream),
    /// The built-in name server.
    NameServer(TcpSession),
    /// A socket of the host that a proxy has still to connect.
    #[expect(dead_code, reason = "its drop abandons the connection")]
    Pending(PendingTunnel),
}

/// The guest's side of all connections, and the current time.
pub struct Wire<'a> {
    pub interface: &'a mut Interface,
    pub tx: &'a mut TxQueue,
    pub now: Instant,
    pub mtu: usize,
}

/// One connection.
pub struct Flow {
    pub key: FlowKey,
    /// The reserved resources.
    pub grant: Grant,
    pub direction: FlowDirection,
    pub phase: Phase,
    pub endpoint: Endpoint,
    /// The names of the remote address, as far as the sandbox resolved them.
    pub names: Arc<[DomainName]>,
    pub server_name: ServerName,
    pub locality: Locality,
    /// The real remote address: for a published port, the client's.
    pub other: std::net::IpAddr,
    /// The number of the published port that it came through.
    pub published: Option<u64>,
    pub readable: bool,
    pub writable: bool,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    host_ended: bool,
    /// The host's side is closed in both directions, or failed.
    host_hung_up: bool,
    guest_ended: bool,
    reset: bool,
    /// Whether it was recorded as allowed.
    pub recorded: bool,
    /// The control connection to a peer, until the connection is confirmed.
    pub control: Option<OwnedFd>,
}

/// The state of a connection after it was advanced.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It continues, and has a timer at this time.
    Continue(Option<Instant>),
    /// It continues once the link has space.
    Stalled,
    /// The server name must be checked, or is missing for this reason.
    CheckName(Result<DomainName, &'static str>),
    /// It has ended.
    Closed,
}

impl Flow {
    fn new(key: FlowKey, direction: FlowDirection, phase: Phase, endpoint: Endpoint, grant: Grant) -> Self {
        // Memory is committed only as it is filled.
        let buffer = || SocketBuffer::new(vec![0; grant.buffer_bytes]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_ack_delay(None);
        socket.set_timeout(Some(ANSWER_TIMEOUT));
        socket.set_keep_alive(Some(KEEP_ALIVE));
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(socket);
        Self {
            key,
            grant,
            direction,
            phase,
            endpoint,
            names: Arc::default(),
            server_name: ServerName::Unknown,
            locality: Locality::Elsewhere,
            other: key.remote.ip(),
            published: None,
            readable: true,
            writable: true,
            sockets,
            handle,
            host_ended: false,
            host_hung_up: false,
            guest_ended: false,
            reset: false,
            recorded: false,
            control: None,
        }
    }

    /// A connection from the guest, whose host's side is being connected.
    pub fn outbound(key: FlowKey, stream: TcpStream, syn: Vec<u8>, grant: Grant) -> Self {
        let mut flow =
            Self::new(key, FlowDirection::Outbound, Phase::Connecting { syn }, Endpoint::Host(stream), grant);
        (flow.readable, flow.writable) = (false, false);
        flow
    }

    /// A connection from the guest that a proxy is opening.
    pub fn through_proxy(key: FlowKey, pending: PendingTunnel, syn: Vec<u8>, grant: Grant) -> Self {
        let (phase, endpoint) = (Phase::Connecting { syn }, Endpoint::Pending(pending));
        Self::new(key, FlowDirection::Outbound, phase, endpoint, grant)
    }

    /// A connection from the guest to the name server.
    pub fn to_name_server(key: FlowKey, grant: Grant) -> Self {
        let endpoint = Endpoint::NameServer(TcpSession::default());
        Self::new(key, FlowDirection::Outbound, Phase::Open, endpoint, grant)
    }

    /// A connection to the guest; `None` if the engine has no room.
    pub fn inbound(key: FlowKey, stream: TcpStream, interface: &mut Interface, grant: Grant) -> Option<Self> {
        let mut flow = Self::new(key, FlowDirection::Inbound, Phase::Open, Endpoint::Host(stream), grant);
        let (guest, remote) = (IpEndpoint::from(key.guest), IpEndpoint::from(key.remote));
        let socket = flow.sockets.get_mut::<Socket<'_>>(flow.handle);
        socket.connect(interface.context(), guest, remote).ok()?;
        Some(flow)
    }

    /// Hands the kept SYN packet to the engine.
    pub fn accept(&mut self, packet: &[u8], wire: &mut Wire<'_>) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        // Listening fails only for a used socket or port 0, and it is neither.
        let _ = socket.listen(IpEndpoint::from(self.key.remote));
        self.take(packet, wire);
    }

    /// Hands a packet of the guest to the engine.
    pub fn take(&mut self, packet: &[u8], wire: &mut Wire<'_>) {
        let Wire { interface, tx, now, mtu } = wire;
        let mut port = LinkDevice { rx: Some(packet), tx, mtu: *mtu };
        interface.poll_ingress_single(*now, &mut port, &mut self.sockets);
    }

    /// The connection as the policy sees it.
    pub fn connection(&self) -> Connection<'_> {
        let port = match self.direction {
            FlowDirection::Outbound => self.key.remote.port(),
            FlowDirection::Inbound => self.key.guest.port(),
        };
        Connection {
            direction: self.direction,
            protocol: Protocol::Tcp,
            address: self.other,
            port: Some(port),
            names: &self.names,
            locality: self.locality,
        }
    }

    /// Whether the rules have allowed data of the guest to pass.
    pub fn is_allowed(&self) -> bool {
        matches!(self.phase, Phase::Open) || matches!(self.server_name, ServerName::Name(_))
    }

    /// Records readiness of the host's socket.
    pub fn host_ready(&mut self, ready: Ready) {
        let Ready { token: _, readable, writable, hung_up } = ready;
        self.readable |= readable;
        self.writable |= writable;
        self.host_hung_up |= hung_up;
    }

    /// Resets both sides.
    pub fn abort(&mut self) {
        self.sockets.get_mut::<Socket<'_>>(self.handle).abort();
        self.reset = true;
        if let Endpoint::Host(stream) = &self.endpoint {
            host::reset(stream);
        }
    }

    /// Queues a DNS response to the guest.
    pub fn answer(&mut self, message: &[u8]) {
        if let Endpoint::NameServer(session) = &mut self.endpoint {
            session.answer(message);
        }
    }

    /// The complete DNS queries that have arrived.
    pub fn questions(&mut self) -> Vec<Vec<u8>> {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let Endpoint::NameServer(session) = &mut self.endpoint else { return Vec::new() };
        let mut whole = Vec::new();
        while socket.can_recv() {
            let taken = socket.recv(|bytes| (bytes.len(), session.take(bytes, &mut whole)));
            if !matches!(taken, Ok(true)) {
                socket.abort();
                break;
            }
        }
        whole
    }

    /// Moves data in both directions.
    pub fn advance(&mut self, wire: &mut Wire<'_>) -> Next {
        match &self.phase {
            Phase::Connecting { .. } => return Next::Continue(None),
            // A reset connection passes nothing more, not even data that had arrived.
            _ if self.reset => {}
            Phase::Guarded { .. } => {
                // The server may send first.
                self.feed_guest();
                if let Some(server_name) = self.feed_guarded() {
                    return Next::CheckName(server_name);
                }
            }
            Phase::Open => {
                self.feed_host(None);
                self.feed_guest();
            }
            Phase::Forbidden { .. } => {}
        }
        let aborted_at = self.drain(wire.now);
        let stalled = self.send(wire);
        let state = self.socket().state();
        if matches!(state, State::Established | State::CloseWait)
            && let Some(control) = self.control.take()
        {
            peer::confirm(&control);
        }
        match state {
            State::Closed | State::Listen => {
                let orderly = self.host_ended && self.guest_ended && !self.reset;
                if let (false, Endpoint::Host(stream)) = (orderly, &self.endpoint) {
                    host::reset(stream);
                }
                Next::Closed
            }
            State::TimeWait => Next::Closed,
            _ if stalled => Next::Stalled,
            _ => {
                let due = wire.interface.poll_at(wire.now, &self.sockets);
                Next::Continue(due.into_iter().chain(aborted_at).min())
            }
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut::<Socket<'static>>(self.handle)
    }

    /// Passes the guest's bytes as far as the guard admits; returns a server name to check.
    fn feed_guarded(&mut self) -> Option<Result<DomainName, &'static str>> {
        loop {
            let Phase::Guarded { guard, passing } = &mut self.phase else { return None };
            if *passing == 0 {
                let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
                let ended = has_ended(socket);
                let waiting = peek(socket);
                match guard.inspect(&waiting, ended) {
                    // It would wait forever without room for the rest.
                    Step::NeedMore if !waiting.is_empty() && waiting.len() == socket.recv_capacity() => {
                        return Some(Err("its first message is too long"));
                    }
                    Step::NeedMore => {}
                    Step::Pass(count) => *passing = count,
                    Step::CheckName(name) => return Some(Ok(name)),
                    Step::Refuse(why) => return Some(Err(why)),
                    Step::Open => {
                        if self.server_name == ServerName::Unknown {
                            self.server_name = ServerName::Absent;
                        }
                        self.phase = Phase::Open;
                        self.feed_host(None);
                        return None;
                    }
                }
            }
            let Phase::Guarded { passing: allowed, .. } = self.phase else { return None };
            let before = self.socket().recv_queue();
            self.feed_host(Some(allowed));
            let sent = before.saturating_sub(self.socket().recv_queue());
            let Phase::Guarded { passing, .. } = &mut self.phase else { return None };
            *passing = passing.saturating_sub(u64::try_from(sent).unwrap_or(u64::MAX));
            // The guest, the host or the guard has to continue.
            if sent == 0 || *passing > 0 {
                return None;
            }
        }
    }

    /// Continues after the server name was admitted.
    pub fn admit(&mut self, name: DomainName) {
        self.server_name = ServerName::Name(name);
        let Phase::Guarded { guard, passing } = &mut self.phase else { return };
        match guard.admit() {
            Step::Pass(count) => *passing = count,
            _ => self.phase = Phase::Open,
        }
    }

    /// The bytes of the guest that wait to be inspected.
    pub fn first_bytes(&mut self) -> Vec<u8> {
        peek(self.socket())
    }

    /// Moves data from the engine's buffer to the host; at most `limit` bytes, if there is one.
    fn feed_host(&mut self, limit: Option<u64>) {
        let mut left = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        let Endpoint::Host(stream) = &self.endpoint else {
            if socket.state() == State::CloseWait {
                socket.close();
            }
            return;
        };
        while self.writable && left > 0 && socket.can_recv() {
            let sent = socket.recv(|bytes| {
                let bytes = &bytes[..bytes.len().min(left)];
                match send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                    Ok(count) => {
                        left -= count;
                        (count, Ok(()))
                    }
                    Err(error) => (0, Err(error)),
                }
            });
            match sent {
                Ok(Ok(())) | Ok(Err(Errno::INTR)) => {}
                Ok(Err(Errno::AGAIN)) => self.writable = false,
                Ok(Err(_)) | Err(_) => {
                    self.reset = true;
                    socket.abort();
                    return;
                }
            }
        }
        if has_ended(socket) && !self.guest_ended && socket.recv_queue() == 0 {
            self.guest_ended = true;
            let _ = shutdown(stream, Shutdown::Write);
        }
    }

    /// Moves data from the host into the engine's buffer.
    fn feed_guest(&mut self) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        match &mut self.endpoint {
            Endpoint::Pending(_) => {}
            Endpoint::NameServer(session) => {
                while socket.can_send() && !session.outgoing().is_empty() {
                    match socket.send_slice(session.outgoing()) {
                        Ok(count) if count > 0 => session.sent(count),
                        _ => return,
                    }
                }
            }
            // It has sent everything, and no longer reads what the guest might send.
            Endpoint::Host(_) if self.host_ended && self.host_hung_up && !self.guest_ended => {
                self.reset = true;
                socket.abort();
            }
            Endpoint::Host(stream) => {
                while self.readable && !self.host_ended && socket.can_send() {
                    let received = socket.send(|space| match recv(&*stream, space, RecvFlags::DONTWAIT) {
                        Ok((_, count)) => (count, Ok(count)),
                        Err(error) => (0, Err(error)),
                    });
                    match received {
                        Ok(Ok(0)) => {
                            self.host_ended = true;
                            socket.close();
                        }
                        Ok(Ok(_)) | Ok(Err(Errno::INTR)) => {}
                        Ok(Err(Errno::AGAIN)) => self.readable = false,
                        Ok(Err(_)) | Err(_) => {
                            self.reset = true;
                            socket.abort();
                            return;
                        }
                    }
                }
            }
        }
    }

    /// Lets the engine send; returns whether the link is full.
    fn send(&mut self, wire: &mut Wire<'_>) -> bool {
        loop {
            let Wire { interface, tx, now, mtu } = wire;
            let mut port = LinkDevice { rx: None, tx, mtu: *mtu };
            if interface.poll_egress(*now, &mut port, &mut self.sockets) == PollResult::None {
                return tx.is_congested();
            }
        }
    }
}

/// The first of the received bytes.
fn peek(socket: &mut Socket<'_>) -> Vec<u8> {
    let mut waiting = vec![0; socket.recv_queue().min(INSPECT_BYTES_MAX)];
    let count = socket.peek_slice(&mut waiting).unwrap_or_default();
    waiting.truncate(count);
    waiting
}

/// Whether the guest has closed its direction.
fn has_ended(socket: &Socket<'_>) -> bool {
    matches!(socket.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
}
