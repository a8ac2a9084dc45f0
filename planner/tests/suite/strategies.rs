//! Stories: a project, what became of it, and the project that comes after it.

use crate::fixtures::{model, nothing, observe_images};
use crate::simulate::{Next, simulate};
use planner::{Policy, plan};
use proptest::prelude::*;
use proptest::sample::Index;
use schemas::model::Model;
use schemas::snapshot::{Exit, Health, Snapshot, Status};
use schemas::spec::HookEvent;
use std::collections::{BTreeMap, BTreeSet};

/// The volumes that sandboxes mount.
const VOLUMES: u8 = 3;
/// Their properties at first.
const VOLUMES_BEFORE: [&str; VOLUMES as usize] =
    ["size=\"64M\"", "size=\"64M\"", "kind=\"directory\" size=\"64M\" shared=#true"];

pub const NAMES: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];

/// One sandbox of a generated project.
#[derive(Clone, Debug)]
pub struct Draft {
    pub position: usize,
    is_job: bool,
    image: u8,
    memory: u8,
    env: u8,
    label: u8,
    /// Nothing, or one of two ways to limit its logs.
    logs: u8,
    script: u8,
    healthcheck: bool,
    /// Which volume it mounts, if any.
    volume: Option<u8>,
    /// Whether it only reads that.
    readonly: bool,
    /// Its hooks: 1 for `post-start`, 2 for `pre-stop`, 3 for both.
    hooks: u8,
    replicas: u8,
    /// Whether it belongs to the profile.
    profile: bool,
    /// Which of the earlier sandboxes it depends on, by bits.
    depends_on: u8,
}

fn draft() -> impl Strategy<Value = Draft> {
    let numbers = (0..2u8, 0..2u8, 0..3u8, 0..3u8, 0..2u8);
    let volume = prop::option::weighted(0.35, 0..VOLUMES);
    let replicas = prop_oneof![5 => Just(1u8), 1 => 2..4u8];
    let readonly = prop::bool::weighted(0.3);
    let more = (volume, 0..4u8, replicas, prop::bool::weighted(0.15), 0..3u8, readonly);
    (prop::bool::weighted(0.3), numbers, any::<bool>(), any::<u8>(), more).prop_map(
        |(is_job, (image, memory, env, label, script), healthcheck, depends_on, more)| Draft {
            volume: more.0,
            hooks: more.1,
            replicas: more.2,
            profile: more.3,
            logs: more.4,
            readonly: more.5,
            position: 0,
            is_job,
            image,
            memory,
            env,
            label,
            script,
            healthcheck,
            depends_on,
        },
    )
}

/// A project: some of the names, in an order of its own in which dependencies point backwards.
fn drafts() -> impl Strategy<Value = Vec<(&'static str, Draft)>> {
    let some = prop::collection::vec((any::<bool>(), draft()), NAMES.len());
    (some, Just(NAMES.to_vec()).prop_shuffle()).prop_map(|(some, names)| {
        // A Sandboxfile declares one at least.
        let kept =
            some.into_iter().zip(names).enumerate().filter(|(index, ((kept, _), _))| *kept || *index == 0);
        let kept = kept.map(|(_, pair)| pair);
        kept.enumerate().map(|(position, ((_, draft), name))| (name, Draft { position, ..draft })).collect()
    })
}

/// As text, its sandboxes in the order of `positions`, its volumes with these properties.
pub fn kdl(drafts: &[(&str, Draft)], volumes: &[&str]) -> String {
    let by_position = |position: usize| drafts.iter().find(|(_, draft)| draft.position == position).unwrap();
    let used: BTreeSet<u8> = drafts.iter().filter_map(|(_, draft)| draft.volume).collect();
    let volume = |volume: &u8| format!("volume \"v{volume}\" {}\n", volumes[usize::from(*volume)]);
    let mut text: String = used.iter().map(volume).collect();
    for (name, draft) in drafts {
        let kind = if draft.is_job { "job" } else { "sandbox" };
        text.push_str(&format!(
            "{kind} {name:?} {{\n image \"./image{}\"\n memory \"{}M\"\n",
            draft.image,
            128 + draft.memory
        ));
        if let Some(volume) = draft.volume {
            let readonly = if draft.readonly { " readonly=#true" } else { "" };
            text.push_str(&format!(" mount \"v{volume}\" to=\"/v{volume}\"{readonly}\n"));
        }
        for (bit, event) in [(1, "post-start"), (2, "pre-stop")] {
            if draft.hooks & bit > 0 {
                text.push_str(&format!(" hook \"{event}\" \"run-{event}\"\n"));
            }
        }
        if draft.replicas > 1 {
            text.push_str(&format!(" replicas {}\n", draft.replicas));
        }
        if draft.profile {
            text.push_str(" profiles \"dev\"\n");
        }
        text.push_str(&format!(" env {{ A \"{}\"; }}\n", draft.env));
        if draft.label > 0 {
            text.push_str(&format!(" labels {{ fixed \"yes\"; l \"{}\"; }}\n", draft.label));
        }
        match draft.logs {
            0 => {}
            1 => text.push_str(" logs { capture \"off\"; }\n"),
            _ => text.push_str(" logs { max-size \"1M\"; keep 1; }\n"),
        }
        text.push_str(&format!(" script \"run\" \"echo {}\"\n start \"run\"\n", draft.script));
        if draft.healthcheck && !draft.is_job {
            text.push_str(" healthcheck { exec \"true\"; }\n");
        }
        for position in (0..draft.position).filter(|position| draft.depends_on >> position & 1 == 1) {
            let (dependency, other) = by_position(position);
            let condition = match (other.is_job, other.healthcheck) {
                (true, _) => "completed",
                (false, true) => "healthy",
                (false, false) => "started",
            };
            text.push_str(&format!(" depends-on {dependency:?} condition=\"{condition}\"\n"));
        }
        text.push_str("}\n");
    }
    text
}

fn status() -> impl Strategy<Value = Option<Status>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(Status::Incomplete)),
        1 => Just(Some(Status::Stopped)),
        1 => Just(Some(Status::Lost)),
        1 => Just(Some(Status::Paused)),
        1 => Just(Some(Status::Running { health: Health::Starting })),
        1 => Just(Some(Status::Exited { exit: Exit::Code { code: 1 } })),
        1 => Just(Some(Status::Exited { exit: Exit::Code { code: 0 } })),
    ]
}

#[derive(Clone, Debug)]
pub struct Story {
    pub before: Vec<(&'static str, Draft)>,
    pub after: Vec<(&'static str, Draft)>,
    pub statuses: Vec<Option<Status>>,
    pub image_changed: bool,
    pub built: bool,
    pub wait: bool,
    pub post_start_pending: bool,
    pub profile: bool,
    pub volumes: Vec<&'static str>,
    /// Where an apply is cut off, and in which order its steps went until then.
    pub cut: (Index, Next),
    /// The sandboxes that were removed from outside.
    pub gone: Vec<bool>,
}

/// Any story.
pub fn story() -> impl Strategy<Value = Story> {
    // Some names stand for several replicas.
    let statuses = prop::collection::vec(status(), 3 * NAMES.len());
    let gone = prop::collection::vec(prop::bool::weighted(0.05), 3 * NAMES.len());
    let world = (statuses, any::<bool>(), any::<bool>(), any::<bool>(), gone);
    let properties = vec![
        "size=\"64M\"",
        "size=\"64M\"",
        "size=\"128M\"",
        "size=\"32M\"",
        "kind=\"directory\" shared=#true",
        "kind=\"directory\" size=\"128M\" shared=#true",
    ];
    let volumes = prop::collection::vec(prop::sample::select(properties), usize::from(VOLUMES));
    let cut = (any::<Index>(), prop::sample::select(vec![Next::First, Next::Last]));
    let more = (prop::bool::weighted(0.2), any::<bool>(), volumes);
    (drafts(), drafts(), world, more, cut).prop_map(
        |(
            before,
            after,
            (statuses, image_changed, built, wait, gone),
            (post_start_pending, profile, volumes),
            cut,
        )| {
            Story {
                post_start_pending,
                profile,
                volumes,
                before,
                after,
                statuses,
                image_changed,
                built,
                wait,
                cut,
                gone,
            }
        },
    )
}

impl Story {
    pub fn policy(&self) -> Policy {
        let profiles = self.profile.then(|| "dev".to_owned()).into_iter().collect();
        Policy { remove_orphans: true, wait: self.wait, profiles, ..Policy::default() }
    }

    pub fn desired(&self) -> Model {
        model(&kdl(&self.after, &self.volumes))
    }

    /// What is there when the second project comes: the first one, with something happening to each sandbox.
    pub fn world(&self, desired: &Model) -> Snapshot {
        let mut world = brought_up(&model(&kdl(&self.before, &VOLUMES_BEFORE)));
        for (sandbox, status) in world.sandboxes.values_mut().zip(&self.statuses) {
            if let Some(status) = status {
                sandbox.status = status.clone();
            }
            sandbox.post_start_pending = self.post_start_pending
                && matches!(sandbox.status, Status::Running { .. })
                && sandbox.spec.definition.hooks.contains_key(&HookEvent::PostStart);
        }
        let names: Vec<_> = world.sandboxes.keys().cloned().collect();
        for (name, _) in names.iter().zip(&self.gone).filter(|(_, gone)| **gone) {
            world.sandboxes.remove(name);
        }
        self.look(&mut world, desired);
        world
    }

    fn look(&self, world: &mut Snapshot, desired: &Model) {
        let mut contents = BTreeMap::new();
        if self.image_changed {
            contents.insert("/shop/image0".to_owned(), "something else".to_owned());
        }
        observe_images(world, desired, &contents, self.built);
    }
}

fn brought_up(model: &Model) -> Snapshot {
    let mut world = nothing();
    observe_images(&mut world, model, &BTreeMap::new(), false);
    let (plan, _) = plan(Some(model), &world, &Policy::default()).unwrap();
    simulate(&plan, &world)
}
