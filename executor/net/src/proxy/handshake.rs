//! The handshakes with a proxy, without input and output.
//!
//! ```text
//! HTTP:    CONNECT ──────────────────────────────► 2xx: open
//! SOCKS5:  methods ─► [user and password] ─► CONNECT ─► success: open
//! ```
//!
//! Architecture invariant: the proxy is hostile. No byte after the last answer is consumed, as it is the server's.

use super::{Destination, ProxyFailure, UpstreamProxy};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rules::proxy::ProxyScheme;
use std::net::IpAddr;
use zeroize::Zeroizing;

/// The most bytes of all heads of an HTTP proxy's answers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most header fields of one answer.
const HEADERS_MAX: usize = 128;
/// The start of each HTTP answer.
const HTTP_START: &[u8] = b"HTTP/1.";
/// The version byte of SOCKS5.
const SOCKS_VERSION: u8 = 5;
/// The version byte of the exchange of user and password.
const AUTHENTICATION_VERSION: u8 = 1;
/// The method without a user.
const METHOD_NONE: u8 = 0;
/// The method of a user and a password.
const METHOD_PASSWORD: u8 = 2;
/// The answer that no offered method is accepted.
const METHOD_REFUSED: u8 = 0xff;
/// The longest user, password or name of SOCKS5, in bytes.
const SOCKS_TEXT_BYTES_MAX: usize = 255;

/// Bytes to send, which may contain the password.
pub(crate) type Outgoing = Zeroizing<Vec<u8>>;

/// What follows received bytes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// More bytes are needed.
    More,
    /// These are sent.
    Send(Outgoing),
    /// The connection to the server is open.
    Open,
}

/// A handshake.
pub(crate) struct Handshake {
    state: State,
    has_credentials: bool,
    /// The answer so far.
    answer: Vec<u8>,
    /// The number of bytes of earlier answers of an HTTP proxy.
    earlier_bytes: usize,
}

enum State {
    Http,
    /// SOCKS5 has still to choose a method.
    Method {
        authentication: Option<Outgoing>,
        request: Outgoing,
    },
    /// SOCKS5 checks the password.
    Authentication {
        request: Outgoing,
    },
    /// SOCKS5 connects.
    Reply,
}

impl Handshake {
    /// Starts a handshake; returns it with the bytes to send first.
    ///
    /// # Errors
    ///
    /// If the protocol cannot carry the password or the name.
    pub(crate) fn start(
        UpstreamProxy { url, password }: &UpstreamProxy,
        destination: &Destination,
    ) -> Result<(Self, Outgoing), ProxyFailure> {
        let password = password.as_ref().map(|password| password.as_slice()).unwrap_or_default();
        let credentials = url.user().map(|user| (user.as_bytes(), password));
        let (state, first) = match url.scheme() {
            ProxyScheme::Http => (State::Http, connect_request(destination, credentials)),
            ProxyScheme::Socks5 => {
                let authentication = credentials.map(authentication).transpose()?;
                let first: &[u8] = if authentication.is_some() {
                    &[SOCKS_VERSION, 2, METHOD_NONE, METHOD_PASSWORD]
                } else {
                    &[SOCKS_VERSION, 1, METHOD_NONE]
                };
                let request = socks_request(destination)?;
                (State::Method { authentication, request }, Zeroizing::new(first.to_vec()))
            }
        };
        let has_credentials = credentials.is_some();
        Ok((Self { state, has_credentials, answer: Vec::new(), earlier_bytes: 0 }, first))
    }

    /// Takes received bytes; returns how many of them are the proxy's, and what follows. The others are to be passed again.
    ///
    /// # Errors
    ///
    /// If the proxy refuses, or answers anything else than the protocol says.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(usize, Next), ProxyFailure> {
        for (position, byte) in bytes.iter().enumerate() {
            self.answer.push(*byte);
            let next = match &self.state {
                State::Http => self.http_byte()?,
                State::Method { .. } | State::Authentication { .. } | State::Reply => self.socks_byte()?,
            };
            if next != Next::More {
                return Ok((position + 1, next));
            }
        }
        Ok((bytes.len(), Next::More))
    }

    fn http_byte(&mut self) -> Result<Next, ProxyFailure> {
        let length = self.answer.len().min(HTTP_START.len());
        if self.answer[..length] != HTTP_START[..length] {
            return Err(ProxyFailure::Malformed);
        }
        if self.earlier_bytes + self.answer.len() > HEAD_BYTES_MAX {
            return Err(ProxyFailure::Malformed);
        }
        if !self.answer.ends_with(b"\n\r\n") && !self.answer.ends_with(b"\n\n") {
            return Ok(Next::More);
        }
        let head = std::mem::take(&mut self.answer);
        self.earlier_bytes += head.len();
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        match (response.parse(&head), response.code) {
            (Ok(httparse::Status::Complete(length)), Some(status)) if length == head.len() => match status {
                // An interim answer.
                100..=199 if status != 101 => Ok(Next::More),
                200..=299 => Ok(Next::Open),
                // Some answer 401 to wrong ones.
                401 | 407 if self.has_credentials => Err(ProxyFailure::WrongCredentials),
                407 => Err(ProxyFailure::NeedsCredentials),
                status => Err(ProxyFailure::Status { status }),
            },
            _ => Err(ProxyFailure::Malformed),
        }
    }

    fn socks_byte(&mut self) -> Result<Next, ProxyFailure> {
        match (&mut self.state, self.answer.as_slice()) {
            (State::Authentication { .. }, [version, ..]) if *version != AUTHENTICATION_VERSION => {
                Err(ProxyFailure::Malformed)
            }
            (State::Method { .. } | State::Reply, [version, ..]) if *version != SOCKS_VERSION => {
                Err(ProxyFailure::Malformed)
            }
            (State::Method { authentication, request }, [_, method]) => {
                let (method, request) = (*method, std::mem::take(request));
                let authentication = authentication.take();
                self.answer.clear();
                match (method, authentication) {
                    (METHOD_NONE, _) => {
                        self.state = State::Reply;
                        Ok(Next::Send(request))
                    }
                    (METHOD_PASSWORD, Some(authentication)) => {
                        self.state = State::Authentication { request };
                        Ok(Next::Send(authentication))
                    }
                    (METHOD_REFUSED, None) => Err(ProxyFailure::NeedsCredentials),
                    (METHOD_REFUSED, Some(_)) => Err(ProxyFailure::WrongCredentials),
                    _ => Err(ProxyFailure::Malformed),
                }
            }
            (State::Authentication { request }, [_, status]) => {
                if *status != 0 {
                    return Err(ProxyFailure::WrongCredentials);
                }
                let request = std::mem::take(request);
                self.answer.clear();
                self.state = State::Reply;
                Ok(Next::Send(request))
            }
            (State::Reply, [_, reply]) if *reply != 0 => Err(ProxyFailure::Reply { reply: *reply }),
            (State::Reply, [_, _, _, kind, rest @ ..]) => {
                let address = match (kind, rest) {
                    (1, _) => 4,
                    (4, _) => 16,
                    (3, [length, ..]) => 1 + usize::from(*length),
                    (3, []) => return Ok(Next::More),
                    _ => return Err(ProxyFailure::Malformed),
                };
                // A port follows.
                Ok(if rest.len() == address + 2 { Next::Open } else { Next::More })
            }
            _ => Ok(Next::More),
        }
    }
}

/// The request of HTTP.
fn connect_request(destination: &Destination, credentials: Option<(&[u8], &[u8])>) -> Outgoing {
    let mut request = Zeroizing::new(Vec::new());
    let start = format!("CONNECT {destination} HTTP/1.1\r\nHost: {destination}\r\n");
    // Reserved, so that no copy of the password is left behind in memory.
    let password_bytes = credentials.map_or(0, |(user, password)| user.len() + password.len());
    request.reserve_exact(start.len() + 64 + 2 * password_bytes);
    request.extend_from_slice(start.as_bytes());
    if let Some((user, password)) = credentials {
        let plain = Zeroizing::new([user, b":", password].concat());
        let encoded = Zeroizing::new(STANDARD.encode(&plain));
        request.extend_from_slice(b"Proxy-Authorization: Basic ");
        request.extend_from_slice(encoded.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// The user and the password of SOCKS5.
fn authentication((user, password): (&[u8], &[u8])) -> Result<Outgoing, ProxyFailure> {
    let length = |text: &[u8]| u8::try_from(text.len()).map_err(|_| ProxyFailure::PasswordTooLong);
    let (user_bytes, password_bytes) = (length(user)?, length(password)?);
    let mut message = Zeroizing::new(Vec::with_capacity(3 + 2 * SOCKS_TEXT_BYTES_MAX));
    message.extend_from_slice(&[AUTHENTICATION_VERSION, user_bytes]);
    message.extend_from_slice(user);
    message.push(password_bytes);
    message.extend_from_slice(password);
    Ok(message)
}

/// The request of SOCKS5.
fn socks_request(destination: &Destination) -> Result<Outgoing, ProxyFailure> {
    let mut request = Zeroizing::new(vec![SOCKS_VERSION, 1, 0]);
    let port = match destination {
        Destination::Address(address) => {
            match address.ip() {
                IpAddr::V4(ip) => {
                    request.push(1);
                    request.extend_from_slice(&ip.octets());
                }
                IpAddr::V6(ip) => {
                    request.push(4);
                    request.extend_from_slice(&ip.octets());
                }
            }
            address.port()
        }
        Destination::Name(name, port) => {
            // A name of DNS is shorter than the limit.
            let length = u8::try_from(name.as_str().len()).map_err(|_| ProxyFailure::Reply { reply: 8 })?;
            request.extend_from_slice(&[3, length]);
            request.extend_from_slice(name.as_str().as_bytes());
            *port
        }
    };
    request.extend_from_slice(&port.to_be_bytes());
    Ok(request)
}

#[cfg(test)]
mod tests;
