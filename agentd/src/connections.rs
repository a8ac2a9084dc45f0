//! TCP connections inside the guest, on behalf of clients: the table, and the addresses of a host.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeBounds;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use protocol::latest::{TcpClosed, TcpConnect, TcpFailed};

use crate::connection::{Connection, State};
use crate::hosts::HOSTS;
use crate::link::Link;

/// The first token: above those of sessions, and below those of what ended sessions leave behind.
pub const FIRST_TOKEN: u64 = 1 << 62;
/// The token after the last one.
pub const END_TOKEN: u64 = FIRST_TOKEN + (1 << 32);
/// The limit of connections.
pub const MAX_CONNECTIONS: usize = 256;
/// The part of `/etc/hosts` that is searched for a name, in bytes.
const HOSTS_BYTES_MAX: u64 = 1024 * 1024;

pub struct Connections {
    epoll: Rc<OwnedFd>,
    /// By token.
    connections: BTreeMap<u64, Connection>,
    tokens: BTreeMap<u32, u64>,
    next_token: u64,
    /// Whether the connections are read: not while the link is congested.
    listening: bool,
}

impl Connections {
    pub fn new(epoll: Rc<OwnedFd>) -> Self {
        let (connections, tokens) = (BTreeMap::new(), BTreeMap::new());
        Self { epoll, connections, tokens, next_token: FIRST_TOKEN, listening: true }
    }

    pub fn contains(&self, id: u32) -> bool {
        self.tokens.contains_key(&id)
    }

    /// Opens a connection under an unused id.
    pub fn open(&mut self, id: u32, request: &TcpConnect, link: &mut Link) {
        if self.connections.len() >= MAX_CONNECTIONS {
            return link.send(id, failed(format!("there are {MAX_CONNECTIONS} connections already")));
        }
        let addresses = addresses(&request.host, request.port);
        if addresses.is_empty() {
            let message =
                format!("'{}' is neither an address nor a name in the guest's {HOSTS}", request.host);
            return link.send(id, failed(message));
        }
        let token = self.next_token;
        // Numbers are used again after 2³² connections, of which few are left.
        self.next_token = if token + 1 == END_TOKEN { FIRST_TOKEN } else { token + 1 };
        let mut connection = Connection::new(id, token, &self.epoll, addresses, request.acks);
        connection.listen(self.listening);
        self.tokens.insert(id, token);
        self.connections.insert(token, connection);
        self.update(token, link, |connection, link| connection.connect_next(link));
    }

    /// Handles an event on a connection's socket.
    pub fn on_ready(&mut self, token: u64, scratch: &mut [u8], link: &mut Link) {
        self.update(token, link, |connection, link| connection.on_ready(scratch, link));
        // Otherwise one busy connection would fill the queue before the others are read.
        link.flush();
    }

    pub fn take_data(&mut self, id: u32, data: Vec<u8>, link: &mut Link) {
        self.update_id(id, link, |connection, link| connection.take_data(data, link));
    }

    pub fn take_eof(&mut self, id: u32, link: &mut Link) {
        self.update_id(id, link, |connection, link| connection.take_eof(link));
    }

    pub fn take_ack(&mut self, id: u32, bytes: u64, link: &mut Link) {
        self.update_id(id, link, |connection, _| connection.take_ack(bytes));
    }

    /// Drops a connection of a client that has had enough of it.
    pub fn close(&mut self, id: u32, link: &mut Link) {
        self.update_id(id, link, |_, link| {
            link.send(id, TcpClosed {});
            State::Ended
        });
    }

    /// Drops the connections of disconnected clients. Nothing more is sent for them.
    pub fn disconnect(&mut self, ids: impl RangeBounds<u32>) {
        for (_, token) in self.tokens.extract_if(ids, |_, _| true) {
            self.connections.remove(&token);
        }
    }

    /// Resumes or suspends reading, by the congestion of the link.
    pub fn update_watches(&mut self, link: &Link) {
        let listening = !link.congested();
        if listening != self.listening {
            self.listening = listening;
            self.connections.values_mut().for_each(|connection| connection.listen(listening));
        }
    }

    fn update_id(
        &mut self,
        id: u32,
        link: &mut Link,
        change: impl FnOnce(&mut Connection, &mut Link) -> State,
    ) {
        // It may have ended meanwhile, and the client was informed.
        if let Some(token) = self.tokens.get(&id).copied() {
            self.update(token, link, change);
        }
    }

    fn update(
        &mut self,
        token: u64,
        link: &mut Link,
        change: impl FnOnce(&mut Connection, &mut Link) -> State,
    ) {
        let Some(connection) = self.connections.get_mut(&token) else { return };
        if matches!(change(connection, link), State::Ended) {
            let id = connection.id();
            self.connections.remove(&token);
            self.tokens.remove(&id);
        }
    }
}

/// A failure without a system call.
fn failed(error: String) -> TcpFailed {
    TcpFailed { error, errno: None, errno_name: None }
}

/// Returns the addresses of a host: its own, or those of its name in the guest's `/etc/hosts`.
fn addresses(host: &str, port: u16) -> Vec<SocketAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let found = match bare.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) if host.eq_ignore_ascii_case("localhost") => {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        }
        Err(_) => named(&hosts(), host),
    };
    found.into_iter().map(|address| SocketAddr::new(address, port)).collect()
}

/// The guest's `/etc/hosts`; empty if it is no regular file.
fn hosts() -> String {
    let mut bytes = Vec::new();
    // Checked before opening: opening a device may have side effects.
    if fs::metadata(HOSTS).is_ok_and(|metadata| metadata.is_file())
        && let Ok(file) = crate::guest_file::options().read(true).open(HOSTS)
    {
        let _ = file.take(HOSTS_BYTES_MAX).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn named(hosts: &str, name: &str) -> Vec<IpAddr> {
    let of_line = |line: &str| {
        let mut words = line.split('#').next()?.split_ascii_whitespace();
        let address = words.next()?.parse().ok()?;
        words.any(|word| word.eq_ignore_ascii_case(name)).then_some(address)
    };
    hosts.lines().filter_map(of_line).collect()
}

#[cfg(test)]
mod tests;
