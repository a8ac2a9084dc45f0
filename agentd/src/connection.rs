//! One TCP connection inside the guest, with its data in both directions.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use protocol::latest::{TCP_WINDOW_BYTES, TcpAck, TcpClosed, TcpConnected, TcpData, TcpEof, TcpFailed};
use rustix::event::epoll::EventFlags;
use rustix::io::{Errno, read};
use rustix::net::sockopt::{set_tcp_nodelay, socket_error};
use rustix::net::{
    AddressFamily, SendFlags, Shutdown, SocketFlags, SocketType, connect, send, shutdown, socket_with,
};

use crate::failure::errno_name;
use crate::link::Link;
use crate::pending::Pending;
use crate::watch::Watch;

/// The limit of data that waits for the connection's other end, in bytes: for clients that wait for acknowledgements, and
/// as much again for those that do not.
const WAITING_BYTES_MAX: usize = 2 * TCP_WINDOW_BYTES as usize;

/// Whether a connection goes on.
#[derive(Debug, PartialEq, Eq)]
pub enum State {
    Open,
    /// The client was told, and the connection is to be removed.
    Ended,
}

pub struct Connection {
    id: u32,
    token: u64,
    epoll: Rc<OwnedFd>,
    /// The socket; `None` before the first attempt.
    socket: Option<Watch>,
    connected: bool,
    /// The addresses that were not tried yet.
    addresses: VecDeque<SocketAddr>,
    waiting: Pending,
    /// The client sends no more, and the socket was shut down for writing.
    client_eof: bool,
    shut_down: bool,
    /// The other end sends no more.
    server_eof: bool,
    /// Whether both sides acknowledge data.
    acks: bool,
    written_bytes: u64,
    read_bytes: u64,
    acknowledged_bytes: u64,
    /// Whether the link accepts data.
    link_takes: bool,
}

impl Connection {
    pub fn new(id: u32, token: u64, epoll: &Rc<OwnedFd>, addresses: Vec<SocketAddr>, acks: bool) -> Self {
        Self {
            id,
            token,
            epoll: Rc::clone(epoll),
            socket: None,
            connected: false,
            addresses: addresses.into(),
            waiting: Pending::default(),
            client_eof: false,
            shut_down: false,
            server_eof: false,
            acks,
            written_bytes: 0,
            read_bytes: 0,
            acknowledged_bytes: 0,
            link_takes: true,
        }
    }

    pub fn id(&self) -> u32 {
        self.id
    }

    /// Tries the next address. The kernel gives up on one that is silent after about two minutes.
    pub fn connect_next(&mut self, link: &mut Link) -> State {
        let mut last = Errno::ADDRNOTAVAIL;
        while let Some(address) = self.addresses.pop_front() {
            match begin(&address) {
                Ok(socket) => {
                    self.socket = Some(Watch::new(&self.epoll, socket, self.token));
                    self.watch();
                    return State::Open;
                }
                Err(errno) => last = errno,
            }
        }
        self.fail(last, "cannot connect", link)
    }

    /// Handles an event on the socket.
    pub fn on_ready(&mut self, scratch: &mut [u8], link: &mut Link) -> State {
        let Some(socket) = &self.socket else { return State::Open };
        if !self.connected {
            match socket_error(socket) {
                Ok(Ok(())) => {}
                Ok(Err(errno)) | Err(errno) if self.addresses.is_empty() => {
                    return self.fail(errno, "cannot connect", link);
                }
                Ok(Err(_)) | Err(_) => return self.connect_next(link),
            }
            // What a client sends is a message of its own, and not the start of a longer one.
            let _ = set_tcp_nodelay(socket, true);
            self.connected = true;
            link.send(self.id, TcpConnected {});
        } else if self.reads()
            && let Some(state) = self.read(scratch, link)
        {
            return state;
        }
        self.write(link)
    }

    fn read(&mut self, scratch: &mut [u8], link: &mut Link) -> Option<State> {
        let socket = self.socket.as_ref()?;
        match read(socket, &mut *scratch) {
            Ok(0) => {
                self.server_eof = true;
                link.send(self.id, TcpEof {});
            }
            Ok(count) => {
                self.read_bytes += count as u64;
                link.send(self.id, TcpData { data: scratch[..count].to_vec() });
            }
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Some(self.fail(errno, "the connection broke", link)),
        }
        None
    }

    /// Queues data of the client.
    pub fn take_data(&mut self, data: Vec<u8>, link: &mut Link) -> State {
        if self.client_eof {
            return self.fail(Errno::PIPE, "data came after its end", link);
        }
        if self.waiting.bytes() + data.len() > WAITING_BYTES_MAX {
            let what = "the other end does not read: ask for acknowledgements and wait for them";
            return self.fail(Errno::NOBUFS, what, link);
        }
        self.waiting.push(data);
        self.write(link)
    }

    pub fn take_eof(&mut self, link: &mut Link) -> State {
        self.client_eof = true;
        self.write(link)
    }

    /// Records an acknowledgement. It cannot exceed what was sent, nor decrease.
    pub fn take_ack(&mut self, bytes: u64) -> State {
        self.acknowledged_bytes = self.acknowledged_bytes.max(bytes.min(self.read_bytes));
        self.watch();
        State::Open
    }

    /// Resumes or suspends reading, by the congestion of the link.
    pub fn listen(&mut self, link_takes: bool) {
        self.link_takes = link_takes;
        self.watch();
    }

    /// Writes what the socket accepts; ends the connection when both directions have ended.
    fn write(&mut self, link: &mut Link) -> State {
        let Some(socket) = self.socket.as_ref().filter(|_| self.connected) else { return State::Open };
        let before = self.written_bytes;
        while let Some(first) = self.waiting.first() {
            match send(socket, first, SendFlags::NOSIGNAL) {
                Ok(count) => {
                    self.written_bytes += count as u64;
                    self.waiting.advance(count);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return self.fail(errno, "the connection broke", link),
            }
        }
        if self.waiting.is_empty() && self.client_eof && !self.shut_down {
            self.shut_down = true;
            let _ = shutdown(socket, Shutdown::Write);
        }
        if self.acks && self.written_bytes != before {
            link.send(self.id, TcpAck { bytes: self.written_bytes });
        }
        if self.shut_down && self.server_eof {
            link.send(self.id, TcpClosed {});
            return State::Ended;
        }
        self.watch();
        State::Open
    }

    /// Whether data of the other end is read.
    fn reads(&self) -> bool {
        let is_in_window = !self.acks || self.read_bytes - self.acknowledged_bytes < TCP_WINDOW_BYTES;
        self.connected && !self.server_eof && self.link_takes && is_in_window
    }

    fn watch(&mut self) {
        let mut interest = EventFlags::empty();
        interest.set(EventFlags::IN, self.reads());
        interest.set(EventFlags::OUT, !self.connected || !self.waiting.is_empty());
        if let Some(socket) = &mut self.socket {
            let _ = socket.want(interest);
        }
    }

    fn fail(&self, errno: Errno, what: &str, link: &mut Link) -> State {
        let raw = errno.raw_os_error();
        let name = errno_name(raw).map(str::to_owned);
        let reason = name.clone().unwrap_or_else(|| errno.to_string());
        let error = format!("{what} ({reason})");
        link.send(self.id, TcpFailed { error, errno: Some(raw), errno_name: name });
        State::Ended
    }
}

/// Begins to connect to an address.
fn begin(address: &SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    match connect(&socket, address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
