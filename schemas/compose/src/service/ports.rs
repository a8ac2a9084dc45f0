//! `ports`, in the short and the long form.

use super::Builder;
use crate::context::{At, Fields, shown};
use crate::out::{Body, Element, Value};
use crate::variables;
use sandboxfile::Code;
use sandboxfile::yaml::NodeValue;
use std::collections::HashSet;

/// The most ports that a range without ports of the host becomes.
const EXPANDED_MAX: u32 = 64;

/// A published port, in parts as written.
struct Port {
    bind: String,
    host: String,
    guest: String,
    protocol: String,
}

/// A port or a range of ports.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u16,
    last: u16,
}

/// The ports of a service so far.
#[derive(Default)]
struct Elements {
    all: Vec<Element>,
    /// Their texts and comments, neither of which is repeated.
    said: HashSet<String>,
}

impl Elements {
    fn push(&mut self, text: String, comments: Vec<String>) {
        if self.said.insert(text.clone()) {
            let comments = comments.into_iter().filter(|note| self.said.insert(note.clone())).collect();
            self.all.push(Element {
                comments,
                argument: Value::Text(text),
                source: "port",
                ..Element::default()
            });
        }
    }
}

impl Range {
    fn of(text: &str) -> Option<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        (first <= last).then_some(Self { first, last })
    }

    fn is_one(self) -> bool {
        self.first == self.last
    }
}

impl<'n> Builder<'_, '_, 'n> {
    /// `ports` and `expose`.
    pub(super) fn ports(&mut self) {
        if let Some(at) = self.take("expose") {
            self.context
                .mapped_as(&at, "nothing is needed: sandboxes reach each other's ports as the rules say");
        }
        let Some(at) = self.take("ports") else { return };
        self.context.mapped(&at);
        let mut elements = Elements::default();
        for at in self.context.elements(&at) {
            let port = match &at.node.value {
                NodeValue::Map(_) => self.long_port(&at),
                _ => self.short_port(&at),
            };
            if let Some(port) = port {
                self.port(&at, &port, &mut elements);
            }
        }
        if !elements.all.is_empty() {
            self.push("port", "ports", Body::Each { elements: elements.all, is_map: false });
        }
    }

    fn short_port(&mut self, at: &At<'n>) -> Option<Port> {
        let text = self.context.text(at)?;
        self.context.mapped(at);
        let of = |text: &str| {
            let (text, protocol) = match *variables::split(text, '/').as_slice() {
                [text] => (text.to_owned(), String::new()),
                [text, protocol] => (text.to_owned(), protocol.to_owned()),
                _ => return None,
            };
            // An IPv6 address has colons of its own.
            let (bind, rest) = match text.strip_prefix('[').and_then(|inside| inside.split_once("]:")) {
                Some((address, rest)) => (Some(format!("[{address}]")), rest.to_owned()),
                None => (None, text),
            };
            let mut parts: Vec<String> =
                variables::split(&rest, ':').into_iter().map(str::to_owned).collect();
            let guest = parts.pop()?;
            let host = parts.pop().unwrap_or_default();
            let bind = bind.or_else(|| parts.pop()).unwrap_or_default();
            parts.is_empty().then_some(Port { bind, host, guest, protocol })
        };
        let (raw, value) = (of(&text.raw), of(&text.value));
        match (raw, value) {
            (Some(raw), Some(value)) => {
                let is_same_form = raw.bind.is_empty() == value.bind.is_empty()
                    && raw.host.is_empty() == value.host.is_empty()
                    && raw.protocol.is_empty() == value.protocol.is_empty();
                if is_same_form {
                    return Some(raw);
                }
                self.context.changed(
                    at,
                    "the variables in this port have the values that they had when it was converted",
                );
                Some(value)
            }
            _ => {
                let message = format!("`{}` is not a port", shown(&text.value));
                self.context.refuse(
                    Code::InvalidPort,
                    at.node.span,
                    message,
                    "write `HOST:CONTAINER`, such as `8080:80`",
                )
            }
        }
    }

    fn long_port(&mut self, at: &At<'n>) -> Option<Port> {
        self.context.mapped(at);
        let mut fields = Fields::of(self.context, at);
        let mut text = |builder: &mut Self, key: &str| {
            let at = fields.take(builder.context, key)?;
            builder.context.mapped(&at);
            builder.context.text(&at).map(|text| text.raw)
        };
        let guest = text(self, "target");
        let host = text(self, "published").unwrap_or_default();
        let bind = text(self, "host_ip").unwrap_or_default();
        let protocol = text(self, "protocol").unwrap_or_default();
        let bind = if bind.contains(':') && !bind.starts_with('[') { format!("[{bind}]") } else { bind };
        for key in ["mode", "name", "app_protocol"] {
            if let Some(at) = fields.take(self.context, key) {
                self.context.mapped_as(&at, "nothing is needed for it: there is one host");
            }
        }
        fields.leave_unknown(self.context, "ports.");
        let Some(guest) = guest else {
            return self.context.refuse(
                Code::MissingProperty,
                at.span,
                "this port has no `target`",
                "write the port of the container",
            );
        };
        Some(Port { bind, host, guest, protocol })
    }

    fn port(&mut self, at: &At<'n>, port: &Port, elements: &mut Elements) {
        let expand = |text: &str| variables::expand(text, self.context.variables);
        let Port { bind, host, guest, protocol } = port;
        let (bind_value, host_value, guest_value) = (expand(bind), expand(host), expand(guest));
        let protocol = expand(protocol);
        if !matches!(protocol.as_str(), "" | "tcp" | "udp") {
            let reason = format!("`{}` is neither tcp nor udp: only these are published", shown(&protocol));
            return self.context.left_out(at, "ports", reason);
        }
        let address = bind_value.trim_start_matches('[').trim_end_matches(']');
        if !bind_value.is_empty() && address.parse::<std::net::IpAddr>().is_err() {
            return self.context.left_out(
                at,
                "ports",
                format!("{} is not an address of the host: write one", shown(&bind_value)),
            );
        }
        let (Some(guest_range), host_range) =
            (Range::of(&guest_value).filter(|range| range.first > 0), Range::of(&host_value))
        else {
            let message = format!("`{}` is not a port", shown(&guest_value));
            let help = "write a number up to 65535, or a range such as `8000-8010`";
            _ = self.context.refuse::<()>(Code::InvalidPort, at.node.span, message, help);
            return;
        };
        if !host_value.is_empty() && host_range.is_none() {
            let message = format!("`{}` is not a port of the host", shown(&host_value));
            let help = "write a number up to 65535, or a range such as `8000-8010`";
            _ = self.context.refuse::<()>(Code::InvalidPort, at.node.span, message, help);
            return;
        }
        let suffix = if protocol == "udp" { "/udp" } else { "" };
        let prefix = match bind.as_str() {
            "" => {
                self.context.changed(at, "compose publishes at all addresses, msb at 127.0.0.1: for the same, write `0.0.0.0:` before the port, which needs `msb trust`");
                String::new()
            }
            bind => format!("{bind}:"),
        };
        let texts: Vec<String> = match host_range {
            Some(_) if self.replicas > 1 => {
                self.context.changed(at, "each copy needs a port of its own: 0 takes a free one");
                self.free_ports(at, guest_range)
            }
            Some(range) if guest_range.is_one() && !range.is_one() => {
                self.context.changed(at, "compose takes a free port of this range, and msb any free one");
                self.free_ports(at, guest_range)
            }
            Some(range) if range.last - range.first != guest_range.last - guest_range.first => {
                let message = "the ranges of this port differ in length";
                _ = self.context.refuse::<()>(
                    Code::InvalidPort,
                    at.node.span,
                    message,
                    "write as many ports on both sides",
                );
                return;
            }
            Some(_) => vec![format!("{host}:{guest}")],
            None => self.free_ports(at, guest_range),
        };
        if let Some(range) =
            host_range.filter(|_| self.replicas == 1 && texts.iter().all(|text| !text.starts_with("0:")))
        {
            for number in range.first..=range.last {
                let key = format!("{number}{suffix}");
                let owner = self.facts.ports.entry(key).or_insert_with(|| self.service.to_owned()).clone();
                if owner != self.service {
                    self.context.take_notes();
                    let reason = format!(
                        "the port {number} of the host is that of {owner} already: choose another one"
                    );
                    return self.context.left_out(at, "ports", reason);
                }
            }
        }
        let mut comments = self.context.take_notes();
        for text in texts {
            elements.push(format!("{prefix}{text}{suffix}"), std::mem::take(&mut comments));
        }
    }

    /// Returns each port of a range with a free port of the host.
    fn free_ports(&mut self, at: &At<'n>, range: Range) -> Vec<String> {
        let count = u32::from(range.last - range.first) + 1;
        if count > EXPANDED_MAX {
            let reason = format!(
                "a range of more than {EXPANDED_MAX} ports needs ports of the host: write `{0}-{1}:{0}-{1}`",
                range.first, range.last
            );
            self.context.left_out(at, "ports", reason);
            return Vec::new();
        }
        (range.first..=range.last).map(|port| format!("0:{port}")).collect()
    }
}
