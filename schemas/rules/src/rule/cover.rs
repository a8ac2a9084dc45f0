//! Rules that never apply because of earlier ones.

use super::target::Target;
use super::{Direction, Ports, Protocol, Rule};

impl Rule {
    /// Returns whether the other rule matches all connections that this one matches, apart from the direction.
    fn is_within(&self, other: &Self) -> bool {
        self.target.is_within(&other.target)
            && self.protocol.is_within(other.protocol)
            && self.ports.is_within(other.ports)
    }

    /// Returns the indices of the earlier rules that shadow this one: the first matching rule decides, so there is one
    /// for each direction of this rule. `None` if it can apply.
    pub fn shadowed_by(&self, earlier: &[Self]) -> Option<Vec<usize>> {
        let first = |leads: fn(Direction) -> bool| {
            earlier.iter().position(|other| leads(other.direction) && self.is_within(other))
        };
        let mut shadows = Vec::new();
        if self.direction.leads_out() {
            shadows.push(first(Direction::leads_out)?);
        }
        if self.direction.leads_in() {
            shadows.push(first(Direction::leads_in)?);
        }
        shadows.sort_unstable();
        shadows.dedup();
        Some(shadows)
    }
}

impl Target {
    /// Returns whether the other target certainly matches all that this one matches. The addresses of a name are not
    /// known, so a name is within names and `any` only.
    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Group(own), Self::Group(other)) => own == other,
            (Self::Network(own), Self::Group(group)) => group.contains(own),
            (Self::Network(own), Self::Network(other)) => other.contains(own),
            (Self::Domain(own), Self::Domain(other)) => own == other,
            (Self::Domain(own) | Self::Suffix(own), Self::Suffix(other)) => own.is_within(other),
            (Self::Dns, Self::Dns) => true,
            _ => false,
        }
    }
}

impl Protocol {
    fn is_within(self, other: Self) -> bool {
        other == Self::Any || self == other
    }
}

impl Ports {
    fn is_within(self, other: Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Any, Self::Range { .. }) => false,
            (Self::Range { first, last }, Self::Range { first: from, last: to }) => {
                from <= first && last <= to
            }
        }
    }
}
