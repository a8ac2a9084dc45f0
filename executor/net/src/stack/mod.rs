//! The stack: one thread that owns the VM's link and everything that goes through it.
//!
//! ```text
//! loop: flush the link ─► read frames ─► advance connections ─► late answers, timers ─► wait
//! ```

mod budget;
mod frames;
mod handle;
mod links;
mod neighbors;
mod own;
mod ports;
mod rules;
mod tcp;
mod udp;

use crate::address::Addresses;
use crate::dns::{Answered, Names};
use crate::event::{Report, Reporter};
use crate::neighbor::Neighborhood;
use crate::outgoing::{LENGTH_BYTES, Outgoing};
use crate::policy::Policy;
use crate::poller::{Poller, Token};
use crate::published::Bound;
use ::rules::rule::{DomainName, HOST_NAME};
use budget::Budget;
use handle::Command;
pub use handle::{CommandError, Failed, Stack, StackError};
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

/// How much is read from the link at a time, in bytes.
const READ_BYTES: usize = 512 * 1024;
/// How often in a row, before connections have their turn.
const READS_MAX: usize = 4;
/// The largest frame that a link of ours can carry, in bytes.
const FRAME_BYTES_MAX: usize = 65_535 + 14;
/// How often what is too old is forgotten.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

/// What a stack serves.
pub struct Settings {
    /// The two ends of the link.
    pub addresses: Addresses,
    /// The largest IP packet on the link, in bytes.
    pub mtu: u16,
    /// The rules.
    pub network: Network,
    /// The ports that lead in.
    pub ports: Vec<Bound>,
    /// The other sandboxes of the project; nothing where there can be none.
    pub neighborhood: Option<Neighborhood>,
    /// Where refusals go.
    pub report: Report,
    /// Told when the stack fails.
    pub failed: Failed,
}

/// Whether an error of the link says that the VM is no longer there.
fn has_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

fn wake_up(wake: &OwnedFd) {
    let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
}

/// Both ends of a connection, as the guest sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The guest's end.
    pub guest: SocketAddr,
    /// The other end.
    pub remote: SocketAddr,
}

struct Worker {
    link: OwnedFd,
    addresses: Addresses,
    mtu: usize,
    policy: Policy,
    own: own::OwnAddresses,
    names: Names,
    reporter: Reporter,
    poller: Poller,
    interface: Interface,
    nobody: SocketSet<'static>,
    outgoing: Outgoing,
    incoming: Vec<u8>,
    filled: usize,
    /// The guest has to wait with what it sends, and there may be some of it.
    unread: bool,
    /// Some of what is to be sent waits for the VM.
    watches_space: bool,
    budget: Budget,
    flows: HashMap<u64, Flow>,
    flow_of: HashMap<Key, u64>,
    /// Connections that have something to do.
    busy: Vec<u64>,
    /// Connections that wait for the link.
    stalled: Vec<u64>,
    deadlines: BTreeSet<(Instant, u64)>,
    deadline_of: HashMap<u64, Instant>,
    udp: udp::Conversations,
    ports: ports::Published,
    neighbors: Option<neighbors::Neighbors>,
    next: u64,
    began: Instant,
    now: Instant,
    housekeeping: Instant,
    commands: mpsc::Sender<Command>,
    wake: Arc<OwnedFd>,
    long_questions: usize,
}

impl Worker {
    fn new(
        link: OwnedFd,
        settings: Settings,
        commands: mpsc::Sender<Command>,
        wake: Arc<OwnedFd>,
    ) -> io::Result<Self> {
        let Settings { addresses, mtu, network, ports, neighborhood, report, failed: _ } = settings;
        let now = Instant::now();
        let poller = Poller::new()?;
        poller.add_reading(&link, Token::Link)?;
        poller.add(&*wake, Token::Wake)?;
        let mut outgoing = Outgoing::default();
        let mut port = crate::outgoing::Port { incoming: None, outgoing: &mut outgoing, mtu: mtu.into() };
        let mut config = Config::new(HardwareAddress::Ip);
        config.random_seed = getrandom::u64().map_err(io::Error::from)?;
        let mut interface = Interface::new(config, &mut port, smoltcp::time::Instant::ZERO);
        links::take_everything(&mut interface, &addresses);
        let host_name = DomainName::new(HOST_NAME).map_err(|_| io::ErrorKind::InvalidInput)?;
        // Of one family: behind the other one there is the host's other loopback, where fewer programs listen.
        let gateway = vec![addresses.gateway_ipv4.into()];
        let mut worker = Self {
            link,
            addresses,
            mtu: mtu.into(),
            policy: Policy::new(&network),
            own: own::OwnAddresses::default(),
            names: Names::new(BTreeMap::from([(host_name, gateway)])),
            reporter: Reporter::new(report),
            poller,
            interface,
            nobody: SocketSet::new(Vec::new()),
            outgoing,
            incoming: vec![0; READ_BYTES],
            filled: 0,
            unread: false,
            watches_space: false,
            budget: Budget::of_process(),
            flows: HashMap::new(),
            flow_of: HashMap::new(),
            busy: Vec::new(),
            stalled: Vec::new(),
            deadlines: BTreeSet::new(),
            deadline_of: HashMap::new(),
            udp: udp::Conversations::default(),
            ports: ports::Published::default(),
            neighbors: None,
            next: 0,
            began: now,
            now,
            housekeeping: now + HOUSEKEEPING,
            commands,
            wake,
            long_questions: 0,
        };
        worker.publish(ports)?;
        if let Some(neighborhood) = neighborhood {
            worker.join(neighborhood)?;
        }
        Ok(worker)
    }

    /// Serves until the handle or the VM has gone; an error is another end.
    fn run(&mut self, commands: &mpsc::Receiver<Command>) -> io::Result<()> {
        let served = self.serve(commands);
        self.ports.tell_of_visits();
        self.reporter.finish();
        match served {
            Err(error) if has_gone(&error) => {
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
                if !self.obey(command) {
                    return Ok(());
                }
            }
            let patience = self.turn(Instant::now())?;
            self.wait(patience)?;
        }
    }

    /// Does what is to be done at a moment; gives how long nothing more has to be.
    fn turn(&mut self, now: Instant) -> io::Result<Duration> {
        self.now = now;
        let mut more = true;
        for _ in 0..READS_MAX {
            more = more && self.read_link()?;
        }
        self.resume_ports();
        self.advance();
        self.run_timers();
        self.flush_link()?;
        if !self.outgoing.is_congested() && !self.stalled.is_empty() {
            self.busy.append(&mut self.stalled);
        }
        let more = more || self.unread && !self.outgoing.is_congested();
        let more = more || !self.busy.is_empty() || !self.ports.unfinished.is_empty();
        Ok(if more { Duration::ZERO } else { self.patience() })
    }

    /// Waits for something to happen, and takes note of it.
    fn wait(&mut self, patience: Duration) -> io::Result<()> {
        for ready in self.poller.wait(Some(patience))? {
            match ready.token {
                Token::Link => {}
                Token::Wake => _ = rustix::io::read(&*self.wake, &mut [0; 8]),
                Token::Tcp(id) => self.tcp_ready(id, ready),
                Token::Udp(id) => self.udp_ready(id),
                Token::Question(number) => self.hear(number),
                Token::Published(number) => self.accept(number),
                Token::Neighbors => self.take_callers(),
                Token::Caller(id) => self.hear_caller(id),
            }
        }
        Ok(())
    }

    /// Does what the handle says; false when that is to end.
    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Rules(network, done) => {
                self.follow(&network);
                let _ = done.send(Ok(()));
            }
            Command::Publish(ports, done) => _ = done.send(self.publish(ports)),
            Command::Unpublish(ports, done) => {
                self.unpublish(&ports);
                let _ = done.send(Ok(()));
            }
            Command::LongAnswer { bytes, question, client } => {
                self.long_questions -= 1;
                let now = self.now;
                let (names, mut rules) = self.names_and_rules();
                let answered = names.hear_long(bytes.as_deref(), (&question, client), &mut rules, now);
                self.answered(answered);
            }
            Command::End => return false,
            #[cfg(test)]
            Command::Pin(address, name) => self.names.pin(address, name, self.now),
        }
        true
    }

    /// Sends what the VM takes, and has to be told of space only while it does not take everything.
    fn flush_link(&mut self) -> io::Result<()> {
        self.outgoing.flush(&self.link)?;
        let full = !self.outgoing.is_empty();
        if full != self.watches_space {
            self.poller.watch_space(&self.link, Token::Link, full)?;
            self.watches_space = full;
        }
        Ok(())
    }

    /// Takes frames off the link; says whether there may be more.
    fn read_link(&mut self) -> io::Result<bool> {
        // What the guest is not answered to is not read either: it has to wait, as on any wire.
        self.unread = self.outgoing.is_congested();
        if self.unread {
            return Ok(false);
        }
        let more = match recv(&self.link, &mut self.incoming[self.filled..], RecvFlags::DONTWAIT) {
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok((_, count)) => {
                self.filled += count;
                true
            }
            Err(Errno::AGAIN) => return Ok(false),
            Err(Errno::INTR) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let incoming = std::mem::take(&mut self.incoming);
        let mut at = 0;
        while let Some(length) = incoming[at..self.filled].first_chunk::<LENGTH_BYTES>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            if length > FRAME_BYTES_MAX {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame is too long"));
            }
            let start = at + LENGTH_BYTES;
            let Some(frame) = incoming[..self.filled].get(start..start + length) else { break };
            self.frame(frame);
            at = start + length;
        }
        self.incoming = incoming;
        self.incoming.copy_within(at..self.filled, 0);
        self.filled -= at;
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
            self.answered(answered);
        }
        self.advance();
        if self.housekeeping <= self.now {
            self.housekeeping = self.now + HOUSEKEEPING;
            let used: std::collections::HashSet<_> =
                self.flows.values().map(|flow| flow.key.remote.ip()).collect();
            self.names.purge(self.now, |address| used.contains(&address));
            self.udp.purge(self.now);
            self.ports.purge(self.now);
            if let Some(neighbors) = &mut self.neighbors {
                neighbors.purge(self.now);
            }
        }
        self.reporter.tick(self.now);
    }

    /// How long nothing has to be done.
    fn patience(&self) -> Duration {
        let first = self.deadlines.first().map(|(due, _)| *due);
        let due =
            [first, self.names.deadline(), self.reporter.due(), self.ports.retry, self.retry_neighbors()];
        let due = due.into_iter().flatten().fold(self.housekeeping, Instant::min);
        // A millisecond more than none: the clock of the kernel's wait is not finer.
        due.saturating_duration_since(self.now) + Duration::from_millis(1)
    }

    fn engine_time(&self) -> smoltcp::time::Instant {
        let micros = self.now.saturating_duration_since(self.began).as_micros();
        smoltcp::time::Instant::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn add(&self, descriptor: impl AsFd, token: Token) -> bool {
        self.poller.add(descriptor, token).is_ok()
    }

    fn answered(&mut self, answered: Answered) {
        match answered {
            Answered::Message(client, bytes) => self.give(client, &bytes),
            Answered::AskedAgain(number) => self.watch_question(number),
            Answered::TooLong { client, question, server } => self.ask_long(client, question, server),
        }
    }
}

#[cfg(test)]
mod name_tests;
#[cfg(test)]
mod tests;
