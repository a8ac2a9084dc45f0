//! What people write for the words of the language that are values, mostly compose's words.

use rules::Word;
use rules::rule::Direction;
use schemas::spec::{Capture, Condition, HostPerms, NetworkDefault, OnViolation, StatVirt};

/// An enum whose words are values in a Sandboxfile.
pub(crate) trait Vocabulary: Word {
    /// The words that people write instead, each with the word that is valid here.
    const FOREIGN: &'static [(&'static str, &'static str)] = &[];
}

impl Vocabulary for HostPerms {}
impl Vocabulary for OnViolation {}
impl Vocabulary for StatVirt {}

impl Vocabulary for Capture {
    const FOREIGN: &'static [(&'static str, &'static str)] = &[
        ("true", "on"),
        ("#true", "on"),
        ("yes", "on"),
        ("all", "on"),
        ("false", "off"),
        ("#false", "off"),
        ("no", "off"),
        ("none", "off"),
    ];
}

impl Vocabulary for Condition {
    const FOREIGN: &'static [(&'static str, &'static str)] = &[
        ("service_started", "started"),
        ("service_healthy", "healthy"),
        ("service_completed_successfully", "completed"),
        ("running", "started"),
        ("ready", "healthy"),
        ("exited", "completed"),
        ("done", "completed"),
    ];
}

impl Vocabulary for Direction {
    const FOREIGN: &'static [(&'static str, &'static str)] = &[
        ("out", "egress"),
        ("outbound", "egress"),
        ("in", "ingress"),
        ("inbound", "ingress"),
        ("both", "any"),
        ("all", "any"),
    ];
}

impl Vocabulary for NetworkDefault {
    const FOREIGN: &'static [(&'static str, &'static str)] = &[
        ("none", "deny"),
        ("block", "deny"),
        ("drop", "deny"),
        ("reject", "deny"),
        ("off", "deny"),
        ("no", "deny"),
        ("accept", "allow"),
        ("all", "allow"),
        ("host", "allow"),
        ("on", "allow"),
        ("bridge", "public"),
        ("internet", "public"),
    ];
}

/// The restart policies.
pub(crate) const RESTART_POLICIES: &[&str] = &["no", "on-failure", "always"];

/// Compose's words for the restart policies.
pub(crate) const FOREIGN_RESTART_POLICIES: &[(&str, &str)] = &[
    ("unless-stopped", "always"),
    ("never", "no"),
    ("none", "no"),
    ("false", "no"),
    ("any", "always"),
    ("true", "always"),
];
