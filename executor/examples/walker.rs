//! Measures the walker: prints how many microseconds one step takes that does nothing.
//!
//! `walker chain|fan STEPS PARALLEL none|FOLDER`: a chain of steps, or a fan of one step and all others
//! behind it; without a journal, or with the catalog's in a new database in a folder.

use executor::apply::{Acted, Interrupt, Journal, Outcome, ProjectJournal, Rules, StepResult, Walker};
use executor::catalog::{Catalog, CatalogError, OperationId};
use executor::reporter::Silent;
use schemas::digest::Digest;
use schemas::name::ProjectName;
use schemas::plan::{Ensure, Step, StepId};
use schemas::spec::{ImageReference, PinnedImage};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A journal that only counts.
#[derive(Default)]
struct NoJournal(Cell<i64>);

impl Journal for NoJournal {
    fn write(
        &self,
        _ended: &[(OperationId, &'static str)],
        begun: &[&StepId],
    ) -> Result<Vec<OperationId>, CatalogError> {
        let first = self.0.get();
        self.0.set(first + begun.len() as i64);
        Ok((first..self.0.get()).map(OperationId::from_row).collect())
    }
}

fn graph(shape: &str, count: usize) -> Result<BTreeMap<StepId, Step>, Box<dyn Error>> {
    let id = |number: usize| StepId::new(format!("start/sandbox-{number:05}"));
    let reference = ImageReference::Local { path: "/image".into() };
    let image = PinnedImage { reference, digest: Digest::of_bytes(b"image") };
    let mut steps = BTreeMap::new();
    for number in 0..count {
        let after = match (shape, number) {
            ("chain" | "fan", 0) => BTreeSet::new(),
            ("chain", number) => [id(number - 1)].into(),
            ("fan", _) => [id(0)].into(),
            _ => return Err("a shape is chain or fan".into()),
        };
        steps.insert(id(number), Step { ensure: Ensure::Image { image: image.clone() }, after });
    }
    Ok(steps)
}

fn walk(
    steps: &BTreeMap<StepId, Step>,
    parallel: usize,
    journal: &impl Journal,
) -> Result<Duration, Box<dyn Error>> {
    let (_keep, interrupt) = watch::channel(Interrupt::None);
    let rules = Rules { parallel, fail_fast: false };
    let walker = Walker { steps, rules, journal, reporter: &Silent, interrupt };
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = Instant::now();
    let results = event_loop.block_on(walker.walk(|_, _| async { Acted::Ok(Outcome::NotNeeded) }));
    let took = began.elapsed();
    let succeeded = |result: &&StepResult| matches!(result, StepResult::Succeeded { .. });
    if results.values().filter(succeeded).count() != steps.len() {
        return Err("not every step has succeeded".into());
    }
    Ok(took)
}

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [shape, count, parallel, journal] = &words[..] else {
        return Err("usage: walker chain|fan STEPS PARALLEL none|FOLDER".into());
    };
    let (count, parallel) = (count.parse()?, parallel.parse()?);
    let steps = graph(shape, count)?;
    let took = match journal.as_str() {
        "none" => walk(&steps, parallel, &NoJournal::default())?,
        folder => {
            let path = Path::new(folder).join(format!("walker-{}.db", std::process::id()));
            let catalog = Catalog::open(&path)?;
            let project = ProjectName::new("walker")?;
            let took = walk(&steps, parallel, &ProjectJournal { catalog: &catalog, project: &project });
            drop(catalog);
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{}{end}", path.display()));
            }
            took?
        }
    };
    println!("{:.2}", took.as_secs_f64() * 1e6 / count as f64);
    Ok(())
}
