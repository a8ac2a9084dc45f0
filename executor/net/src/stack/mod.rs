//! The stack: one thread that owns the VM's link and everything that goes through it.
//!
//! ```text
//! loop: flush the link ─► read frames ─► advance connections ─► late answers, timers ─► wait
//! ```

mod budget;
mod frames;
mod handle;
mod interface;
mod own;
mod peers;
mod ports;
mod rules;
mod tcp;
mod tunnels;
mod udp;

use crate::address::Addresses;
use crate::allowed::{AllowedSink, Recorder};
use crate::counters::Counters;
use crate::dns::{Answered, ClientQuery, NameServer};
use crate::event::{RefusalSink, Reporter};
use crate::intercept::Interception;
use crate::link::{LENGTH_BYTES, TxQueue};
use crate::peer::PeerDirectory;
use crate::policy::Policy;
use crate::poller::{Poller, Token};
use crate::proxy::Password;
use crate::published::BoundPort;
use ::rules::rule::{DomainName, HOST_NAME};
use budget::Budget;
use handle::Command;
pub use handle::{CommandError, OnFailure, Stack, StackError};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};
use schemas::spec::Network;
use smoltcp::iface::{Config, Interface, SocketSet};
use smoltcp::wire::HardwareAddress;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use tcp::Flow;

/// The size of one read from the link, in bytes.
const READ_BYTES: usize = 512 * 1024;
/// The number of reads before connections get their turn.
const READS_PER_POLL_MAX: usize = 4;
/// The largest possible frame on a link, in bytes.
const FRAME_BYTES_MAX: usize = 65_535 + 14;
/// How often expired state is purged.
const PURGE_INTERVAL: Duration = Duration::from_secs(10);

/// The configuration of a stack.
pub struct Settings {
    /// The addresses of guest and gateway.
    pub addresses: Addresses,
    /// The MTU: the largest IP packet on the link, in bytes.
    pub mtu: u16,
    /// The rules, and the proxy.
    pub network: Network,
    /// The password of the proxy's user, if it has one.
    pub proxy_password: Option<Password>,
    /// The published ports.
    pub ports: Vec<BoundPort>,
    /// The project's other sandboxes; `None` if there are none by design.
    pub peers: Option<PeerDirectory>,
    /// The connections that a proxy takes over; `None` for none.
    pub interception: Option<Interception>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Called for each refusal.
    pub on_refusal: RefusalSink,
    /// Called for each kind of allowed traffic, and for its repeats.
    pub on_allowed: AllowedSink,
    /// Called when the stack fails.
    pub on_failure: OnFailure,
}

/// Whether an error of the link means that the VM is gone.
fn is_disconnect(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn wake_up(wake: &OwnedFd) {
    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
}

/// Both addresses of a flow, as the guest sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// The guest's address.
    pub guest: SocketAddr,
    /// The remote address.
    pub remote: SocketAddr,
}

struct Worker {
    link: OwnedFd,
    addresses: Addresses,
    mtu: usize,
    policy: Policy,
    own: own::OwnAddresses,
    names: NameServer,
    interception: Option<Interception>,
    /// The proxy of connections to other machines.
    upstream: Option<tunnels::Upstream>,
    counters: Arc<Counters>,
    reporter: Reporter,
    recorder: Recorder,
    poller: Poller,
    interface: Interface,
    no_sockets: SocketSet<'static>,
    tx: TxQueue,
    rx: Vec<u8>,
    rx_filled: usize,
    /// Reading is suspended although frames may be waiting.
    rx_pending: bool,
    /// Writability of the link is being watched.
    watches_writable: bool,
    budget: Budget,
    flows: HashMap<u64, Flow>,
    flow_of: HashMap<FlowKey, u64>,
    /// Connections that have work to do.
    busy: Vec<u64>,
    /// Connections that wait for space in the queue to the guest.
    stalled: Vec<u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    deadline_of: HashMap<u64, Instant>,
    udp: udp::UdpFlows,
    ports: ports::Published,
    peers: Option<peers::Peers>,
    next: u64,
    started: Instant,
    now: Instant,
    next_purge: Instant,
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    tcp_queries: usize,
}

impl Worker {
    fn new(
        link: OwnedFd,
        settings: Settings,
        commands: mpsc::Sender<Command>,
        wake: Arc<OwnedFd>,
    ) -> io::Result<Self> {
        let Settings {
            addresses,
            mtu,
            network,
            proxy_password,
            ports,
            peers,
            interception,
            counters,
            on_refusal,
            on_allowed,
            on_failure: _,
        } = settings;
        let now = Instant::now();
        let poller = Poller::new()?;
        poller.add_reading(&link, Token::Link)?;
        poller.add(&*wake, Token::Wake)?;
        let mut tx = TxQueue::default();
        let mut port = crate::link::LinkDevice { rx: None, tx: &mut tx, mtu: mtu.into() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = getrandom::u64().map_err(io::Error::from)?;
        let mut interface = Interface::new(config, &mut port, smoltcp::time::Instant::ZERO);
        interface::accept_all_addresses(&mut interface, &addresses);
        let host_name = DomainName::new(HOST_NAME).map_err(|_| io::ErrorKind::InvalidInput)?;
        // IPv4 alone: the gateway's IPv6 address forwards to `::1`, where fewer programs listen.
        let gateway = vec![addresses.gateway_ipv4.into()];
        let mut worker = Self {
            link,
            addresses,
            mtu: mtu.into(),
            policy: Policy::new(&network),
            own: own::OwnAddresses::default(),
            names: NameServer::new(BTreeMap::from([(host_name, gateway)])),
            budget: Budget::of_process(interception.is_some()),
            interception,
            upstream: None,
            reporter: Reporter::new(on_refusal, counters.clone()),
            counters,
            recorder: Recorder::new(on_allowed),
            poller,
            interface,
            no_sockets: SocketSet::new(Vec::new()),
            tx,
            rx: vec![0; READ_BYTES],
            rx_filled: 0,
            rx_pending: false,
            watches_writable: false,
            flows: HashMap::new(),
            flow_of: HashMap::new(),
            busy: Vec::new(),
            stalled: Vec::new(),
            deadlines: BTreeSet::new(),
            deadline_of: HashMap::new(),
            udp: udp::UdpFlows::default(),
            ports: ports::Published::default(),
            peers: None,
            next: 0,
            started: now,
            now,
            next_purge: now + PURGE_INTERVAL,
            commands,
            wake,
            tcp_queries: 0,
        };
        worker.names.set_dns(&network.dns);
        worker.set_proxy(&network, proxy_password)?;
        worker.publish(ports)?;
        if let Some(peers) = peers {
            worker.join_project(peers)?;
        }
        Ok(worker)
    }

    /// Serves until the handle is dropped or the VM is gone.
    fn run(&mut self, commands: &mpsc::Receiver<Command>) -> io::Result<()> {
        let served = self.serve(commands);
        self.ports.log_repeated_clients();
        self.reporter.finish();
        self.recorder.finish();
        match served {
            Err(error) if is_disconnect(&error) => {
                tracing::debug!("the network ends with its VM: {error}");
                Ok(())
            }
            served => served,
        }
    }

    fn serve(&mut self, commands: &mpsc::Receiver<Command>) -> Result<(), io::Error> {
        loop {
            self.now = Instant::now();
            while let Ok(command) = commands.try_recv() {
                if !self.handle_command(command) {
                    return Ok(());
                }
            }
            let timeout = self.poll(Instant::now())?;
            self.wait(timeout)?;
        }
    }

    /// Does all work that is due; returns how long to wait for the next.
    fn poll(&mut self, now: Instant) -> io::Result<Duration> {
        self.now = now;
        let mut more = true;
        for _ in 0..READS_PER_POLL_MAX {
            more = more && self.read_link()?;
        }
        self.resume_ports();
        self.advance();
        self.run_timers();
        self.flush_link()?;
        if !self.tx.is_congested() && !self.stalled.is_empty() {
            self.busy.append(&mut self.stalled);
        }
        let more = more || self.rx_pending && !self.tx.is_congested();
        let more = more || !self.busy.is_empty() || !self.ports.unfinished.is_empty();
        Ok(if more { Duration::ZERO } else { self.timeout() })
    }

    /// Waits for events and handles them.
    fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        for ready in self.poller.wait(timeout)? {
            match ready.token {
                Token::Link => {}
                Token::Wake => _ = rustix::io::read(&*self.wake, &mut [0; 8]),
                Token::Tcp(id) => self.tcp_ready(id, ready),
                Token::Udp(id) => self.udp_ready(id),
                Token::Question(next_id) => self.on_upstream_readable(next_id),
                Token::Published(next_id) => self.accept(next_id),
                Token::Peers => self.accept_callers(),
                Token::Caller(id) => self.read_request(id),
            }
        }
        Ok(())
    }

    /// Handles a command; returns false if it ends the stack.
    fn handle_command(&mut self, command: Command) -> bool {
        match command {
            Command::Rules { network, proxy_password, done } => {
                self.set_rules(&network);
                self.names.set_dns(&network.dns);
                let _ = done.send(self.set_proxy(&network, proxy_password));
            }
            Command::Tunnel(tunnel) => self.on_tunnel(tunnel),
            Command::Publish(ports, done) => _ = done.send(self.publish(ports)),
            Command::Unpublish(ports, done) => {
                self.unpublish(&ports);
                let _ = done.send(Ok(()));
            }
            Command::TcpAnswer { bytes, question, client } => {
                self.tcp_queries -= 1;
                let now = self.now;
                let query = ClientQuery { question: &question, client };
                let (names, mut rules) = self.name_server_and_rules();
                let answered = names.on_tcp_answer(bytes.as_deref(), query, &mut rules, now);
                self.on_answered(answered);
            }
            Command::End => return false,
            #[cfg(test)]
            Command::Pin(address, name) => self.names.pin(address, name, self.now),
        }
        true
    }

    /// Sends what the VM accepts. Writability is watched only while the queue is not empty.
    fn flush_link(&mut self) -> io::Result<()> {
        self.counters.set_received(self.tx.total());
        self.tx.flush(&self.link)?;
        let full = !self.tx.is_empty();
        if full != self.watches_writable {
            self.poller.watch_space(&self.link, Token::Link, full)?;
            self.watches_writable = full;
        }
        Ok(())
    }

    /// Reads frames off the link; returns whether there may be more.
    fn read_link(&mut self) -> io::Result<bool> {
        // While the guest does not read its answers, its frames wait: backpressure.
        self.rx_pending = self.tx.is_congested();
        if self.rx_pending {
            return Ok(false);
        }
        let more = match recv(&self.link, &mut self.rx[self.rx_filled..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, count)) => {
                self.rx_filled += count;
                true
            }
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let rx = std::mem::take(&mut self.rx);
        let mut at = 0;
        while let Some(length) = rx[at..self.rx_filled].first_chunk::<LENGTH_BYTES>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > FRAME_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
            }
            let start = at + LENGTH_BYTES;
            let Some(frame) = rx[..self.rx_filled].get(start..start + length) else { break };
            self.counters.count_sent(frame.len());
            self.frame(frame);
            at = start + length;
        }
        self.rx = rx;
        self.rx.copy_within(at..self.rx_filled, 0);
        self.rx_filled -= at;
        Ok(more)
    }

    fn run_timers(&mut self) {
        while let Some(&(due, id)) = self.deadlines.first() {
            if due > self.now {
                break;
            }
            self.deadlines.remove(&(due, id));
            self.deadline_of.remove(&id);
            self.busy.push(id);
        }
        for answered in self.names.expire(self.now) {
            self.on_answered(answered);
        }
        self.advance();
        if self.next_purge <= self.now {
            self.next_purge = self.now + PURGE_INTERVAL;
            let used: std::collections::HashSet<_> =
                self.flows.values().map(|flow| flow.key.remote.ip()).collect();
            self.names.purge(self.now, |address| used.contains(&address));
            self.udp.purge(self.now);
            self.ports.purge(self.now);
            if let Some(peers) = &mut self.peers {
                peers.purge(self.now);
            }
        }
        self.reporter.tick(self.now);
        self.recorder.tick(self.now);
    }

    /// The time until the next timer.
    fn timeout(&self) -> Duration {
        let first = self.deadlines.first().map(|(due, _)| *due);
        let reports = [self.reporter.due(), self.recorder.due()];
        let due = [first, self.names.deadline(), self.ports.retry, self.peers_retry_at()];
        let due = due.into_iter().chain(reports).flatten().fold(self.next_purge, Instant::min);
        // One millisecond more, as epoll's timeout has that resolution.
        due.saturating_duration_since(self.now) + Duration::from_millis(1)
    }

    fn engine_time(&self) -> smoltcp::time::Instant {
        let micros = self.now.saturating_duration_since(self.started).as_micros();
        smoltcp::time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add(&self, descriptor: impl AsFd, token: Token) -> bool {
        self.poller.add(descriptor, token).is_ok()
    }

    fn on_answered(&mut self, answered: Answered) {
        match answered {
            Answered::Message(client, bytes) => self.send_answer(client, &bytes),
            Answered::Forwarded(number) => self.watch_upstream(number),
            Answered::Truncated { client, question, server } => self.query_over_tcp(client, question, server),
        }
    }
}

#[cfg(test)]
mod allowed_tests;
#[cfg(test)]
mod intercept_tests;
#[cfg(test)]
mod name_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tunnel_tests;
