//! The name servers that are asked, those of the Sandboxfile or the host's, and the queries to them.

use hickory_proto::op::{Edns, Message, MessageType, OpCode};
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant, SystemTime};

/// The file that lists the host's name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How often the file is checked for changes.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// The number of servers that are used; resolv.conf(5) has the same limit.
const SERVERS_MAX: usize = 3;
const PORT: u16 = 53;
/// The timeout of each step of a query over TCP.
const TCP_TIMEOUT: Duration = Duration::from_secs(2);
/// The advertised UDP payload size, in bytes: small enough not to be fragmented.
const PAYLOAD_BYTES: u16 = 1232;

/// The current name servers.
#[derive(Default)]
pub(super) struct Upstreams {
    /// Those of the Sandboxfile; without any, the host's are asked.
    declared: Vec<SocketAddr>,
    servers: Vec<SocketAddr>,
    changed: Option<SystemTime>,
    refreshed: Option<Instant>,
}

impl Upstreams {
    /// The server for an attempt.
    pub(super) fn server(&mut self, attempt: usize, now: Instant) -> Option<SocketAddr> {
        if self.declared.is_empty() {
            self.refresh(now);
        }
        let servers = self.current();
        servers.get(attempt % servers.len().max(1)).copied()
    }

    pub(super) fn count(&self) -> usize {
        self.current().len()
    }

    /// Sets the servers of the Sandboxfile; returns whether they were others.
    pub(super) fn declare(&mut self, servers: Vec<SocketAddr>) -> bool {
        let changed = self.declared != servers;
        self.declared = servers;
        changed
    }

    fn current(&self) -> &[SocketAddr] {
        if self.declared.is_empty() { &self.servers } else { &self.declared }
    }

    fn refresh(&mut self, now: Instant) {
        if self.refreshed.is_some_and(|refreshed| now.saturating_duration_since(refreshed) < REFRESH_INTERVAL)
        {
            return;
        }
        self.refreshed = Some(now);
        let changed = std::fs::metadata(RESOLV_CONF).and_then(|metadata| metadata.modified()).ok();
        if changed.is_some() && changed == self.changed {
            return;
        }
        self.changed = changed;
        self.servers = parse_resolv_conf(&std::fs::read_to_string(RESOLV_CONF).unwrap_or_default());
    }
}

/// The servers that a resolv.conf lists; the local host if it lists none, see resolv.conf(5).
fn parse_resolv_conf(text: &str) -> Vec<SocketAddr> {
    let mut servers: Vec<SocketAddr> = text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            (words.next() == Some("nameserver")).then(|| words.next()).flatten()
        })
        .filter_map(|word| word.split('%').next()?.parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, PORT))
        .take(SERVERS_MAX)
        .collect();
    if servers.is_empty() {
        servers.push(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), PORT));
    }
    servers
}

/// The forwarded query: the guest's name and type alone, with an unpredictable id.
pub(super) fn question(theirs: &Message) -> Option<(u16, Vec<u8>)> {
    let id = u16::try_from(getrandom::u32().ok()? & 0xffff).ok()?;
    let mut message = Message::new();
    message.set_id(id).set_message_type(MessageType::Query).set_op_code(OpCode::Query);
    message.set_recursion_desired(true).add_query(theirs.query()?.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD_BYTES);
    message.set_edns(edns);
    Some((id, message.to_vec().ok()?))
}

/// Queries a server over TCP. It blocks, so it needs a thread of its own.
pub(crate) fn query_tcp(theirs: &Message, server: SocketAddr) -> Option<Vec<u8>> {
    let (id, bytes) = question(theirs)?;
    let mut stream = TcpStream::connect_timeout(&server, TCP_TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TCP_TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(TCP_TIMEOUT)).ok()?;
    let length = u16::try_from(bytes.len()).ok()?.to_be_bytes();
    stream.write_all(&[&length[..], &bytes].concat()).ok()?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).ok()?;
    let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut answer).ok()?;
    (answer.get(..2)? == id.to_be_bytes()).then_some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_parsed_as_resolvers_do() {
        let parse_resolv_conf =
            |text: &str| parse_resolv_conf(text).iter().map(ToString::to_string).collect::<Vec<_>>();
        let text = "# nameserver 9.9.9.9\nsearch a.test\nnameserver 1.2.3.4\nnameserver fe80::1%eth0\n\
                    nameserver what\nnameserver ::1 # here\nnameserver 5.6.7.8\n";
        assert_eq!(parse_resolv_conf(text), ["1.2.3.4:53", "[fe80::1]:53", "[::1]:53"]);
        assert_eq!(parse_resolv_conf(""), ["127.0.0.1:53"]);
    }
}
