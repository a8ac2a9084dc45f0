//! The vocabulary of secrets and of the interception of TLS.

use super::Instead::{Say, Use, Write};
use super::schema;
use super::{PropertyTable, each, one, plain};
use schemas::spec::OnViolation;

/// Beside a secret's name.
pub static SECRET: PropertyTable = PropertyTable {
    what: "a secret",
    definition: "Secret",
    doc: "A value that the sandbox uses without ever holding it.",
    required: &[],
    properties: &[
        plain(
            "from",
            || schema::definition("SecretSource"),
            "Where its value is read when the sandbox starts.",
        ),
        plain("hosts", schema::hosts, "The hosts that it may be sent to: names, or `*.` and a name."),
        one(
            "on-violation",
            "on_violation",
            schema::word::<OnViolation>,
            "What happens when it is sent elsewhere.",
        ),
        plain(
            "placeholder",
            schema::placeholder,
            "The text that stands for its value in the sandbox: 8 to 256 characters. Without it, `$MSB_API_KEY$` for \
             the secret `API_KEY`.",
        ),
        plain(
            "inject",
            schema::request_parts,
            "The parts of a request in which the value replaces the placeholder.",
        ),
        plain(
            "headers",
            schema::header_names,
            "The headers that may contain it; without it, all. With it, `inject` is `headers` by default, and \
             `basic-auth` where `authorization` is among them.",
        ),
        one(
            "passthrough-hosts",
            "passthrough_hosts",
            schema::hosts,
            "Hosts that the placeholder is sent to unchanged, whatever `on-violation` says.",
        ),
        one(
            "require-tls",
            "require_tls",
            || schema::with(schema::flag(), "default", true),
            "Whether it is sent over TLS only.",
        ),
    ],
    foreign: &[
        (
            &["host", "allow", "domains", "allow_hosts", "allowed_hosts", "allow_host", "allowed_domains"],
            Use("hosts"),
        ),
        (&["source"], Use("from")),
        (&["header"], Use("headers")),
        (&["inject_into", "inject_in", "injection", "parts", "substitute"], Use("inject")),
        (&["passthrough", "passthrough_host", "pass_through"], Use("passthrough-hosts")),
        (&["tls", "tls_only", "https_only", "require_tls_identity"], Use("require-tls")),
        (&["action", "violation", "on_leak"], Use("on-violation")),
        (&["basic_auth", "query", "body"], Say("it is a value of `inject`, such as `basic-auth`")),
        (
            &["env", "environment"],
            Say("it belongs inside `from`: `from env=\"NAME\"`, or `from: { env: NAME }` in YAML"),
        ),
        (
            &["file"],
            Say("it belongs inside `from`: `from file=\"./key\"`, or `from: { file: ./key }` in YAML"),
        ),
        (
            &["command"],
            Say("it belongs inside `from`: `from command=\"pass\"`, or `from: { command: [pass] }` in YAML"),
        ),
        (
            &["keyring", "keychain"],
            Say("it belongs inside `from`: `from keyring=\"api\"`, or `from: { keyring: api }` in YAML"),
        ),
        (&["value"], Say("a secret's value is never written here: `from` says where it is read")),
        (&["external"], Say("`from` says where a secret is read")),
        (&["target", "uid", "gid", "mode"], Say("the value is never in the sandbox: remove it")),
    ],
};

/// Inside the source of a secret.
pub static SECRET_SOURCE: PropertyTable = PropertyTable {
    what: "the source of a secret",
    definition: "SecretSource",
    doc: "Where a secret's value is read: one of the four.",
    required: &[],
    properties: &[
        plain("env", schema::text, "A variable of the host's environment."),
        plain("file", schema::text, "A file of the host."),
        plain("command", schema::words, "A program of the host and its arguments, which prints the value."),
        plain(
            "keyring",
            schema::text,
            "The service of an entry in the user's keyring, which `secret-tool` reads by the attribute `service`.",
        ),
        plain("account", schema::text, "The account of that entry: its attribute `username`."),
    ],
    foreign: &[
        (&["environment", "variable"], Use("env")),
        (&["path"], Use("file")),
        (&["exec", "cmd", "run"], Use("command")),
        (&["keychain", "service", "secret_service", "libsecret"], Use("keyring")),
        (&["username", "user"], Use("account")),
        (&["value"], Say("a secret's value is never written here")),
    ],
};

/// Inside the settings of TLS.
pub static TLS: PropertyTable = PropertyTable {
    what: "the block `tls`",
    definition: "Tls",
    doc: "The interception of the TLS connections of a sandbox, which puts the values of secrets into requests.",
    required: &[],
    properties: &[
        plain(
            "intercept",
            schema::flag,
            "Whether TLS is intercepted; without it, if the sandbox has a secret.",
        ),
        plain("ports", schema::tls_ports, "The ports at which it is intercepted; without it, 443."),
        plain(
            "bypass",
            schema::hosts,
            "Hosts whose connections are not intercepted: names, or `*.` and a name.",
        ),
        each(
            "ca",
            "cas",
            schema::cas,
            "A CA that servers are verified with, besides those that the host trusts.",
        ),
    ],
    foreign: &[
        (&["enable", "enabled", "interception"], Use("intercept")),
        (&["port"], Use("ports")),
        (&["exclude", "passthrough", "skip", "no_intercept", "ignore"], Use("bypass")),
        (&["ca_file", "ca_cert", "cacert", "trust", "certificates", "certificate"], Use("ca")),
        (
            &["insecure", "verify", "skip_verify", "insecure_skip_verify"],
            Write {
                kdl: "servers are always verified; to trust one more CA, write `ca \"./ca.pem\"`",
                yaml: "servers are always verified; to trust one more CA, write `cas: [./ca.pem]`",
            },
        ),
        (
            &["cert", "key", "client_cert", "client_key"],
            Say("client certificates are not passed on: name the host in `bypass`"),
        ),
        (&["min_version", "version", "ciphers"], Say("TLS 1.2 and 1.3 are used: remove it")),
    ],
};

/// Beside a file of `ca`.
pub static TLS_CA: PropertyTable = PropertyTable {
    what: "a CA",
    definition: "TlsCa",
    doc: "A CA that servers are verified with, besides those that the host trusts.",
    required: &["file"],
    properties: &[
        plain("file", schema::ca_file, "A file with certificates in PEM."),
        plain("hosts", schema::hosts, "The servers that it is for; without it, all."),
    ],
    foreign: &[
        (&["path", "source", "from", "pem", "cert"], Use("file")),
        (&["host", "domains", "for"], Use("hosts")),
    ],
};
