//! Parser of the header `WWW-Authenticate` of a `401 Unauthorized` (RFC 9110, 11.6.1).

use hyper::header::{HeaderMap, WWW_AUTHENTICATE};

/// An authentication scheme that a registry accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A user name and a password (RFC 7617).
    Basic,
    /// A token from a token server (RFC 6750, and the distribution specification).
    Bearer {
        /// The token server's URL.
        realm: String,
        /// The token server's name for the registry.
        service: Option<String>,
    },
    /// Any other scheme, by its name.
    Other(String),
}

/// The challenges of a response, the preferred one first.
pub fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    let mut challenges: Vec<_> = texts.flat_map(parse).collect();
    challenges.sort_by_key(|challenge| match challenge {
        Challenge::Bearer { .. } => 0,
        Challenge::Basic => 1,
        Challenge::Other(_) => 2,
    });
    challenges
}

/// Parses one header, which may contain several challenges.
fn parse(text: &str) -> Vec<Challenge> {
    let mut found: Vec<(String, Vec<(String, String)>)> = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([',', ' ', '\t']);
        let length = rest.find(['=', ',', ' ', '\t']).unwrap_or(rest.len());
        let (word, after) = rest.split_at(length);
        let after = after.trim_start_matches([' ', '\t']);
        if word.is_empty() && after.is_empty() {
            break;
        }
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(after), Some((_, parameters))) => {
                let (value, after) = value(after.trim_start_matches([' ', '\t']));
                parameters.push((word.to_ascii_lowercase(), value));
                rest = after;
            }
            // A value without a name.
            (Some(after), None) => rest = value(after).1,
            (None, _) => {
                found.push((word.to_owned(), Vec::new()));
                rest = after;
            }
        }
    }
    found.into_iter().map(|(scheme, parameters)| challenge(scheme, &parameters)).collect()
}

/// Splits off a value, quoted or not; returns it and the rest.
fn value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let length = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..length].to_owned(), &text[length..]);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '"' => return (value, &quoted[index + 1..]),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            character => value.push(character),
        }
    }
    (value, "")
}

fn challenge(scheme: String, parameters: &[(String, String)]) -> Challenge {
    let find = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    match scheme.to_ascii_lowercase().as_str() {
        "basic" => Challenge::Basic,
        "bearer" => match find("realm") {
            Some(realm) => Challenge::Bearer { realm, service: find("service") },
            None => Challenge::Other(format!("{scheme} without a realm")),
        },
        _ => Challenge::Other(scheme),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn bearer(realm: &str, service: Option<&str>) -> Challenge {
        Challenge::Bearer { realm: realm.to_owned(), service: service.map(str::to_owned) }
    }

    #[test]
    fn headers_of_known_registries_are_parsed() {
        for (text, expected) in [
            (
                r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push""#,
                vec![bearer("https://auth.docker.io/token", Some("registry.docker.io"))],
            ),
            (r#"bearer  service = "s" , REALM = https://a/b"#, vec![bearer("https://a/b", Some("s"))]),
            (r#"Basic realm="Registry Realm""#, vec![Challenge::Basic]),
            ("Basic", vec![Challenge::Basic]),
            (r#"Basic realm="x, y=\"z\"", Bearer realm="r""#, vec![Challenge::Basic, bearer("r", None)]),
            (
                r#"Negotiate, NTLM abc=, Basic"#,
                vec![
                    Challenge::Other("Negotiate".to_owned()),
                    Challenge::Other("NTLM".to_owned()),
                    Challenge::Basic,
                ],
            ),
            (r#"Bearer service="s""#, vec![Challenge::Other("Bearer without a realm".to_owned())]),
            (r#"Bearer realm="open"#, vec![bearer("open", None)]),
            (r#"Bearer realm="ends\"#, vec![bearer("ends", None)]),
            ("=x,,=,", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn arbitrary_headers_are_bounded_and_realms_survive_quoting() {
        let alphabet = ["=", "\"", "\\", ",", " ", "\t", "a", "ü", "Bearer ", "realm="];
        let mut state = 0x2545_f491_4f6c_dd1du64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..12 {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                text.push_str(alphabet[state as usize % alphabet.len()]);
            }
            let found = parse(&text);
            // A challenge takes at least a character and a separator.
            assert!(found.len() <= text.chars().count().div_ceil(2), "{text}: {found:?}");
            for challenge in found {
                // Any realm survives quoting.
                let Challenge::Bearer { realm, service: None } = challenge else { continue };
                let quoted = realm.replace('\\', "\\\\").replace('"', "\\\"");
                assert_eq!(parse(&format!("Bearer realm=\"{quoted}\"")), [bearer(&realm, None)], "{text}");
            }
        }
    }

    #[test]
    fn tokens_are_preferred_to_passwords() {
        let mut headers = HeaderMap::new();
        for text in ["Negotiate", "Basic realm=x", r#"Bearer realm="r""#] {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_static(text));
        }
        let expected = [bearer("r", None), Challenge::Basic, Challenge::Other("Negotiate".to_owned())];
        assert_eq!(challenges(&headers), expected);
    }
}
