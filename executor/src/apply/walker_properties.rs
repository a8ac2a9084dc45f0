//! What holds for any graph: the real walker and the real journal in a fake world.

use super::fake_world::{Effect, FakeWorld, Story, Trouble, story};
use super::{Interrupt, StepResult};
use proptest::prelude::*;
use schemas::plan::StepId;

fn succeeded(result: &StepResult) -> bool {
    matches!(result, StepResult::Succeeded { .. })
}

/// The failing steps that come before a step and were begun themselves.
fn culprits(story: &Story, id: &StepId) -> Vec<StepId> {
    let ancestors = story.ancestors(id);
    ancestors
        .into_iter()
        .filter(|culprit| story.failing.contains(culprit) && culprits(story, culprit).is_empty())
        .collect()
}

/// Without trouble a walk brings everything to its end.
fn assert_whole(world: &FakeWorld, story: &Story) {
    let ended = world.walk(Trouble::default()).unwrap();
    assert!(ended.results.values().all(succeeded), "{:?}", ended.results);
    assert_eq!(ended.results.len(), story.steps.len());
    assert!(world.effects().values().all(|effect| *effect == Effect::Done));
    assert_eq!(world.effects().len(), story.steps.len());
    assert!(world.open().is_empty());
}

/// What a death leaves: half an effect only under an open intent.
fn assert_explained(world: &FakeWorld) {
    let open = world.open();
    for (id, effect) in world.effects() {
        assert!(effect == Effect::Done || open.contains(&id), "{id} is half done, and no intent says so");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn failures_skip_their_dependents_and_nothing_else_and_the_next_walk_finishes(story in story()) {
        let world = FakeWorld::new(&story);
        let ended = world.walk(Trouble { failures: true, ..Trouble::default() }).unwrap();
        prop_assert!(ended.most_at_once <= story.parallel);
        prop_assert_eq!(ended.results.len(), story.steps.len());
        for (id, result) in &ended.results {
            let culprits = culprits(&story, id);
            match result {
                StepResult::Skipped { because } => {
                    let because = because.as_ref().unwrap();
                    prop_assert!(culprits.contains(because), "{id} because of {because}, not of {culprits:?}");
                    prop_assert!(!ended.began.contains(id));
                }
                StepResult::Failed(_) => prop_assert!(culprits.is_empty() && story.failing.contains(id)),
                StepResult::Succeeded { .. } => {
                    prop_assert!(culprits.is_empty() && !story.failing.contains(id));
                }
                StepResult::Interrupted => prop_assert!(false, "{id} was interrupted without a cause"),
            }
        }
        assert_whole(&world, &story);
    }

    #[test]
    fn fail_fast_begins_nothing_after_a_failure_and_names_it(story in story()) {
        let world = FakeWorld::new(&story);
        let ended = world.walk(Trouble { failures: true, fail_fast: true, ..Trouble::default() }).unwrap();
        let failed = |id: &StepId| matches!(ended.results[id], StepResult::Failed(_));
        prop_assert_eq!(story.steps.keys().any(|id| story.failing.contains(id)), story.steps.keys().any(failed));
        for (id, result) in &ended.results {
            match result {
                StepResult::Skipped { because } => {
                    prop_assert!(because.as_ref().is_some_and(failed));
                    // A wait is given up; what works goes on to its end.
                    prop_assert!(!ended.began.contains(id) || !story.works(id));
                }
                StepResult::Interrupted => prop_assert!(false, "{id} was interrupted without a cause"),
                _ => prop_assert!(ended.began.contains(id)),
            }
        }
        assert_whole(&world, &story);
    }

    #[test]
    fn an_interrupt_lets_what_works_finish_and_leaves_the_rest(story in story()) {
        let world = FakeWorld::new(&story);
        let at = story.moment.index(story.steps.len()) + 1;
        let ended = world.walk(Trouble { interrupt: Some((at, Interrupt::Finish)), ..Trouble::default() }).unwrap();
        for (id, result) in &ended.results {
            match result {
                StepResult::Succeeded { .. } => {}
                StepResult::Interrupted => prop_assert!(!story.works(id)),
                StepResult::Skipped { because: None } => {
                    prop_assert!(!ended.began.contains(id) || !story.works(id));
                }
                other => prop_assert!(false, "{id}: {other:?}"),
            }
        }
        prop_assert!(world.open().is_empty());
        assert_whole(&world, &story);
    }

    #[test]
    fn a_second_interrupt_leaves_all_as_it_is(story in story()) {
        let world = FakeWorld::new(&story);
        let at = story.moment.index(story.steps.len()) + 1;
        let ended = world.walk(Trouble { interrupt: Some((at, Interrupt::Now)), ..Trouble::default() }).unwrap();
        for (id, effect) in world.effects() {
            let result = &ended.results[&id];
            prop_assert!(effect == Effect::Done || matches!(result, StepResult::Interrupted), "{id} {result:?}");
        }
        prop_assert!(world.open().is_empty());
        assert_whole(&world, &story);
    }

    #[test]
    fn a_broken_journal_ends_the_walk_and_nothing_counts_that_is_not_recorded(story in story()) {
        let world = FakeWorld::new(&story);
        let writes = FakeWorld::new(&story).walk(Trouble::default()).unwrap().writes;
        let from = story.moment.index(writes) + 1;
        let ended = world.walk(Trouble { refuse_from_write: Some(from), ..Trouble::default() }).unwrap();
        prop_assert!(ended.results.values().any(|result| matches!(result, StepResult::Failed(_))));
        for result in ended.results.values() {
            prop_assert!(!matches!(result, StepResult::Skipped { because: None }), "{result:?}");
        }
        assert_whole(&world, &story);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_death_behind_any_write_is_made_up_for_by_the_next_walk(story in story()) {
        let mut write = 1;
        loop {
            let world = FakeWorld::new(&story);
            let trouble = Trouble { die_behind_write: Some(write), ..Trouble::default() };
            if world.walk(trouble).is_some() {
                break;
            }
            assert_explained(&world);
            assert_whole(&world, &story);
            write += 1;
        }
        prop_assert!(write > story.steps.len() / 20);
    }

    #[test]
    fn one_death_after_the_other_comes_to_the_end_at_last(story in story()) {
        let world = FakeWorld::new(&story);
        // Every walk gets a little further than the one before.
        let mut lives = 0;
        while world.walk(Trouble { die_behind_write: Some(lives + 1), ..Trouble::default() }).is_none() {
            assert_explained(&world);
            lives += 1;
        }
        assert_whole(&world, &story);
    }
}
