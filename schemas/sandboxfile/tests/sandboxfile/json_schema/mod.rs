//! `sandboxfile.schema.json`: current, complete, and neither too narrow nor too wide.
//! `UPDATE_GOLDEN=1 cargo test -p sandboxfile --test sandboxfile json_schema` writes it.

mod validator;

use sandboxfile::json_schema;
use sandboxfile::language::{
    DEPENDENCY, DNS, ENV_FILE, FILE, HEALTHCHECK, HOOKS, LOGS, MOUNT, NETWORK, NETWORK_RULE, NETWORK_YAML,
    PROJECT, PROXY, PropertyTable, RESTART, SANDBOX, SCRIPT, SECRET, SECRET_SOURCE, SYNC, TABLES, TLS,
    TLS_CA, TMPFS, VOLUME,
};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use validator::refusals;

/// Each place of the language, and the part of the schema that describes it.
const PARTS: [(&PropertyTable, &str); 21] = [
    (&PROJECT, ""),
    (&VOLUME, "/definitions/Volume"),
    (&SANDBOX, "/definitions/Sandbox"),
    (&MOUNT, "/definitions/Mount"),
    (&TMPFS, "/definitions/Tmpfs"),
    (&FILE, "/definitions/File"),
    (&ENV_FILE, "/definitions/EnvFile"),
    (&SYNC, "/definitions/SyncFolder"),
    (&NETWORK_YAML, "/definitions/Network"),
    (&SECRET, "/definitions/Secret"),
    (&PROXY, "/definitions/Proxy"),
    (&DNS, "/definitions/Dns"),
    (&SECRET_SOURCE, "/definitions/SecretSource"),
    (&TLS, "/definitions/Tls"),
    (&TLS_CA, "/definitions/TlsCa"),
    (&HOOKS, "/definitions/Hooks"),
    (&SCRIPT, "/definitions/ScriptMap"),
    (&DEPENDENCY, "/definitions/Dependency"),
    (&HEALTHCHECK, "/definitions/HealthCheck"),
    (&RESTART, "/definitions/Restart"),
    (&LOGS, "/definitions/Logs"),
];

fn schema() -> Value {
    serde_json::from_str(&json_schema()).unwrap()
}

/// As editors read YAML: `off` and `y` are words.
fn read(yaml: &str) -> Value {
    let options = serde_yaml::options! { strict_booleans: true };
    serde_yaml::from_str_with_options(yaml, options).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

#[test]
fn the_file_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("sandboxfile.schema.json");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, json_schema()).unwrap();
        return;
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == json_schema(),
        "{} is not current: see the head of this file",
        path.display()
    );
}

#[test]
fn it_has_the_names_of_the_language_and_no_others() {
    let schema = schema();
    for (place, part) in PARTS {
        let part = schema.pointer(part).unwrap_or_else(|| panic!("{part} is missing"));
        let properties = part["properties"].as_object().unwrap();
        let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
        let valid: BTreeSet<&str> = place.properties.iter().map(|property| property.yaml).collect();
        assert_eq!(described, valid, "{}", place.what);
        assert_eq!(part["additionalProperties"], json!(false), "{}", place.what);
        for (name, property) in properties {
            let text = property["description"].as_str().unwrap_or_default();
            assert!(text.ends_with(['.', '`']), "{}: {name} is not described", place.what);
        }
    }
    // These two have a spelling of their own in YAML.
    let only_kdl = [&NETWORK, &NETWORK_RULE];
    let known: Vec<*const PropertyTable> =
        PARTS.iter().map(|(place, _)| *place).chain(only_kdl).map(std::ptr::from_ref).collect();
    for place in TABLES {
        assert!(known.contains(&std::ptr::from_ref(*place)), "{} has no part in the schema", place.what);
    }
}

#[test]
fn every_example_and_every_model_is_valid() {
    let schema = schema();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> =
        vec![root.join("tests/models"), root.join("../../msb/src/commands/project/init")];
    let examples = std::fs::read_dir(root.join("../../examples")).unwrap();
    folders.extend(examples.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()));
    let mut seen = 0;
    for path in folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap()) {
        let path = path.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            let found = refusals(&schema, &read(&std::fs::read_to_string(&path).unwrap()));
            assert!(found.is_empty(), "{}: {found:#?}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 9, "{seen}");
}

/// Properties of one sandbox, and whether they are valid.
const SANDBOXES: &[(&str, bool)] = &[
    ("image: alpine", true),
    ("imgae: alpine", false),
    ("environment: { A: 1 }", false),
    ("cpus: 2", true),
    ("cpus: 0", false),
    ("cpus: 65", false),
    ("cpus: two", false),
    ("cpus: '2'", false),
    ("cpus: '${CPUS}'", true),
    ("memory: 512M", true),
    ("memory: 1GiB", true),
    ("memory: 512", false),
    ("memory: 512 potatoes", false),
    ("memory: '${MEMORY:-1G}'", true),
    ("disk: 8G", true),
    ("disk: 8", false),
    ("env: { PORT: 80, DEBUG: true }", true),
    ("env: [A=1]", true),
    ("env: [A]", false),
    ("env: { A: [1] }", false),
    ("env: { A B: 1 }", false),
    ("env:", true),
    ("workdir: app", false),
    ("workdir: /app", true),
    ("user: 1000", true),
    ("scripts: { serve: x, raw: { raw: true, body: y } }", true),
    ("scripts: { serve: { raw: true } }", false),
    ("scripts: { Serve: x }", false),
    ("start: serve", true),
    ("start: [sleep, 60]", true),
    ("start: []", false),
    ("start: { run: x }", false),
    ("mounts: [{ source: ., to: /app, readonly: true }, './a:/b:ro']", true),
    ("mounts: { source: ., to: /app }", false),
    ("mounts: [{ source: . }]", false),
    ("mounts: [{ source: ., to: app }]", false),
    ("mounts: [{ source: ., to: /app/ }]", false),
    ("mounts: [{ source: ., to: /app, readonly: 'yes' }]", false),
    ("mounts: [{ source: ., to: /app, stat_virt: strikt }]", false),
    ("mounts: [{ source: ., target: /app }]", false),
    ("mounts: ['./src']", false),
    ("mounts: [{ source: ., to: /app, size: 1G, uid: 1000, gid: 0 }]", true),
    ("mounts: [{ source: ., to: /app, size: '${SIZE}', uid: '${USER}' }]", true),
    ("mounts: [{ source: ., to: /app, size: 1 }]", false),
    ("mounts: [{ source: ., to: /app, uid: -1 }]", false),
    ("mounts: [{ source: ., to: /app, gid: 4294967295 }]", false),
    ("mounts: [{ source: ., to: /app, uid: root }]", false),
    ("mounts: [{ source: ., to: /app, kind: dir }]", false),
    ("tmpfs: /run", true),
    ("tmpfs: ['/run:size=64M,mode=755', { to: /x, size: 1M, mode: 1777, uid: 0, noexec: true }]", true),
    ("tmpfs: [{ to: /x, mode: '0o755' }, '${DIR}']", true),
    ("tmpfs: { to: /x }", false),
    ("tmpfs: [run]", false),
    ("tmpfs: [{ to: /x, mode: u+x }]", false),
    ("tmpfs: [{ to: /x, mode: -1 }]", false),
    ("tmpfs: [{ to: /x, size: 64 }]", false),
    ("tmpfs: [{ source: /x }]", false),
    ("files: { /etc/a: ./a.conf, /etc/b: { content: x, mode: '0600', uid: 33, gid: 0 } }", true),
    ("files: { /etc/a: { from: '${A}', mode: '${MODE}' } }", true),
    ("files: { /etc/a: { from: ./a, mode: 0600 } }", true),
    ("files: { /etc/a: { from: ./a, content: x } }", false),
    ("files: { /etc/a: { mode: '0600' } }", false),
    ("files: { /etc/a: { from: ./a, mode: '0980' } }", false),
    ("files: { /etc/a: { from: ./a, mode: u+x } }", false),
    ("files: { /etc/a: { source: ./a } }", false),
    ("files: { etc/a: ./a }", false),
    ("files: [./a]", false),
    ("sync: [{ source: ., to: /app, ignore: target }]", true),
    ("sync: [{ source: . }]", false),
    ("ports: ['8080:80', '[::1]:80:80/udp', '${PORT}:80']", true),
    ("ports: '8080:80'", true),
    ("ports: ['80']", false),
    ("ports: ['localhost:80:80']", false),
    ("ports: ['8000-8010:80']", false),
    ("network: { default: deny, rules: ['allow@a.example:tcp:443', 'deny:any@[::1]'] }", true),
    ("network: { default: none }", false),
    ("network: { ipv4_pool: 10.9.0.0/24, ipv6_pool: 'fd00::/48' }", true),
    ("network: { ipv4_pool: 10.9.0.0/31 }", false),
    ("network: { ipv6_pool: 'fd00::/65' }", false),
    ("network: { ipv4_pool: 10.9.0.0 }", false),
    ("network: deny", false),
    ("network: { proxy: 'http://proxy.example:3128' }", true),
    ("network: { proxy: { url: 'socks5://me@10.0.0.1:1080', password: { env: PW } } }", true),
    ("network: { proxy: '${PROXY}' }", true),
    ("network: { proxy: 'http://me:pw@proxy:3128' }", false),
    ("network: { proxy: 'https://proxy:3128' }", false),
    ("network: { proxy: 'http://proxy' }", false),
    ("network: { proxy: { url: 'http://me@proxy:1', password: hunter2 } }", false),
    ("network: { proxy: { password: { env: PW } } }", false),
    ("network: { dns: 1.1.1.1 }", true),
    ("network: { dns: ['10.0.0.53:5353', '[fd00::53]:53'] }", true),
    ("network: { dns: { servers: ['fd00::53'], search: [corp.example, lan] } }", true),
    ("network: { dns: '${DNS}' }", true),
    ("network: { dns: dns.example }", false),
    ("network: { dns: { search: ['-'] } }", false),
    ("network: { dns: { server: 1.1.1.1 } }", false),
    ("network: { allow: [a.example] }", false),
    ("network: { rules: ['allow@*.com'] }", false),
    ("network: { rules: ['allow@*.example.com:tcp:443'] }", true),
    ("network: { rules: ['allow@a.example:443'] }", false),
    ("network: { rules: ['allow@1.2.3.0/24:tcp', 'allow@[2001:db8::1]:tcp:443'] }", true),
    ("network: { rules: ['a.example'] }", false),
    ("network: { rules: ['block@a.example'] }", false),
    ("secrets: { KEY: { from: { env: KEY }, hosts: [a.example] } }", true),
    ("secrets: { KEY: { from: { env: KEY, file: ./x }, hosts: [a.example] } }", false),
    ("secrets: { KEY: { from: { keyring: api }, hosts: [a.example] } }", true),
    ("secrets: { KEY: { from: { keyring: api, account: me }, hosts: [a.example] } }", true),
    ("secrets: { KEY: { from: { keyring: api, env: KEY }, hosts: [a.example] } }", false),
    ("secrets: { KEY: { from: { account: me }, hosts: [a.example] } }", false),
    ("secrets: { KEY: { from: { env: KEY }, hosts: ['*.com'] } }", false),
    ("secrets: { KEY: { from: { env: KEY }, hosts: [] } }", false),
    ("secrets: { KEY: hunter2 }", false),
    ("secrets: { KEY: { from: { env: KEY }, hosts: [a.example], on_violation: kill } }", false),
    ("logs: { capture: off, max_size: 64K, keep: 0 }", true),
    ("logs: { capture: '${CAPTURE}', max_size: '${SIZE:-1M}' }", true),
    ("logs: { capture: none }", false),
    ("logs: { max_size: 10 }", false),
    ("logs: { keep: -1 }", false),
    ("logs: { keep: 1001 }", false),
    ("logs: { max_file: 3 }", false),
    ("logs: off", false),
    ("hooks: { post_start: [a, b], pre_stop: a }", true),
    ("hooks: { post-start: a }", false),
    ("depends_on: [db]", true),
    ("depends_on: { db: healthy, cache: , queue: { condition: completed } }", true),
    ("depends_on: { db: service_healthy }", false),
    ("depends_on: { db: { condition: well } }", false),
    ("healthcheck: { exec: [a], interval: 2s, retries: 3 }", true),
    ("healthcheck: { exec: [a], interval: 2 }", false),
    ("healthcheck: { exec: [a], interval: 1m30s, timeout: 1.5s, start_period: 1min 30s }", true),
    ("healthcheck: { exec: [a], interval: 1m30 }", false),
    ("healthcheck: { exec: [a], interval: 1m30x }", false),
    ("healthcheck: { test: [a] }", false),
    ("healthcheck: { disable: true }", true),
    ("healthcheck: { disable: 'yes' }", false),
    ("restart: always", true),
    ("restart: on-failure:3", true),
    ("restart: { policy: on-failure, max: 3 }", true),
    ("restart: { max: 3 }", false),
    ("restart: unless-stopped", false),
    ("replicas: 3", true),
    ("replicas: 0", false),
    ("like: api", true),
    ("profiles: [dev]", true),
    ("labels: { a: b }", true),
    ("secrets: { K: { placeholder: sk-placeholder } }", true),
    ("secrets: { K: { placeholder: short } }", false),
    ("secrets: { K: { placeholder: 'with a space' } }", false),
    ("secrets: { K: { placeholder: 'with`quotes' } }", false),
    ("secrets: { K: { placeholder: '$$quotes' } }", true),
    ("secrets: { K: { inject: [headers, basic-auth, query, body] } }", true),
    ("secrets: { K: { inject: query } }", true),
    ("secrets: { K: { inject: [] } }", false),
    ("secrets: { K: { inject: cookies } }", false),
    ("secrets: { K: { headers: [Authorization, x-api-key] } }", true),
    ("secrets: { K: { headers: 'X-Api-Key: value' } }", false),
    ("secrets: { K: { passthrough_hosts: '*.logs.example.org' } }", true),
    ("secrets: { K: { require_tls: false } }", true),
    ("secrets: { K: { require_tls: 'no' } }", false),
    ("tls: { intercept: true, ports: [443, 8443], bypass: '*.example.org' }", true),
    ("tls: { intercept: 'yes' }", false),
    ("tls: { ports: 443 }", true),
    ("tls: { ports: [0] }", false),
    ("tls: { ports: [65536] }", false),
    ("tls: { bypass: ['*'] }", false),
    ("tls: { cas: ./ca.pem }", true),
    ("tls: { cas: [./ca.pem, { file: ./b.pem, hosts: [b.example.org] }] }", true),
    ("tls: { cas: [{ hosts: [b.example.org] }] }", false),
    ("tls: true", false),
];

/// Whole files, and whether they are valid.
const FILES: &[(&str, bool)] = &[
    ("project: shop", true),
    ("project: My Shop", false),
    ("include: ./base.yaml", true),
    ("volumes: { data: , cache: { size: 2G } }", true),
    ("volumes: { data: { size: 2 } }", false),
    ("volumes: { data: { kind: directory }, cache: { kind: disk, size: 2G } }", true),
    ("volumes: { data: { kind: dir } }", false),
    ("volumes: { data: { shared: true } }", true),
    ("volumes: { data: { shared: all } }", false),
    ("volumes: { data: { external: true }, cache: { external: shop-cache } }", true),
    ("volumes: { data: { external: [shop-data] } }", false),
    ("volumes: { data: { driver: local } }", false),
    ("services: { web: { image: alpine } }", false),
    ("sandboxes: { Web: { image: alpine } }", false),
    ("sandboxes: [web]", false),
    ("jobs: { build: { image: alpine, start: make } }", true),
];

#[test]
fn it_rejects_invalid_files_only() {
    let schema = schema();
    let sandboxes =
        SANDBOXES.iter().map(|(text, valid)| (format!("sandboxes: {{ web: {{ {text} }} }}"), *valid));
    let files = FILES.iter().map(|(text, valid)| ((*text).to_owned(), *valid));
    let wrong: Vec<String> = sandboxes
        .chain(files)
        .filter(|(text, valid)| refusals(&schema, &read(text)).is_empty() != *valid)
        .map(|(text, valid)| format!("{text} is {}", if valid { "refused" } else { "taken" }))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}
