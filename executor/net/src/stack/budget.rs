//! What the connections of a stack may take of the host: memory and descriptors, with a share for each way in or out,
//! so that no way starves another.
//!
//! Memory is counted as if every buffer were full: a guest and a peer of its own can fill them all.

use rustix::process::{Resource, getrlimit};

/// The largest buffer of a connection and direction, in bytes.
const BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// The smallest, which every connection has for certain.
const BUFFER_BYTES_MIN: usize = 16 * 1024;
/// A connection takes at most this part of what is left of its way's memory: early ones get the largest buffers, and
/// a thousand of them do not leave the next one without any.
const PART: usize = 16;
/// Descriptors that stay for everything else: control and relay clients, disks, logs, published ports.
const DESCRIPTORS_RESERVED: usize = 512;
/// The descriptors are shared out in so many parts.
const DESCRIPTOR_PARTS: usize = 32;

/// The way of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// From the guest to the outside, the host, and other sandboxes.
    Outbound,
    /// From the guest to the name server in here.
    Names,
    /// From a published port to the guest.
    Published,
    /// From another sandbox to the guest.
    Neighbors,
}

/// How much one way may take.
#[derive(Debug)]
struct Share {
    taken: usize,
    connections: usize,
    /// What is left of the memory above the smallest buffers, in bytes.
    bytes: usize,
}

impl Share {
    fn new(connections: usize, mebibytes: usize) -> Self {
        Self { taken: 0, connections, bytes: mebibytes * 1024 * 1024 }
    }
}

/// What a connection has of the budget until it gives it back.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    side: Side,
    /// How large each of the connection's two buffers is, in bytes.
    pub buffer_bytes: usize,
}

/// The budget of one stack.
#[derive(Debug)]
pub struct Budget {
    outbound: Share,
    names: Share,
    published: Share,
    neighbors: Share,
    /// How many conversations over UDP there may be.
    pub conversations: usize,
}

impl Budget {
    /// The budget of a process with its present limit of descriptors.
    pub fn of_process() -> Self {
        let limit = getrlimit(Resource::Nofile).current.and_then(|limit| usize::try_from(limit).ok());
        Self::new(limit.unwrap_or(usize::MAX))
    }

    /// The budget of a process that may have so many descriptors.
    pub fn new(descriptors: usize) -> Self {
        let part = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(DESCRIPTOR_PARTS) / DESCRIPTOR_PARTS;
        let most = |most: usize, parts: usize| most.min(part.saturating_mul(parts));
        Self {
            outbound: Share::new(most(2048, 10), 48),
            // These take no descriptors, but memory for answers.
            names: Share::new(64, 0),
            published: Share::new(most(2048, 10), 32),
            neighbors: Share::new(most(512, 4), 16),
            conversations: most(1024, 6),
        }
    }

    /// Room for one more connection; nothing where its way has all it may have.
    pub fn take(&mut self, side: Side) -> Option<Grant> {
        let share = self.share(side);
        if share.taken >= share.connections {
            return None;
        }
        let mut buffer_bytes = BUFFER_BYTES_MAX;
        while buffer_bytes > BUFFER_BYTES_MIN && 2 * buffer_bytes > share.bytes / PART {
            buffer_bytes /= 2;
        }
        share.taken += 1;
        share.bytes -= above_least(buffer_bytes);
        Some(Grant { side, buffer_bytes })
    }

    /// Takes back what a connection had that has ended.
    pub fn give_back(&mut self, grant: Grant) {
        let share = self.share(grant.side);
        share.taken -= 1;
        share.bytes += above_least(grant.buffer_bytes);
    }

    /// How many connections of a way there may be.
    pub fn connections(&self, side: Side) -> usize {
        match side {
            Side::Outbound => self.outbound.connections,
            Side::Names => self.names.connections,
            Side::Published => self.published.connections,
            Side::Neighbors => self.neighbors.connections,
        }
    }

    fn share(&mut self, side: Side) -> &mut Share {
        match side {
            Side::Outbound => &mut self.outbound,
            Side::Names => &mut self.names,
            Side::Published => &mut self.published,
            Side::Neighbors => &mut self.neighbors,
        }
    }
}

/// What two buffers take beyond the smallest ones, in bytes.
fn above_least(buffer_bytes: usize) -> usize {
    2 * (buffer_bytes - BUFFER_BYTES_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDES: [Side; 4] = [Side::Outbound, Side::Names, Side::Published, Side::Neighbors];

    #[test]
    fn all_connections_together_stay_below_256_mebibytes() {
        let mut budget = Budget::new(usize::MAX);
        let mut grants = Vec::new();
        for side in SIDES {
            let before = grants.len();
            grants.extend(std::iter::from_fn(|| budget.take(side)));
            assert_eq!(grants.len() - before, budget.connections(side));
        }
        let bytes: usize = grants.iter().map(|grant| 2 * grant.buffer_bytes).sum();
        assert!(bytes <= 256 * 1024 * 1024, "{bytes}");
        assert_eq!(grants[0].buffer_bytes, BUFFER_BYTES_MAX);
        assert_eq!(grants[2047].buffer_bytes, BUFFER_BYTES_MIN);
        for grant in grants {
            budget.give_back(grant);
        }
        assert_eq!(budget.take(Side::Outbound).unwrap().buffer_bytes, BUFFER_BYTES_MAX);
    }

    #[test]
    fn no_way_takes_what_is_anothers() {
        for full in SIDES {
            let mut budget = Budget::new(4096);
            while budget.take(full).is_some() {}
            for other in SIDES.into_iter().filter(|side| *side != full) {
                assert!(budget.take(other).is_some(), "{full:?} {other:?}");
            }
        }
    }

    #[test]
    fn few_descriptors_leave_some_for_the_rest() {
        for descriptors in [1024, 4096, 65_536] {
            let budget = Budget::new(descriptors);
            let sockets = SIDES.into_iter().filter(|side| *side != Side::Names);
            let taken: usize =
                sockets.map(|side| budget.connections(side)).sum::<usize>() + budget.conversations;
            assert!(taken + DESCRIPTORS_RESERVED <= descriptors, "{descriptors}: {taken}");
            assert!(budget.connections(Side::Neighbors) > 0);
        }
    }
}
