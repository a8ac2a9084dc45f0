//! The syntaxes of rules in proposals.

use rules::rule::{Direction, Rule};

/// The syntax of a sandbox's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleSyntax {
    /// `allow "target"`.
    Kdl,
    /// `"allow@target"` in a list.
    Yaml,
    /// `--net-rule allow@target`.
    Flags,
}

impl RuleSyntax {
    /// Formats a rule as a line of its file, or as a flag.
    pub fn format(self, rule: &Rule) -> String {
        match (self, rule.direction) {
            (Self::Kdl, Direction::Egress) => format!("{} \"{}\"", rule.action, rule.traffic()),
            (Self::Kdl, direction) => {
                format!("{} \"{}\" direction=\"{direction}\"", rule.action, rule.traffic())
            }
            (Self::Yaml, _) => format!("- \"{rule}\""),
            (Self::Flags, _) => format!("--net-rule \"{rule}\""),
        }
    }
}
