//! Heads of requests.

use super::{ELSEWHERE, HOST, at, header_after, headers, request, secret, target_after};
use crate::secret::{Inject, Secret};
use crate::substitute::{Cause, Place, Substitution};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use http::Method;
use proptest::prelude::{prop_assert_eq, proptest};
use rules::rule::DomainName;
use schemas::spec::OnViolation;
use std::collections::BTreeSet;

fn with_inject(inject: Inject) -> Secret {
    Secret { inject, ..secret("KEY", "s3cr3t") }
}

/// A header with Basic credentials.
fn basic(credentials: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(credentials))
}

#[test]
fn each_header_gets_the_value_and_is_sensitive() {
    let here = at(HOST, [secret("KEY", "s3cr3t")]);
    let sent = [
        ("authorization", "Bearer $MSB_KEY"),
        ("cookie", "a=$MSB_KEY; b=$MSB_KEY"),
        ("x-key", "$MSB_KEY$MSB_KEY"),
        ("x-key", "none"),
        ("x-key", "<$MSB_KEY>"),
        ("x-other", "$MSB_KE"),
    ];
    let mut parts = request("/", &sent);
    here.request_head(&mut parts).unwrap();
    let expected = [
        ("authorization", "Bearer s3cr3t"),
        ("cookie", "a=s3cr3t; b=s3cr3t"),
        ("x-key", "s3cr3ts3cr3t"),
        ("x-key", "none"),
        ("x-key", "<s3cr3t>"),
        ("x-other", "$MSB_KE"),
    ];
    assert_eq!(parts.headers, headers(&expected));
    for value in parts.headers.values() {
        let contains_value = value.to_str().unwrap().contains("s3cr3t");
        assert_eq!(value.is_sensitive(), contains_value, "{:?}", value.to_str());
    }
}

#[test]
fn only_named_headers_get_the_value() {
    let inject = Inject { header_names: BTreeSet::from(["x-key".to_owned()]), ..secret("KEY", "").inject };
    let here = at(HOST, [with_inject(inject)]);
    assert_eq!(header_after(&here, "X-Key", "$MSB_KEY").unwrap(), "s3cr3t");
    assert_eq!(header_after(&here, "x-other", "$MSB_KEY").unwrap(), "$MSB_KEY");
    assert_eq!(header_after(&here, "authorization", &basic("u:$MSB_KEY")).unwrap(), basic("u:s3cr3t"));
}

#[test]
fn parts_that_are_not_named_keep_the_placeholder() {
    let here = at(HOST, [with_inject(Inject::default())]);
    assert_eq!(header_after(&here, "x-key", "$MSB_KEY").unwrap(), "$MSB_KEY");
    assert_eq!(header_after(&here, "authorization", &basic("u:$MSB_KEY")).unwrap(), basic("u:$MSB_KEY"));
    assert_eq!(target_after(&here, "/$MSB_KEY?a=$MSB_KEY").unwrap(), "/$MSB_KEY?a=$MSB_KEY");
    let headers_only = at(HOST, [with_inject(Inject { headers: true, ..Inject::default() })]);
    assert_eq!(
        header_after(&headers_only, "authorization", &basic("u:$MSB_KEY")).unwrap(),
        basic("u:$MSB_KEY")
    );
}

#[test]
fn headers_of_the_connection_stay() {
    let here = at(HOST, [secret("KEY", "s3cr3t")]);
    for name in ["host", "connection", "transfer-encoding", "content-length", "te", "upgrade"] {
        assert_eq!(header_after(&here, name, "$MSB_KEY").unwrap(), "$MSB_KEY", "{name}");
        let elsewhere = at(ELSEWHERE, [secret("KEY", "s3cr3t")]);
        let violation = header_after(&elsewhere, name, "$MSB_KEY").unwrap_err();
        assert_eq!(violation.place, Place::Header(name.to_owned()));
    }
}

#[test]
fn basic_credentials_are_decoded() {
    let here = at(HOST, [with_inject(Inject { basic_auth: true, ..Inject::default() })]);
    let after = |value: &str| header_after(&here, "authorization", value).unwrap();
    assert_eq!(after(&basic("user:$MSB_KEY")), basic("user:s3cr3t"));
    assert_eq!(after(&basic("$MSB_KEY:")), basic("s3cr3t:"));
    assert_eq!(after(&basic("$MSB_KEY:$MSB_KEY")), basic("s3cr3t:s3cr3t"));
    let unpadded = BASE64_STANDARD_NO_PAD.encode("user:$MSB_KEY!");
    assert_ne!(unpadded.len() % 4, 0);
    assert_eq!(after(&format!("bAsIc   {unpadded} ")), basic("user:s3cr3t!"));
    assert_eq!(header_after(&here, "proxy-authorization", &basic("u:$MSB_KEY")).unwrap(), basic("u:s3cr3t"));
    // Not the credentials of `Basic`, or not Base64.
    for value in [
        "Basic",
        "Basic ",
        "Basic $MSB_KEY",
        "Bearer dTokTVNCX0tFWQ==",
        "Basic dTokTVNCX0tFWQ==!",
        "Basicc dTok",
    ] {
        assert_eq!(after(value), value);
    }
    let other = basic("u:$MSB_KEY");
    assert_eq!(header_after(&here, "x-authorization", &other).unwrap(), other);
}

#[test]
fn values_in_the_query_are_percent_encoded() {
    let here = at(HOST, [secret("KEY", "a b/+&=%ü")]);
    let encoded = "a%20b%2F%2B%26%3D%25%C3%BC";
    for placeholder in ["$MSB_KEY", "%24MSB_KEY", "%24%4d%53%42%5F%4B%45%59", "$M%53B_K%45Y"] {
        let after = target_after(&here, &format!("/p?a={placeholder}&b=%zz%2&c={placeholder}")).unwrap();
        assert_eq!(after, format!("/p?a={encoded}&b=%zz%2&c={encoded}"), "{placeholder}");
    }
    // Encoded twice, it is another text.
    assert_eq!(target_after(&here, "/?a=%2524MSB_KEY").unwrap(), "/?a=%2524MSB_KEY");
    let absolute = target_after(&here, "https://api.example.org/?%24MSB_KEY").unwrap();
    assert_eq!(absolute, format!("https://api.example.org/?{encoded}"));
}

#[test]
fn the_path_stays_at_an_allowed_host() {
    let here = at(HOST, [secret("KEY", "s3cr3t")]);
    assert_eq!(target_after(&here, "/$MSB_KEY/%24MSB_KEY?$MSB_KEY").unwrap(), "/$MSB_KEY/%24MSB_KEY?s3cr3t");
}

#[test]
fn a_placeholder_anywhere_is_a_violation_elsewhere() {
    // Whatever the parts are that the secret may be put into.
    for inject in [Inject::default(), secret("KEY", "").inject] {
        let elsewhere = at(ELSEWHERE, [with_inject(inject)]);
        let refused = |target: &str, headers: &[(&str, &str)]| {
            let mut parts = request(target, headers);
            let violation = elsewhere.request_head(&mut parts).unwrap_err();
            assert_eq!(
                (violation.secret.as_str(), violation.action, violation.cause),
                ("KEY", OnViolation::BlockAndLog, Cause::Host)
            );
            violation.place
        };
        let header = |name: &str| Place::Header(name.to_owned());
        assert_eq!(refused("/", &[("x-a", "1"), ("x-b", "a$MSB_KEYb")]), header("x-b"));
        assert_eq!(refused("/", &[("cookie", "a=b; c=$MSB_KEY")]), header("cookie"));
        assert_eq!(refused("/", &[("x-$msb_key", "")]), Place::HeaderName);
        assert_eq!(
            refused("/", &[("authorization", &basic("u:$MSB_KEY"))]),
            Place::Credentials("authorization".to_owned())
        );
        assert_eq!(refused("/a/$MSB_KEY/b", &[]), Place::Path);
        assert_eq!(refused("/%24%4dSB_KEY", &[]), Place::Path);
        assert_eq!(refused("/?$MSB_KEY", &[]), Place::Query);
        assert_eq!(refused("/?a=b&c=%24MSB_KE%59", &[]), Place::Query);
        assert_eq!(refused("http://u:$MSB_KEY@a.example/", &[]), Place::Authority);
        let mut parts = request("/", &[]);
        parts.method = Method::from_bytes(b"$MSB_KEY").unwrap();
        assert_eq!(elsewhere.request_head(&mut parts).unwrap_err().place, Place::Method);
        let mut trailers = headers(&[("x-sum", "$MSB_KEY")]);
        assert_eq!(elsewhere.request_trailers(&mut trailers).unwrap_err().place, header("x-sum"));
        assert_eq!(header_after(&elsewhere, "x-key", "$MSB_KE").unwrap(), "$MSB_KE");
    }
}

#[test]
fn a_refused_request_is_unchanged() {
    let other = Secret { hosts: BTreeSet::from([ELSEWHERE.parse().unwrap()]), ..secret("OTHER", "t0k3n") };
    let here = at(HOST, [secret("KEY", "s3cr3t"), other]);
    let sent = request("/?$MSB_KEY", &[("x-a", "$MSB_KEY"), ("x-b", "$MSB_KEY $MSB_OTHER")]);
    let mut parts = sent.clone();
    assert_eq!(here.request_head(&mut parts).unwrap_err().secret, "OTHER");
    assert_eq!((parts.uri, parts.headers), (sent.uri, sent.headers));
    let sent = headers(&[("x-a", "$MSB_KEY"), ("x-b", "$MSB_OTHER")]);
    let mut trailers = sent.clone();
    here.request_trailers(&mut trailers).unwrap_err();
    assert_eq!(trailers, sent);
}

#[test]
fn placeholders_pass_where_the_secret_says_so() {
    let passing = [
        Secret { on_violation: OnViolation::Passthrough, ..secret("KEY", "s3cr3t") },
        Secret {
            passthrough_hosts: BTreeSet::from(["*.example.net".parse().unwrap()]),
            on_violation: OnViolation::BlockAndTerminate,
            ..secret("KEY", "s3cr3t")
        },
    ];
    for secret in passing {
        let elsewhere = at(ELSEWHERE, [secret.clone()]);
        let credentials = basic("u:$MSB_KEY");
        assert_eq!(header_after(&elsewhere, "authorization", &credentials).unwrap(), credentials);
        assert_eq!(header_after(&elsewhere, "x-key", "$MSB_KEY").unwrap(), "$MSB_KEY");
        assert_eq!(target_after(&elsewhere, "/$MSB_KEY?%24MSB_KEY").unwrap(), "/$MSB_KEY?%24MSB_KEY");
        // Another secret is still refused.
        let two = at(ELSEWHERE, [secret, super::secret("OTHER", "t0k3n")]);
        assert_eq!(header_after(&two, "x-key", "$MSB_KEY $MSB_OTHER").unwrap_err().secret, "OTHER");
    }
    let third = Secret {
        passthrough_hosts: BTreeSet::from(["*.example.net".parse().unwrap()]),
        on_violation: OnViolation::BlockAndTerminate,
        ..secret("KEY", "s3cr3t")
    };
    let violation = header_after(&at("example.com", [third]), "x-key", "$MSB_KEY").unwrap_err();
    assert_eq!(violation.action, OnViolation::BlockAndTerminate);
}

#[test]
fn the_value_needs_tls_and_a_verified_name() {
    let name = DomainName::new(HOST).unwrap();
    let after = |secret: Secret, host: Option<&DomainName>, tls: bool| {
        let substitution = Substitution::new([secret].into(), host, &name, tls);
        header_after(&substitution, "x-key", "$MSB_KEY").map_err(|violation| violation.cause)
    };
    let plain = Secret { require_tls: false, ..secret("KEY", "s3cr3t") };
    assert_eq!(after(secret("KEY", "s3cr3t"), Some(&name), true).unwrap(), "s3cr3t");
    assert_eq!(after(secret("KEY", "s3cr3t"), Some(&name), false), Err(Cause::WithoutTls));
    let other = Secret { hosts: ["other.test".parse().unwrap()].into(), ..secret("KEY", "s3cr3t") };
    assert_eq!(after(other, Some(&name), false), Err(Cause::Host));
    assert_eq!(after(secret("KEY", "s3cr3t"), None, true), Err(Cause::Host));
    assert_eq!(after(plain.clone(), Some(&name), false).unwrap(), "s3cr3t");
    assert_eq!(after(plain, None, false), Err(Cause::Host));
}

#[test]
fn values_are_not_searched_for_placeholders() {
    let secrets = [secret("A", "<$MSB_B>"), secret("B", "<$MSB_A>"), secret("C", "$MSB_C$MSB_C")];
    let here = at(HOST, secrets);
    assert_eq!(
        header_after(&here, "x-key", "$MSB_A $MSB_B $MSB_C").unwrap(),
        "<$MSB_B> <$MSB_A> $MSB_C$MSB_C"
    );
    assert_eq!(
        header_after(&here, "authorization", &basic("$MSB_A:$MSB_B")).unwrap(),
        basic("<$MSB_B>:<$MSB_A>")
    );
}

#[test]
fn the_longest_placeholder_counts() {
    let here = at(HOST, [secret("A", "1"), secret("AB", "2"), secret("ABC", "3")]);
    assert_eq!(header_after(&here, "x-key", "$MSB_ABC$MSB_AB$MSB_A$MSB_ABX").unwrap(), "3212X");
    // The beginning of an allowed placeholder is not a violation.
    let short = Secret { hosts: BTreeSet::from([ELSEWHERE.parse().unwrap()]), ..secret("A", "1") };
    let here = at(HOST, [short, secret("AB", "2")]);
    assert_eq!(header_after(&here, "x-key", "$MSB_AB").unwrap(), "2");
    assert_eq!(header_after(&here, "x-key", "$MSB_AB$MSB_AC").unwrap_err().secret, "A");
}

#[test]
fn values_that_do_not_fit_are_refused() {
    for value in ["a\x01", "a\x7f", "\x1b[0m"] {
        let here = at(HOST, [secret("KEY", value)]);
        let violation = header_after(&here, "x-key", "$MSB_KEY").unwrap_err();
        assert_eq!((violation.cause, violation.action), (Cause::ControlCharacter, OnViolation::BlockAndLog));
        assert_eq!(header_after(&here, "x-key", "$MSB").unwrap(), "$MSB");
        assert_eq!(
            header_after(&here, "authorization", &basic("u:$MSB_KEY")).unwrap(),
            basic(&format!("u:{value}"))
        );
    }
    assert_eq!(header_after(&at(HOST, [secret("KEY", "a\tb")]), "x-key", "$MSB_KEY").unwrap(), "a\tb");
    let here = at(HOST, [secret("KEY", "v".repeat(64 << 10))]);
    assert_eq!(header_after(&here, "x-key", "$MSB_KEY").unwrap().len(), 64 << 10);
    assert_eq!(target_after(&here, "/?$MSB_KEY").unwrap_err().cause, Cause::TooLong);
    assert_eq!(header_after(&here, "x-key", &"$MSB_KEY".repeat(17)).unwrap_err().cause, Cause::TooLong);
    let many = [("x-key", "$MSB_KEY"); 17];
    assert_eq!(here.request_head(&mut request("/", &many)).unwrap_err().cause, Cause::TooLong);
    let longest = at(HOST, [secret("KEY", "v".repeat((64 << 10) - 5))]);
    assert_eq!(target_after(&longest, "/?$MSB_KEY").unwrap().len(), (64 << 10) - 3);
    assert_eq!(target_after(&longest, "/?a$MSB_KEY").unwrap().len(), (64 << 10) - 2);
    assert_eq!(target_after(&longest, "/?ab$MSB_KEY").unwrap_err().cause, Cause::TooLong);
}

#[test]
fn values_may_have_bytes_above_ascii() {
    let here = at(HOST, [secret("KEY", b"\xff\xfe".to_vec())]);
    let mut parts = request("/", &[("x-key", "<$MSB_KEY>")]);
    here.request_head(&mut parts).unwrap();
    assert_eq!(parts.headers["x-key"].as_bytes(), b"<\xff\xfe>");
}

#[test]
fn without_secrets_nothing_changes() {
    let none = at(HOST, []);
    assert!(none.is_empty());
    assert_eq!(header_after(&none, "x-key", "$MSB_KEY").unwrap(), "$MSB_KEY");
    // An empty placeholder is in every text, and counts nowhere.
    let empty = Secret { placeholder: String::new(), ..secret("KEY", "s3cr3t") };
    assert_eq!(header_after(&at(HOST, [empty.clone()]), "x-key", "text").unwrap(), "text");
    assert_eq!(header_after(&at(ELSEWHERE, [empty]), "x-key", "text").unwrap(), "text");
}

#[test]
fn trailers_are_like_headers() {
    let mut trailers = headers(&[("x-sum", "$MSB_KEY"), ("x-sum", "1")]);
    at(HOST, [secret("KEY", "s3cr3t")]).request_trailers(&mut trailers).unwrap();
    assert_eq!(trailers, headers(&[("x-sum", "s3cr3t"), ("x-sum", "1")]));
}

proptest! {
    /// A placeholder at every position of a set of headers.
    #[test]
    fn placeholders_at_any_position(values in proptest::collection::vec("[ -~]{0,20}", 1..6), at_value: usize, at_byte: usize) {
        // A placeholder of chance would count too.
        let mut values: Vec<String> = values.iter().map(|value| value.replace('$', "_").trim().to_owned()).collect();
        let here = at(HOST, [secret("KEY", "s3cr3t")]);
        let index = at_value % values.len();
        let position = at_byte % (values[index].len() + 1);
        let mut expected = values.clone();
        values[index].insert_str(position, "$MSB_KEY");
        expected[index].insert_str(position, "s3cr3t");
        let named = |values: &[String]| {
            headers(&values.iter().map(|value| ("x-key", value.as_str())).collect::<Vec<_>>())
        };
        let mut parts = request("/", &[]);
        parts.headers = named(&values);
        here.request_head(&mut parts).unwrap();
        prop_assert_eq!(parts.headers, named(&expected));
    }

    /// Hostile heads are either changed or refused.
    #[test]
    fn any_head(target in "/[!-~]{0,40}", value in "(Basic |\\$MSB_KEY|%24MSB_KEY|[ -~]){0,20}") {
        let Ok(uri) = target.parse::<http::Uri>() else { return Ok(()) };
        for host in [HOST, ELSEWHERE] {
            let mut parts = request("/", &[("authorization", value.trim())]);
            parts.uri = uri.clone();
            let contains = value.contains("$MSB_KEY") || target.contains("$MSB_KEY");
            let result = at(host, [secret("KEY", "s3cr3t")]).request_head(&mut parts);
            if host == HOST {
                prop_assert_eq!(result, Ok(()));
            } else if contains {
                prop_assert_eq!(result.map_err(|violation| violation.cause), Err(Cause::Host));
            }
        }
    }
}
