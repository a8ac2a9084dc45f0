//! What people write for the words of the language that are values, mostly compose's words.

use rules::Word;
use rules::rule::Direction;
use schemas::spec::{
    Capture, Condition, HostPerms, NetworkDefault, OnViolation, Pull, RequestPart, StatVirt, VolumeKind,
};

/// The words that people write instead, with the word that is valid here.
pub(crate) type Foreign = &'static [(&'static [&'static str], &'static str)];

/// An enum whose words are values in a Sandboxfile.
pub(crate) trait Vocabulary: Word {
    /// The words that people write instead.
    const FOREIGN: Foreign = &[];
}

impl Vocabulary for Pull {
    const FOREIGN: Foreign =
        &[(&["if_not_present", "ifnotpresent", "if-not-present", "daily", "weekly"], "missing")];
}

impl Vocabulary for HostPerms {}
impl Vocabulary for OnViolation {}
impl Vocabulary for StatVirt {}

impl Vocabulary for RequestPart {
    const FOREIGN: Foreign = &[
        (&["header"], "headers"),
        (&["basic", "basic_auth", "auth", "authorization"], "basic-auth"),
        (&["query-params", "query_params", "params", "url"], "query"),
        (&["data", "json", "form"], "body"),
    ];
}

impl Vocabulary for VolumeKind {
    const FOREIGN: Foreign =
        &[(&["dir", "folder", "bind", "local"], "directory"), (&["block", "image", "ext4", "raw"], "disk")];
}

impl Vocabulary for Capture {
    const FOREIGN: Foreign =
        &[(&["true", "#true", "yes", "all"], "on"), (&["false", "#false", "no", "none"], "off")];
}

impl Vocabulary for Condition {
    const FOREIGN: Foreign = &[
        (&["service_started", "running"], "started"),
        (&["service_healthy", "ready"], "healthy"),
        (&["service_completed_successfully", "exited", "done"], "completed"),
    ];
}

impl Vocabulary for Direction {
    const FOREIGN: Foreign =
        &[(&["out", "outbound"], "egress"), (&["in", "inbound"], "ingress"), (&["both", "all"], "any")];
}

impl Vocabulary for NetworkDefault {
    const FOREIGN: Foreign = &[
        (&["none", "block", "drop", "reject", "off", "no"], "deny"),
        (&["accept", "all", "host", "on"], "allow"),
        (&["bridge", "internet"], "public"),
    ];
}

/// The restart policies.
pub(crate) const RESTART_POLICIES: &[&str] = &["no", "on-failure", "always"];

/// Compose's words for the restart policies.
pub(crate) const FOREIGN_RESTART_POLICIES: Foreign =
    &[(&["unless-stopped", "any", "true"], "always"), (&["never", "none", "false"], "no")];
