use super::*;
use crate::reporter::Silent;
use schemas::digest::Digest;
use schemas::name::{ProjectName, SandboxId, SandboxName};
use schemas::plan::{Ensure, Identity};
use schemas::spec::{Condition, ImageReference, PinnedImage};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

fn step_id(name: &str) -> StepId {
    StepId::Start((&SandboxName::new(name).unwrap()).into())
}

fn name_of(id: &StepId) -> String {
    let StepId::Start(instance) = id else { panic!("{id}") };
    instance.to_string()
}

fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<StepId, Step> {
    let image =
        PinnedImage { reference: ImageReference::Local { path: "/i".into() }, digest: Digest::of_bytes(b"") };
    let step = |after: &&[&str]| Step {
        ensure: Ensure::Image { image: image.clone() },
        after: after.iter().map(|id| step_id(id)).collect(),
    };
    edges.iter().map(|(id, after)| (step_id(id), step(after))).collect()
}

/// A journal that is only counted.
#[derive(Default)]
struct Counted(std::cell::Cell<i64>);

impl Journal for Counted {
    fn write(
        &self,
        _ended: &[(OperationId, &'static str)],
        begun: &[&StepId],
    ) -> Result<Vec<OperationId>, CatalogError> {
        let first = self.0.replace(self.0.get() + begun.len() as i64);
        Ok((first..self.0.get()).map(OperationId).collect())
    }
}

async fn walk<Act, Acting>(
    steps: &BTreeMap<StepId, Step>,
    parallel: usize,
    act: Act,
    interrupt: watch::Receiver<Interrupt>,
) -> BTreeMap<StepId, StepResult>
where
    Act: Fn(&StepId, &Step) -> Acting,
    Acting: Future<Output = Acted> + Send + 'static,
{
    let rules = Rules { parallel, fail_fast: false };
    Walker { steps, rules, journal: &Counted::default(), reporter: &Silent, interrupt }.walk(act).await
}

struct Ran {
    order: Vec<String>,
    most_at_once: usize,
    results: BTreeMap<StepId, StepResult>,
}

async fn run(steps: BTreeMap<StepId, Step>, parallel: usize, failing: &'static [&'static str]) -> Ran {
    let order = Arc::new(Mutex::new(Vec::new()));
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let results = {
        let (order, now, most) = (order.clone(), now.clone(), most.clone());
        let act = move |id: &StepId, _: &Step| {
            let (id, order, now, most) = (id.clone(), order.clone(), now.clone(), most.clone());
            async move {
                most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                let name = name_of(&id);
                order.lock().unwrap().push(name.clone());
                tokio::task::yield_now().await;
                now.fetch_sub(1, SeqCst);
                if failing.contains(&name.as_str()) {
                    Err(StepFailure::new("no"))
                } else {
                    Ok(Outcome::Added)
                }
            }
        };
        let (_keep, interrupt) = watch::channel(Interrupt::None);
        walk(&steps, parallel, act, interrupt).await
    };
    Ran {
        order: Arc::try_unwrap(order).unwrap().into_inner().unwrap(),
        most_at_once: most.load(SeqCst),
        results,
    }
}

#[tokio::test]
async fn order_is_kept_and_the_limit_holds() {
    for parallel in [1, 2, 64] {
        let diamond = graph(&[("a", &[]), ("b", &["a"]), ("c", &["a"]), ("d", &["b", "c"]), ("e", &[])]);
        let ran = run(diamond, parallel, &[]).await;
        let place = |id: &str| ran.order.iter().position(|ran| ran == id).unwrap();
        assert!(place("a") < place("b") && place("a") < place("c"));
        assert!(place("b") < place("d") && place("c") < place("d"));
        assert!(ran.most_at_once <= parallel);
        assert_eq!(ran.results.len(), 5);
    }
}

#[tokio::test]
async fn dependents_of_a_failure_are_skipped_because_of_it_and_others_go_on() {
    let ran =
        run(graph(&[("a", &[]), ("b", &["a"]), ("c", &["b"]), ("x", &[]), ("y", &["x"])]), 1, &["a"]).await;
    assert!(matches!(&ran.results[&step_id("a")], StepResult::Failed(_)));
    for id in ["b", "c"] {
        match &ran.results[&step_id(id)] {
            StepResult::Skipped { because: Some(because) } => assert_eq!(*because, step_id("a")),
            other => panic!("{id}: {other:?}"),
        }
    }
    assert!(matches!(&ran.results[&step_id("y")], StepResult::Succeeded { .. }));
    assert_eq!(ran.order, ["a", "x", "y"]);
}

#[tokio::test]
async fn an_interrupt_begins_nothing_new() {
    let steps = graph(&[("a", &[]), ("b", &["a"])]);
    let (interrupter, interrupt) = watch::channel(Interrupt::None);
    let interrupter = Arc::new(interrupter);
    let act = move |_: &StepId, _: &Step| {
        let interrupter = interrupter.clone();
        async move {
            interrupter.send_replace(Interrupt::Finish);
            Ok(Outcome::Added)
        }
    };
    let results = walk(&steps, 4, act, interrupt).await;
    assert!(matches!(&results[&step_id("a")], StepResult::Succeeded { .. }));
    assert!(matches!(&results[&step_id("b")], StepResult::Skipped { because: None }));
}

/// A step tells everything to stop while it still has much to do; gives how it ended.
async fn stopped_midway(ensure: Ensure, wish: Interrupt) -> StepResult {
    let id = step_id("a");
    let steps = BTreeMap::from([(id.clone(), Step { ensure, after: BTreeSet::new() })]);
    let (interrupter, interrupt) = watch::channel(Interrupt::None);
    let interrupter = Arc::new(interrupter);
    let act = move |_: &StepId, _: &Step| {
        let interrupter = interrupter.clone();
        async move {
            interrupter.send_replace(wish);
            for _ in 0..1_000 {
                tokio::task::yield_now().await;
            }
            Ok(Outcome::Added)
        }
    };
    walk(&steps, 1, act, interrupt).await.remove(&id).unwrap()
}

#[tokio::test]
async fn an_interrupt_cuts_short_what_waits_and_a_second_one_what_works() {
    let image = || graph(&[("a", &[])]).remove(&step_id("a")).unwrap().ensure;
    let name = SandboxName::new("web").unwrap();
    let id = SandboxId::derive(&ProjectName::new("shop").unwrap(), &name, 1);
    let identity = Identity { name, id, generation: 1 };
    let wait = || Ensure::Condition { identity: identity.clone(), condition: Condition::Healthy };
    assert!(matches!(stopped_midway(image(), Interrupt::Finish).await, StepResult::Succeeded { .. }));
    assert!(matches!(stopped_midway(image(), Interrupt::Now).await, StepResult::Interrupted));
    assert!(matches!(stopped_midway(wait(), Interrupt::Finish).await, StepResult::Interrupted));
}
