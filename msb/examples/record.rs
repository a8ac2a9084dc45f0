//! Records all sandboxes of a Sandboxfile as completed jobs, so that `msb up` has nothing to do. For benchmarks.
//!
//!   record FILE HOME

#![allow(clippy::unwrap_used)]

use executor::catalog::{Catalog, SandboxRow};
use executor::images::ImageQuery;
use executor::observe::observe;
use executor_host::home::{Home, make_private_folder};
use executor_host::process::ProcessIdentity;
use executor_host::state::{Phase, State, write_json};
use planner::Policy;
use sandboxfile::{AssumePresent, Format, Input, Source, load};
use schemas::plan::Ensure;
use schemas::snapshot::{Exit, Health};
use std::path::PathBuf;

fn main() {
    let mut words = std::env::args().skip(1);
    let (Some(name), Some(home)) = (words.next(), words.next()) else { panic!("usage: record FILE HOME") };
    let file = std::fs::canonicalize(&name).unwrap();
    let source = Source {
        path: None,
        name: &name,
        bytes: &std::fs::read(&file).unwrap(),
        format: Format::of_file_name(&name),
        folder: file.parent().unwrap().to_str().unwrap(),
    };
    let input = Input { default_project: None, ..Input::of(source) };
    let model = load(&input, &AssumePresent)
        .unwrap_or_else(|report| panic!("{report}: {:#?}", report.diagnostics()))
        .model;
    let home = Home::open(PathBuf::from(home)).unwrap();
    let catalog = Catalog::open(&home.catalog()).unwrap();
    let references = model.sandboxes().iter().map(|sandbox| sandbox.image().clone()).collect();
    let query = ImageQuery { references, ..ImageQuery::default() };
    let snapshot = observe(&home, &catalog, model.project(), &query).unwrap();
    let (plan, _) = planner::plan(Some(&model), &snapshot, &Policy::default()).unwrap();
    // No running process has this start time.
    let gone = ProcessIdentity { pid: 1, start_ticks: u64::MAX, boot: 0 };
    for step in plan.steps.into_values() {
        let Ensure::Sandbox { identity, spec, .. } = step.ensure else { continue };
        let folder = home.sandbox(&identity.id);
        make_private_folder(folder.path()).unwrap();
        std::fs::write(folder.disk(), "").unwrap();
        let state = State {
            phase: Phase::Exited { exit: Exit::Code { code: 0 } },
            health: Health::Unchecked,
            ..State::booting(None, gone)
        };
        write_json(&folder.state(), &state).unwrap();
        let row = SandboxRow {
            id: identity.id,
            project: model.project().clone(),
            name: identity.name,
            generation: identity.generation,
            spec: *spec,
            created: false,
            should_run: false,
            hook_done: false,
        };
        catalog.begin_sandbox(&row).unwrap();
        catalog.finish_sandbox(&row.id).unwrap();
    }
}
