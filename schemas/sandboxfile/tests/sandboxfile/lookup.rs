//! Finding values by a path, in either spelling.

use super::{FakeHost, input};
use sandboxfile::{Format, Input, Loaded, find, load};

const KDL: &str = r#"
project "shop"
volume "data" size="1G" kind="disk"
volume "plain" shared=#true
volume "theirs" external="blog-data"
sandbox "web" {
    image "./image"
    memory "128M"
    env { A 1; depends_on "x"; start_period "y"; PORT 80; "dotted.name" 2 }
    script "serve" "true"
    start "serve"
    mount "data" to="/var/lib/my.data"
    file "/etc/my.conf" { content "x"; mode "0600" }
    port "8080:80"
    network {
        default "deny"
        ipv4-pool "10.9.0.0/16"
        proxy "http://me@proxy.example:3128" { password env="PW" }
        allow "api.example.org"
    }
    secret "KEY" { from env="KEY"; hosts "api.example.org"; on-violation "block"; require-tls #false }
    tls { bypass "pinned.example.org"; ca "./ca.pem" }
    hook "post-start" "true"
    logs { max-size "1M" }
    labels { "org.example.tier" "front" }
    healthcheck { exec "true"; start-period "3s" }
    restart "always"
    depends-on "worker" condition="started"
}
sandbox "worker" { image "./image"; replicas 2 }
job "seed" { image "./image"; start "true" }
sandbox "jobs" { image "./image" }
"#;

fn loaded() -> Loaded {
    let input = Input { explain: true, ..input("Sandboxfile", KDL.as_bytes()) };
    load(&input, &FakeHost).unwrap_or_else(|report| panic!("{:#?}", report.diagnostics()))
}

fn asked(loaded: &Loaded, format: Format, path: &str) -> Result<Vec<String>, (String, String)> {
    find(&loaded.model, &loaded.origins, format, path)
        .map_err(|error| (error.message, error.hint.unwrap_or_default()))
}

#[test]
fn both_spellings_of_a_path_find_the_same_value() {
    let loaded = loaded();
    for (path, expected) in [
        ("project", "project"),
        ("web", "web"),
        ("sandboxes.web.memory", "web.memory"),
        ("sandbox.web.memory", "web.memory"),
        ("jobs.seed.start", "seed.start"),
        ("jobs.image", "jobs.image"),
        ("worker-1", "worker"),
        ("worker-2.replicas", "worker.replicas"),
        ("volume.data", "volume.data"),
        ("volumes.data", "volume.data"),
        ("volumes.data.size", "volume.data.size"),
        ("volumes.plain.shared", "volume.plain.shared"),
        ("volume.theirs.external", "volume.theirs.external"),
        ("volumes.data.kind", "volume.data.kind"),
        ("volumes", "volume"),
        ("web.port", "web.port"),
        ("web.ports", "web.port"),
        ("web.scripts", "web.script"),
        ("web.scripts.serve", "web.script.serve"),
        ("web.scripts.serve.body", "web.script.serve"),
        ("web.mounts./var/lib/my.data", "web.mount./var/lib/my.data"),
        ("web.mounts./var/lib/my.data.readonly", "web.mount./var/lib/my.data"),
        ("web.files", "web.file"),
        ("web.files./etc/my.conf", "web.file./etc/my.conf"),
        ("web.files./etc/my.conf.mode", "web.file./etc/my.conf"),
        ("web.network.ipv4_pool", "web.network.ipv4-pool"),
        ("web.network.proxy", "web.network.proxy"),
        ("web.network.proxy.url", "web.network.proxy"),
        ("web.network.proxy.password.env", "web.network.proxy"),
        ("web.network.rules", "web.network.rules"),
        ("web.network.allow", "web.network.rules"),
        ("web.secrets.KEY", "web.secret.KEY"),
        ("web.secrets.KEY.on_violation", "web.secret.KEY.on-violation"),
        ("web.secrets.KEY.from.env", "web.secret.KEY.from"),
        ("web.secrets.KEY.require_tls", "web.secret.KEY.require-tls"),
        ("web.tls.bypass", "web.tls.bypass"),
        ("web.tls.cas", "web.tls.ca"),
        ("web.hooks.post_start", "web.hook.post-start"),
        ("web.logs.max_size", "web.logs.max-size"),
        ("web.healthcheck.start_period", "web.healthcheck.start-period"),
        ("web.restart.policy", "web.restart"),
        ("web.depends_on", "web.depends-on"),
        ("web.depends_on.worker", "web.depends-on.worker"),
        ("web.depends-on.worker.condition", "web.depends-on.worker"),
        ("web.env.depends_on", "web.env.depends_on"),
        ("web.env.start_period", "web.env.start_period"),
        ("web.env.dotted.name", "web.env.dotted.name"),
        ("web.labels.org.example.tier", "web.labels.org.example.tier"),
    ] {
        assert_eq!(asked(&loaded, Format::Kdl, path), Ok(vec![expected.to_owned()]), "{path}");
    }
}

#[test]
fn a_section_finds_all_its_values() {
    let loaded = loaded();
    let all = |path| asked(&loaded, Format::Yaml, path).unwrap();
    assert_eq!(all("sandboxes"), ["jobs", "web", "worker"]);
    assert_eq!(all("job"), ["seed"]);
    assert_eq!(all(""), [""]);
}

#[test]
fn every_recorded_path_finds_itself() {
    let loaded = loaded();
    let paths: Vec<&str> = loaded.origins.paths_beneath("").collect();
    assert!(paths.len() > 25, "{paths:?}");
    for path in paths {
        assert_eq!(asked(&loaded, Format::Kdl, path), Ok(vec![path.to_owned()]));
    }
}

#[test]
fn an_unwritten_property_has_a_default() {
    let loaded = loaded();
    for path in [
        "web.cpus",
        "jobs.memory",
        "seed.depends_on",
        "web.logs.keep",
        "web.network.ipv6_pool",
        "web.tls.ports",
        "volumes.plain.size",
    ] {
        let (message, hint) = asked(&loaded, Format::Yaml, path).unwrap_err();
        assert_eq!(message, format!("`{path}` is nowhere written: the default applies"));
        assert_eq!(hint, "`msb config` shows every value");
    }
}

#[test]
fn an_unknown_path_is_an_error_with_a_suggestion() {
    let loaded = loaded();
    for (format, path, message, hint) in [
        (Format::Kdl, "wbe", "there is no sandbox `wbe`", "did you mean `web`?"),
        (Format::Kdl, "worker-3", "there is no sandbox `worker-3`", "did you mean `worker-1`?"),
        (
            Format::Kdl,
            "sandboxes.nothing",
            "there is no sandbox `nothing`",
            "there are: jobs, seed, web, worker, worker-1, worker-2",
        ),
        (Format::Yaml, "volumes.dat", "there is no volume `dat`", "did you mean `volumes.data`?"),
        (Format::Kdl, "web.prots", "there is no property `prots` in `web`", "did you mean `web.port`?"),
        (Format::Yaml, "web.prots", "there is no property `prots` in `web`", "did you mean `web.ports`?"),
        (
            Format::Kdl,
            "web.environment",
            "there is no property `environment` in `web`",
            "did you mean `web.env`?",
        ),
        (
            Format::Yaml,
            "web.logs.max_sise",
            "there is no property `max_sise` in `web.logs`",
            "did you mean `web.logs.max_size`?",
        ),
        (Format::Kdl, "web.env.PROT", "there is no `PROT` in `web.env`", "did you mean `web.env.PORT`?"),
        (
            Format::Kdl,
            "web.scripts.swerve",
            "there is no `swerve` in `web.scripts`",
            "did you mean `web.scripts.serve`?",
        ),
        (
            Format::Kdl,
            "web.scripts.serve.bodi",
            "there is no property `bodi` in `web.scripts.serve`",
            "did you mean `web.scripts.serve.body`?",
        ),
        (Format::Kdl, "web.ports.8080", "`web.ports` has no properties", "ask for `web.ports` as a whole"),
        (Format::Kdl, "seed.env.A", "there is no `A` in `seed.env`", ""),
        (Format::Kdl, "web.", "there is no property `` in `web`", "there are: "),
    ] {
        let (reported, hinted) = asked(&loaded, format, path).unwrap_err();
        assert_eq!(reported, message, "{path}");
        assert!(hinted.starts_with(hint), "{path}: {hinted}");
    }
}
