//! Bodies of requests.

use super::{ELSEWHERE, HOST, at, body_after, headers, replacer, run, secret};
use crate::secret::{Inject, Secret};
use crate::substitute::{BodyPlan, Cause, Place, is_bufferable};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use schemas::spec::OnViolation;
use std::collections::BTreeSet;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "Application/JSON; charset=utf-8";
const FORM: &str = "application/x-www-form-urlencoded";

fn not_in_bodies() -> Secret {
    Secret { inject: Inject { body: false, ..secret("KEY", "").inject }, ..secret("KEY", "s3cr3t") }
}

#[test]
fn the_value_replaces_each_placeholder() {
    let here = at(HOST, [secret("KEY", "s3\"cr\\3t&"), secret("OTHER", "t0k3n")]);
    assert_eq!(
        body_after(&here, TEXT, "$MSB_KEY, $MSB_OTHER$MSB_KEY $MSB_OTHE$MSB_KE").unwrap(),
        "s3\"cr\\3t&, t0k3ns3\"cr\\3t& $MSB_OTHE$MSB_KE"
    );
    assert_eq!(body_after(&here, TEXT, "").unwrap(), "");
    // Percent-encoding means nothing here.
    assert_eq!(body_after(&here, TEXT, "%24MSB_KEY").unwrap(), "%24MSB_KEY");
}

#[test]
fn json_stays_json() {
    let value = "a\"b\\c\u{1}\u{7f}ü\tx/";
    let here = at(HOST, [secret("KEY", value)]);
    for content_type in [JSON, "application/problem+json", "text/json", "application/x-ndjson"] {
        let after = body_after(&here, content_type, r#"{"key": "<$MSB_KEY>"}"#).unwrap();
        let parsed: serde_json::Value = serde_json::from_str(&after).unwrap();
        assert_eq!(parsed, serde_json::json!({"key": format!("<{value}>")}));
    }
    let not_utf8 = at(HOST, [secret("KEY", b"\xff".to_vec())]);
    let violation = body_after(&not_utf8, JSON, "\"$MSB_KEY\"").unwrap_err();
    assert_eq!(
        (violation.cause, violation.place, violation.action),
        (Cause::NotUtf8, Place::Body, OnViolation::BlockAndLog)
    );
    assert_eq!(body_after(&not_utf8, JSON, "\"$MSB_KE\"").unwrap(), "\"$MSB_KE\"");
}

#[test]
fn placeholders_may_be_escaped_in_json() {
    let quoted = Secret { placeholder: "<\"KEY\">".to_owned(), ..secret("KEY", "s3cr3t") };
    let here = at(HOST, [quoted.clone()]);
    assert_eq!(body_after(&here, JSON, r#"["<\"KEY\">"]"#).unwrap(), r#"["s3cr3t"]"#);
    assert_eq!(body_after(&here, TEXT, r#"["<\"KEY\">"]"#).unwrap(), r#"["<\"KEY\">"]"#);
    body_after(&at(ELSEWHERE, [quoted]), JSON, r#"["<\"KEY\">"]"#).unwrap_err();
}

#[test]
fn forms_stay_forms() {
    let here = at(HOST, [secret("KEY", "a b&c=%41")]);
    for placeholder in ["$MSB_KEY", "%24MSB_KEY", "%24%4d%53%42%5F%4B%45%59", "$MSB%5fKEY"] {
        let after =
            body_after(&here, FORM, &format!("a=%{placeholder}&b=%2{placeholder}&{placeholder}=%")).unwrap();
        let value = "a%20b%26c%3D%2541";
        assert_eq!(after, format!("a=%{value}&b=%2{value}&{value}=%"), "{placeholder}");
    }
    let elsewhere = at(ELSEWHERE, [secret("KEY", "s3cr3t")]);
    body_after(&elsewhere, FORM, "a=%24MSB%5FKEY").unwrap_err();
    body_after(&elsewhere, FORM, "a=$MSB_KEY").unwrap_err();
    assert_eq!(body_after(&elsewhere, FORM, "a=%24MSB%5FKE%").unwrap(), "a=%24MSB%5FKE%");
}

#[test]
fn encoded_bodies_are_left_alone() {
    let encodings = ["gzip", "br", "deflate", "zstd", "x-unknown", "identity, gzip", "GZIP"];
    for (host, encoding) in encodings.iter().flat_map(|encoding| [(HOST, encoding), (ELSEWHERE, encoding)]) {
        let here = at(host, [secret("KEY", "s3cr3t")]);
        let plan = here.request_body(&headers(&[("content-encoding", encoding)]));
        assert!(matches!(plan, BodyPlan::Unchanged), "{encoding}");
        let twice = headers(&[("content-encoding", "identity"), ("content-encoding", encoding)]);
        assert!(matches!(here.request_body(&twice), BodyPlan::Unchanged), "{encoding}");
    }
    for encoding in ["identity", "Identity", "", " identity , "] {
        let plan =
            at(HOST, [secret("KEY", "s3cr3t")]).request_body(&headers(&[("content-encoding", encoding)]));
        assert!(matches!(plan, BodyPlan::Replace(_)), "{encoding:?}");
    }
}

#[test]
fn bodies_are_searched_where_nothing_is_replaced() {
    let elsewhere = at(ELSEWHERE, [not_in_bodies()]);
    assert!(matches!(elsewhere.request_body(&HeaderMap::new()), BodyPlan::Scan(_)));
    for content_type in [TEXT, JSON, FORM, "application/grpc+proto"] {
        let violation = body_after(&elsewhere, content_type, "abc $MSB_KEY def").unwrap_err();
        assert_eq!(
            (violation.secret.as_str(), violation.place, violation.cause),
            ("KEY", Place::Body, Cause::Host)
        );
        assert_eq!(body_after(&elsewhere, content_type, "$MSB_KE$MSB_").unwrap(), "$MSB_KE$MSB_");
    }
}

#[test]
fn bodies_without_need_are_not_searched() {
    let plan = at(HOST, [not_in_bodies()]).request_body(&HeaderMap::new());
    assert!(matches!(plan, BodyPlan::Unchanged));
    let passing = Secret { on_violation: OnViolation::Passthrough, ..secret("KEY", "s3cr3t") };
    let plan = at(ELSEWHERE, [passing]).request_body(&HeaderMap::new());
    assert!(matches!(plan, BodyPlan::Unchanged));
    assert!(matches!(at(HOST, []).request_body(&HeaderMap::new()), BodyPlan::Unchanged));
}

#[test]
fn messages_of_grpc_keep_their_lengths() {
    let here = at(HOST, [secret("KEY", "s3cr3t")]);
    let plan = here.request_body(&headers(&[("content-type", "application/grpc")]));
    assert!(matches!(plan, BodyPlan::Unchanged));
}

#[test]
fn one_secret_is_replaced_and_another_refused() {
    let other = Secret { hosts: BTreeSet::from([ELSEWHERE.parse().unwrap()]), ..secret("OTHER", "t0k3n") };
    let pass = Secret { on_violation: OnViolation::Passthrough, ..other.clone() };
    let here = at(HOST, [secret("KEY", "s3cr3t"), other]);
    assert_eq!(body_after(&here, TEXT, "$MSB_KEY").unwrap(), "s3cr3t");
    assert_eq!(body_after(&here, TEXT, "$MSB_KEY $MSB_OTHER").unwrap_err().secret, "OTHER");
    let here = at(HOST, [secret("KEY", "s3cr3t"), pass]);
    assert_eq!(body_after(&here, TEXT, "$MSB_KEY $MSB_OTHER").unwrap(), "s3cr3t $MSB_OTHER");
}

#[test]
fn values_are_not_searched_again() {
    let here = at(HOST, [secret("A", "$MSB_"), secret("B", "$MSB_A"), secret("C", "%24MSB_A")]);
    assert_eq!(body_after(&here, TEXT, "$MSB_AB $MSB_B $MSB_C").unwrap(), "$MSB_B $MSB_A %24MSB_A");
    assert_eq!(body_after(&here, FORM, "$MSB_AB+$MSB_B+$MSB_C").unwrap(), "%24MSB_B+%24MSB_A+%2524MSB_A");
}

#[test]
fn a_body_of_placeholders_is_written_in_steps() {
    let value = "v".repeat(10_000);
    let here = at(HOST, [secret("KEY", value.clone())]);
    for content_type in [TEXT, FORM] {
        let mut replacer = replacer(here.request_body(&headers(&[("content-type", content_type)])));
        let mut bytes = Bytes::from("-$MSB_KEY$MSB_KEY".repeat(1000));
        assert_eq!(replacer.replaced_length(&bytes), Ok(20_001_000));
        let mut written = BytesMut::new();
        while !bytes.is_empty() {
            let mut out = BytesMut::from(&b"before"[..]);
            let before = bytes.len();
            replacer.push_bounded(&mut bytes, &mut out, 1).unwrap();
            assert!(bytes.len() < before);
            assert!(out.len() <= 6 + 10_000 + (before - bytes.len()));
            written.extend_from_slice(&out[6..]);
        }
        replacer.finish(&mut written).unwrap();
        assert!(written == format!("-{value}{value}").repeat(1000).as_bytes());
    }
}

#[test]
fn short_bodies_are_buffered() {
    let length = |length: &str| is_bufferable(&headers(&[("content-length", length)]));
    assert!(length("0") && length("1048576"));
    assert!(!length("1048577") && !length("-1") && !length("99999999999999999999") && !length("x"));
    assert!(!is_bufferable(&HeaderMap::new()));
}

#[test]
fn every_split_in_three() {
    let here = at(HOST, [secret("A", "first"), secret("B", "$MSB_")]);
    let body = b"x$MSB_A$$MSB_B$MSB_%24MSB_A$MSB";
    for (content_type, expected) in
        [(TEXT, &b"xfirst$$MSB_$MSB_%24MSB_A$MSB"[..]), (FORM, b"xfirst$%24MSB_$MSB_first$MSB")]
    {
        let headers = headers(&[("content-type", content_type)]);
        for first in 0..=body.len() {
            for second in first..=body.len() {
                let parts = [&body[..first], &body[first..second], &body[second..]];
                assert_eq!(run(replacer(here.request_body(&headers)), parts).unwrap(), expected);
            }
        }
    }
}
