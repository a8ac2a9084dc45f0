//! The texts in `tokens.txt` have the normal forms and errors of the snapshots beside it.

use super::{HostPattern, Rule, parse_list};
use std::collections::BTreeSet;
use std::fmt::Write as _;

const TOKENS: &str = include_str!("tokens.txt");

/// Returns the texts of a section, with the escapes `\s` for a space, `\n` for a line break and `\0` for nothing.
fn tokens(heading: &str) -> Vec<String> {
    let sections = TOKENS.split("## ");
    let section =
        sections.filter_map(|section| section.split_once('\n')).find(|(title, _)| *title == heading);
    let lines = section.unwrap().1.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.replace("\\s", " ").replace("\\n", "\n").replace("\\0", "")).collect()
}

#[test]
fn rules_have_a_normal_form_or_an_error() {
    let mut out = String::new();
    for token in tokens("rules") {
        match token.parse::<Rule>() {
            Ok(rule) => {
                let normal = rule.to_string();
                // The normal form is a fixed point, and parses to the same rule.
                assert_eq!(normal.parse::<Rule>().as_ref(), Ok(&rule), "{token}");
                assert_eq!(
                    Rule::of(rule.action, rule.direction, &rule.traffic()).as_ref(),
                    Ok(&rule),
                    "{token}"
                );
                let _ = writeln!(out, "{token:?}\n    {normal}");
            }
            Err(invalid) => {
                let _ = writeln!(out, "{token:?}\n    error: {invalid}");
                if let Some(suggestion) = invalid.suggestion {
                    assert!(suggestion.parse::<Rule>().is_ok(), "{token} → {suggestion}");
                    let _ = writeln!(out, "    help: {suggestion}");
                }
            }
        }
    }
    insta::with_settings!({ snapshot_path => ".", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("tokens", out);
    });
}

#[test]
fn hosts_are_patterns_or_errors() {
    let mut out = String::new();
    for token in tokens("hosts") {
        let line = match token.parse::<HostPattern>() {
            Ok(pattern) => {
                assert_eq!(pattern.to_string().parse::<HostPattern>().as_ref(), Ok(&pattern));
                pattern.to_string()
            }
            Err(invalid) => match &invalid.suggestion {
                Some(suggestion) => format!("error: {invalid}\n    help: {suggestion}"),
                None => format!("error: {invalid}"),
            },
        };
        let _ = writeln!(out, "{token:?}\n    {line}");
    }
    insta::with_settings!({ snapshot_path => ".", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!("hosts", out);
    });
}

#[test]
fn tokens_are_unique() {
    for heading in ["rules", "hosts"] {
        let mut tokens = tokens(heading);
        let count = tokens.len();
        tokens.sort();
        tokens.dedup();
        assert_eq!(tokens.len(), count, "{heading}");
    }
    assert!(tokens("rules").len() >= 150, "{}", tokens("rules").len());
}

#[test]
fn lists() {
    let rules = parse_list("allow@a.example,deny:any@private:tcp:1-9").unwrap();
    let normal: Vec<String> = rules.iter().map(Rule::to_string).collect();
    assert_eq!(normal, ["allow@a.example", "deny:any@private:tcp:1-9"]);
    for (text, suggestion) in [
        ("allow@a.example:tcp:80,443", Some("allow@a.example:tcp:443")),
        ("allow@a.example,b.example", Some("allow@b.example")),
        ("allow@a.example,", None),
        ("", None),
    ] {
        assert_eq!(parse_list(text).unwrap_err().suggestion.as_deref(), suggestion, "{text}");
    }
}

#[test]
fn shadows() {
    for (earlier, later, expected) in [
        (&["allow@a.example"][..], "deny@a.example", Some(vec![0])),
        (&["allow@a.example"], "deny@A.example.", Some(vec![0])),
        (&["allow@a.example"], "deny@b.a.example", None),
        (&["allow@*.a.example"], "deny@b.a.example", Some(vec![0])),
        (&["allow@*.a.example"], "deny@a.example", Some(vec![0])),
        (&["allow@*.a.example"], "deny@*.b.a.example", Some(vec![0])),
        (&["allow@*.b.a.example"], "deny@*.a.example", None),
        (&["allow@*.a.example"], "deny@aa.example", None),
        (&["allow@a.example"], "deny@*.a.example", None),
        (&["allow@any"], "deny@a.example", Some(vec![0])),
        (&["allow@any"], "deny@dns", Some(vec![0])),
        (&["allow@any"], "deny@host", Some(vec![0])),
        (&["deny@a.example", "allow@any"], "deny@b.example", Some(vec![1])),
        (&["allow@public"], "deny@8.8.8.8", Some(vec![0])),
        (&["allow@public"], "deny@a.example", None),
        (&["allow@private"], "deny@10.0.0.0/8", Some(vec![0])),
        (&["allow@private"], "deny@10.0.0.0/7", None),
        (&["allow@link-local"], "deny@169.254.169.254", None),
        (&["allow@10.0.0.0/8"], "deny@10.1.2.3", Some(vec![0])),
        (&["allow@10.1.2.3"], "deny@10.0.0.0/8", None),
        (&["allow@0.0.0.0/0"], "deny@[::1]", None),
        (&["allow@a.example:tcp"], "deny@a.example", None),
        (&["allow@a.example"], "deny@a.example:tcp", Some(vec![0])),
        (&["allow@a.example:udp"], "deny@a.example:tcp", None),
        (&["allow@a.example:any:80"], "deny@a.example:tcp:80", Some(vec![0])),
        (&["allow@a.example:tcp:80-90"], "deny@a.example:tcp:85", Some(vec![0])),
        (&["allow@a.example:tcp:80-90"], "deny@a.example:tcp:90-91", None),
        (&["allow@a.example:tcp:80"], "deny@a.example:tcp", None),
        (&["allow:ingress@domain=a"], "deny@domain=a", None),
        (&["allow:any@domain=a"], "deny@domain=a", Some(vec![0])),
        (&["allow:any@domain=a"], "deny:ingress@domain=a", Some(vec![0])),
        (&["allow@domain=a"], "deny:any@domain=a", None),
        (&["allow@dns:udp"], "deny@dns:udp:53", Some(vec![0])),
        (&["allow@dns:udp:53"], "deny@dns:udp", Some(vec![0])),
        (&["allow@dns:udp"], "deny@dns", None),
        (&["allow@a.example", "allow:ingress@any"], "deny:any@a.example", Some(vec![0, 1])),
        (&["allow:any@any"], "deny:any@a.example", Some(vec![0])),
    ] {
        let earlier: Vec<Rule> = earlier.iter().map(|text| text.parse().unwrap()).collect();
        let rule: Rule = later.parse().unwrap();
        assert_eq!(rule.shadowed_by(&earlier), expected, "{later} after {earlier:?}");
    }
}

#[test]
fn a_suffix_matches_its_name_and_all_subdomains() {
    let name = |text: &str| super::DomainName::new(text).unwrap();
    let suffix: HostPattern = "*.example.org".parse().unwrap();
    assert!(suffix.matches(&name("example.org")) && suffix.matches(&name("a.b.Example.org.")));
    assert!(!suffix.matches(&name("badexample.org")) && !suffix.matches(&name("org")));
    let one: HostPattern = "api.example.org".parse().unwrap();
    assert!(one.matches(&name("api.example.org")) && !one.matches(&name("x.api.example.org")));
}

#[test]
fn a_pattern_is_covered_by_those_of_its_suffixes() {
    let covering = |text: &str| {
        let pattern: HostPattern = text.parse().unwrap();
        pattern.covering().map(|pattern| pattern.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(covering("a.b.example"), ["a.b.example", "*.a.b.example", "*.b.example", "*.example"]);
    assert_eq!(covering("*.b.example"), ["*.b.example", "*.example"]);
}

/// Records list the hosts of a secret in this order.
#[test]
fn patterns_have_the_order_of_their_texts() {
    let texts = ["*.b.example", "*.x.b.example", "0.example", "_x.example", "a.example"];
    let patterns: Vec<HostPattern> = texts.iter().rev().map(|text| text.parse().unwrap()).collect();
    let sorted = BTreeSet::from_iter(patterns);
    assert_eq!(serde_json::to_value(&sorted).unwrap(), serde_json::json!(texts));
    assert_eq!(serde_json::from_value::<BTreeSet<HostPattern>>(serde_json::json!(texts)).unwrap(), sorted);
    assert!(serde_json::from_str::<HostPattern>("\"*.com\"").is_err());
}
