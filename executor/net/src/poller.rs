//! An epoll wrapper. All descriptors are edge-triggered: the handler must continue until `WouldBlock`.

use rustix::event::{Timespec, epoll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The number of events per wait.
const EVENTS: usize = 128;

/// The source of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// The link to the VM.
    Link,
    /// The stack's handle.
    Wake,
    /// A TCP flow, by its number.
    Tcp(u64),
    /// A UDP flow, by its number.
    Udp(u64),
    /// A DNS query, by its number.
    Question(u64),
    /// A published port, by its number.
    Published(u64),
    /// The control socket for peers.
    Peers,
    /// A control connection of a peer, by its number.
    Caller(u64),
}

impl Token {
    const KIND_SHIFT: u32 = 56;

    fn pack(self) -> u64 {
        let (kind, number) = match self {
            Self::Link => (0, 0),
            Self::Wake => (1, 0),
            Self::Tcp(number) => (2, number),
            Self::Udp(number) => (3, number),
            Self::Question(number) => (4, number),
            Self::Published(number) => (5, number),
            Self::Peers => (6, 0),
            Self::Caller(number) => (7, number),
        };
        (kind << Self::KIND_SHIFT) | number
    }

    fn data(self) -> epoll::EventData {
        epoll::EventData::new_u64(self.pack())
    }

    fn unpack(packed: u64) -> Self {
        let number = packed & ((1 << Self::KIND_SHIFT) - 1);
        match packed >> Self::KIND_SHIFT {
            0 => Self::Link,
            1 => Self::Wake,
            2 => Self::Tcp(number),
            3 => Self::Udp(number),
            4 => Self::Question(number),
            5 => Self::Published(number),
            6 => Self::Peers,
            _ => Self::Caller(number),
        }
    }
}

/// Readiness of a descriptor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ready {
    pub(crate) token: Token,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// It is closed in both directions, or failed.
    pub(crate) hung_up: bool,
}

fn flags(space: bool) -> epoll::EventFlags {
    let reading = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ET;
    if space { reading | epoll::EventFlags::OUT } else { reading }
}

pub(crate) struct Poller {
    epoll: OwnedFd,
}

impl Poller {
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll })
    }

    /// Watches a descriptor for both directions until it is closed.
    pub(crate) fn add(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, token.data(), flags(true))?)
    }

    /// The same for reading alone; [`Poller::watch_space`] enables writability. For descriptors that are rarely full.
    pub(crate) fn add_reading(&self, descriptor: impl AsFd, token: Token) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, descriptor, token.data(), flags(false))?)
    }

    /// Ends watching a descriptor that stays open.
    pub(crate) fn remove(&self, descriptor: impl AsFd) -> io::Result<()> {
        Ok(epoll::delete(&self.epoll, descriptor)?)
    }

    /// Enables or disables writability events; an enabled one fires at once if there is space.
    pub(crate) fn watch_space(&self, descriptor: impl AsFd, token: Token, watch: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, descriptor, token.data(), flags(watch))?)
    }

    /// Waits for events, or for the timeout.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<Vec<Ready>> {
        let timeout = Timespec::try_from(timeout).unwrap_or_default();
        let mut events: Vec<epoll::Event> = Vec::with_capacity(EVENTS);
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = |event: &epoll::Event| {
            let flags = event.flags;
            let hung_up = flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP);
            Ready {
                token: Token::unpack(event.data.u64()),
                readable: hung_up || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP),
                writable: hung_up || flags.contains(epoll::EventFlags::OUT),
                hung_up,
            }
        };
        Ok(events.iter().map(ready).collect())
    }
}
