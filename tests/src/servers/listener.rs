//! Receives connections from `tests/outside.py`, and serves them.

use super::http;
use super::record::{Record, Records};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use tokio::io::Interest;
use tokio::net::{UnixListener, UnixStream};
use tokio_rustls::TlsAcceptor;

/// The ports at which clients speak TLS.
const TLS_PORTS: [u16; 2] = [443, 8443];

/// Serves all connections, by the addresses of the servers.
pub async fn serve(
    listener: std::os::unix::net::UnixListener,
    servers: &BTreeMap<String, TlsAcceptor>,
    records: &Records,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = UnixListener::from_std(listener)?;
    loop {
        let (from, _) = listener.accept().await?;
        let Ok((address, port, stream)) = from.async_io(Interest::READABLE, || receive(&from)).await else {
            continue;
        };
        let acceptor = servers.get(&address).cloned().filter(|_| TLS_PORTS.contains(&port));
        start(stream, acceptor, records.begin(&address, port));
    }
}

/// Serves all connections at a port.
pub async fn serve_port(listener: TcpListener, acceptor: &TlsAcceptor, records: &Records) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let stream = listener.accept().await?.0.into_std()?;
        start(stream, Some(acceptor.clone()), records.begin(&address.ip().to_string(), address.port()));
    }
}

fn start(stream: TcpStream, acceptor: Option<TlsAcceptor>, record: Record) {
    tokio::spawn(async move {
        if let Err(error) = converse(stream, acceptor, &record).await {
            record.fail(&error);
        }
    });
}

/// Receives a connection with the address and the port that it was accepted at.
fn receive(from: &UnixStream) -> io::Result<(String, u16, TcpStream)> {
    let mut text = [0; 128];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(from, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptor = descriptors.flatten().next().ok_or(io::ErrorKind::InvalidData)?;
    let text = String::from_utf8_lossy(&text[..received.bytes]).into_owned();
    let (address, port) = text.split_once(' ').ok_or(io::ErrorKind::InvalidData)?;
    let port = port.parse().map_err(|_| io::ErrorKind::InvalidData)?;
    Ok((address.to_owned(), port, TcpStream::from(descriptor)))
}

async fn converse(stream: TcpStream, acceptor: Option<TlsAcceptor>, record: &Record) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    let stream = tokio::net::TcpStream::from_std(stream)?;
    let Some(acceptor) = acceptor else { return http::serve(record.of(stream), false, record).await };
    let stream = acceptor.accept(stream).await?;
    let session = stream.get_ref().1;
    let protocol = session.alpn_protocol().map(|name| String::from_utf8_lossy(name).into_owned());
    record.greeted(session.server_name().map(str::to_owned), protocol.clone());
    http::serve(record.of(stream), protocol.as_deref() == Some("h2"), record).await
}
