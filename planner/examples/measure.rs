//! Loads a Sandboxfile, checks it, and plans it against a snapshot in which all is as declared; prints how
//! long that took, how much of it on a processor, and how much memory.
//!
//!   measure FILE [RUNS]

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "it measures time and reads files")]

use planner::Policy;
use sandboxfile::{AssumePresent, Format, Input, Source, load};
use schemas::digest::Digest;
use schemas::model::Model;
use schemas::name::SandboxId;
use schemas::snapshot::{Exit, Health, ObservedImage, ObservedSandbox, Snapshot, Status};
use schemas::spec::{PinnedImage, Role, SandboxSpec};
use std::time::{Duration, Instant};

fn main() {
    let mut words = std::env::args().skip(1);
    let name = words.next().expect("usage: measure FILE [RUNS]");
    let runs: usize = words.next().map_or(1, |runs| runs.parse().expect("a number of runs"));
    let bytes = std::fs::read(&name).expect("the file can be read");
    let source = Source {
        name: &name,
        path: None,
        bytes: &bytes,
        format: Format::of_file_name(&name),
        folder: "/project",
    };
    let input = Input { default_project: None, ..Input::of(source) };
    let load = || {
        load(&input, &AssumePresent)
            .unwrap_or_else(|report| panic!("{report}: {:#?}", report.diagnostics()))
            .model
    };
    let snapshot = as_declared(&load());
    let policy = Policy { remove_orphans: true, ..Policy::default() };
    for _ in 0..runs {
        let (began, worked) = (Instant::now(), processor_ms());
        let model = load();
        let loaded = began.elapsed();
        let (plan, report) = planner::plan(Some(&model), &snapshot, &policy).unwrap();
        let planned = began.elapsed();
        let worked = processor_ms() - worked;
        assert!(plan.is_empty() && report.changes.len() == model.sandboxes().len());
        let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
        println!(
            "{{\"sandboxes\": {}, \"load_ms\": {:.3}, \"plan_ms\": {:.3}, \"processor_ms\": {worked:.3}, \
             \"peak_kib\": {}}}",
            model.sandboxes().len(),
            ms(loaded),
            ms(planned - loaded),
            peak_kib()
        );
    }
}

/// A snapshot in which every sandbox runs well and every job has completed.
fn as_declared(model: &Model) -> Snapshot {
    let digest = Digest::of_bytes(b"image");
    let sandboxes = model.sandboxes().iter().map(|sandbox| {
        let (reference, definition) = (sandbox.image().clone(), sandbox.definition().clone());
        let status = match (definition.role, definition.health_check()) {
            (Role::Job, _) => Status::Exited { exit: Exit::Code { code: 0 } },
            (Role::Service, Some(_)) => Status::Running { health: Health::Healthy },
            (Role::Service, None) => Status::Running { health: Health::Unchecked },
        };
        let observed = ObservedSandbox {
            id: SandboxId::derive(model.project(), sandbox.name(), 1),
            generation: 1,
            spec: SandboxSpec { image: PinnedImage { reference, digest: digest.clone() }, definition },
            status,
            post_start_pending: false,
            created: true,
            should_run: true,
        };
        (sandbox.name().clone(), observed)
    });
    let images = model.sandboxes().iter().map(|sandbox| {
        let reference = sandbox.image().clone();
        (
            reference.to_string(),
            ObservedImage { reference, digest: digest.clone(), built: true, healthcheck: false },
        )
    });
    Snapshot {
        project: model.project().clone(),
        sandboxes: sandboxes.collect(),
        unreadable: std::collections::BTreeMap::new(),
        volumes: Default::default(),
        images: images.collect(),
        held_ports: Default::default(),
        external: Default::default(),
        mount_obstacle: None,
        secret_problems: Default::default(),
        changed_values: Default::default(),
    }
}

/// How long this process, which has one thread, has been on a processor: what else runs on the host does not count.
fn processor_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_ascii_whitespace().next().and_then(|field| field.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e6
}

/// The most memory that this process has had, in KiB.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
}
