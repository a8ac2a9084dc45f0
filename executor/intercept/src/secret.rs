//! Secrets with their values.

mod pages;

use pages::Pages;
use rules::rule::HostPattern;
use schemas::spec::OnViolation;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The value of a secret: 1 byte to 64 KiB without newlines and NUL bytes. It is overwritten when its last copy is
/// dropped, and is never printed.
#[derive(Clone)]
pub struct Value(Arc<Memory>);

/// The memory of a value.
enum Memory {
    /// Pages that are in no core dump.
    Pages(Pages),
    /// Memory like any other, if the host has no pages.
    Heap(Zeroizing<Vec<u8>>),
}

impl Value {
    /// Takes a value, which its source has checked.
    pub fn new(bytes: Vec<u8>) -> Self {
        let bytes = Zeroizing::new(bytes);
        Self(Arc::new(Pages::of(&bytes).map_or_else(|| Memory::Heap(bytes), Memory::Pages)))
    }

    /// The bytes, for a request alone.
    pub fn bytes(&self) -> &[u8] {
        match &*self.0 {
            Memory::Pages(pages) => pages.bytes(),
            Memory::Heap(bytes) => bytes,
        }
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Value(…)")
    }
}

/// A secret of a sandbox.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Its name, for events.
    pub name: String,
    /// The text that stands for the value in the sandbox; no placeholder is a part of another.
    pub placeholder: String,
    /// The value.
    pub value: Value,
    /// The hosts that it may be sent to.
    pub hosts: BTreeSet<HostPattern>,
    /// The hosts that the placeholder may be sent to.
    pub passthrough_hosts: BTreeSet<HostPattern>,
    /// The action on a request to another host.
    pub on_violation: OnViolation,
    /// Where the value replaces the placeholder.
    pub inject: Inject,
    /// Whether it is sent over TLS only.
    pub require_tls: bool,
}

/// The parts of a request in which a value replaces the placeholder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inject {
    /// Header fields.
    pub headers: bool,
    /// The names of those headers, in lower case; empty for all.
    pub header_names: BTreeSet<String>,
    /// The decoded credentials of `Authorization: Basic`.
    pub basic_auth: bool,
    /// The query of the URL.
    pub query: bool,
    /// Bodies without a `Content-Encoding`.
    pub body: bool,
}
