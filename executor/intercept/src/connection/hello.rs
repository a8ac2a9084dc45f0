//! The first bytes of a connection, which say what it carries.

use crate::event::Reason;
use rustls::server::{Accepted, Acceptor};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The most bytes of a ClientHello with its records. A handshake message of rustls has at most 64 KiB.
const HELLO_BYTES_MAX: usize = 80 * 1024;
/// The longest method of HTTP that is recognized.
const METHOD_BYTES_MAX: usize = 16;

/// The side that sends first.
pub(super) enum First {
    /// The guest does, or it closed its side.
    Guest,
    /// The server does, or it closed the connection.
    Server,
}

/// Waits until one side has sent something.
pub(super) async fn first(guest: &TcpStream, upstream: &TcpStream) -> io::Result<First> {
    let (mut of_guest, mut of_server) = ([0], [0]);
    tokio::select! {
        biased;
        peeked = guest.peek(&mut of_guest) => peeked.map(|_| First::Guest),
        peeked = upstream.peek(&mut of_server) => peeked.map(|_| First::Server),
    }
}

/// The begin of a connection.
pub(crate) enum Hello {
    /// A ClientHello.
    Tls {
        accepted: Box<Accepted>,
        /// All bytes that were read.
        raw: Vec<u8>,
        /// Those that rustls has not consumed.
        rest: Vec<u8>,
    },
    /// Something else.
    Other {
        /// All bytes that were read.
        raw: Vec<u8>,
    },
}

/// Reads a ClientHello. The caller limits the time.
pub(crate) async fn read<S>(guest: &mut S) -> io::Result<Result<Hello, Reason>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut acceptor = Acceptor::default();
    let mut raw = Vec::new();
    let mut consumed = 0;
    let mut buffer = vec![0; 4096];
    loop {
        let length = guest.read(&mut buffer).await?;
        raw.extend_from_slice(&buffer[..length]);
        if !is_tls(&raw) {
            return Ok(Ok(Hello::Other { raw }));
        }
        if length == 0 {
            return Ok(Err(Reason::Handshake("it ends too early".to_owned())));
        }
        if raw.len() < 2 {
            continue;
        }
        while consumed < raw.len() {
            let mut unread = &raw[consumed..];
            let taken = acceptor.read_tls(&mut unread)?;
            consumed += taken;
            match acceptor.accept() {
                Ok(Some(accepted)) => {
                    let rest = raw[consumed..].to_vec();
                    return Ok(Ok(Hello::Tls { accepted: Box::new(accepted), raw, rest }));
                }
                Ok(None) if taken == 0 => break,
                Ok(None) => {}
                Err((error, mut alert)) => {
                    let mut bytes = Vec::new();
                    alert.write_all(&mut bytes)?;
                    guest.write_all(&bytes).await?;
                    return Ok(Err(Reason::Handshake(error.to_string())));
                }
            }
        }
        if raw.len() > HELLO_BYTES_MAX {
            return Ok(Err(Reason::Handshake("it is too long".to_owned())));
        }
    }
}

/// Returns whether the bytes can be the begin of a TLS record with a handshake.
fn is_tls(bytes: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    const MAJOR_VERSION: u8 = 3;
    bytes.first() == Some(&HANDSHAKE) && bytes.get(1).is_none_or(|byte| *byte == MAJOR_VERSION)
}

/// The protocol of a connection without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plain {
    Http1,
    Http2,
    Other,
}

/// Reads the method of the first request, and returns the bytes with what they are.
pub(super) async fn read_method(guest: &mut TcpStream) -> io::Result<(Plain, Vec<u8>)> {
    let mut raw = Vec::new();
    let mut buffer = [0; METHOD_BYTES_MAX];
    loop {
        let length = guest.read(&mut buffer).await?;
        raw.extend_from_slice(&buffer[..length]);
        match plain(&raw) {
            Some(plain) => return Ok((plain, raw)),
            None if length == 0 || raw.len() > METHOD_BYTES_MAX => return Ok((Plain::Other, raw)),
            None => {}
        }
    }
}

/// The protocol that begins with some bytes; `None` if that needs more of them.
fn plain(bytes: &[u8]) -> Option<Plain> {
    const HTTP_2: &[u8] = b"PRI * HTTP/2";
    // HTTP permits empty lines before a request.
    let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let bytes = &bytes[blank..];
    if bytes.starts_with(HTTP_2) {
        return Some(Plain::Http2);
    }
    if HTTP_2.starts_with(bytes) {
        return None;
    }
    let method = bytes.iter().take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'-').count();
    match bytes.get(method) {
        Some(b' ') if method > 0 => Some(Plain::Http1),
        None => None,
        Some(_) => Some(Plain::Other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_are_recognized_by_their_first_bytes() {
        assert_eq!(plain(b"GET / HTTP/1.1"), Some(Plain::Http1));
        assert_eq!(plain(b"\r\nPOST /"), Some(Plain::Http1));
        assert_eq!(plain(b"M-SEARCH *"), Some(Plain::Http1));
        assert_eq!(plain(b"PROPFI"), None);
        assert_eq!(plain(b"PRI * HTTP/2.0\r\n"), Some(Plain::Http2));
        assert_eq!(plain(b"PRI * H"), None);
        assert_eq!(plain(b"SSH-2.0-OpenSSH"), Some(Plain::Other));
        assert_eq!(plain(b" GET"), Some(Plain::Other));
        assert_eq!(plain(b"\0"), Some(Plain::Other));
        assert!(is_tls(&[22, 3, 1]) && is_tls(&[22]));
        assert!(!is_tls(&[22, 2]) && !is_tls(b"GET") && !is_tls(&[]));
    }
}
