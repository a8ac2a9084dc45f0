//! Names of peers, the other sandboxes of the project. They are answered locally and never forwarded.

use super::NameRules;
use crate::peer::{PeerLookup, PeerRecord};
use hickory_proto::rr::RecordType;
use rules::rule::{DomainName, Protocol, SANDBOX_ZONE};
use schemas::name::SandboxName;
use std::collections::HashMap;
use std::net::IpAddr;

/// Resolves peers, and remembers which addresses were answered.
#[derive(Default)]
pub(super) struct Peers {
    lookup: Option<PeerLookup>,
    known: HashMap<IpAddr, (SandboxName, DomainName)>,
}

/// The result of resolving a name.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum PeerAnswer {
    /// The addresses of a peer.
    Addresses(Vec<IpAddr>),
    /// Only a peer could have the name, and none does.
    NoSuchPeer,
    /// The rules deny the name.
    Refused,
    /// The name is not a peer's.
    NotAPeer,
}

impl Peers {
    pub(super) fn new(lookup: PeerLookup) -> Self {
        Self { lookup: Some(lookup), known: HashMap::new() }
    }

    pub(super) fn look_up(
        &mut self,
        name: &DomainName,
        record_type: RecordType,
        transport: Protocol,
        rules: &mut impl NameRules,
    ) -> PeerAnswer {
        let zoned = name.as_str().strip_suffix(SANDBOX_ZONE);
        let label = zoned.unwrap_or(name.as_str());
        let is_address = matches!(record_type, RecordType::A | RecordType::AAAA | RecordType::ANY);
        // A single label has a meaning in this project only.
        let is_peer_name = zoned.is_some() || name.is_label() && is_address;
        let missing = if is_peer_name { PeerAnswer::NoSuchPeer } else { PeerAnswer::NotAPeer };
        let (Ok(sandbox), Ok(short)) = (SandboxName::new(label), DomainName::new(label)) else {
            return missing;
        };
        let Some(PeerRecord { addresses, .. }) = self.lookup.as_ref().and_then(|lookup| lookup(&sandbox))
        else {
            return missing;
        };
        if !rules.allows_peer(&short, addresses.guest_ipv4.into(), transport) {
            return PeerAnswer::Refused;
        }
        let both = [addresses.guest_ipv4.into(), addresses.guest_ipv6.into()];
        self.known.retain(|_, (known, _)| *known != sandbox);
        self.known.extend(both.map(|address| (address, (sandbox.clone(), short.clone()))));
        PeerAnswer::Addresses(both.to_vec())
    }

    /// The name that an address was answered for.
    pub(super) fn name_at(&self, address: IpAddr) -> Option<DomainName> {
        self.known.get(&address).map(|(_, name)| name.clone())
    }

    /// The peer that an address was answered for, if it still has that address.
    pub(super) fn at(&self, address: IpAddr) -> Option<PeerRecord> {
        let (sandbox, _) = self.known.get(&address)?;
        let peer = self.lookup.as_ref()?(sandbox)?;
        peer.addresses.is_guest(address).then_some(peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Pools;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Allows every name but `evil`.
    struct Rules;

    impl NameRules for Rules {
        fn allows_query(&mut self, _name: &DomainName, _transport: Protocol) -> bool {
            true
        }

        fn allows_alias(&mut self, _name: &DomainName, _alias: &DomainName, _transport: Protocol) -> bool {
            true
        }

        fn allows_peer(&mut self, name: &DomainName, _address: IpAddr, _transport: Protocol) -> bool {
            name.as_str() != "evil"
        }

        fn allows_address(&mut self, _name: &DomainName, _address: IpAddr) -> bool {
            true
        }
    }

    #[test]
    fn peers_are_found_by_name_and_followed_to_new_addresses() {
        let slot = Arc::new(AtomicU32::new(3));
        let now = slot.clone();
        let mut peers = Peers::new(Box::new(move |name| {
            let addresses = Pools::default().addresses(now.load(Ordering::SeqCst))?;
            matches!(name.as_str(), "app" | "evil").then(|| PeerRecord { addresses, socket: "/s".into() })
        }));
        let mut query = |name: &str, record_type| {
            peers.look_up(&DomainName::new(name).unwrap(), record_type, Protocol::Udp, &mut Rules)
        };
        let there =
            PeerAnswer::Addresses(vec!["172.16.0.14".parse().unwrap(), "fd42:6d73:62:3::2".parse().unwrap()]);
        assert_eq!(query("app", RecordType::A), there);
        assert_eq!(query("APP.msb.internal.", RecordType::AAAA), there);
        assert_eq!(query("evil", RecordType::A), PeerAnswer::Refused);
        assert_eq!(query("db", RecordType::A), PeerAnswer::NoSuchPeer);
        assert_eq!(query("db.msb.internal", RecordType::TXT), PeerAnswer::NoSuchPeer);
        assert_eq!(query("com", RecordType::NS), PeerAnswer::NotAPeer);
        assert_eq!(query("app.example.org", RecordType::A), PeerAnswer::NotAPeer);
        let old: IpAddr = "172.16.0.14".parse().unwrap();
        assert!(peers.at(old).is_some() && peers.name_at(old).is_some());
        slot.store(4, Ordering::SeqCst);
        assert!(peers.at(old).is_none(), "another one may live there now");
        peers.look_up(&DomainName::new("app").unwrap(), RecordType::A, Protocol::Udp, &mut Rules);
        assert_eq!(peers.name_at(old), None);
        assert!(peers.at("172.16.0.18".parse().unwrap()).is_some());
    }
}
