//! References to images in registries: `alpine`, `ghcr.io/org/app:1.2`, `host:5000/app@sha256:…`.
//!
//! A [`Reference`] comes out of [`str::parse`], and its [`Display`](fmt::Display) is the complete form.

use std::fmt;
use std::str::FromStr;

/// The registry of a reference without one.
pub const DEFAULT_REGISTRY: &str = "docker.io";
/// The path of official images in the default registry.
const OFFICIAL_PATH: &str = "library/";
/// The tag of a reference without a tag and a digest.
pub const DEFAULT_TAG: &str = "latest";
/// The longest complete form without tag and digest, in bytes.
const NAME_BYTES_MAX: usize = 255;
/// The longest tag, in bytes.
const TAG_BYTES_MAX: usize = 128;

/// A reference in its complete form, `registry/repository[:tag][@digest]` with a tag, a digest or both.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(String);

/// An error about the text of a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidReference {
    /// The reason.
    pub reason: Reason,
    /// A valid text to replace the whole text with.
    pub suggestion: Option<String>,
}

/// The reason why a text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The text or its repository is empty.
    #[error("an image cannot be empty")]
    Empty,
    /// The name is longer than registries allow.
    #[error("the name of an image, registry included, has at most {NAME_BYTES_MAX} characters")]
    TooLong,
    /// The text is a URL.
    #[error("unexpected `{scheme}`: an image has no scheme")]
    Scheme {
        /// The scheme and `://`.
        scheme: String,
    },
    /// The text contains white space or control characters.
    #[error("the name of an image contains no white space")]
    WhiteSpace,
    /// The repository contains capital letters.
    #[error("the name of an image is written in lower case")]
    UpperCase,
    /// A part of the repository is invalid.
    #[error("`{part}` cannot be a part of an image's name")]
    Repository {
        /// The part.
        part: String,
    },
    /// A part of the repository is empty.
    #[error("a part of the image's name is empty")]
    EmptyPart,
    /// The registry is not a host.
    #[error("`{registry}` is not the name of a registry")]
    Registry {
        /// The text before the first slash.
        registry: String,
    },
    /// The tag is invalid.
    #[error("`{tag}` cannot be a tag")]
    Tag {
        /// The text after the colon.
        tag: String,
    },
    /// The digest is invalid.
    #[error("`{digest}` is not a digest: one is written `sha256:` and 64 hexadecimal digits")]
    Digest {
        /// The text after the `@`.
        digest: String,
    },
    /// The text is the id of an image.
    #[error("this is the id of an image, not its name")]
    Id,
}

impl Reference {
    /// Returns the complete form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the host of the registry, with its port if the reference has one.
    pub fn registry(&self) -> &str {
        self.split().0
    }

    /// Returns the name of the image in the registry.
    pub fn repository(&self) -> &str {
        self.split().1
    }

    /// Returns the tag; `None` for a reference with a digest only.
    pub fn tag(&self) -> Option<&str> {
        self.split().2.split('@').next()?.strip_prefix(':')
    }

    /// Returns the digest of the manifest, which takes precedence over the tag.
    pub fn digest(&self) -> Option<&str> {
        Some(self.0.split_once('@')?.1)
    }

    /// Splits it into registry, repository, and the rest from the separator of the tag or the digest.
    fn split(&self) -> (&str, &str, &str) {
        let (registry, rest) = self.0.split_once('/').unwrap_or_default();
        let (repository, rest) = rest.split_at(rest.find([':', '@']).unwrap_or(rest.len()));
        (registry, repository, rest)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

crate::serde_as_text!(Reference);

impl FromStr for Reference {
    type Err = InvalidReference;

    fn from_str(text: &str) -> Result<Self, InvalidReference> {
        read(text).map_err(|(reason, suggestion)| {
            let suggestion = suggestion.filter(|suggestion| read(suggestion).is_ok());
            InvalidReference { reason, suggestion }
        })
    }
}

fn read(text: &str) -> Result<Reference, (Reason, Option<String>)> {
    if text.is_empty() {
        return Err((Reason::Empty, None));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let joined = text.chars().filter(|c| !c.is_whitespace() && !c.is_control()).collect();
        return Err((Reason::WhiteSpace, Some(joined)));
    }
    if let Some((scheme, rest)) = text.split_once("://") {
        return Err((
            Reason::Scheme { scheme: format!("{scheme}://") },
            Some(rest.trim_end_matches('/').to_owned()),
        ));
    }
    let (name, digest) = text.split_once('@').map_or((text, None), |(name, digest)| (name, Some(digest)));
    if let Some(digest) = digest
        && !is_digest(digest)
    {
        let lowered = digest.to_ascii_lowercase();
        let meant = is_digest(&lowered).then(|| format!("{name}@{lowered}"));
        return Err((Reason::Digest { digest: digest.to_owned() }, meant));
    }
    // A colon after the last slash is the tag's, and one before it is the port's.
    let last = name.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match name[last..].find(':') {
        Some(colon) => (&name[..last + colon], Some(&name[last + colon + 1..])),
        None => (name, None),
    };
    if name.is_empty() {
        return Err((Reason::Empty, None));
    }
    if tag.is_none() && digest.is_none() && name.len() == 64 && is_hex(name) {
        return Err((Reason::Id, None));
    }
    let after = |name: &str| text.find(name).map_or("", |at| &text[at + name.len()..]).to_owned();
    if let Some(tag) = tag
        && !is_tag(tag)
    {
        let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        let meant = if tag.is_empty() {
            Some(format!("{name}{digest}"))
        } else if is_digest(tag) {
            Some(format!("{name}@{tag}"))
        } else {
            None
        };
        return Err((Reason::Tag { tag: tag.to_owned() }, meant));
    }
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if is_registry_like(first) => (first, rest),
        _ => (DEFAULT_REGISTRY, name),
    };
    if !is_registry(registry) {
        let meant = Some(format!("{}{}", name.to_ascii_lowercase(), after(name)));
        return Err((Reason::Registry { registry: registry.to_owned() }, meant));
    }
    // The default registry has two names.
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    for part in repository.split('/') {
        if part.is_empty() {
            let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty()).collect();
            return Err((Reason::EmptyPart, Some(format!("{}{}", parts.join("/"), after(name)))));
        }
        if is_part(part) {
            continue;
        }
        if is_part(&part.to_ascii_lowercase()) {
            return Err((Reason::UpperCase, Some(format!("{}{}", name.to_ascii_lowercase(), after(name)))));
        }
        return Err((Reason::Repository { part: part.to_owned() }, None));
    }
    let is_official = registry == DEFAULT_REGISTRY && !repository.contains('/');
    let path = if is_official { OFFICIAL_PATH } else { "" };
    let mut complete = format!("{registry}/{path}{repository}");
    if complete.len() > NAME_BYTES_MAX {
        return Err((Reason::TooLong, None));
    }
    for (separator, part) in [(':', tag.or(digest.is_none().then_some(DEFAULT_TAG))), ('@', digest)] {
        if let Some(part) = part {
            complete.push(separator);
            complete.push_str(part);
        }
    }
    Ok(Reference(complete))
}

/// Returns whether the part before the first slash is a host rather than a part of the repository.
fn is_registry_like(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':', '['])
        || first.contains(|c: char| c.is_ascii_uppercase())
}

fn is_registry(registry: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    // An IPv6 address has brackets.
    let (is_host, port) = match registry.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((address, port)) => (address.parse::<std::net::Ipv6Addr>().is_ok(), port),
        None => {
            let (host, port) = registry.split_at(registry.find(':').unwrap_or(registry.len()));
            (host.split('.').all(label), port)
        }
    };
    let is_port = |port: &str| port.parse::<std::num::NonZeroU16>().is_ok();
    is_host && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port))
}

/// `[a-z0-9]+`, joined by `.`, `_`, `__` or hyphens.
fn is_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends =
        bytes.first().is_some_and(|&byte| plain(byte)) && bytes.last().is_some_and(|&byte| plain(byte));
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && separators
        .filter(|separator| !separator.is_empty())
        .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    tag.len() <= TAG_BYTES_MAX
        && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

fn is_digest(digest: &str) -> bool {
    let digits = |length| move |hex: &str| hex.len() == length && is_hex(hex);
    digest.strip_prefix("sha256:").is_some_and(digits(64))
        || digest.strip_prefix("sha512:").is_some_and(digits(128))
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_LONG: &str = "the name of an image, registry included, has at most 255 characters";
    const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn complete_forms() {
        for (text, expected) in [
            ("alpine", "docker.io/library/alpine:latest"),
            ("alpine:3.20", "docker.io/library/alpine:3.20"),
            ("org/app", "docker.io/org/app:latest"),
            ("sub/dir/app", "docker.io/sub/dir/app:latest"),
            ("docker.io/alpine", "docker.io/library/alpine:latest"),
            ("index.docker.io/library/alpine", "docker.io/library/alpine:latest"),
            ("ghcr.io/org/app:v1.2_3", "ghcr.io/org/app:v1.2_3"),
            ("ghcr.io/app", "ghcr.io/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("10.0.0.1:5000/a/b:c", "10.0.0.1:5000/a/b:c"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("[::1]/app", "[::1]/app:latest"),
            ("a__b/c---d.e_f", "docker.io/a__b/c---d.e_f:latest"),
            ("app:Latest", "docker.io/library/app:Latest"),
            ("host:5000", "docker.io/library/host:5000"),
        ] {
            let reference: Reference = text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(reference.to_string(), expected, "{text}");
            assert_eq!(expected.parse::<Reference>().as_ref(), Ok(&reference), "{text}");
        }
        let pinned = format!("alpine@sha256:{HEX}");
        let reference: Reference = pinned.parse().unwrap();
        assert_eq!(reference.as_str(), format!("docker.io/library/{pinned}"));
        let parts = (reference.registry(), reference.repository(), reference.tag(), reference.digest());
        let digest = format!("sha256:{HEX}");
        assert_eq!(parts, ("docker.io", "library/alpine", None, Some(digest.as_str())));
        let reference: Reference = "[::1]:5000/a/b:c".parse().unwrap();
        let parts = (reference.registry(), reference.repository(), reference.tag(), reference.digest());
        assert_eq!(parts, ("[::1]:5000", "a/b", Some("c"), None));
        let both = format!("ghcr.io/a/b:1@sha256:{HEX}");
        let reference: Reference = both.parse().unwrap();
        assert_eq!(reference.to_string(), both);
        let parts = (reference.registry(), reference.repository(), reference.tag(), reference.digest());
        assert_eq!(parts, ("ghcr.io", "a/b", Some("1"), Some(format!("sha256:{HEX}").as_str())));
    }

    /// The limit applies to the complete form, so that it can be parsed again.
    #[test]
    fn the_longest_names() {
        for (prefix, whole) in
            [("", "docker.io/library/"), ("org/", "docker.io/org/"), ("ghcr.io/", "ghcr.io/")]
        {
            let room = NAME_BYTES_MAX - whole.len();
            let longest: Reference = format!("{prefix}{}", "a".repeat(room)).parse().unwrap();
            assert_eq!(longest.to_string().parse::<Reference>(), Ok(longest));
            let longer = format!("{prefix}{}", "a".repeat(room + 1));
            assert_eq!(longer.parse::<Reference>().unwrap_err().to_string(), TOO_LONG, "{prefix}");
        }
    }

    #[test]
    fn other_texts_are_no_references() {
        let digest = format!("alpine@sha256:{}", HEX.to_uppercase());
        let lowered = format!("alpine@sha256:{HEX}");
        let as_tag = format!("alpine:sha256:{HEX}");
        let long = "a".repeat(256);
        let tag = format!("a:{}", "t".repeat(129));
        for (text, message, suggestion) in [
            ("", "an image cannot be empty", None),
            (":tag", "an image cannot be empty", None),
            (" alpine", "the name of an image contains no white space", Some("alpine")),
            ("a b!", "the name of an image contains no white space", None),
            (
                "https://ghcr.io/org/app/",
                "unexpected `https://`: an image has no scheme",
                Some("ghcr.io/org/app"),
            ),
            ("docker://alpine:3", "unexpected `docker://`: an image has no scheme", Some("alpine:3")),
            ("Alpine:Edge", "the name of an image is written in lower case", Some("alpine:Edge")),
            ("ghcr.io/Org/App:1", "the name of an image is written in lower case", Some("ghcr.io/org/app:1")),
            ("GHCR.io/app:1", "`GHCR.io` is not the name of a registry", Some("ghcr.io/app:1")),
            ("Org/App:Edge", "`Org` is not the name of a registry", Some("org/app:Edge")),
            ("Org/app", "`Org` is not the name of a registry", Some("org/app")),
            ("a//b", "a part of the image's name is empty", Some("a/b")),
            ("org/app/:1", "a part of the image's name is empty", Some("org/app:1")),
            ("app:", "`` cannot be a tag", Some("app")),
            ("app:-x", "`-x` cannot be a tag", None),
            ("app:a:b", "`a:b` cannot be a tag", None),
            ("ü", "`ü` cannot be a part of an image's name", None),
            ("-a", "`-a` cannot be a part of an image's name", None),
            ("a..b", "`a..b` cannot be a part of an image's name", None),
            ("a___b", "`a___b` cannot be a part of an image's name", None),
            ("~/image", "`~` cannot be a part of an image's name", None),
            ("host:0/app", "`host:0` is not the name of a registry", None),
            ("[::1/app", "`[::1` is not the name of a registry", None),
            ("a@", "`` is not a digest: one is written `sha256:` and 64 hexadecimal digits", None),
            (
                "a@sha256:12",
                "`sha256:12` is not a digest: one is written `sha256:` and 64 hexadecimal digits",
                None,
            ),
            (HEX, "this is the id of an image, not its name", None),
            (&long, TOO_LONG, None),
        ] {
            let found = text.parse::<Reference>().expect_err(text);
            assert_eq!(
                (found.to_string().as_str(), found.suggestion.as_deref()),
                (message, suggestion),
                "{text}"
            );
        }
        assert!(tag.parse::<Reference>().is_err());
        assert_eq!(digest.parse::<Reference>().unwrap_err().suggestion, Some(lowered.clone()));
        assert_eq!(as_tag.parse::<Reference>().unwrap_err().suggestion, Some(lowered));
    }
}
