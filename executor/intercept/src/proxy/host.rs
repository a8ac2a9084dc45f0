//! The host of a request, which must be the host of its connection.

use super::Destination;
use crate::event::{BadRequest, Reason};
use ::rules::rule::DomainName;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;

/// Returns the name of a request's host; `None` if that is an address, without TLS.
pub(super) fn check(parts: &Parts, destination: &Destination) -> Result<Option<DomainName>, Reason> {
    let mut fields = parts.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Reason::Request(BadRequest::SeveralHosts));
    }
    let field = match field {
        None => None,
        Some(field) => {
            let field = field.to_str().map_err(|_| Reason::Request(BadRequest::Host))?;
            Some(field.parse::<Authority>().map_err(|_| Reason::Request(BadRequest::Host))?)
        }
    };
    let authority = parts.uri.authority();
    if field.is_none() && (authority.is_none() || parts.version < http::Version::HTTP_2) {
        return Err(Reason::Request(BadRequest::NoHost));
    }
    let mut requested = None;
    for authority in field.as_ref().into_iter().chain(authority) {
        if authority.as_str().contains('@') {
            return Err(Reason::Request(BadRequest::Host));
        }
        let name = DomainName::new(authority.host()).ok();
        let expected = match (&destination.sni, &requested) {
            (Some(sni), _) => Some(sni.clone()),
            (None, None) => name.clone(),
            (None, Some(first)) => Option::clone(first),
        };
        if name != expected {
            let host = expected.map_or_else(|| destination.text(), |name| name.to_string());
            return Err(Reason::Misdirected { requested: authority.host().to_owned(), host });
        }
        requested = Some(name);
    }
    Ok(requested.flatten())
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use std::sync::Arc;

    fn check_at(sni: Option<&str>, uri: &str, hosts: &[&str]) -> Result<Option<String>, Reason> {
        let mut request = Request::builder().uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let destination = Destination {
            sni: sni.map(|sni| DomainName::new(sni).unwrap()),
            names: Arc::new([]),
            remote: "192.0.2.1:443".parse().unwrap(),
        };
        check(&parts, &destination).map(|name| name.map(|name| name.to_string()))
    }

    #[test]
    fn the_host_is_compared_without_port_case_and_final_dot() {
        for host in ["a.example", "A.Example", "a.example.", "a.example:443", "a.EXAMPLE.:8443"] {
            assert_eq!(check_at(Some("a.example"), "/", &[host]), Ok(Some("a.example".to_owned())), "{host}");
        }
    }

    #[test]
    fn another_host_is_misdirected() {
        for host in ["b.example", "a.example.b.example", "[::1]", "192.0.2.1", "xa.example"] {
            let found = check_at(Some("a.example"), "/", &[host]);
            assert!(matches!(found, Err(Reason::Misdirected { .. })), "{host}: {found:?}");
        }
        let found = check_at(Some("a.example"), "https://b.example/", &["a.example"]);
        assert!(matches!(found, Err(Reason::Misdirected { .. })), "{found:?}");
        let found = check_at(None, "http://b.example/", &["a.example"]);
        assert!(matches!(found, Err(Reason::Misdirected { .. })), "{found:?}");
        let found = check_at(None, "http://192.0.2.1/", &["a.example"]);
        assert!(matches!(found, Err(Reason::Misdirected { .. })), "{found:?}");
    }

    #[test]
    fn a_host_that_is_missing_repeated_or_no_host_is_refused() {
        let refused = |hosts: &[&str]| check_at(Some("a.example"), "/", hosts).unwrap_err();
        assert_eq!(refused(&[]), Reason::Request(BadRequest::NoHost));
        assert_eq!(refused(&["a.example", "a.example"]), Reason::Request(BadRequest::SeveralHosts));
        assert_eq!(refused(&["user@a.example"]), Reason::Request(BadRequest::Host));
        assert_eq!(refused(&["a.example, b.example"]), Reason::Request(BadRequest::Host));
        assert_eq!(refused(&[""]), Reason::Request(BadRequest::Host));
        let absolute = check_at(Some("a.example"), "https://a.example/", &[]);
        assert_eq!(absolute, Err(Reason::Request(BadRequest::NoHost)));
    }

    #[test]
    fn without_tls_the_host_is_the_name_of_the_request() {
        assert_eq!(check_at(None, "/", &["A.example:80"]), Ok(Some("a.example".to_owned())));
        assert_eq!(check_at(None, "http://a.example/", &["a.example"]), Ok(Some("a.example".to_owned())));
        assert_eq!(check_at(None, "/", &["192.0.2.1"]), Ok(None));
    }
}
