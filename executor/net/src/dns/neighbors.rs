//! The names of the project's other sandboxes. They are answered in here, and never asked for outside.

use super::NameRules;
use crate::neighbor::{Find, Neighbor};
use hickory_proto::rr::RecordType;
use rules::rule::{DomainName, Protocol, SANDBOX_ZONE};
use schemas::name::SandboxName;
use std::collections::HashMap;
use std::net::IpAddr;

/// Who is found, and where those are that have been.
#[derive(Default)]
pub(super) struct Neighbors {
    find: Option<Find>,
    known: HashMap<IpAddr, (SandboxName, DomainName)>,
}

/// What a name leads to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Another sandbox.
    At(Vec<IpAddr>),
    /// It can be a sandbox's only, and none of that name runs.
    Nobody,
    /// The rules forbid it.
    Refused,
    /// It is no sandbox's name.
    Elsewhere,
}

impl Neighbors {
    pub(super) fn new(find: Find) -> Self {
        Self { find: Some(find), known: HashMap::new() }
    }

    pub(super) fn look_up(
        &mut self,
        name: &DomainName,
        (kind, transport): (RecordType, Protocol),
        rules: &mut impl NameRules,
    ) -> Found {
        let zoned = name.as_str().strip_suffix(SANDBOX_ZONE);
        let label = zoned.unwrap_or(name.as_str());
        let is_address = matches!(kind, RecordType::A | RecordType::AAAA | RecordType::ANY);
        let missing = match zoned.is_some() || name.is_label() && is_address {
            // Nobody outside knows what a word without a dot means in here.
            true => Found::Nobody,
            false => Found::Elsewhere,
        };
        let (Ok(sandbox), Ok(short)) = (SandboxName::new(label), DomainName::new(label)) else {
            return missing;
        };
        let Some(Neighbor { addresses, .. }) = self.find.as_ref().and_then(|find| find(&sandbox)) else {
            return missing;
        };
        if !rules.may_meet(&short, addresses.guest_ipv4.into(), transport) {
            return Found::Refused;
        }
        let both = [addresses.guest_ipv4.into(), addresses.guest_ipv6.into()];
        self.known.retain(|_, (known, _)| *known != sandbox);
        self.known.extend(both.map(|address| (address, (sandbox.clone(), short.clone()))));
        Found::At(both.to_vec())
    }

    /// What the sandbox at an address is called.
    pub(super) fn name_at(&self, address: IpAddr) -> Option<DomainName> {
        self.known.get(&address).map(|(_, name)| name.clone())
    }

    /// The sandbox at an address, if it still is there.
    pub(super) fn at(&self, address: IpAddr) -> Option<Neighbor> {
        let (sandbox, _) = self.known.get(&address)?;
        let neighbor = self.find.as_ref()?(sandbox)?;
        neighbor.addresses.is_guest(address).then_some(neighbor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Pools;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// Lets everything be found but what is called `evil`.
    struct Rules;

    impl NameRules for Rules {
        fn may_ask(&mut self, _name: &DomainName, _transport: Protocol) -> bool {
            true
        }

        fn may_be_alias(&mut self, _name: &DomainName, _alias: &DomainName, _transport: Protocol) -> bool {
            true
        }

        fn may_meet(&mut self, name: &DomainName, _address: IpAddr, _transport: Protocol) -> bool {
            name.as_str() != "evil"
        }

        fn may_be(&mut self, _name: &DomainName, _address: IpAddr) -> bool {
            true
        }
    }

    #[test]
    fn sandboxes_are_found_by_their_names_and_followed_to_new_addresses() {
        let slot = Arc::new(AtomicU32::new(3));
        let now = slot.clone();
        let mut neighbors = Neighbors::new(Box::new(move |name| {
            let addresses = Pools::default().addresses(now.load(Ordering::SeqCst))?;
            matches!(name.as_str(), "app" | "evil").then(|| Neighbor { addresses, socket: "/s".into() })
        }));
        let mut ask = |name: &str, kind| {
            neighbors.look_up(&DomainName::new(name).unwrap(), (kind, Protocol::Udp), &mut Rules)
        };
        let there = Found::At(vec!["172.16.0.14".parse().unwrap(), "fd42:6d73:62:3::2".parse().unwrap()]);
        assert_eq!(ask("app", RecordType::A), there);
        assert_eq!(ask("APP.msb.internal.", RecordType::AAAA), there);
        assert_eq!(ask("evil", RecordType::A), Found::Refused);
        assert_eq!(ask("db", RecordType::A), Found::Nobody);
        assert_eq!(ask("db.msb.internal", RecordType::TXT), Found::Nobody);
        assert_eq!(ask("com", RecordType::NS), Found::Elsewhere);
        assert_eq!(ask("app.example.org", RecordType::A), Found::Elsewhere);
        let old: IpAddr = "172.16.0.14".parse().unwrap();
        assert!(neighbors.at(old).is_some() && neighbors.name_at(old).is_some());
        slot.store(4, Ordering::SeqCst);
        assert!(neighbors.at(old).is_none(), "another one may live there now");
        neighbors.look_up(&DomainName::new("app").unwrap(), (RecordType::A, Protocol::Udp), &mut Rules);
        assert_eq!(neighbors.name_at(old), None);
        assert!(neighbors.at("172.16.0.18".parse().unwrap()).is_some());
    }
}
