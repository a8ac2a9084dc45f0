//! Hosts and origins of registries.

use crate::error::RegistryError;
use hyper::Uri;
use hyper::http::uri::PathAndQuery;
use rules::reference::DEFAULT_REGISTRY;
use std::net::IpAddr;

/// The server of the default registry.
const DEFAULT_REGISTRY_SERVER: &str = "registry-1.docker.io";
/// The token server of the default registry.
const DEFAULT_REGISTRY_REALM: &str = "auth.docker.io";
/// Docker's other names for the default registry.
const DEFAULT_REGISTRY_ALIASES: [&str; 2] = ["index.docker.io", DEFAULT_REGISTRY_SERVER];
/// The longest text of a registry in a message, in characters.
const DISPLAY_CHARS_MAX: usize = 200;

/// The scheme of a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

/// Scheme, host and port: credentials are sent to the same origin alone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub scheme: Scheme,
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// The origin of a URL; `None` for other schemes than `http` and `https`, or for one with user information.
    pub fn of(uri: &Uri) -> Option<Self> {
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') || uri.host()?.is_empty() {
            return None;
        }
        let port = match authority.as_str().strip_prefix(uri.host()?)?.strip_prefix(':') {
            None if scheme == Scheme::Https => 443,
            None => 80,
            // An empty port, 0, or one out of range.
            Some(port) => port.parse().ok().filter(|port| *port > 0)?,
        };
        Some(Self { scheme, host: uri.host()?.to_ascii_lowercase(), port })
    }

    /// The origin as users write it.
    pub fn name(&self) -> String {
        let Self { scheme, host, port } = self;
        let usual = matches!((scheme, port), (Scheme::Https, 443) | (Scheme::Http, 80));
        let name = if usual { host.clone() } else { format!("{host}:{port}") };
        sanitize(&name)
    }
}

/// Whether a host name means this machine.
pub fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The canonical name of a registry, as in references.
pub fn canonical(registry: &str) -> &str {
    if DEFAULT_REGISTRY_ALIASES.contains(&registry) { DEFAULT_REGISTRY } else { registry }
}

/// The server of a registry.
pub fn server_of(registry: &str) -> &str {
    if canonical(registry) == DEFAULT_REGISTRY { DEFAULT_REGISTRY_SERVER } else { registry }
}

/// Whether credentials for a registry may be sent to a token server that it names. `named` are those that the user
/// trusts.
///
/// The owner of `gitlab.com` controls `registry.gitlab.com`, so a parent domain is trusted. Plain HTTP does not prove a
/// name, so there it must be the registry itself.
pub fn trusts_realm(registry: &Origin, realm: &Origin, named: &[String]) -> bool {
    let Origin { scheme, host, port } = realm;
    if named.iter().any(|name| *name == realm.name() || *name == format!("{host}:{port}")) {
        return true;
    }
    if *scheme == Scheme::Http || registry.scheme == Scheme::Http {
        return realm == registry;
    }
    let is_parent = || {
        let child = registry.host.strip_suffix(host.as_str()).is_some_and(|rest| rest.ends_with('.'));
        child && host.contains('.') && registry.host.parse::<IpAddr>().is_err()
    };
    let is_default = || registry.host == DEFAULT_REGISTRY_SERVER && host == DEFAULT_REGISTRY_REALM;
    registry.host == *host || is_parent() || is_default()
}

/// Resolves a redirect.
///
/// # Errors
///
/// If the target is not a URL or has user information.
pub fn redirected(from: &Uri, location: &str) -> Result<Uri, RegistryError> {
    let origin = Origin::of(from).map_or_else(String::new, |origin| origin.name());
    let wrong = || RegistryError::Redirect {
        host: origin.clone(),
        reason: format!("it leads to {:?}, which is not a URL of a server", sanitize(location)),
    };
    let location = location.split('#').next().unwrap_or_default();
    let head = location.split(['/', '?']).next().unwrap_or_default();
    let uri = if head.ends_with(':') && location[head.len()..].starts_with("//") {
        location.parse::<Uri>().map_err(|_| wrong())?
    } else {
        let scheme = from.scheme_str().unwrap_or("https");
        if let Some(rest) = location.strip_prefix("//") {
            format!("{scheme}://{rest}").parse().map_err(|_| wrong())?
        } else {
            let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
            let path = match location.chars().next() {
                Some('/') => location.to_owned(),
                Some('?') => format!("{}{location}", from.path()),
                Some(_) => format!("{folder}/{location}"),
                None => return Err(wrong()),
            };
            let mut parts = from.clone().into_parts();
            parts.path_and_query = Some(path.parse::<PathAndQuery>().map_err(|_| wrong())?);
            Uri::from_parts(parts).map_err(|_| wrong())?
        }
    };
    Origin::of(&uri).ok_or_else(wrong)?;
    Ok(uri)
}

/// Sanitizes a registry's text for messages: short, on one line, without control characters.
pub fn sanitize(text: &str) -> String {
    let mut sanitize: String =
        text.chars().filter(|c| !schemas::terminal::steers(*c)).take(DISPLAY_CHARS_MAX).collect();
    if text.chars().nth(DISPLAY_CHARS_MAX).is_some() {
        sanitize.push('…');
    }
    sanitize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(url: &str) -> Origin {
        Origin::of(&url.parse().unwrap()).unwrap()
    }

    #[test]
    fn origins() {
        assert_eq!(origin("https://A.example/x"), origin("https://a.example:443/y"));
        assert_ne!(origin("https://a.example/"), origin("http://a.example/"));
        assert_ne!(origin("https://a.example/"), origin("https://a.example:444/"));
        assert_eq!(origin("http://[::1]:5000/").name(), "[::1]:5000");
        for wrong in ["/path", "ftp://a/", "https://me:secret@a/", "https://me@a/"] {
            assert_eq!(Origin::of(&wrong.parse().unwrap()), None, "{wrong}");
        }
        for (host, is) in [
            ("localhost", true),
            ("127.8.0.1", true),
            ("[::1]", true),
            ("10.0.0.1", false),
            ("a.localhost", false),
        ] {
            assert_eq!(is_loopback(host), is, "{host}");
        }
    }

    #[test]
    fn trusted_realms_are_recognized() {
        for (registry, realm, trusted) in [
            ("https://ghcr.io", "https://ghcr.io/token", true),
            ("https://ghcr.io", "https://ghcr.io:8443/token", true),
            ("https://ghcr.io", "http://ghcr.io/token", false),
            ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth", true),
            ("https://gitlab.com", "https://registry.gitlab.com/", false),
            ("https://registry.gitlab.com", "https://com/", false),
            ("https://registry.example.com", "https://auth.example.com/", false),
            ("https://evilgitlab.com", "https://gitlab.com/", false),
            ("https://registry-1.docker.io", "https://auth.docker.io/token", true),
            ("https://registry-2.docker.io", "https://auth.docker.io/token", false),
            ("https://10.0.0.1", "https://0.0.1/", false),
            ("http://localhost:5000", "http://localhost:5000/token", true),
            ("http://localhost:5000", "http://localhost:5001/token", false),
            ("http://localhost:5000", "https://localhost:5000/token", false),
        ] {
            assert_eq!(trusts_realm(&origin(registry), &origin(realm), &[]), trusted, "{registry} {realm}");
        }
        let named = ["auth.example.com".to_owned(), "localhost:5001".to_owned()];
        let registry = origin("https://registry.example.com");
        assert!(trusts_realm(&registry, &origin("https://auth.example.com/x"), &named));
        assert!(!trusts_realm(&registry, &origin("https://auth.example.com:444/x"), &named));
        assert!(trusts_realm(&registry, &origin("http://localhost:5001/x"), &named));
    }

    #[test]
    fn redirects_are_resolved() {
        let from = "https://a.example:5000/v2/b/c?d=e".parse().unwrap();
        for (location, expected) in [
            ("https://b.example/x?y#z", "https://b.example/x?y"),
            ("//b.example/x", "https://b.example/x"),
            ("/x?u=https://c/", "https://a.example:5000/x?u=https://c/"),
            ("x", "https://a.example:5000/v2/b/x"),
            ("?x=y", "https://a.example:5000/v2/b/c?x=y"),
        ] {
            assert_eq!(redirected(&from, location).unwrap().to_string(), expected, "{location}");
        }
        for location in [
            "",
            "#x",
            "ftp://b/",
            "file:///etc/passwd",
            "https://me:x@b/",
            "https://",
            "http://b:99999/",
            "//b:0",
        ] {
            assert!(redirected(&from, location).is_err(), "{location}");
        }
    }

    #[test]
    fn sanitized_texts_stay_on_one_line() {
        assert_eq!(sanitize("a\u{1b}[31m\nb\u{202e}c"), "a[31mbc");
        assert_eq!(sanitize(&"x".repeat(300)).chars().count(), DISPLAY_CHARS_MAX + 1);
    }
}
