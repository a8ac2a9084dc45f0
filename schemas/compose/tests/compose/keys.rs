//! What single keys of a service become, in both spellings.

use crate::{Host, convert_all, convert_one, lines};
use compose::{Format, Outcome};
use std::path::PathBuf;

/// Converts a service with the given keys beside its image; returns the text without the heading.
fn text(keys: &str, format: Format) -> String {
    let input = format!("services:\n  a:\n    image: b\n    {keys}\n");
    let converted =
        convert_one(&input, format).unwrap_or_else(|report| panic!("{keys}: {:#?}", lines(&report)));
    converted.text
}

/// Checks that a service with the given keys has these lines.
fn becomes(keys: &str, kdl: &str, yaml: &str) {
    for (format, expected) in [(Format::Kdl, kdl), (Format::Yaml, yaml)] {
        let text = text(keys, format);
        assert!(text.contains(expected), "{keys}\n{expected}\n{text}");
    }
}

#[test]
fn commands_keep_the_entrypoint_of_the_image() {
    becomes("command: a 'b c' $$D", "args \"a\" \"b c\" \"$$D\"", "args: [a, \"b c\", \"$$D\"]");
    becomes("entrypoint: [x, y]", "start \"x\" \"y\"", "start: [x, \"y\"]");
    becomes("entrypoint: x\n    command: y z", "start \"x\" \"y\" \"z\"", "start: [x, \"y\", z]");
    becomes("entrypoint: []\n    command: [c]", "start \"c\"", "start: [c]");
    becomes("command: []", "// left out: command: the image's own", "# left out: command: the image's own");
}

#[test]
fn variables_stay_variables() {
    becomes("user: ${U:-1}:0", "user \"${U:-1}:0\"", "user: \"${U:-1}:0\"");
    becomes("environment: [A=$B]", "A \"${B:-}\"", "A: \"${B:-}\"");
    becomes(
        "environment: [A=$B]",
        "// changed: B is not set: an empty default",
        "# changed: B is not set: an empty",
    );
    becomes("ports: ['${P:-80}:80']", "port \"${P:-80}:80\"", "- \"${P:-80}:80\"");
    becomes("cpus: ${C:-2}", "cpus \"${C:-2}\"", "cpus: \"${C:-2}\"");
    becomes("cpus: ${C:-0.5}", "cpus 1", "cpus: 1");
    becomes("mem_limit: ${M:-1g}", "memory \"${M:-1g}\"", "memory: \"${M:-1g}\"");
    becomes("env_file: ${F:-.env}", "env-file \"./${F:-.env}\"", "- \"./${F:-.env}\"");
    becomes("volumes: ['${D:-./d}/x:/x']", "mount \"${D:-./d}/x\" to=\"/x\"", "source: \"${D:-./d}/x\"");
    becomes("environment:\n      A:", "    A\n", "      A:\n");
    let host = Host { folder: PathBuf::new() };
    let file = "services: { a: { image: \"b:$T\" } }\n";
    let set = convert_all(&[("compose.yaml", file)], &[("T", "1")], Format::Kdl, &host).unwrap();
    assert_eq!(set.count(Outcome::Changed), 0);
    let unset = convert_all(&[("compose.yaml", file)], &[], Format::Kdl, &host).unwrap();
    assert!(unset.text.contains("// changed: T is not set"), "{}", unset.text);
}

#[test]
fn ports_are_published() {
    for (port, text) in [
        ("'8080:80'", "\"8080:80\""),
        ("80", "\"0:80\""),
        ("'127.0.0.1:1:2/udp'", "\"127.0.0.1:1:2/udp\""),
        ("'127.0.0.1::2'", "\"127.0.0.1:0:2\""),
        ("'[::1]:1:2'", "\"[::1]:1:2\""),
        ("'1-2:3-4'", "\"1-2:3-4\""),
        ("'1-2:3'", "\"0:3\""),
        ("{ target: 80, published: 8080, host_ip: \"::1\", protocol: udp }", "\"[::1]:8080:80/udp\""),
        ("{ target: 80 }", "\"0:80\""),
    ] {
        becomes(&format!("ports: [{port}]"), &format!("port {text}\n"), &format!("- {text}\n"));
    }
    becomes(
        "ports: ['1:1/sctp']",
        "// left out: ports: `sctp` is neither",
        "# left out: ports: `sctp` is neither",
    );
    becomes("ports: ['80-81']", "port \"0:80\"\n    port \"0:81\"", "- \"0:80\"\n      - \"0:81\"");
    becomes("ports: ['1:2']\n    scale: 2", "port \"0:2\"", "- \"0:2\"");
}

#[test]
fn mounts_are_folders_volumes_and_memory() {
    let cases = [
        ("volumes: ['./x:/y:ro,z']", "mount \"./x\" to=\"/y\" readonly=#true", "- \"./x:/y:ro\""),
        ("volumes: ['../x:/y']", "mount \"../x\" to=\"/y\"", "- \"../x:/y\""),
        ("volumes: ['~/x:/y']", "mount \"${HOME}/x\" to=\"/y\"", "- { source: \"${HOME}/x\", to: /y }"),
        ("volumes: ['/x:/y']", "mount \"/x\" to=\"/y\"", "- \"/x:/y\""),
        (
            "volumes: ['/x:/y']",
            "// changed: outside of this folder, which needs `msb trust`",
            "# changed: outside of",
        ),
        ("volumes: ['./missing:/y']", "`mkdir -p ./missing`", "`mkdir -p ./missing`"),
        ("volumes: [/y]", "volume \"a-y\"", "  a-y:\n"),
        (
            "volumes: [{ type: bind, source: x, target: /y, read_only: true }]",
            "mount \"./x\" to=\"/y\" readonly=#true",
            "- \"./x:/y:ro\"",
        ),
        (
            "volumes: [{ type: tmpfs, target: /y, tmpfs: { size: 67108864 } }]",
            "tmpfs \"/y:size=64M\"",
            "- \"/y:size=64M\"",
        ),
        ("tmpfs: '/y:mode=755'", "tmpfs \"/y:mode=755\"", "- \"/y:mode=755\""),
        (
            "tmpfs: /dev/shm",
            "// left out: tmpfs: nothing can lie over `/dev`: `shm-size`",
            "# left out: tmpfs: nothing",
        ),
        (
            "volumes: ['./x:/y', './z:/y']",
            "// left out: volumes: something else is mounted at /y",
            "# left out: volumes: something",
        ),
        (
            "volumes: ['/proc:/host:ro']",
            "// left out: volumes: /proc shows",
            "# left out: volumes: /proc shows",
        ),
    ];
    for (keys, kdl, yaml) in cases {
        becomes(keys, kdl, yaml);
    }
}

#[test]
fn checks_restarts_and_ends_have_the_same_names() {
    let cases = [
        ("healthcheck: { test: x y }", "exec \"sh\" \"-c\" \"x y\"", "exec: [sh, \"-c\", \"x y\"]"),
        ("healthcheck: { test: [CMD-SHELL, x y], retries: 3 }", "retries 3", "retries: 3"),
        ("healthcheck: { test: [NONE] }", "disable #true", "disable: true"),
        (
            "healthcheck: { interval: 3s }",
            "// left out: healthcheck: it changes the times",
            "# left out: healthcheck: it changes",
        ),
        ("restart: on-failure:3", "restart \"on-failure:3\"", "restart: \"on-failure:3\""),
        ("restart: \"no\"", "restart \"no\"", "restart: \"no\""),
        ("restart: unless-stopped", "restart \"always\"", "restart: always"),
        (
            "deploy: { restart_policy: { condition: on-failure, max_attempts: 2, window: 60s } }",
            "restart \"on-failure:2\" window=\"60s\"",
            "restart: { policy: \"on-failure:2\", window: \"60s\" }",
        ),
        ("stop_grace_period: 1m30s", "stop-timeout \"1m30s\"", "stop_timeout: \"1m30s\""),
        ("stop_signal: SIGINT", "stop-signal \"SIGINT\"", "stop_signal: SIGINT"),
        ("pull_policy: if_not_present", "pull \"missing\"", "pull: missing"),
        ("read_only: true", "read-only #true", "read_only: true"),
        ("shm_size: 64mb", "shm-size \"64M\"", "shm_size: \"64M\""),
        (
            "ulimits: { nproc: 3, nofile: { soft: 1, hard: -1 } }",
            "nproc 3\n        nofile \"1:unlimited\"",
            "nproc: 3\n      nofile: \"1:unlimited\"",
        ),
        ("dns: 1.1.1.1", "dns \"1.1.1.1\"", "dns: { servers: [\"1.1.1.1\"] }"),
        (
            "dns: [9.9.9.9, 'fd00::53']\n    dns_search: [., corp.example]",
            "dns \"9.9.9.9\" \"fd00::53\" { search \"corp.example\" }",
            "dns: { servers: [\"9.9.9.9\", \"fd00::53\"], search: [corp.example] }",
        ),
        ("dns_search: corp.example", "dns { search \"corp.example\" }", "dns: { search: [corp.example] }"),
        ("extra_hosts: ['x:10.0.0.1']", "x \"10.0.0.1\"", "x: \"10.0.0.1\""),
        (
            "env_file: [x.env, { path: y.env, required: false }]",
            "env-file \"./x.env\"\n    env-file \"./y.env\" required=#false",
            "- ./x.env\n      - { path: ./y.env, required: false }",
        ),
        ("post_start: [{ command: x y }]", "hook \"post-start\" \"x\" \"y\"", "post_start: [x, \"y\"]"),
        ("network_mode: none", "network default=\"deny\"", "default: deny"),
        ("logging: { options: { max-size: 10m, max-file: '3' } }", "keep 2", "keep: 2"),
        ("scale: 3", "replicas 3", "replicas: 3"),
        ("profiles: [x, z]", "profiles \"x\" \"z\"", "profiles: [x, z]"),
        ("privileged: true", "// left out: privileged: root", "# left out: privileged: root"),
    ];
    for (keys, kdl, yaml) in cases {
        becomes(keys, kdl, yaml);
    }
}

/// Returns the rules of each sandbox of a text.
fn rules(services: &str) -> Vec<(String, Vec<String>)> {
    let converted =
        convert_one(services, Format::Kdl).unwrap_or_else(|report| panic!("{:#?}", lines(&report)));
    let mut all: Vec<(String, Vec<String>)> = Vec::new();
    for line in converted.text.lines() {
        if let Some(name) = line.strip_prefix("sandbox \"") {
            all.push((name.trim_end_matches("\" {").to_owned(), Vec::new()));
        } else if let Some(rule) = line.trim().strip_prefix("allow ") {
            all.last_mut().unwrap().1.push(rule.replace('"', ""));
        } else if let Some(default) = line.trim().strip_prefix("network default=") {
            all.last_mut().unwrap().1.push(default.trim_end_matches(" {").replace('"', ""));
        }
    }
    all
}

/// The edges are those of compose: between services that share a network, and no others.
#[test]
fn rules_keep_the_edges_of_compose() {
    let named = |all: &[(&str, &[&str])]| -> Vec<(String, Vec<String>)> {
        all.iter()
            .map(|(name, rules)| ((*name).to_owned(), rules.iter().map(|rule| (*rule).to_owned()).collect()))
            .collect()
    };
    assert_eq!(rules("services: { a: { image: i } }\n"), named(&[("a", &[])]));
    assert_eq!(
        rules("services: { a: { image: i }, b: { image: i } }\n"),
        named(&[("a", &["project"]), ("b", &["project"])])
    );
    let three = "services: { a: { image: i, networks: [x] }, b: { image: i, networks: [x, y] }, c: { image: i, networks: [y] } }\nnetworks: { x: , y: { internal: true } }\n";
    assert_eq!(
        rules(three),
        named(&[
            ("a", &["domain=b"]),
            ("b", &["domain=a", "domain=c"]),
            ("c", &["deny", "domain=b", "any direction=ingress"]),
        ])
    );
    let copies = "services: { a: { image: i, networks: [x], scale: 2 }, b: { image: i, networks: [x, y] }, c: { image: i, networks: [y] } }\nnetworks: { x: , y: }\n";
    assert_eq!(rules(copies)[1].1, ["domain=a-1", "domain=a-2", "domain=c"]);
    let alone = "services: { a: { image: i, network_mode: none }, b: { image: i }, c: { image: i, networks: [x] } }\nnetworks: { x: }\n";
    assert_eq!(rules(alone), named(&[("a", &["deny"]), ("b", &[]), ("c", &[])]));
}

#[test]
fn services_that_others_wait_for_become_jobs() {
    let file = "services:\n  m: { image: i, command: x, restart: always }\n  a: { image: i, depends_on: { m: { condition: service_completed_successfully } } }\n";
    let converted = convert_one(file, Format::Kdl).unwrap();
    assert!(converted.text.contains("job \"m\""), "{}", converted.text);
    assert!(converted.text.contains("// left out: restart: a job runs once"), "{}", converted.text);
    assert!(converted.text.contains("depends-on \"m\" condition=\"completed\""), "{}", converted.text);
    let without = file.replace("command: x, ", "");
    let converted = convert_one(&without, Format::Kdl).unwrap();
    assert!(converted.text.contains("sandbox \"m\""), "{}", converted.text);
    assert!(converted.text.contains("// changed: m would be a job"), "{}", converted.text);
}

#[test]
fn shared_and_external_volumes_are_declared() {
    let file = "services:\n  a: { image: i, volumes: ['v:/v', 'w:/w:ro', 'x:/x', 'n:/n'] }\n  b: { image: i, volumes: ['v:/v', 'w:/w', 'x:/x'] }\n\
                volumes:\n  v:\n  w:\n  x: { external: true, name: shop-x }\n  n: { driver: local, driver_opts: { type: none, o: bind, device: /srv/n } }\n";
    let converted = convert_one(file, Format::Kdl).unwrap();
    for line in [
        "volume \"v\" shared=#true\n",
        "volume \"w\"\n",
        "volume \"x\" external=\"shop-x\"\n",
        "mount \"/srv/n\" to=\"/n\"\n",
    ] {
        assert!(converted.text.contains(line), "{line}\n{}", converted.text);
    }
    assert!(!converted.text.contains("volume \"n\""), "{}", converted.text);
}
