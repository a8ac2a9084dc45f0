//! Masks in responses.

use super::{ELSEWHERE, HOST, at, headers, replacer, run, secret};
use crate::secret::Secret;
use crate::substitute::Substitution;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use http::{HeaderMap, Response};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

const VALUE: &str = "s3cr3t/\"t0k3n\"&ü";

fn masked_header(substitution: &Substitution, value: &str) -> String {
    let response = Response::builder().header("x-echo", value).body(()).unwrap();
    let mut parts = response.into_parts().0;
    substitution.response_head(&mut parts);
    String::from_utf8(parts.headers["x-echo"].as_bytes().to_vec()).unwrap()
}

/// A body after masking, with the border of two parts at every position.
fn masked_body(substitution: &Substitution, sent: &HeaderMap, body: &[u8]) -> Vec<u8> {
    let mask = || substitution.response_body(sent).unwrap();
    let whole = run(mask(), [body]).unwrap();
    assert_eq!(run(mask(), body.chunks(1)).unwrap(), whole);
    for border in 0..=body.len() {
        assert_eq!(run(mask(), [&body[..border], &body[border..]]).unwrap(), whole, "split at {border}");
    }
    assert_eq!(mask().replaced_length(body), Ok(whole.len() as u64));
    whole
}

#[test]
fn values_become_placeholders_in_headers_and_bodies() {
    let here = at(HOST, [secret("KEY", VALUE)]);
    let json = serde_json::to_string(VALUE).unwrap();
    let escaped = json.trim_matches('"').strip_suffix("&ü").unwrap();
    let texts = [
        (format!("<{VALUE}>{VALUE}"), "<$MSB_KEY>$MSB_KEY".to_owned()),
        (format!("[\"{escaped}&ü\"]"), "[\"$MSB_KEY\"]".to_owned()),
        (format!("[\"{}&ü\"]", escaped.replace('/', "\\/")), "[\"$MSB_KEY\"]".to_owned()),
        ("/?a=s3cr3t%2F%22t0k3n%22%26%C3%BC".to_owned(), "/?a=%24MSB_KEY".to_owned()),
        ("s3cr3t".to_owned(), "s3cr3t".to_owned()),
    ];
    for (text, expected) in texts {
        assert_eq!(masked_header(&here, &text), expected);
        assert_eq!(masked_body(&here, &HeaderMap::new(), text.as_bytes()), expected.as_bytes());
    }
}

#[test]
fn base64_of_a_value_is_masked_at_every_position() {
    let here = at(HOST, [secret("KEY", "s3cr3t-t0k3n")]);
    for user in ["", "u", "us", "use", "user"] {
        for rest in ["", "a", "ab"] {
            let encoded = BASE64_STANDARD.encode(format!("{user}s3cr3t-t0k3n{rest}"));
            let masked = masked_body(&here, &HeaderMap::new(), encoded.as_bytes());
            let masked = String::from_utf8(masked).unwrap();
            let (before, after) = masked.split_once("$MSB_KEY").unwrap();
            // At most a byte of the value is left on both sides.
            assert!(before.len() <= (user.len() + 1) * 8 / 6 + 1, "{masked}");
            assert!(after.len() <= 4 + rest.len(), "{masked}");
            assert_eq!(masked_header(&here, &encoded), masked);
        }
    }
}

#[test]
fn base64_for_urls_is_masked_too() {
    let value = "~~~???>>>ÿÿÿ";
    let here = at(HOST, [secret("KEY", value)]);
    for before in ["", "u", "us"] {
        let encoded = BASE64_URL_SAFE_NO_PAD.encode(format!("{before}{value}"));
        assert!(encoded.contains('-') && encoded.contains('_'), "{encoded}");
        let masked = masked_header(&here, &encoded);
        let (start, end) = masked.split_once("$MSB_KEY").unwrap();
        assert!(start.len() <= before.len() * 8 / 6 + 2 && end.len() <= 1, "{masked}");
    }
}

#[test]
fn the_escapes_of_json_libraries_are_masked() {
    let here = at(HOST, [secret("KEY", "a<b>&c='d'/\"e\\+`é😀")]);
    let whole: String = "a<b>&c='d'/\"e\\+`é😀".encode_utf16().map(|unit| format!("\\u{unit:04X}")).collect();
    for escaped in [
        // As `json.dumps` of Python and `json_encode` of PHP write it.
        r#"a<b>&c='d'/\"e\\+`\u00e9\ud83d\ude00"#,
        r#"a<b>&c='d'\/\"e\\+`\u00e9\ud83d\ude00"#,
        // As `encoding/json` of Go, Gson and `System.Text.Json` of .NET write it.
        r#"a\u003cb\u003e\u0026c='d'/\"e\\+`é😀"#,
        r#"a\u003cb\u003e\u0026c\u003d\u0027d\u0027/\"e\\+`é😀"#,
        r#"a\u003Cb\u003E\u0026c=\u0027d\u0027/\u0022e\\\u002B\u0060\u00E9\uD83D\uDE00"#,
        &whole,
        &whole.to_lowercase(),
    ] {
        let text = format!("[\"{escaped}\"]");
        let decoded: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(decoded, ["a<b>&c='d'/\"e\\+`é😀"]);
        assert_eq!(masked_body(&here, &HeaderMap::new(), text.as_bytes()), b"[\"$MSB_KEY\"]", "{escaped}");
        assert_eq!(masked_header(&here, escaped), "$MSB_KEY", "{escaped}");
    }
}

#[test]
fn all_headers_are_masked_except_those_of_the_connection() {
    let here = at(HOST, [secret("KEY", "12345678")]);
    let mut trailers = headers(&[
        ("set-cookie", "a=12345678"),
        ("set-cookie", "b"),
        ("set-cookie", "c=12345678"),
        ("content-length", "12345678"),
    ]);
    here.response_trailers(&mut trailers);
    let expected = headers(&[
        ("set-cookie", "a=$MSB_KEY"),
        ("set-cookie", "b"),
        ("set-cookie", "c=$MSB_KEY"),
        ("content-length", "12345678"),
    ]);
    assert_eq!(trailers, expected);
}

#[test]
fn only_values_that_may_be_sent_are_masked() {
    let elsewhere = at(ELSEWHERE, [secret("KEY", VALUE)]);
    assert_eq!(masked_header(&elsewhere, VALUE), VALUE);
    assert!(elsewhere.response_body(&HeaderMap::new()).is_none());
    assert!(at(HOST, []).response_body(&HeaderMap::new()).is_none());
}

#[test]
fn short_values_are_not_masked() {
    let here = at(HOST, [secret("KEY", "1234567")]);
    assert!(here.response_body(&HeaderMap::new()).is_none());
    assert_eq!(masked_header(&here, "1234567"), "$MSB_KEY");
    assert_eq!(masked_header(&at(HOST, [secret("KEY", "123")]), "123"), "123");
    let eight = at(HOST, [secret("KEY", "12345678")]);
    assert_eq!(masked_body(&eight, &HeaderMap::new(), b"012345678"), b"0$MSB_KEY");
}

#[test]
fn encoded_bodies_are_left_alone() {
    let here = at(HOST, [secret("KEY", VALUE)]);
    for encoding in ["gzip", "br", "deflate", "zstd"] {
        assert!(here.response_body(&headers(&[("content-encoding", encoding)])).is_none());
    }
    assert!(here.response_body(&headers(&[("content-encoding", "identity")])).is_some());
}

#[test]
fn lengths_stay_where_they_are_fixed() {
    let here = at(HOST, [secret("KEY", "12345678"), secret("LONG", "a long value of a secret")]);
    for sent in [("content-type", "application/grpc"), ("content-range", "bytes 0-9/10")] {
        let masked = masked_body(&here, &headers(&[sent]), b"<12345678> <a long value of a secret>");
        assert_eq!(masked, b"<$MSB_KEY> <$MSB_LONG***************>");
    }
}

#[test]
fn of_values_in_one_another_the_longest_is_masked() {
    let here = at(HOST, [secret("A", "12345678"), secret("B", "1234567890"), secret("C", "5678901234")]);
    let masked =
        |body: &str| String::from_utf8(masked_body(&here, &HeaderMap::new(), body.as_bytes())).unwrap();
    assert_eq!(masked("1234567890"), "$MSB_B");
    assert_eq!(masked("123456789"), "$MSB_A9");
    assert_eq!(masked("123456789123456789"), "$MSB_A9$MSB_A9");
    assert_eq!(masked("567890123456780"), "$MSB_C56780");
    assert_eq!(masked("12345678901234"), "$MSB_B1234");
}

#[test]
fn a_placeholder_that_no_header_can_contain_masks_the_whole() {
    let broken = Secret { placeholder: "a\nb".to_owned(), ..secret("KEY", VALUE) };
    assert_eq!(masked_header(&at(HOST, [broken]), &format!("x{VALUE}")), "");
}

#[test]
fn the_same_value_twice_is_the_first() {
    let here = at(HOST, [secret("A", VALUE), secret("B", VALUE)]);
    assert_eq!(masked_body(&here, &HeaderMap::new(), VALUE.as_bytes()), b"$MSB_A");
}

proptest! {
    /// What a server returns unchanged is what the sandbox sent.
    #[test]
    fn masks_reverse_replacements(text in "([a-z{}\":, ]|\\$MSB_ONE|\\$MSB_TWO){0,30}", split: usize) {
        let here = at(HOST, [secret("ONE", "F1RST-VALUE"), secret("TWO", "\"S3C0ND\" V\\LUE")]);
        for content_type in ["text/plain", "application/json"] {
            let sent = headers(&[("content-type", content_type)]);
            let replaced = run(replacer(here.request_body(&sent)), [text.as_bytes()]).unwrap();
            prop_assert!(!replaced.windows(4).any(|window| window == b"$MSB"));
            let border = split % (replaced.len() + 1);
            let mask = here.response_body(&sent).unwrap();
            let masked = run(mask, [&replaced[..border], &replaced[border..]]).unwrap();
            prop_assert_eq!(masked, text.as_bytes());
        }
    }

    /// No value gets through, wherever it is in a response.
    #[test]
    fn no_value_is_left(value in "[ -~]{8,24}", before in "[ -~]{0,20}", after in "[ -~]{0,20}") {
        let here = at(HOST, [Secret { placeholder: "\u{1}".to_owned(), ..secret("KEY", value.clone()) }]);
        let body = format!("{before}{value}{after}");
        let masked = run(here.response_body(&HeaderMap::new()).unwrap(), [body.as_bytes()]).unwrap();
        prop_assert!(!String::from_utf8(masked).unwrap().contains(&value));
    }
}
