//! One TCP connection: the guest's end in the engine, the other end a socket of the host.

use super::FlowKey;
use super::budget::Grant;
use crate::dns::TcpSession;
use crate::guard::{Guard, INSPECT_BYTES_MAX, Step};
use crate::host;
use crate::link::{LinkDevice, TxQueue};
use crate::peer;
use crate::policy::{Connection, FlowDirection, Locality};
use crate::poller::Ready;
use rules::rule::{DomainName, Protocol};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, recv, send, shutdown};
use smoltcp::iface::{Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::IpEndpoint;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// How long the guest's end may be silent before the engine asks whether it still exists.
const KEEP_ALIVE: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(60);
/// How long the guest may leave data and keep-alive probes unanswered. A guest that runs answers at once, with a reset
/// where its end is gone; this is for one that is paused.
const ANSWER_TIMEOUT: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(15 * 60);

/// How far a connection is.
pub enum Phase {
    /// The host's end is on its way; the guest's first packet waits.
    Connecting {
        /// That packet.
        syn: Vec<u8>,
    },
    /// It was allowed by a name: of the guest's bytes, only those pass that the guard has let through.
    Guarded {
        /// Follows what the guest sends.
        guard: Guard,
        /// The bytes that may still pass before the guard looks again.
        passing: u64,
    },
    /// Data flows.
    Open,
}

/// What a connection has shown of the name that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerName {
    /// It has not been looked at, or has sent nothing yet.
    Unknown,
    /// Its protocol shows no name.
    Absent,
    /// The last name that was admitted.
    Name(DomainName),
}

/// The other end.
pub enum Endpoint {
    /// A socket of the host.
    Host(TcpStream),
    /// The name server in here.
    NameServer(TcpSession),
}

/// The guest's side of all connections, and the moment.
pub struct Wire<'a> {
    pub interface: &'a mut Interface,
    pub tx: &'a mut TxQueue,
    pub now: Instant,
    pub mtu: usize,
}

impl<'a> Wire<'a> {
    pub fn new(interface: &'a mut Interface, tx: &'a mut TxQueue, now: Instant, mtu: usize) -> Self {
        Self { interface, tx, now, mtu }
    }
}

/// One connection.
pub struct Flow {
    pub key: FlowKey,
    /// What it has of the stack's budget.
    pub grant: Grant,
    pub direction: FlowDirection,
    pub phase: Phase,
    pub endpoint: Endpoint,
    /// What the other end is called, as the sandbox was told.
    pub names: Arc<[DomainName]>,
    pub server_name: ServerName,
    pub locality: Locality,
    /// Who the other end really is: the peer behind a published port.
    pub other: std::net::IpAddr,
    /// The number of the published port that it came through.
    pub published: Option<u64>,
    pub readable: bool,
    pub writable: bool,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    host_ended: bool,
    /// The other end is closed in both directions, or broken.
    host_hung_up: bool,
    guest_ended: bool,
    reset: bool,
    /// To the stack of another sandbox, until the connection is made.
    pub control: Option<OwnedFd>,
}

/// What is to be done with a connection that was moved on.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on, and wants to be looked at by then.
    Continue(Option<Instant>),
    /// The same, but the link is full.
    Stalled,
    /// It wants the name that was shown to be judged; nothing where there is none, and why.
    CheckName(Result<DomainName, &'static str>),
    /// It is over.
    Closed,
}

impl Flow {
    fn new(
        (key, direction): (FlowKey, FlowDirection),
        phase: Phase,
        endpoint: Endpoint,
        grant: Grant,
    ) -> Self {
        // Memory is taken only as far as it is filled.
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
            control: None,
        }
    }

    /// One from the guest, whose host's end is on its way.
    pub fn outbound(key: FlowKey, stream: TcpStream, syn: Vec<u8>, grant: Grant) -> Self {
        let mut flow = Self::new(
            (key, FlowDirection::Outbound),
            Phase::Connecting { syn },
            Endpoint::Host(stream),
            grant,
        );
        (flow.readable, flow.writable) = (false, false);
        flow
    }

    /// One from the guest to the name server in here.
    pub fn to_name_server(key: FlowKey, grant: Grant) -> Self {
        Self::new(
            (key, FlowDirection::Outbound),
            Phase::Open,
            Endpoint::NameServer(TcpSession::default()),
            grant,
        )
    }

    /// One to the guest, from a published port.
    pub fn inbound(key: FlowKey, stream: TcpStream, interface: &mut Interface, grant: Grant) -> Option<Self> {
        let mut flow = Self::new((key, FlowDirection::Inbound), Phase::Open, Endpoint::Host(stream), grant);
        let (guest, remote) = (ip_endpoint(key.guest), ip_endpoint(key.remote));
        let socket = flow.sockets.get_mut::<Socket<'_>>(flow.handle);
        socket.connect(interface.context(), guest, remote).ok()?;
        Some(flow)
    }

    /// Takes the guest's first packet up where it waited.
    pub fn accept(&mut self, packet: &[u8], wire: &mut Wire<'_>) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        // It has neither been used before nor is the port 0: no other mistake can be made.
        let _ = socket.listen(ip_endpoint(self.key.remote));
        self.take(packet, wire);
    }

    /// Takes a packet of the guest.
    pub fn take(&mut self, packet: &[u8], wire: &mut Wire<'_>) {
        let Wire { interface, tx, now, mtu } = wire;
        let mut port = LinkDevice { rx: Some(packet), tx, mtu: *mtu };
        interface.poll_ingress_single(*now, &mut port, &mut self.sockets);
    }

    /// What the rules are asked about it.
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

    /// Takes note of an event of the host's socket.
    pub fn host_ready(&mut self, ready: Ready) {
        let Ready { token: _, readable, writable, hung_up } = ready;
        self.readable |= readable;
        self.writable |= writable;
        self.host_hung_up |= hung_up;
    }

    /// Ends it in both directions, hard.
    pub fn abort(&mut self) {
        self.sockets.get_mut::<Socket<'_>>(self.handle).abort();
        self.reset = true;
        if let Endpoint::Host(stream) = &self.endpoint {
            host::reset(stream);
        }
    }

    /// Gives the name server's answer to the guest.
    pub fn answer(&mut self, message: &[u8]) {
        if let Endpoint::NameServer(session) = &mut self.endpoint {
            session.answer(message);
        }
    }

    /// The questions that have come for the name server.
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

    /// Moves what can be moved, both ways.
    pub fn advance(&mut self, wire: &mut Wire<'_>) -> Next {
        match &self.phase {
            Phase::Connecting { .. } => return Next::Continue(None),
            // What was cut passes nothing any more, not even what had come already.
            _ if self.reset => {}
            Phase::Guarded { .. } => {
                // The server may speak first.
                self.feed_guest();
                if let Some(server_name) = self.feed_guarded() {
                    return Next::CheckName(server_name);
                }
            }
            Phase::Open => {
                self.feed_host(None);
                self.feed_guest();
            }
        }
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
            _ => Next::Continue(wire.interface.poll_at(wire.now, &self.sockets)),
        }
    }

    fn socket(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut::<Socket<'static>>(self.handle)
    }

    /// Lets the guest's bytes through as far as the guard says; returns what the rules have to judge.
    fn feed_guarded(&mut self) -> Option<Result<DomainName, &'static str>> {
        loop {
            let Phase::Guarded { guard, passing } = &mut self.phase else { return None };
            if *passing == 0 {
                let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
                let ended = has_ended(socket);
                let mut waiting = vec![0; socket.recv_queue().min(INSPECT_BYTES_MAX)];
                let count = socket.peek_slice(&mut waiting).unwrap_or_default();
                match guard.inspect(&waiting[..count], ended) {
                    // Without room for the rest it would wait for ever.
                    Step::NeedMore if count > 0 && count == socket.recv_capacity() => {
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
            // Nothing moves any more: the guest, the host or the guard is waited for.
            if sent == 0 || *passing > 0 {
                return None;
            }
        }
    }

    /// Goes on behind a name that the rules admit.
    pub fn admit(&mut self, name: DomainName) {
        self.server_name = ServerName::Name(name);
        let Phase::Guarded { guard, passing } = &mut self.phase else { return };
        match guard.admit() {
            Step::Pass(count) => *passing = count,
            _ => self.phase = Phase::Open,
        }
    }

    /// From the guest to the host, straight out of the engine's buffer; with a limit, at most so many bytes.
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

    /// From the host to the guest, straight into the engine's buffer.
    fn feed_guest(&mut self) {
        let socket = self.sockets.get_mut::<Socket<'_>>(self.handle);
        match &mut self.endpoint {
            Endpoint::NameServer(session) => {
                while socket.can_send() && !session.outgoing().is_empty() {
                    match socket.send_slice(session.outgoing()) {
                        Ok(count) if count > 0 => session.sent(count),
                        _ => return,
                    }
                }
            }
            // It has sent everything, and nobody is left to read what the guest might still send.
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

    /// Lets the engine send; says whether the link is full.
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

/// Whether the guest sends no more.
fn has_ended(socket: &Socket<'_>) -> bool {
    matches!(socket.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait)
}

fn ip_endpoint(address: SocketAddr) -> IpEndpoint {
    address.into()
}
