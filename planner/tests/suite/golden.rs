//! Golden plans, found by folder: `plans/<case>/` holds
//!
//! - `before.kdl`: what was brought up before, by planning it and simulating the plan; nothing without it;
//! - `world.txt`: what happened since, and what is asked for, a line each (see [`Scene::change`]);
//! - `after.kdl`: what is desired now; `down` without it;
//! - `plan.txt` and `plan.json`: the result. Renewed by `UPDATE_GOLDEN=1 cargo test -p planner`.

use crate::fixtures::{model, name, nothing, observe_images};
use crate::simulate::{Next, simulate, simulate_some};
use crate::text::text;
use planner::check::check;
use planner::{Policy, plan};
use schemas::name::{ProjectName, VolumeName};
use schemas::snapshot::{
    Exit, FailureCause, Health, HeldPort, MountObstacle, PortHolder, SecretProblem, Snapshot, Status,
};
use schemas::spec::{Port, ValueName, VolumeSpec};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

struct Scene {
    snapshot: Snapshot,
    contents: BTreeMap<String, String>,
    policy: Policy,
    built: bool,
}

impl Scene {
    /// One line of `world.txt`.
    fn change(&mut self, line: &str, before: Option<&str>) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            // The image at a path holds something else now.
            ["contents", path, contents] => drop(self.contents.insert(path.to_owned(), contents.to_owned())),
            ["unbuilt"] => self.built = false,
            ["target", sandbox] => drop(self.policy.targets.insert(name(sandbox))),
            ["keep-orphans"] => self.policy.remove_orphans = false,
            ["wait"] => self.policy.wait = true,
            ["profile", profile] => drop(self.policy.profiles.insert(profile.to_owned())),
            ["remove-volumes"] => self.policy.remove_volumes = true,
            ["hook-due", sandbox] => {
                self.snapshot.sandboxes.get_mut(&name(sandbox)).unwrap().post_start_pending = true
            }
            ["half-made", volume] => {
                self.snapshot.volumes.get_mut(&VolumeName::new(volume).unwrap()).unwrap().created = false;
            }
            // Who holds which port of the host: a program, a sandbox, or an unknown process.
            ["held", port, ref holder @ ..] => {
                let Port { bind, host, protocol, guest: _ } = port.parse().unwrap();
                let holder = match *holder {
                    ["sandbox", project, sandbox] => {
                        let project = ProjectName::new(project).unwrap();
                        PortHolder::Sandbox { project, name: name(sandbox) }
                    }
                    ["process", program, pid] => {
                        PortHolder::Process { program: program.to_owned(), pid: pid.parse().unwrap() }
                    }
                    ["somebody"] => PortHolder::Unknown,
                    _ => panic!("{line}"),
                };
                self.snapshot.held_ports.insert(HeldPort { bind, host, protocol, holder });
            }
            // A volume of no project.
            ["external", volume, kind] => {
                let spec = match kind {
                    "disk" => VolumeSpec::disk(64),
                    _ => VolumeSpec::directory(None),
                };
                self.snapshot.external.insert(VolumeName::new(volume).unwrap(), spec);
            }
            ["no-start"] => self.policy.start = false,
            // This host cannot serve mounts.
            ["no-fuse"] => {
                let (problem, help) = ("/dev/fuse cannot be opened".to_owned(), "load the module".to_owned());
                self.snapshot.mount_obstacle = Some(MountObstacle { problem, help });
            }
            // The variable of a secret is not set.
            ["secret-unset", sandbox, secret] => {
                let problem = SecretProblem::NotSet { variable: secret.to_owned() };
                let problems = self.snapshot.secret_problems.entry(name(sandbox)).or_default();
                problems.insert(ValueName::Secret(secret.to_owned()), problem);
            }
            // The variable of the password of its proxy is not set.
            ["proxy-password-unset", sandbox, variable] => {
                let problem = SecretProblem::NotSet { variable: variable.to_owned() };
                let problems = self.snapshot.secret_problems.entry(name(sandbox)).or_default();
                problems.insert(ValueName::ProxyPassword, problem);
            }
            // A value on this host is not the one that the sandbox has.
            ["value-changed", sandbox, value] => {
                let changed = self.snapshot.changed_values.entry(name(sandbox)).or_default();
                changed.insert(value.parse().unwrap());
            }
            // The earlier `up` was killed after so many steps.
            ["killed-after", count] => {
                self.snapshot = brought_up(before.unwrap(), count.parse().unwrap());
            }
            ["is", sandbox, ref status @ ..] => {
                let seen = self.snapshot.sandboxes.get_mut(&name(sandbox)).unwrap();
                seen.created = *status != ["incomplete"];
                seen.should_run = *status != ["stopped", "on-purpose"];
                seen.status = match *status {
                    ["incomplete"] | ["without", "disk"] => Status::Incomplete,
                    ["stopped"] | ["stopped", "on-purpose"] => Status::Stopped,
                    ["lost"] => Status::Lost,
                    ["rebooted"] => Status::HostRebooted,
                    ["paused"] => Status::Paused,
                    ["running", "booting"] => Status::Running { health: Health::Booting },
                    ["running", "starting"] => Status::Running { health: Health::Starting },
                    ["running", "unhealthy"] => Status::Running { health: Health::Unhealthy },
                    ["running"] => Status::Running { health: Health::Unchecked },
                    ["exited", code] => Status::Exited { exit: Exit::Code { code: code.parse().unwrap() } },
                    ["failed", ref message @ ..] => {
                        let (cause, message) = (FailureCause::Other, message.join(" "));
                        Status::Exited { exit: Exit::Failure { cause, message } }
                    }
                    _ => panic!("{line}"),
                };
            }
            _ => panic!("{line}"),
        }
    }
}

fn brought_up(text: &str, steps: usize) -> Snapshot {
    let model = model(text);
    let mut snapshot = nothing();
    observe_images(&mut snapshot, &model, &BTreeMap::new(), false);
    let (plan, _) = plan(Some(&model), &snapshot, &Policy::default()).unwrap();
    simulate_some(&plan, &snapshot, Next::First, steps)
}

fn read(folder: &Path, file: &str) -> Option<String> {
    fs::read_to_string(folder.join(file)).ok()
}

fn run(folder: &Path, problems: &mut Vec<String>) {
    let before = read(folder, "before.kdl");
    let mut scene = Scene {
        snapshot: before.as_deref().map_or_else(nothing, |text| brought_up(text, usize::MAX)),
        contents: BTreeMap::new(),
        policy: Policy { remove_orphans: true, ..Policy::default() },
        built: before.is_some(),
    };
    for line in read(folder, "world.txt").unwrap_or_default().lines().filter(|line| !line.starts_with('#')) {
        scene.change(line, before.as_deref());
    }
    let desired = read(folder, "after.kdl").map(|text| model(&text));
    match &desired {
        Some(model) => observe_images(&mut scene.snapshot, model, &scene.contents, scene.built),
        None => scene.snapshot.images.clear(),
    }
    let (first, report) = plan(desired.as_ref(), &scene.snapshot, &scene.policy).unwrap();
    check(&first).unwrap();
    for (file, found) in [
        ("plan.txt", text(&first, &report)),
        ("plan.json", serde_json::to_string_pretty(&(&first, &report)).unwrap() + "\n"),
    ] {
        let path = folder.join(file);
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&path, found).unwrap();
        } else if read(folder, file).as_deref() != Some(&found) {
            problems.push(format!("{} is not what was planned:\n{found}", path.display()));
        }
    }
    // Whatever was planned, planning again finds nothing to do.
    let after = simulate(&first, &scene.snapshot);
    if desired.is_none() {
        // What is gone cannot be asked for.
        scene.policy.targets.retain(|target| after.sandboxes.contains_key(target));
    }
    let asked = desired.is_some() || after.sandboxes.is_empty() || !scene.policy.targets.is_empty();
    let (second, _) = plan(desired.as_ref(), &after, &scene.policy).unwrap();
    if asked && !second.is_empty() {
        problems.push(format!("{}: again: {:?}", folder.display(), second.steps.keys()));
    }
}

#[test]
fn plans_are_as_on_disk() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/plans");
    let mut folders: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(folders.len() >= 15);
    let mut problems = Vec::new();
    folders.iter().for_each(|folder| run(folder, &mut problems));
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
