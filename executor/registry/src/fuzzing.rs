//! Entry points into this crate's private parsers for the fuzz targets in `tests/fuzz`.

use crate::host::{self, Origin, Scheme};
use hyper::Uri;
use hyper::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

pub use crate::auth::Challenge;
pub use crate::http::retry_after;
pub use crate::layers::content_range_start;

/// The challenges of some `WWW-Authenticate` headers, the preferred one first. Invalid header values are skipped.
pub fn challenges(values: &[&[u8]]) -> Vec<Challenge> {
    let mut headers = HeaderMap::new();
    for value in values.iter().filter_map(|value| HeaderValue::from_bytes(value).ok()) {
        headers.append(WWW_AUTHENTICATE, value);
    }
    crate::auth::challenges(&headers)
}

/// The scheme, host and port that a redirect leads to; `None` if it is refused.
pub fn redirected(from: &str, location: &str) -> Option<(&'static str, String, u16)> {
    let next = host::redirected(&from.parse::<Uri>().ok()?, location).ok()?;
    let Origin { scheme, host, port } = Origin::of(&next)?;
    let scheme = match scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    Some((scheme, host, port))
}
