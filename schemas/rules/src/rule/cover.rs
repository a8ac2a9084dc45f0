//! Which rules can never be reached.

use super::target::Target;
use super::{Direction, Ports, Protocol, Rule};

impl Rule {
    /// Whether all that this rule speaks of, the direction aside, is what the other one speaks of as well.
    fn is_within(&self, other: &Self) -> bool {
        self.target.is_within(&other.target)
            && self.protocol.is_within(other.protocol)
            && self.ports.is_within(other.ports)
    }

    /// The earlier rules that leave nothing for this one: as the first rule that fits decides in each
    /// direction, there is one of them for each direction of this rule. Nothing when it can be reached.
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
    /// Whether everything that it stands for is surely what the other one stands for as well. What a name
    /// resolves to is not known here: names are within names only, and within everything.
    fn is_within(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Any) => true,
            (Self::Group(own), Self::Group(other)) => own == other,
            (Self::Network(own), Self::Group(group)) => group.holds(own),
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
