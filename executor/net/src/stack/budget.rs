//! The host's memory and descriptors that the flows of a stack may take, with a quota for each kind of flow, so that no
//! kind starves another.
//!
//! Memory is counted as if every buffer were full: a guest and a remote of its own can fill them all.

use rustix::process::{Resource, getrlimit};

/// The largest buffer of a connection and direction, in bytes.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// The smallest buffer of a connection and direction, in bytes.
const BUFFER_BYTES_MIN: usize = 16 * 1024;
/// The divisor for a connection's share of what is left of its quota: early ones get the largest buffers, and a
/// thousand of them leave some for the next one.
const QUOTA_FRACTION: usize = 16;
/// Descriptors that are reserved for everything else: control and relay clients, disks, logs, published ports.
const DESCRIPTORS_RESERVED: usize = 512;
/// The descriptors of an intercepted connection: the pair to the proxy, and the connection to the server.
const DESCRIPTORS_OF_INTERCEPTED: usize = 3;
/// The number of parts that the other descriptors are divided into.
const DESCRIPTOR_PARTS: usize = 32;

/// The kind of a flow, in the order of the quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowKind {
    /// From the guest to the outside, the host, and peers.
    Outbound,
    /// From the guest to the name server.
    NameServer,
    /// From a published port to the guest.
    Published,
    /// From a peer to the guest.
    Peers,
}

/// The quota of one kind.
#[derive(Debug)]
struct Quota {
    taken: usize,
    connections: usize,
    /// The memory that is left beyond the smallest buffers, in bytes.
    bytes: usize,
}

impl Quota {
    fn new(connections: usize, mebibytes: usize) -> Self {
        Self { taken: 0, connections, bytes: mebibytes * 1024 * 1024 }
    }
}

/// The reservation of one connection, until it is released.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    kind: FlowKind,
    /// The size of each of the connection's two buffers, in bytes.
    pub buffer_bytes: usize,
}

/// The budget of one stack.
#[derive(Debug)]
pub struct Budget {
    /// By kind.
    quotas: [Quota; 4],
    /// The limit of UDP flows.
    pub udp_flows: usize,
}

impl Budget {
    /// The budget of a process with its current descriptor limit.
    ///
    /// `intercepts`: connections may be intercepted, which takes more descriptors.
    pub fn of_process(intercepts: bool) -> Self {
        let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
        Self::new(limit.unwrap_or(usize::MAX), intercepts)
    }

    /// The budget of a process with this many descriptors.
    pub fn new(descriptors: usize, intercepts: bool) -> Self {
        let part = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(DESCRIPTOR_PARTS) / DESCRIPTOR_PARTS;
        let capped = |most: usize, parts: usize| most.min(part.saturating_mul(parts));
        let each = if intercepts { DESCRIPTORS_OF_INTERCEPTED } else { 1 };
        let outbound = Quota::new(capped(2048 * each, 10) / each, 48);
        // These take memory for answers but no descriptors.
        let name_server = Quota::new(64, 0);
        let published = Quota::new(capped(2048, 10), 32);
        let peers = Quota::new(capped(512, 4), 16);
        Self { quotas: [outbound, name_server, published, peers], udp_flows: capped(1024, 6) }
    }

    /// Reserves resources for a connection; `None` if the quota is used up.
    pub fn reserve(&mut self, kind: FlowKind) -> Option<Grant> {
        let quota = &mut self.quotas[kind as usize];
        if quota.taken >= quota.connections {
            return None;
        }
        let mut buffer_bytes = BUFFER_BYTES_MAX;
        while buffer_bytes > BUFFER_BYTES_MIN && 2 * buffer_bytes > quota.bytes / QUOTA_FRACTION {
            buffer_bytes /= 2;
        }
        quota.taken += 1;
        quota.bytes -= above_minimum(buffer_bytes);
        Some(Grant { kind, buffer_bytes })
    }

    /// Returns the reservation of an ended connection.
    pub fn release(&mut self, grant: Grant) {
        let quota = &mut self.quotas[grant.kind as usize];
        quota.taken -= 1;
        quota.bytes += above_minimum(grant.buffer_bytes);
    }

    /// The limit of connections of a kind.
    pub fn connections(&self, kind: FlowKind) -> usize {
        self.quotas[kind as usize].connections
    }
}

/// The memory of two buffers beyond the smallest size, in bytes.
fn above_minimum(buffer_bytes: usize) -> usize {
    2 * (buffer_bytes - BUFFER_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [FlowKind; 4] =
        [FlowKind::Outbound, FlowKind::NameServer, FlowKind::Published, FlowKind::Peers];

    #[test]
    fn all_connections_together_stay_below_256_mebibytes() {
        let mut budget = Budget::new(usize::MAX, false);
        let mut grants = Vec::new();
        for kind in KINDS {
            let before = grants.len();
            grants.extend(std::iter::from_fn(|| budget.reserve(kind)));
            assert_eq!(grants.len() - before, budget.connections(kind));
        }
        let bytes: usize = grants.iter().map(|grant| 2 * grant.buffer_bytes).sum();
        assert!(bytes <= 256 * 1024 * 1024, "{bytes}");
        assert_eq!(grants[0].buffer_bytes, BUFFER_BYTES_MAX);
        assert_eq!(grants[2047].buffer_bytes, BUFFER_BYTES_MIN);
        for grant in grants {
            budget.release(grant);
        }
        assert_eq!(budget.reserve(FlowKind::Outbound).unwrap().buffer_bytes, BUFFER_BYTES_MAX);
    }

    #[test]
    fn no_kind_of_flow_starves_another() {
        for full in KINDS {
            let mut budget = Budget::new(4096, false);
            while budget.reserve(full).is_some() {}
            for other in KINDS.into_iter().filter(|kind| *kind != full) {
                assert!(budget.reserve(other).is_some(), "{full:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_low_descriptor_limit_leaves_the_reserve() {
        for descriptors in [1024, 4096, 65_536] {
            let budget = Budget::new(descriptors, false);
            let sockets = KINDS.into_iter().filter(|kind| *kind != FlowKind::NameServer);
            let taken: usize = sockets.map(|kind| budget.connections(kind)).sum::<usize>() + budget.udp_flows;
            assert!(taken + DESCRIPTORS_RESERVED <= descriptors, "{descriptors}: {taken}");
            assert!(budget.connections(FlowKind::Peers) > 0);
            let intercepting = Budget::new(descriptors, true);
            let outbound = intercepting.connections(FlowKind::Outbound);
            assert!((1..=budget.connections(FlowKind::Outbound)).contains(&outbound), "{outbound}");
            assert!(outbound * DESCRIPTORS_OF_INTERCEPTED <= (descriptors - DESCRIPTORS_RESERVED) / 3);
        }
    }
}
