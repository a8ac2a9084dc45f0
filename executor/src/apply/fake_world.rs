//! A world of the tests: random graphs, acts that take several turns and remember how far they came, and
//! the catalog's journal under a wrapper that knows what is recorded, and can die after any write.

use super::journal::{Journal, ProjectJournal};
use super::walker::{Acted, Rules, Walker};
use super::{Interrupt, Outcome, StepFailure, StepResult};
use crate::catalog::{Catalog, CatalogError, OperationId};
use crate::reporter::{Event, Reporter};
use proptest::prelude::*;
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId, SandboxName};
use schemas::plan::{Ensure, Identity, Step, StepId};
use schemas::spec::{Condition, ImageReference, PinnedImage};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// A graph, and what happens in it.
#[derive(Clone, Debug)]
pub struct Story {
    /// The steps.
    pub steps: BTreeMap<StepId, Step>,
    /// Those that fail.
    pub failing: BTreeSet<StepId>,
    /// How many turns of the event loop each one takes.
    pub turns: BTreeMap<StepId, u8>,
    /// Steps at once.
    pub parallel: usize,
    /// Picks a moment.
    pub moment: prop::sample::Index,
}

/// One step: what it comes after among the earlier ones, by bits; whether it waits, and fails; its turns.
type Draft = (u32, u32, bool, bool, u8);

/// Graphs of up to 20 steps, some of which fail.
pub fn story() -> impl Strategy<Value = Story> {
    let step = (any::<u32>(), any::<u32>(), prop::bool::weighted(0.3), prop::bool::weighted(0.15), 0..4_u8);
    let drafts = prop::collection::vec(step, 1..20);
    let names = Just((0..20).collect::<Vec<u8>>()).prop_shuffle();
    let parallel = prop::sample::select(vec![1_usize, 2, 3, 8, 64]);
    (drafts, names, parallel, any::<prop::sample::Index>()).prop_map(|(drafts, names, parallel, moment)| {
        // The order of the ids says nothing of the order of the steps.
        let ids: Vec<_> = names
            .iter()
            .map(|name| StepId::Start((&SandboxName::new(format!("{name:02}")).unwrap()).into()))
            .collect();
        let mut story = Story {
            steps: BTreeMap::new(),
            failing: BTreeSet::new(),
            turns: BTreeMap::new(),
            parallel,
            moment,
        };
        for (place, (one, other, waits, fails, turns)) in drafts.into_iter().enumerate() {
            let draft: Draft = (one, other, waits, fails, turns);
            story.add(place, &ids, draft);
        }
        story
    })
}

impl Story {
    fn add(&mut self, place: usize, ids: &[StepId], (one, other, waits, fails, turns): Draft) {
        // Half of all edges would leave no two steps side by side.
        let after = (0..place).filter(|before| (one & other) >> before & 1 == 1);
        let after = after.map(|before| ids[before].clone()).collect();
        let id = ids[place].clone();
        let ensure = if waits { condition() } else { image() };
        self.steps.insert(id.clone(), Step { ensure, after });
        if fails {
            self.failing.insert(id.clone());
        }
        self.turns.insert(id, turns);
    }

    /// Everything that a step comes after, however far.
    pub fn ancestors(&self, id: &StepId) -> BTreeSet<StepId> {
        let mut found = BTreeSet::new();
        let mut open = vec![id.clone()];
        while let Some(id) = open.pop() {
            for before in &self.steps[&id].after {
                if found.insert(before.clone()) {
                    open.push(before.clone());
                }
            }
        }
        found
    }

    /// Whether a step works, and so takes a place.
    pub fn works(&self, id: &StepId) -> bool {
        matches!(self.steps[id].ensure, Ensure::Image { .. })
    }
}

fn image() -> Ensure {
    let reference = ImageReference::Local { path: "/image".into() };
    Ensure::Image { image: PinnedImage { reference, digest: Digest::of_bytes(b"") } }
}

fn condition() -> Ensure {
    let name = SandboxName::new("web").unwrap();
    let id = SandboxId::derive(&project(), &name, 1);
    Ensure::Condition { identity: Identity { name, id, generation: 1 }, condition: Condition::Healthy }
}

fn project() -> ProjectName {
    ProjectName::new("shop").unwrap()
}

/// How far a step's effect has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Begun: a crash would leave it so.
    Half,
    /// Whole.
    Done,
}

/// What is known on all sides.
#[derive(Default)]
struct Shared {
    effects: BTreeMap<StepId, Effect>,
    open: BTreeMap<i64, StepId>,
    succeeded: BTreeSet<StepId>,
    began: Vec<StepId>,
    at_once: usize,
    most_at_once: usize,
    writes: usize,
    closed: bool,
    violations: Vec<String>,
}

/// A world in which one story happens, once or more often.
pub struct FakeWorld {
    story: Story,
    catalog: Catalog,
    shared: Arc<Mutex<Shared>>,
    _folder: tempfile::TempDir,
}

/// What interferes with a walk.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// Whether the story's failing steps fail.
    pub failures: bool,
    /// Whether the first failure ends it.
    pub fail_fast: bool,
    /// At the start of this action, counted from 1, everything is asked to stop.
    pub interrupt: Option<(usize, Interrupt)>,
    /// The process dies right after this write, counted from 1.
    pub die_behind_write: Option<usize>,
    /// From this write on, counted from 1, the journal refuses.
    pub refuse_from_write: Option<usize>,
}

/// A walk that came to its end.
#[derive(Debug)]
pub struct Ended {
    /// How each step ended.
    pub results: BTreeMap<StepId, StepResult>,
    /// The steps that were begun, in order.
    pub began: Vec<StepId>,
    /// So many worked at once.
    pub most_at_once: usize,
    /// So often the journal was written.
    pub writes: usize,
}

impl FakeWorld {
    /// Nothing has happened yet.
    pub fn new(story: &Story) -> Self {
        // In memory where that is possible: there are many of these.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let catalog = Catalog::open(&folder.path().join("catalog.db")).unwrap();
        Self { story: story.clone(), catalog, shared: Arc::default(), _folder: folder }
    }

    /// How far each step's effect has come.
    pub fn effects(&self) -> BTreeMap<StepId, Effect> {
        self.shared.lock().unwrap().effects.clone()
    }

    /// The steps whose intent is recorded and whose end is not.
    pub fn open(&self) -> BTreeSet<StepId> {
        self.catalog.open_steps(&project()).iter().map(|step| step.parse().unwrap()).collect()
    }

    /// Walks the story; gives nothing when the process died. Panics where a step began too early, or an end
    /// was reported before it was recorded.
    pub fn walk(&self, trouble: Trouble) -> Option<Ended> {
        self.catalog.settle_operations(&project()).unwrap();
        {
            let mut shared = self.shared.lock().unwrap();
            let effects = std::mem::take(&mut shared.effects);
            *shared = Shared { effects, ..Shared::default() };
        }
        let project = project();
        let journal = Watched {
            inner: ProjectJournal { catalog: &self.catalog, project: &project },
            shared: &self.shared,
            trouble,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (sender, interrupt) = watch::channel(Interrupt::None);
        let walker = Walker {
            steps: &self.story.steps,
            rules: Rules { parallel: self.story.parallel, fail_fast: trouble.fail_fast },
            journal: &journal,
            reporter: &TestReporter(self.shared.clone()),
            interrupt,
        };
        let sender = Arc::new(sender);
        let walked = catch_unwind(AssertUnwindSafe(|| {
            runtime.block_on(walker.walk(|id, step| self.act(id, step, trouble, sender.clone())))
        }));
        let shared = self.shared.lock().unwrap();
        assert_eq!(shared.violations, Vec::<String>::new());
        match walked {
            Ok(results) => Some(Ended {
                results,
                began: shared.began.clone(),
                most_at_once: shared.most_at_once,
                writes: shared.writes,
            }),
            Err(death) if death.is::<Died>() => None,
            Err(other) => resume_unwind(other),
        }
    }

    /// One step's act: half an effect, some turns, the other half.
    fn act(
        &self,
        id: &StepId,
        step: &Step,
        trouble: Trouble,
        sender: Arc<watch::Sender<Interrupt>>,
    ) -> impl Future<Output = Acted> + Send + 'static + use<> {
        let (id, step, shared) = (id.clone(), step.clone(), self.shared.clone());
        let fails = trouble.failures && self.story.failing.contains(&id);
        let (works, turns) = (self.story.works(&id), self.story.turns[&id]);
        async move {
            let found = shared.lock().unwrap().begin(&id, &step, works);
            let count = shared.lock().unwrap().began.len();
            if let Some((at, wish)) = trouble.interrupt
                && at == count
            {
                shared.lock().unwrap().closed = true;
                sender.send_replace(wish);
            }
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            let mut shared = shared.lock().unwrap();
            if works {
                shared.at_once -= 1;
            }
            if fails {
                return Err(StepFailure::new("it fails"));
            }
            shared.effects.insert(id, Effect::Done);
            Ok(match found {
                None => Outcome::Added,
                Some(Effect::Half) => Outcome::Updated,
                Some(Effect::Done) => Outcome::NotNeeded,
            })
        }
    }
}

impl Shared {
    /// A step's act begins: everything that it relies on must hold.
    fn begin(&mut self, id: &StepId, step: &Step, works: bool) -> Option<Effect> {
        if !self.open.values().any(|open| open == id) {
            self.violations.push(format!("{id} began without a recorded intent"));
        }
        for before in &step.after {
            if self.effects.get(before) != Some(&Effect::Done) || !self.succeeded.contains(before) {
                self.violations.push(format!("{id} began before {before} had succeeded"));
            }
        }
        if self.began.contains(id) {
            self.violations.push(format!("{id} began twice"));
        }
        self.began.push(id.clone());
        if works {
            self.at_once += 1;
            self.most_at_once = self.most_at_once.max(self.at_once);
        }
        let found = self.effects.get(id).copied();
        self.effects.entry(id.clone()).or_insert(Effect::Half);
        found
    }
}

/// The end of a fake process.
struct Died;

/// The catalog's journal, watched.
struct Watched<'a> {
    inner: ProjectJournal<'a>,
    shared: &'a Mutex<Shared>,
    trouble: Trouble,
}

impl Journal for Watched<'_> {
    fn write(
        &self,
        ended: &[(OperationId, &'static str)],
        begun: &[&StepId],
    ) -> Result<Vec<OperationId>, CatalogError> {
        let mut shared = self.shared.lock().unwrap();
        shared.writes += 1;
        if self.trouble.refuse_from_write.is_some_and(|from| shared.writes >= from) {
            shared.closed = true;
            return Err(CatalogError::Corrupt { what: "a test".into(), source: "it is broken".into() });
        }
        if shared.closed && !begun.is_empty() {
            shared.violations.push(format!("{begun:?} began after everything was asked to stop"));
        }
        let rows = self.inner.write(ended, begun)?;
        for (id, outcome) in ended {
            let step = shared.open.remove(&id.0).unwrap();
            match *outcome {
                "failed" if self.trouble.fail_fast => shared.closed = true,
                "failed" | "interrupted" => {}
                _ => drop(shared.succeeded.insert(step)),
            }
        }
        shared.open.extend(rows.iter().map(|row| row.0).zip(begun.iter().copied().cloned()));
        if shared.closed && !begun.is_empty() && self.trouble.fail_fast {
            shared.violations.push(format!("{begun:?} began with a failure"));
        }
        if self.trouble.die_behind_write == Some(shared.writes) {
            drop(shared);
            resume_unwind(Box::new(Died));
        }
        Ok(rows)
    }
}

/// Compares what is reported with what is recorded.
struct TestReporter(Arc<Mutex<Shared>>);

impl Reporter for TestReporter {
    fn event(&self, event: &Event<'_>) {
        let mut shared = self.0.lock().unwrap();
        if let Event::Succeeded { step, .. } = event
            && !shared.succeeded.contains(*step)
        {
            shared.violations.push(format!("{step} was reported before it was recorded"));
        }
    }
}
