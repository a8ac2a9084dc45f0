//! The rules of interception, which change while the sandbox runs.

use crate::Secret;
use crate::authority::Leaves;
use crate::clock::Clock;
use crate::event::Events;
use crate::substitute::Substitution;
use crate::upstream::{HostRoots, Upstreams};
use ::rules::rule::{DomainName, HostPattern};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock};

/// The limit of destinations whose secrets stay prepared.
const PREPARED_MAX: usize = 64;

/// The name of a host that is an address, which no pattern for a host matches.
static UNNAMED: LazyLock<DomainName> =
    LazyLock::new(|| DomainName::new("invalid").expect("a name of one label"));

/// The rules of interception of a sandbox.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The secrets.
    pub secrets: Vec<Secret>,
    /// The hosts whose connections are not intercepted.
    pub bypass: BTreeSet<HostPattern>,
    /// CAs of servers, besides those that this host trusts.
    pub cas: Vec<ExtraCa>,
}

/// A CA that servers are verified with, besides those that this host trusts.
#[derive(Clone, Debug)]
pub struct ExtraCa {
    /// Its certificates.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The servers that it is for; empty for all.
    pub hosts: BTreeSet<HostPattern>,
}

/// What all connections of a sandbox share.
pub(crate) struct Shared {
    pub(crate) leaves: Leaves,
    pub(crate) provider: Arc<CryptoProvider>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) events: Events,
    roots: Arc<HostRoots>,
    current: RwLock<Arc<Current>>,
}

/// The rules, prepared.
pub(crate) struct Current {
    pub(crate) secrets: Arc<[Secret]>,
    pub(crate) upstreams: Arc<Upstreams>,
    bypass: BTreeSet<HostPattern>,
    /// For all connections: to prepare secrets takes about as long as a handshake.
    prepared: Mutex<HashMap<Requested, Arc<Substitution>>>,
}

/// The destination of a request, as far as secrets depend on it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Requested {
    /// The host, unless it is an address.
    pub(crate) name: Option<DomainName>,
    /// Whether the name resolved to the server's address.
    pub(crate) is_verified: bool,
    /// Whether the connection has TLS.
    pub(crate) tls: bool,
}

impl Current {
    fn new(
        rules: Rules,
        provider: &Arc<CryptoProvider>,
        clock: &Arc<dyn Clock>,
        roots: &Arc<HostRoots>,
    ) -> Self {
        let Rules { secrets, bypass, cas } = rules;
        let upstreams = Upstreams::new(Arc::clone(provider), Arc::clone(clock), Arc::clone(roots), cas);
        Self { secrets: secrets.into(), upstreams: Arc::new(upstreams), bypass, prepared: Mutex::default() }
    }

    /// Returns the secrets for a destination.
    pub(crate) fn substitution(&self, requested: &Requested) -> Arc<Substitution> {
        let mut prepared = self.prepared.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(substitution) = prepared.get(requested) {
            return Arc::clone(substitution);
        }
        let Requested { name, is_verified, tls } = requested;
        let verified = name.as_ref().filter(|_| *is_verified);
        let name = name.as_ref().unwrap_or(&UNNAMED);
        let substitution = Arc::new(Substitution::new(Arc::clone(&self.secrets), verified, name, *tls));
        if prepared.len() >= PREPARED_MAX {
            prepared.clear();
        }
        prepared.insert(requested.clone(), Arc::clone(&substitution));
        substitution
    }

    /// Returns whether connections to a host are not intercepted.
    pub(crate) fn bypasses(&self, name: &DomainName) -> bool {
        self.bypass.iter().any(|pattern| pattern.matches(name))
    }
}

impl Shared {
    pub(crate) fn new(
        leaves: Leaves,
        events: Events,
        clock: Arc<dyn Clock>,
        roots: HostRoots,
        rules: Rules,
    ) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let roots = Arc::new(roots);
        let current = Current::new(rules, &provider, &clock, &roots);
        Self { leaves, provider, clock, events, roots, current: RwLock::new(Arc::new(current)) }
    }

    /// The rules now.
    pub(crate) fn current(&self) -> Arc<Current> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_rules(&self, rules: Rules) {
        let current = Arc::new(Current::new(rules, &self.provider, &self.clock, &self.roots));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn secrets_are_prepared_once_for_a_destination() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let current = Current::new(Rules::default(), &provider, &clock, &Arc::default());
        let requested = |name: &str, is_verified| {
            let name = Some(DomainName::new(name).unwrap());
            current.substitution(&Requested { name, is_verified, tls: true })
        };
        let first = requested("a.example", true);
        assert!(Arc::ptr_eq(&first, &requested("a.example", true)));
        assert!(!Arc::ptr_eq(&first, &requested("a.example", false)));
        assert!(!Arc::ptr_eq(&first, &requested("b.example", true)));
        for number in 0..2 * PREPARED_MAX {
            requested(&format!("{number}.example"), false);
        }
        assert!(current.prepared.lock().unwrap().len() <= PREPARED_MAX);
    }
}
