//! Measures the walker: prints how many microseconds one step takes that does nothing, and how many of them on a
//! processor.
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
        Ok((first..self.0.get()).map(OperationId).collect())
    }
}

fn graph(shape: &str, count: usize) -> Result<BTreeMap<StepId, Step>, Box<dyn Error>> {
    let id = |number: usize| -> Result<StepId, Box<dyn Error>> {
        Ok(format!("start/sandbox-{number:05}").parse()?)
    };
    let reference = ImageReference::Local { path: "/image".into() };
    let image = PinnedImage { reference, digest: Digest::of_bytes(b"image") };
    let mut steps = BTreeMap::new();
    for number in 0..count {
        let after = match (shape, number) {
            ("chain" | "fan", 0) => BTreeSet::new(),
            ("chain", number) => [id(number - 1)?].into(),
            ("fan", _) => [id(0)?].into(),
            _ => return Err("a shape is chain or fan".into()),
        };
        steps.insert(id(number)?, Step { ensure: Ensure::Image { image: image.clone() }, after });
    }
    Ok(steps)
}

fn walk(
    steps: &BTreeMap<StepId, Step>,
    parallel: usize,
    journal: &impl Journal,
) -> Result<(Duration, Duration), Box<dyn Error>> {
    let (_keep, interrupt) = watch::channel(Interrupt::None);
    let rules = Rules { parallel, fail_fast: false };
    let walker = Walker { steps, rules, journal, reporter: &Silent, interrupt };
    let event_loop = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (began, worked) = (Instant::now(), processor_time());
    let results = event_loop.block_on(walker.walk(|_, _| async { Acted::Ok(Outcome::NotNeeded) }));
    let took = (began.elapsed(), processor_time() - worked);
    let succeeded = |result: &&StepResult| matches!(result, StepResult::Succeeded { .. });
    if results.values().filter(succeeded).count() != steps.len() {
        return Err("not every step has succeeded".into());
    }
    Ok(took)
}

/// How long this process, which has one thread, has been on a processor: what else runs on the host does not count.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let nanoseconds = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
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
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / count as f64;
    println!("{:.2} {:.2}", micros(took.0), micros(took.1));
    Ok(())
}
