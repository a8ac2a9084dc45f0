//! Names of the domain name system, as far as rules and secrets need them.

use super::invalid::{InvalidRule, Reason};
use super::public_suffix::is_too_broad;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest name and the longest part of one, in bytes.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A name in its normal form: lower case, without the dot at its end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// Why a text cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// Two dots in a row, or one in front.
    #[error("a part of it is empty")]
    EmptyLabel,
    /// Longer than the domain name system allows.
    #[error("it has more than {NAME_BYTES_MAX} characters")]
    TooLong,
    /// A part that is longer than the domain name system allows.
    #[error("a part of it has more than {LABEL_BYTES_MAX} characters")]
    LabelTooLong,
    /// A part that begins or ends with a hyphen.
    #[error("a part of it begins or ends with a hyphen")]
    Hyphen,
    /// Something that is neither a letter nor a digit, a hyphen or an underscore.
    #[error("it holds {found:?}")]
    Character {
        /// The first one.
        found: char,
    },
    /// A letter outside ASCII.
    #[error("it holds {found:?}; on the wire it is spelled with `xn--`")]
    NotAscii {
        /// The first one.
        found: char,
    },
    /// The last part is a number.
    #[error("it ends with a number, as only addresses do")]
    Number,
}

impl DomainName {
    /// Takes a text that can be a name, with or without a dot inside.
    pub fn new(text: &str) -> Result<Self, NameProblem> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.len() > NAME_BYTES_MAX {
            return Err(NameProblem::TooLong);
        }
        for label in name.split('.') {
            if label.is_empty() {
                return Err(NameProblem::EmptyLabel);
            }
            if let Some(found) =
                label.chars().find(|&c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
            {
                return Err(match found.is_ascii() {
                    true => NameProblem::Character { found },
                    false => NameProblem::NotAscii { found },
                });
            }
            if label.len() > LABEL_BYTES_MAX {
                return Err(NameProblem::LabelTooLong);
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(NameProblem::Hyphen);
            }
        }
        let last = name.rsplit('.').next().unwrap_or_default();
        match last.bytes().all(|byte| byte.is_ascii_digit()) {
            true => Err(NameProblem::Number),
            false => Ok(Self(name)),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a single part, such as `com`.
    pub fn is_label(&self) -> bool {
        !self.0.contains('.')
    }

    /// Whether it is the other one or stands beneath it.
    pub fn is_within(&self, suffix: &Self) -> bool {
        match self.0.strip_suffix(suffix.as_str()) {
            Some(rest) => rest.is_empty() || rest.ends_with('.'),
            None => false,
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A pattern of host names. Patterns have the order of their texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostPattern {
    /// `*.example.org`: the name itself and all its subdomains.
    Suffix(DomainName),
    /// `api.example.org`.
    Name(DomainName),
}

crate::serde_as_text!(HostPattern);

impl HostPattern {
    /// Returns whether it matches a name.
    pub fn matches(&self, name: &DomainName) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Suffix(suffix) => name.is_within(suffix),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "{name}"),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

impl FromStr for HostPattern {
    type Err = InvalidRule;

    fn from_str(text: &str) -> Result<Self, InvalidRule> {
        read_host(text).map_err(|invalid| invalid.settled(|text| read_host(text).map(|_| ())))
    }
}

fn read_host(text: &str) -> Result<HostPattern, InvalidRule> {
    if text.is_empty() {
        return Err(Reason::EmptyHost.into());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
        return Err(Reason::Url { scheme: scheme.to_owned() }.or_rather(host));
    }
    if let Some(suffix) = text.strip_prefix("*.") {
        return suffix_of(suffix).map(HostPattern::Suffix);
    }
    if text.parse::<IpAddr>().is_ok() || text.starts_with('[') {
        return Err(Reason::AddressAsHost { found: text.to_owned() }.into());
    }
    if let Some((host, port)) = text.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Reason::PortBehindHost { port: port.to_owned() }.or_rather(host));
    }
    let name = name_of(text)?;
    match name.is_label() {
        true => Err(Reason::BareHost { found: name.0 }.into()),
        false => Ok(HostPattern::Name(name)),
    }
}

/// A name, or why it is none.
pub(super) fn name_of(text: &str) -> Result<DomainName, InvalidRule> {
    if text.contains('*') {
        let inner = text.trim_matches(['*', '.']);
        // What stands behind the last star is the name that was meant, if it is one.
        let behind = text.rsplit('*').next().unwrap_or_default().trim_start_matches('.');
        let reason = Reason::Wildcard { found: text.to_owned() };
        return Err(match DomainName::new(behind) {
            Ok(name) if !name.is_label() => reason.or_rather(format!("*.{name}")),
            _ if inner.is_empty() => reason.or_rather("any"),
            _ => reason.into(),
        });
    }
    DomainName::new(text).map_err(|problem| {
        let reason = Reason::InvalidName { found: text.to_owned(), problem };
        let host = text.split('/').next().unwrap_or_default();
        match DomainName::new(host) {
            Ok(name) if host.len() < text.len() && !name.is_label() => reason.or_rather(host),
            _ => match DomainName::new(text.trim_start_matches('.')) {
                Ok(name) if text.starts_with('.') && !name.is_label() => {
                    reason.or_rather(format!("*.{name}"))
                }
                _ => reason.into(),
            },
        }
    })
}

/// The name of a suffix, which has to be narrower than a top-level domain or any other public suffix.
pub(super) fn suffix_of(text: &str) -> Result<DomainName, InvalidRule> {
    if text.is_empty() || text == "." {
        return Err(Reason::SuffixTooBroad { suffix: String::new() }.into());
    }
    let name = name_of(text)?;
    match is_too_broad(&name) {
        true => Err(Reason::SuffixTooBroad { suffix: name.0 }.into()),
        false => Ok(name),
    }
}
