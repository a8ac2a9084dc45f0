//! The queue of frames to the guest, and the device that the TCP engine writes to.

use crate::wire::{ETHERNET_BYTES, ethernet_header};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use smoltcp::phy::{Checksum, ChecksumCapabilities, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use smoltcp::wire::EthernetProtocol;
use std::os::fd::AsFd;

/// The length prefix of a frame, in bytes.
pub const LENGTH_BYTES: usize = 4;
/// The queue length at which connections stop adding to it, in bytes.
const HIGH_WATER_BYTES: usize = 1024 * 1024;

/// Frames that the VM has not read yet, as one stream.
#[derive(Default)]
pub struct TxQueue {
    bytes: Vec<u8>,
    sent: usize,
    /// The bytes of all frames so far, without their length prefixes.
    total: u64,
}

impl TxQueue {
    /// Appends a frame.
    pub fn frame(&mut self, frame: &[u8]) {
        self.total += frame.len() as u64;
        let length = u32::try_from(frame.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(frame);
    }

    /// Whether the queue is over its high-water mark.
    pub fn is_congested(&self) -> bool {
        self.bytes.len() - self.sent > HIGH_WATER_BYTES
    }

    /// Returns the bytes of all frames so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Whether the queue is empty.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Sends as much as the link takes.
    ///
    /// # Errors
    ///
    /// If the VM is gone.
    pub fn flush(&mut self, link: impl AsFd) -> Result<(), Errno> {
        while self.sent < self.bytes.len() {
            match send(&link, &self.bytes[self.sent..], SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent > HIGH_WATER_BYTES {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(())
    }

    fn packet<R>(&mut self, length: usize, write: impl FnOnce(&mut [u8]) -> R) -> R {
        self.total += (ETHERNET_BYTES + length) as u64;
        let frame = u32::try_from(ETHERNET_BYTES + length).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&frame.to_be_bytes());
        let header = self.bytes.len();
        self.bytes.resize(header + ETHERNET_BYTES + length, 0);
        let packet = &mut self.bytes[header + ETHERNET_BYTES..];
        let result = write(packet);
        let ethertype = match packet.first().map(|first| first >> 4) {
            Some(6) => EthernetProtocol::Ipv6,
            _ => EthernetProtocol::Ipv4,
        };
        self.bytes[header..header + ETHERNET_BYTES].copy_from_slice(&ethernet_header(ethertype));
        result
    }
}

/// The link as the TCP engine sees it for one call: at most one packet to receive, and the queue to send to.
pub struct LinkDevice<'a> {
    pub rx: Option<&'a [u8]>,
    pub tx: &'a mut TxQueue,
    pub mtu: usize,
}

impl Device for LinkDevice<'_> {
    type RxToken<'a>
        = RxPacket<'a>
    where
        Self: 'a;
    type TxToken<'a>
        = TxSpace<'a>
    where
        Self: 'a;

    fn receive(&mut self, _now: Instant) -> Option<(RxPacket<'_>, TxSpace<'_>)> {
        // A packet has at most one reply, and a short one.
        let packet = self.rx.take()?;
        Some((RxPacket(packet), TxSpace(self.tx)))
    }

    fn transmit(&mut self, _now: Instant) -> Option<TxSpace<'_>> {
        (!self.tx.is_congested()).then_some(TxSpace(self.tx))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu;
        // The link is local and loses nothing. A guest that corrupts its own TCP harms itself alone.
        let mut checksums = ChecksumCapabilities::ignored();
        (checksums.ipv4, checksums.tcp) = (Checksum::Tx, Checksum::Tx);
        capabilities.checksum = checksums;
        capabilities
    }
}

/// A received packet.
pub struct RxPacket<'a>(&'a [u8]);

impl RxToken for RxPacket<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(self.0)
    }
}

/// Space for a packet in the queue.
pub struct TxSpace<'a>(&'a mut TxQueue);

impl TxToken for TxSpace<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        self.0.packet(length, write)
    }
}
