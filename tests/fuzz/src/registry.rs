//! Headers of registries: what they ask for, where they redirect to, how long to wait, which part is sent.

use executor_registry::fuzzing::{self, Challenge};
use std::time::{Duration, UNIX_EPOCH};

/// Challenges are made of what the header holds, the best way first.
pub fn challenge(bytes: &[u8]) {
    let headers: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').take(8).collect();
    let challenges = fuzzing::challenges(&headers);
    // A challenge has at least a character and a separator.
    assert!(challenges.len() <= bytes.len().div_ceil(2) + 1, "{} challenges", challenges.len());
    let rank = |challenge: &Challenge| match challenge {
        Challenge::Bearer { .. } => 0,
        Challenge::Basic => 1,
        Challenge::Other(_) => 2,
    };
    assert!(challenges.is_sorted_by_key(rank));
    for challenge in challenges {
        let Challenge::Bearer { realm, service } = challenge else { continue };
        assert!(realm.len() + service.as_deref().unwrap_or_default().len() <= bytes.len());
        // A header of its own is parsed as the same value.
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let mut header = format!("Bearer realm=\"{}\"", quoted(&realm));
        if let Some(service) = &service {
            header.push_str(&format!(",service=\"{}\"", quoted(service)));
        }
        assert_eq!(fuzzing::challenges(&[header.as_bytes()]), [Challenge::Bearer { realm, service }]);
    }
}

/// Retry-After, Content-Range and Location.
pub fn answer_headers(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let now = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let _ = fuzzing::retry_after(text, now);
    if let Some(start) = fuzzing::content_range_start(text) {
        assert!(text.contains(&start.to_string()), "{start} is not in {text:?}");
    }
    let from = "https://a.example:5000/v2/b/c?d=e";
    if let Some((scheme, host, port)) = fuzzing::redirected(from, text) {
        assert!(matches!(scheme, "http" | "https") && port > 0 && !host.is_empty());
        // Relative locations are of the same server, URLs of their host.
        assert!(
            host == "a.example" || text.to_ascii_lowercase().contains(&host),
            "{host} is not in {text:?}"
        );
    }
}
