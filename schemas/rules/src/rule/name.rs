//! Host names and patterns of them, for rules and secrets.

use super::invalid::{InvalidRule, Reason};
use super::public_suffix::is_too_broad;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 253;
/// The longest label, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A host name in lower case, without a final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainName(String);

/// The reason why a text is not a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameProblem {
    /// A label is empty.
    #[error("a label is empty")]
    EmptyLabel,
    /// The name is too long.
    #[error("it has more than {NAME_BYTES_MAX} characters")]
    TooLong,
    /// A label is too long.
    #[error("a label has more than {LABEL_BYTES_MAX} characters")]
    LabelTooLong,
    /// A label begins or ends with a hyphen.
    #[error("a label begins or ends with a hyphen")]
    Hyphen,
    /// A character is not a letter, a digit, a hyphen or an underscore.
    #[error("it contains {found:?}")]
    Character {
        /// The first such character.
        found: char,
    },
    /// A character is not ASCII.
    #[error("it contains {found:?}: write the form that begins with `xn--`")]
    NotAscii {
        /// The first such character.
        found: char,
    },
    /// The last label is a number.
    #[error("it ends with a number, as only addresses do")]
    Number,
}

impl DomainName {
    /// Parses a host name of one or more labels.
    ///
    /// # Errors
    ///
    /// If the text is not a host name.
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
                return Err(if found.is_ascii() {
                    NameProblem::Character { found }
                } else {
                    NameProblem::NotAscii { found }
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
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(NameProblem::Number);
        }
        Ok(Self(name))
    }

    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether it is a single label, such as `com`.
    pub fn is_label(&self) -> bool {
        !self.0.contains('.')
    }

    /// Returns whether it is the other name or a subdomain of it.
    pub fn is_within(&self, suffix: &Self) -> bool {
        let rest = self.0.strip_suffix(suffix.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl FromStr for DomainName {
    type Err = NameProblem;

    fn from_str(text: &str) -> Result<Self, NameProblem> {
        Self::new(text)
    }
}

crate::serde_as_text!(DomainName);

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

    /// Returns the patterns that match every name that this one matches: itself, and those of all suffixes.
    pub fn covering(&self) -> impl Iterator<Item = Self> + use<'_> {
        let (Self::Name(name) | Self::Suffix(name)) = self;
        let own = Some(self).filter(|own| matches!(own, Self::Name(_))).cloned();
        let starts = std::iter::once(0).chain(name.0.match_indices('.').map(|(at, _)| at + 1));
        let suffixes = starts.map(|start| Self::Suffix(DomainName(name.0[start..].to_owned())));
        own.into_iter().chain(suffixes)
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
        read_host(text).map_err(|invalid| invalid.settled(read_host))
    }
}

fn read_host(text: &str) -> Result<HostPattern, InvalidRule> {
    if text.is_empty() {
        return Err(Reason::EmptyHost.into());
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split(['/', '?', '#', ':']).next().unwrap_or_default();
        return Err(Reason::Url { scheme: scheme.to_owned() }.suggest(host));
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
        return Err(Reason::PortAfterHost { port: port.to_owned() }.suggest(host));
    }
    let name = name_of(text)?;
    if name.is_label() {
        return Err(Reason::BareHost { found: name.0 }.into());
    }
    Ok(HostPattern::Name(name))
}

/// Parses a host name, and suggests one.
pub(super) fn name_of(text: &str) -> Result<DomainName, InvalidRule> {
    if text.contains('*') {
        let inner = text.trim_matches(['*', '.']);
        // The name after the last star was probably meant, if it is one.
        let rest = text.rsplit('*').next().unwrap_or_default().trim_start_matches('.');
        let reason = Reason::Wildcard { found: text.to_owned() };
        return Err(match DomainName::new(rest) {
            Ok(name) if !name.is_label() => reason.suggest(format!("*.{name}")),
            _ if inner.is_empty() => reason.suggest("any"),
            _ => reason.into(),
        });
    }
    DomainName::new(text).map_err(|problem| {
        let reason = Reason::InvalidName { found: text.to_owned(), problem };
        let host = text.split('/').next().unwrap_or_default();
        match DomainName::new(host) {
            Ok(name) if host.len() < text.len() && !name.is_label() => reason.suggest(host),
            _ => match DomainName::new(text.trim_start_matches('.')) {
                Ok(name) if text.starts_with('.') && !name.is_label() => reason.suggest(format!("*.{name}")),
                _ => reason.into(),
            },
        }
    })
}

/// Parses the name of a suffix, which must be narrower than a public suffix.
pub(super) fn suffix_of(text: &str) -> Result<DomainName, InvalidRule> {
    if text.is_empty() || text == "." {
        return Err(Reason::SuffixTooBroad { suffix: String::new() }.into());
    }
    let name = name_of(text)?;
    if is_too_broad(&name) {
        return Err(Reason::SuffixTooBroad { suffix: name.0 }.into());
    }
    Ok(name)
}
