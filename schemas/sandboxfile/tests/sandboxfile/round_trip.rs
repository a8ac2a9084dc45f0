//! A printed model reads back as the same model, in both spellings.

use super::{load_kdl, load_yaml};
use proptest::prelude::*;
use sandboxfile::print;
use schemas::digest::Digest;
use schemas::model::Model;
use schemas::spec::{PinnedImage, SandboxSpec};
use std::fmt::Write as _;
use std::path::Path;

fn assert_round_trip(model: &Model) {
    for (text, read) in [
        (print::kdl(model), load_kdl(&print::kdl(model))),
        (print::yaml(model), load_yaml(&print::yaml(model))),
    ] {
        let read = read.unwrap_or_else(|report| panic!("{report}\n{:#?}\n{text}", report.diagnostics()));
        assert_eq!(&read, model, "{text}");
    }
}

#[test]
fn examples() {
    for text in [
        include_str!("../models/whole.kdl"),
        include_str!("../models/short-forms.kdl"),
        include_str!("../models/outward.kdl"),
    ] {
        assert_round_trip(&load_kdl(text).unwrap());
    }
}

#[test]
fn printed_form() {
    let model = load_kdl(include_str!("../models/whole.kdl")).unwrap();
    let outward = load_kdl(include_str!("../models/outward.kdl")).unwrap();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../models");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        insta::assert_snapshot!("printed.kdl", print::kdl(&model));
        insta::assert_snapshot!("printed.yaml", print::yaml(&model));
        insta::assert_snapshot!("printed-outward.kdl", print::kdl(&outward));
        insta::assert_snapshot!("printed-outward.yaml", print::yaml(&outward));
        // One sandbox, as its guest sees it: paths are relative to the project's folder.
        let api = outward.sandboxes().iter().find(|sandbox| sandbox.name().as_str() == "api").unwrap();
        let image = PinnedImage { reference: api.image().clone(), digest: Digest::of_bytes(b"image") };
        let spec = SandboxSpec { image, definition: api.definition().clone() };
        let one = print::sandbox(outward.project(), api.name(), &spec, Some(Path::new("/project")));
        insta::assert_snapshot!("printed-one.kdl", one);
    });
}

/// Any text that a guest can receive, with difficult characters more often than by chance.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z0-9 ]{0,8}",
        "\\PC{0,4}",
        prop::sample::select(vec![
            "\n", "\n\n", " \n", "\t", "\r", "\r\n", "\"", "\"\"\"", "\\", "\\n", "#", "'", ": ", "- ", "é",
            "🦀", "NO", "1e3", "true", "~", "{", "}", "\u{2028}", "\u{85}", "\u{FEFF}", "\u{7F}", "\u{1}",
            "\u{200E}", "$x", "$(y)", "${z}", "$$", "${", "  ", "\u{A0}", "\u{3000}", "|", ">", "&a", "*a",
            "!t", "%", "@", "`", "---", "...", "//", "/*", "\u{C}",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..6)
        .prop_map(|pieces| pieces.concat())
        .prop_filter("no program can be given a NUL", |text| !text.contains('\0'))
}

/// A text in KDL, every character escaped, independent of the printer.
fn escaped(text: &str) -> String {
    let escapes: Vec<String> = text.chars().map(|c| format!("\\u{{{:x}}}", u32::from(c))).collect();
    format!("\"{}\"", escapes.concat())
}

/// A value, in which nothing is a variable.
fn value(text: &str) -> String {
    escaped(&text.replace('$', "$$"))
}

/// A text that can be one part of a path.
fn part(text: &str) -> String {
    format!("x{}y", text.replace('/', "_"))
}

/// A few of many, in any order.
fn some_of(all: &'static [&'static str]) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(all.to_vec(), 0..=all.len()).prop_shuffle()
}

const RULES: &[&str] = &[
    "allow \"*.a.example\" \"b.example:tcp:443\"",
    "deny \"10.0.0.0/8\" direction=\"any\"",
    "allow \"domain=c:udp:1-9\" direction=\"ingress\"",
    "deny \"[2001:db8::/32]:any:80\"",
    "allow \"domain=registry\" \"1.1.1.1:icmpv4\"",
    "allow \"dns\" \"meta\"",
];

const PORTS: &[&str] = &["80:80", "0:81", "0.0.0.0:82:82/udp", "[::1]:80:80", "127.0.0.1:80:80/udp"];

const MOUNT_OPTIONS: &[&str] = &[
    "readonly=#true",
    "readonly=#false noexec=#true",
    "nosuid=#true",
    "nodev=#true",
    "stat-virt=\"relaxed\"",
    "host-perms=\"mirror\"",
    "size=\"2G\"",
    "uid=1000 gid=0",
    "gid=4294967294",
];

const TMPFS: &[&str] = &[
    "tmpfs \"/t/a\"",
    "tmpfs \"/t/b\" size=\"3M\" mode=\"700\"",
    "tmpfs \"/t/c:uid=4294967294,gid=0,noexec,ro\"",
    "tmpfs to=\"/t/d:nodev\" nosuid=#true nodev=#true",
];

const SECRETS: &[&str] = &[
    "inject \"body\" \"query\"",
    "headers \"X-A\" \"authorization\"",
    "passthrough-hosts \"*.c.example\"",
    "require-tls #false",
];

const TLS: &[&str] = &[
    "intercept #true",
    "ports 443 8443",
    "bypass \"*.d.example\" \"e.example\"",
    "ca \"./$$ b.pem\" { hosts \"f.example\" }",
    "ca file=\"/a.pem\"",
];

const VOLUMES: &[&str] = &[
    "volume \"a\"",
    "volume \"b\" size=\"2G\"",
    "volume \"c\" kind=\"directory\" size=\"100M\"",
    "volume \"d\" kind=\"disk\"",
];

prop_compose! {
    /// Mounts, copied folders, networks, secrets, settings of TLS and hooks.
    fn outward()(
        words in prop::collection::vec(text(), 1..4),
        paths in prop::collection::btree_set(text().prop_map(|text| part(&text)), 0..4),
        options in some_of(MOUNT_OPTIONS),
        tmpfs in some_of(TMPFS),
        secrets in some_of(SECRETS),
        tls in some_of(TLS),
        ports in some_of(PORTS),
        rules in some_of(RULES),
        default in prop::sample::select(vec!["public", "allow", "deny"]),
        source in 0..3_usize,
        violation in prop::sample::select(vec!["block", "block-and-log", "block-and-terminate", "passthrough"]),
        disk in 32..5_000_u32,
    ) -> String {
        let mut out = format!("disk \"{disk}M\"\n");
        let quoted: Vec<String> = words.iter().map(|word| value(word)).collect();
        let argv = format!("{} {}", value(&part(&words[0])), quoted.join(" "));
        // The same option twice is an error.
        let options: Vec<&str> = options.into_iter().take(1).collect();
        for (number, path) in paths.iter().enumerate() {
            let (source, to) = (value(&format!("./{path}")), value(&format!("/m/{path}")));
            let _ = writeln!(out, "mount {source} to={to} {}", options.join(" "));
            let ignore: Vec<String> = words.iter().map(|word| value(&part(word).replace(['\n', '\r'], ""))).collect();
            let _ = writeln!(out, "sync {source} to={to} {{ ignore {} }}", ignore.join(" "));
            // Several paths may be the same once they are names, so each name has a number.
            let name = part(path).replace(|c: char| c.is_whitespace() || c == '=', "_");
            let name = value(&format!("{name}{number}"));
            let from = match source.len() % 4 {
                0 => format!("env={name}"),
                1 => format!("file={source}"),
                2 => format!("keyring={} account={name}", value(&format!("x{}", part(path)))),
                _ => format!("command={argv}"),
            };
            // The names may have characters that no placeholder has.
            let placeholder = format!("placeholder \"sk-{number}-$$(y)#/*\"");
            let _ = writeln!(out, "secret {name} {{ from {from}; hosts \"a.example\" \"*.b.example\"; on-violation \"{violation}\"; {placeholder}; {} }}", secrets.join("; "));
        }
        let _ = writeln!(out, "tls {{ {} }}", tls.join("; "));
        let _ = writeln!(out, "{}", tmpfs.join("\n"));
        for (number, word) in words.iter().enumerate() {
            let mode = ["", "mode=\"0600\"", "uid=7 mode=\"755\"", "gid=1000"][number % 4];
            let to = value(&format!("/f/{number}{}", part(word)));
            let source = if number % 2 == 0 { format!("content={}", value(word)) } else { "from=\"./a b.conf\"".to_owned() };
            let _ = writeln!(out, "file {to} {source} {mode}");
        }
        for port in &ports {
            let _ = writeln!(out, "port \"{port}\"");
        }
        let proxy = match disk % 5 {
            0 => "proxy \"HTTP://Proxy.example:3128/\"",
            1 => "proxy \"socks5://me%40corp@[2001:DB8::1]:1080\" { password env=\"PW\" }",
            2 => "proxy \"http://me@10.0.0.1:1\" { password keyring=\"proxy\" account=\"a b\" }",
            3 => "proxy \"http://me@proxy:1\" { password command=\"pass\" \"show\" \"-x\" }",
            _ => "",
        };
        let rules: Vec<_> = rules.into_iter().chain(Some(proxy).filter(|proxy| !proxy.is_empty())).collect();
        let pools = match disk % 3 {
            0 => " ipv4-pool=\"10.9.0.7/24\" ipv6-pool=\"FD00:1::/48\"",
            1 => " ipv4-pool=\"192.168.0.0/29\"",
            _ => "",
        };
        let _ = writeln!(out, "network default=\"{default}\"{pools} {{ {} }}", rules.join("; "));
        if source > 0 {
            let _ = writeln!(out, "hook \"post-start\" {argv}; hook \"pre-stop\" {argv}");
        }
        out
    }
}

prop_compose! {
    fn sandboxfile()(
        values in prop::collection::vec(text(), 0..4),
        words in prop::collection::vec(text(), 1..4),
        script in text(),
        raw in any::<bool>(),
        shell in prop::sample::select(vec!["/bin/sh", "bash", "/opt/é/shell"]),
        hint in text(),
        memory in 64..5_000_u32,
        outward in outward(),
        interval in prop_oneof![(1..100_000_000_u64).prop_map(|ms| format!("{ms}ms")), (0..100_u32, 1..100_u32).prop_map(|(m, s)| format!("{m}m{s}s"))],
        restart in prop::sample::select(vec!["\"no\"", "\"always\"", "\"on-failure\"", "\"on-failure\" max=7"]),
        logs in some_of(&["capture \"off\"", "max-size \"65K\"", "keep 0"]),
        profiles in some_of(&["dev", "ci-2", "true", "a_b"]),
        replicas in 1..4_u32,
        volumes in some_of(VOLUMES),
    ) -> String {
        let mut out = format!("project \"p\"\n{}\n", volumes.join("\n"));
        let profiles: Vec<String> = profiles.iter().map(|profile| format!("{profile:?}")).collect();
        let profiles = if profiles.is_empty() { String::new() } else { format!("profiles {}", profiles.join(" ")) };
        let health = if raw { "healthcheck disable=#true" } else { "" };
        let _ = writeln!(out, "sandbox \"many\" {{ image \"a\"; replicas {replicas}; {profiles}\n{health} }}");
        let (script, first) = (format!("{script}x"), format!("{}y", words[0]).replace(char::is_whitespace, "_"));
        let _ = writeln!(out, "sandbox \"web\" {{ image \"./a b/é\"; memory \"{memory}M\"; shell {shell:?}; restart {restart}; logs {{ {} }}\n{outward}", logs.join("; "));
        let _ = writeln!(out, "script \"s\" raw=#{raw} {}", escaped(&script));
        let _ = writeln!(out, "env {{");
        for (number, text) in values.iter().enumerate() {
            let _ = writeln!(out, "{} {}", escaped(&format!("K{number}")), value(text));
        }
        let words: Vec<String> = words.iter().map(|word| value(word)).collect();
        let _ = writeln!(out, "}}\nlabels {{ true {} }}", value(&hint));
        let _ = writeln!(out, "start {} \"-x\" {}", value(&first), words.join(" "));
        let _ = writeln!(out, "healthcheck {{ exec \"/x\" {}; interval \"{interval}\"; hint {} }} }}", words.join(" "), value(&hint));
        let _ = writeln!(out, "job \"j\" {{ image \"/\"; start \"NO\"; depends-on \"web\" condition=\"healthy\" }}");
        out
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_model(text in sandboxfile().prop_map(|text| text.replace("labels { true", "labels { \"true\""))) {
        let model = load_kdl(&text).map_err(|report| TestCaseError::fail(format!("{:#?}\n{text}", report.diagnostics())))?;
        assert_round_trip(&model);
    }
}
