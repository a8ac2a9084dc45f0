//! `port "8080:80"`: ports of the host that are forwarded into a sandbox.

use super::read::{Takes, has_values, text_of};
use super::{PrintScope, Scope, Value};
use crate::check::{ENTRY_BYTES, Weight};
use crate::diagnostics::{Code, Context, Diagnostic, shorten_message};
use crate::language::schema;
use crate::print::{Node, Printed};
use crate::syntax::{Item, Span, Spanned};
use rules::port::{InvalidPort, PORT_FORMS, Reason, expand};
use schemas::spec::{Port, PortProtocol};
use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A port as typed. It is parsed where it is read, as several checks look at it.
pub(crate) type RawPort = Spanned<Result<Port, InvalidPort>>;

impl Weight for RawPort {
    fn weight(&self) -> usize {
        ENTRY_BYTES
    }
}

/// Returns the valid ports, each with its place.
pub(crate) fn valid_ports(ports: &[RawPort]) -> impl Iterator<Item = Spanned<Port>> {
    ports.iter().filter_map(|raw| Some(Spanned::new(*raw.value.as_ref().ok()?, raw.span)))
}

/// The users of one port of the host, by the address that they bind.
#[derive(Default)]
struct Binds<T> {
    by_address: HashMap<IpAddr, Vec<T>>,
    /// The users on IPv4 addresses, and all users: for the unspecified addresses, which overlap with them.
    ipv4: Vec<T>,
    all: Vec<T>,
}

impl<T: Copy> Binds<T> {
    fn add(&mut self, bind: IpAddr, taker: T) {
        self.by_address.entry(bind).or_default().push(taker);
        self.all.push(taker);
        if bind.is_ipv4() {
            self.ipv4.push(taker);
        }
    }

    /// Returns the users whose addresses overlap with this one.
    fn overlapping(&self, bind: IpAddr) -> impl Iterator<Item = &T> {
        const IPV4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let at = |address: IpAddr| self.by_address.get(&address).map(Vec::as_slice).unwrap_or_default();
        let parts = match bind {
            IPV6 => [self.all.as_slice(), &[], &[]],
            IPV4 => [self.ipv4.as_slice(), at(IPV6), &[]],
            IpAddr::V4(_) => [at(bind), at(IPV4), at(IPV6)],
            IpAddr::V6(_) => [at(bind), at(IPV6), &[]],
        };
        parts.into_iter().flatten()
    }
}

fn invalid_port(span: Span, InvalidPort { reason, suggestion }: &InvalidPort) -> Diagnostic {
    let diagnostic =
        Diagnostic::error(Code::InvalidPort, span, shorten_message(&reason.to_string())).label("not a port");
    match (suggestion, reason) {
        (Some(suggestion), Reason::Single { found }) => {
            diagnostic.help(format!("write \"{suggestion}\"; \"0:{found}\" takes a free port of the host"))
        }
        (Some(suggestion), _) => diagnostic.help(format!("did you mean \"{suggestion}\"?")),
        (None, Reason::Range { .. }) => {
            diagnostic.help("a range has a range of the same length on the other side: 8000-8010:9000-9010")
        }
        (None, _) => diagnostic.help(format!("a port is written like {PORT_FORMS}")),
    }
}

/// The ports of one sandbox of the project, for [`check_across`].
pub(crate) struct Published<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its ports.
    pub ports: &'a [RawPort],
    /// The number of replicas and its span.
    pub replicas: (u32, Span),
    /// The profiles that it belongs to; without any it always takes part.
    pub profiles: &'a BTreeSet<String>,
}

impl Published<'_> {
    /// Returns whether both can run at once. Sandboxes of different profiles are alternatives: when both profiles are
    /// selected, the second sandbox reports the conflict as it starts.
    fn meets(&self, other: &Self) -> bool {
        self.profiles.is_empty() || other.profiles.is_empty() || !self.profiles.is_disjoint(other.profiles)
    }
}

/// Checks that no two sandboxes, and no two replicas of one, use the same port of the host.
pub(crate) fn check_across(context: &mut Context<'_>, sandboxes: &[Published<'_>]) {
    // The most sandboxes of other profiles that are compared for one port.
    const PAIRS_MAX: usize = 1_000;
    // The index of each sandbox that takes a port, and the place of the port.
    let mut taken: HashMap<(PortProtocol, u16), Binds<(usize, Span)>> = HashMap::new();
    for (index, sandbox) in sandboxes.iter().enumerate() {
        for port in valid_ports(sandbox.ports).filter(|port| port.value.host != 0) {
            context.speak_as(port.span);
            let (count, place) = sandbox.replicas;
            if count > 1 {
                let message = format!(
                    "the {count} replicas of `{}` cannot share port {}",
                    sandbox.name, port.value.host
                );
                let help = format!("let each take a free one: \"{}\"", Port { host: 0, ..port.value });
                context.push(
                    Diagnostic::error(Code::PortConflict, port.span, message)
                        .label("one port of the host")
                        .also(place, "several sandboxes")
                        .help(help),
                );
                continue;
            }
            let others = taken.entry((port.value.protocol, port.value.host)).or_default();
            let meets = |(other, _): &&(usize, _)| *other != index && sandboxes[*other].meets(sandbox);
            let clash = others.overlapping(port.value.bind).take(PAIRS_MAX).find(meets).copied();
            if let Some((other, theirs)) = clash {
                let message = format!(
                    "`{}` and `{}` both take port {} of the host",
                    sandboxes[other].name, sandbox.name, port.value.host
                );
                context.push(
                    Diagnostic::error(Code::PortConflict, port.span, message)
                        .label("the same port again")
                        .also(theirs, format!("`{}` takes it here", sandboxes[other].name))
                        .help("give one of them another port of the host; 0 takes a free one"),
                );
            }
            others.add(port.value.bind, (index, port.span));
        }
    }
}

/// Ports of the host.
pub(crate) struct Ports;

impl Value for Ports {
    type Raw = Vec<RawPort>;
    type Model = BTreeSet<Port>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help = context.format.pick("write `port \"8080:80\"`", "write `ports: [\"8080:80\"]`");
        if !has_values(context, item, &help) {
            return Vec::new();
        }
        let takes = Takes { what: "texts such as 8080:80", bare: true };
        let texts = item.arguments.iter();
        let texts = texts.filter_map(|argument| text_of(context, argument, &item.name.value, takes));
        let each = texts.flat_map(|text| {
            let singles = expand(&text.value).unwrap_or_else(|| vec![text.value.clone()]);
            singles.into_iter().map(move |single| Spanned::new(single.parse(), text.span))
        });
        each.collect()
    }

    /// Checks each port by itself and against the others.
    fn check(context: &mut Context<'_>, ports: &[RawPort], _scope: &Scope<'_>) -> Option<Self::Model> {
        let mut checked: Vec<Spanned<Port>> = Vec::new();
        let mut taken: HashMap<(PortProtocol, u16), Binds<usize>> = HashMap::new();
        // Port 0 is a different port each time.
        let mut free: HashMap<Port, usize> = HashMap::new();
        for raw in ports {
            let port = match &raw.value {
                Ok(port) => *port,
                Err(invalid) => {
                    context.push(invalid_port(raw.span, invalid));
                    continue;
                }
            };
            let clash = match port.host {
                0 => free.get(&port).copied(),
                _ => taken
                    .entry((port.protocol, port.host))
                    .or_default()
                    .overlapping(port.bind)
                    .next()
                    .copied(),
            };
            if let Some(other) = clash.map(|index| &checked[index]) {
                let (message, label) = if other.value == port {
                    (format!("the port {port} is given twice"), "given again")
                } else {
                    (format!("port {} of the host is taken twice", port.host), "the same port again")
                };
                let diagnostic = Diagnostic::error(Code::PortConflict, raw.span, message)
                    .label(label)
                    .also(other.span, "first given here");
                context.push(if other.value == port {
                    diagnostic.help("keep one of the two")
                } else {
                    diagnostic.help("give one of them another port of the host; 0 takes a free one")
                });
                continue;
            }
            match port.host {
                0 => _ = free.insert(port, checked.len()),
                _ => taken.entry((port.protocol, port.host)).or_default().add(port.bind, checked.len()),
            }
            checked.push(Spanned::new(port, raw.span));
        }
        Some(checked.iter().map(|port| port.value).collect())
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::List(model.iter().map(|port| Node::text(port.to_string())).collect())
    }

    fn schema() -> serde_json::Value {
        schema::ports()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rules::port::binds_overlap;

    #[test]
    fn overlapping_addresses_are_found() {
        let addresses: Vec<IpAddr> = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::1", "::2", "::"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        let mut binds = Binds::default();
        addresses.iter().enumerate().for_each(|(index, address)| binds.add(*address, index));
        for address in &addresses {
            let found: BTreeSet<IpAddr> =
                binds.overlapping(*address).map(|index| addresses[*index]).collect();
            let expected = addresses.iter().copied().filter(|other| binds_overlap(*address, *other));
            assert_eq!(found, expected.collect(), "{address}");
        }
    }
}
