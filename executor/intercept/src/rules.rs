//! The rules of interception, which change while the sandbox runs.

use crate::Secret;
use crate::authority::Leaves;
use crate::clock::Clock;
use crate::event::Events;
use crate::upstream::{HostRoots, Upstreams};
use ::rules::rule::{DomainName, HostPattern};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

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
        Self { secrets: secrets.into(), upstreams: Arc::new(upstreams), bypass }
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
