//! Tests of substitution.

mod body;
mod head;
mod masks;
mod streams;

use super::{BodyPlan, Replacer, Substitution, Violation};
use crate::secret::{Inject, Secret, Value};
use bytes::BytesMut;
use http::{HeaderMap, HeaderName, HeaderValue, Request, request};
use rules::rule::DomainName;
use schemas::spec::OnViolation;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The only host of the secrets of these tests, unless a test says otherwise.
const HOST: &str = "api.example.org";
/// Another host.
const ELSEWHERE: &str = "sink.example.net";

/// A secret that is put into all parts of requests to [`HOST`].
fn secret(name: &str, value: impl Into<Vec<u8>>) -> Secret {
    Secret {
        name: name.to_owned(),
        placeholder: format!("$MSB_{name}"),
        value: Value::new(value.into()),
        hosts: BTreeSet::from([HOST.parse().unwrap()]),
        passthrough_hosts: BTreeSet::new(),
        on_violation: OnViolation::BlockAndLog,
        inject: Inject {
            headers: true,
            header_names: BTreeSet::new(),
            basic_auth: true,
            query: true,
            body: true,
        },
        require_tls: true,
    }
}

/// The substitution at a host, over TLS.
fn at(host: &str, secrets: impl Into<Vec<Secret>>) -> Substitution {
    let name = DomainName::new(host).unwrap();
    Substitution::new(secrets.into().into(), Some(&name), &name, true)
}

/// The head of a request.
fn request(target: &str, headers: &[(&str, &str)]) -> request::Parts {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn headers(headers: &[(&str, &str)]) -> HeaderMap {
    headers
        .iter()
        .map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        })
        .collect()
}

/// The values of a header after the substitution.
fn header_after(substitution: &Substitution, name: &str, value: &str) -> Result<String, Violation> {
    let mut parts = request("/", &[(name, value)]);
    substitution.request_head(&mut parts)?;
    Ok(parts.headers[name].to_str().unwrap().to_owned())
}

/// The target of a request after the substitution.
fn target_after(substitution: &Substitution, target: &str) -> Result<String, Violation> {
    let mut parts = request(target, &[]);
    substitution.request_head(&mut parts)?;
    Ok(parts.uri.to_string())
}

/// The replacer of a body that is searched or replaced.
fn replacer(plan: BodyPlan) -> Replacer {
    match plan {
        BodyPlan::Scan(replacer) | BodyPlan::Replace(replacer) => replacer,
        BodyPlan::Unchanged => panic!("the body is not searched"),
    }
}

/// Pushes the parts of a stream.
fn run<'a>(mut replacer: Replacer, parts: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, Violation> {
    let mut out = BytesMut::new();
    for part in parts {
        replacer.push(part, &mut out)?;
    }
    replacer.finish(&mut out)?;
    Ok(out.to_vec())
}

/// A body after the substitution, which is pushed as a whole, byte by byte, and in two parts with the border at every
/// position. All of them must be the same.
fn body_after(substitution: &Substitution, content_type: &str, body: &str) -> Result<String, Violation> {
    let headers = headers(&[("content-type", content_type)]);
    let body = body.as_bytes();
    let whole = run(replacer(substitution.request_body(&headers)), [body]);
    assert_eq!(run(replacer(substitution.request_body(&headers)), body.chunks(1)), whole);
    for border in 0..=body.len() {
        let (start, end) = body.split_at(border);
        assert_eq!(
            run(replacer(substitution.request_body(&headers)), [start, end]),
            whole,
            "split at {border}"
        );
    }
    let length = replacer(substitution.request_body(&headers)).replaced_length(body);
    assert_eq!(length, whole.as_ref().map(|whole| whole.len() as u64).map_err(Clone::clone));
    whole.map(|whole| String::from_utf8(whole).unwrap())
}

#[test]
fn nothing_printed_contains_a_value() {
    let secrets: Arc<[Secret]> = Arc::new([secret("KEY", "c4n4ry-c4n4ry")]);
    let name = DomainName::new(HOST).unwrap();
    let here = Substitution::new(Arc::clone(&secrets), Some(&name), &name, true);
    let mut responses = here.response_body(&HeaderMap::new()).unwrap();
    responses.push(b"c4n4ry-c4n", &mut BytesMut::new()).unwrap();
    let elsewhere = at(ELSEWHERE, [secret("KEY", "c4n4ry-c4n4ry")]);
    let violation = header_after(&elsewhere, "x-key", "$MSB_KEY").unwrap_err();
    let unusable = header_after(&at(HOST, [secret("KEY", "c4n4ry\x01")]), "x-key", "$MSB_KEY").unwrap_err();
    let printed = format!(
        "{secrets:?} {here:?} {:?} {responses:?} {violation:?} {violation} {unusable:?} {unusable}",
        here.request_body(&HeaderMap::new())
    );
    assert!(printed.contains("KEY"));
    assert!(!printed.contains("c4n4ry") && !printed.contains("c4n"), "{printed}");
    // Nor as a list of bytes.
    assert!(!printed.contains("99, 52"), "{printed}");
}
