//! Coverage-guided fuzz targets for every parser of hostile bytes, in one binary: `FUZZ_TARGET` selects one.
//!
//! `tests/fuzz/run` builds and runs them; `FUZZ_TARGET=list` prints their names.

#![no_main]

mod bytes;
mod compose_file;
mod files;
mod fuse;
mod image;
mod logs;
mod memory;
mod network;
mod protocol;
mod proxy;
mod registry;
mod sandboxfile;
mod share;
mod stack;

use std::sync::OnceLock;

/// A property that holds for all bytes; a panic is a finding.
type Target = fn(&[u8]);

/// Every target by the name of its corpus, and the most memory that one input may take, in MiB.
const TARGETS: &[(&str, Target, usize)] = &[
    ("kdl", sandboxfile::kdl, 256),
    ("yaml", sandboxfile::yaml, 256),
    ("compose", compose_file::files, 256),
    ("env", sandboxfile::env_file, 64),
    ("texts", sandboxfile::texts, 64),
    ("frames", protocol::frames, 64),
    ("message", protocol::message, 64),
    ("boot", protocol::boot, 64),
    ("lock-file", files::lock_file, 64),
    ("plan-file", files::plan_file, 64),
    ("ignore", files::ignore_patterns, 64),
    ("exec-log", logs::exec_log, 64),
    ("text-log", logs::text_log, 64),
    ("cursor", logs::cursor, 64),
    ("oci", image::documents, 64),
    ("pax", image::pax, 64),
    ("layers", image::layers, 128),
    ("qcow2", image::qcow2, 64),
    ("snapshot", image::snapshot, 64),
    ("challenge", registry::challenge, 64),
    ("answer", registry::answer_headers, 64),
    ("sni", network::sni, 64),
    ("http-head", network::http_head, 64),
    ("dns-question", network::dns_question, 64),
    ("dns-answer", network::dns_answer, 64),
    ("dns-session", network::dns_session, 64),
    ("upstream-proxy", network::upstream_proxy, 64),
    ("wire", network::wire, 64),
    ("stack", network::stack, 256),
    ("proxy-hello", proxy::hello, 64),
    ("proxy-http1", proxy::http1, 64),
    ("proxy-http2", proxy::http2, 64),
    ("substitution", proxy::substitution, 64),
    ("fuse", fuse::requests, 64),
    ("vhost-user", share::vhost_user, 64),
    ("vring", share::vring, 64),
];

static CHOSEN: OnceLock<Target> = OnceLock::new();

/// Finds the target that the environment names; ends the process where there is none.
fn choose() {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    let Some((_, target, memory_mib)) = TARGETS.iter().find(|(known, _, _)| *known == name) else {
        let names: Vec<&str> = TARGETS.iter().map(|(name, _, _)| *name).collect();
        println!("{}", names.join("\n"));
        std::process::exit(if name == "list" { 0 } else { 2 });
    };
    memory::limit(memory_mib << 20);
    CHOSEN.get_or_init(|| *target);
}

libfuzzer_sys::fuzz_target!(init: choose(), |bytes: &[u8]| {
    if let Some(target) = CHOSEN.get() {
        memory::measure(|| target(bytes));
    }
});
