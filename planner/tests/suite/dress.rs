//! What a Sandboxfile cannot say to the parser: lines that start with `//!` dress its model.
//!
//! ```text
//! //! volume data 64        a volume of 64 MiB
//! //! mount db data         `db` mounts it at /data; a source that starts with / is a path of the host
//! //! hook db post-start x  `db` runs `x` behind each start
//! //! profile db dev        `db` belongs to the profile `dev`
//! //! replicas db 3         there are three of it
//! //! port db 80            it publishes a port, 80:80; or another one, as a Sandboxfile writes it
//! //! deny db               it may reach nothing
//! //! secret db KEY         it has a secret
//! //! registry db alpine    its image is one of a registry
//! ```

use crate::world::name;
use schemas::model::{Model, Replica, Sandbox};
use schemas::name::{SandboxName, VolumeName};
use schemas::spec::{
    Definition, HookEvent, HostPerms, ImageReference, Mount, MountSource, NetworkDefault, OnViolation,
    Secret, SecretSource, StatVirt, VolumeSpec,
};
use std::collections::{BTreeMap, BTreeSet};

/// Follows the lines that start with `//!`.
pub fn dress(model: Model, text: &str) -> Model {
    let lines: Vec<Vec<&str>> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("//!"))
        .map(|line| line.split_whitespace().collect())
        .collect();
    let mut volumes = model.volumes().clone();
    let mut replicas: BTreeMap<SandboxName, u32> = BTreeMap::new();
    for line in &lines {
        match line[..] {
            ["volume", volume, size] => {
                let spec = VolumeSpec { size_mib: size.parse().unwrap() };
                volumes.insert(VolumeName::new(volume).unwrap(), spec);
            }
            ["replicas", family, count] => {
                replicas.insert(name(family), count.parse().unwrap());
            }
            _ => {}
        }
    }
    model.altered_for_tests(volumes, |sandbox| alter(sandbox, &lines, &replicas))
}

fn alter(sandbox: Sandbox, lines: &[Vec<&str>], replicas: &BTreeMap<SandboxName, u32>) -> Vec<Sandbox> {
    let mut definition = sandbox.definition().clone();
    let mut profiles = sandbox.profiles().clone();
    let mut image = sandbox.image().clone();
    for line in lines.iter().filter(|line| line.get(1) == Some(&sandbox.name().as_str())) {
        match line[..] {
            ["profile", _, profile] => drop(profiles.insert(profile.to_owned())),
            ["replicas", _, _] => {}
            ["registry", _, name] => image = ImageReference::Registry { name: name.to_owned() },
            _ => define(&mut definition, line),
        }
    }
    let depends_on =
        definition.depends_on.clone().into_iter().flat_map(|(on, condition)| match replicas.get(&on) {
            None => vec![(on, condition)],
            Some(count) => (1..=*count).map(|number| (name(&format!("{on}-{number}")), condition)).collect(),
        });
    definition.depends_on = depends_on.collect();
    let family = sandbox.name().clone();
    match replicas.get(&family) {
        None => {
            let replica = sandbox.replica().cloned();
            vec![sandbox.altered_for_tests(replica, profiles, image, definition)]
        }
        Some(&count) => (1..=count)
            .map(|number| {
                let replica = Replica { family: family.clone(), number, count };
                let (profiles, image, definition) = (profiles.clone(), image.clone(), definition.clone());
                sandbox.clone().altered_for_tests(Some(replica), profiles, image, definition)
            })
            .collect(),
    }
}

fn define(definition: &mut Definition, line: &[&str]) {
    match *line {
        ["mount", _, source] => {
            let (at, source) = match source.starts_with('/') {
                true => ("/host".to_owned(), MountSource::Host { path: source.to_owned() }),
                false => {
                    (format!("/{source}"), MountSource::Volume { name: VolumeName::new(source).unwrap() })
                }
            };
            let mount = Mount {
                source,
                readonly: false,
                noexec: false,
                nosuid: false,
                nodev: false,
                stat_virt: StatVirt::default(),
                host_perms: HostPerms::default(),
            };
            definition.mounts.insert(at, mount);
        }
        ["hook", _, event, command] => {
            definition.hooks.insert(HookEvent::from_word(event).unwrap(), vec![command.to_owned()]);
        }
        ["port", _, port] => {
            let port = port.parse().or_else(|_| format!("{port}:{port}").parse());
            definition.ports.insert(port.unwrap());
        }
        ["deny", _] => definition.network.default = NetworkDefault::Deny,
        ["secret", _, variable] => {
            let from = SecretSource::Env { name: variable.to_owned() };
            let secret = Secret { from, hosts: BTreeSet::new(), on_violation: OnViolation::default() };
            definition.secrets.insert(variable.to_owned(), secret);
        }
        _ => panic!("{line:?}"),
    }
}
