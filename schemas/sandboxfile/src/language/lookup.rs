//! Finds the values at a path, in either spelling: `web.depends_on.db` is `web.depends-on.db`.
//!
//! Names of properties are translated by the tables of [`language`](crate::language). Names that a user chose, such as
//! those of variables and scripts, are compared as they are, and may contain dots.

use super::{
    DEPENDENCY, DNS, ENV_FILE, FILE, HEALTHCHECK, HOOKS, Instead, LOGS, MOUNT, NETWORK, NETWORK_YAML,
    PROJECT, PROXY, Property, PropertyTable, RESTART, SANDBOX, SCRIPT, SECRET, SECRET_SOURCE, SYNC, TLS,
    TMPFS, VOLUME,
};
use crate::{Format, Origins};
use rules::suggest;
use schemas::listing;
use schemas::model::Model;
use schemas::spec::Role;
use std::collections::{BTreeMap, BTreeSet};

/// A path at which no value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotFound {
    /// The message, in one sentence without a full stop.
    pub message: String,
    /// The next step, where one is known.
    pub hint: Option<String>,
}

/// The rest of a path after the name of a property.
enum Inside {
    /// Nothing: it is a scalar or a list.
    Nothing,
    /// The properties of a block.
    Block(Block),
    /// A name that the user chose, and the properties inside.
    Named(Option<Block>),
}

/// The properties of a block, and whether the origin of each is recorded, or only that of the block as a whole.
#[derive(Clone, Copy)]
struct Block {
    place: &'static PropertyTable,
    is_recorded_each: bool,
}

const fn recorded_each(place: &'static PropertyTable) -> Block {
    Block { place, is_recorded_each: true }
}

const fn recorded_whole(place: &'static PropertyTable) -> Block {
    Block { place, is_recorded_each: false }
}

/// Returns the rest of a path after a property of a sandbox.
fn inside(kdl: &str) -> Inside {
    match kdl {
        "env" | "labels" => Inside::Named(None),
        "script" => Inside::Named(Some(recorded_whole(&SCRIPT))),
        "mount" => Inside::Named(Some(recorded_whole(&MOUNT))),
        "tmpfs" => Inside::Named(Some(recorded_whole(&TMPFS))),
        "env-file" => Inside::Named(Some(recorded_whole(&ENV_FILE))),
        "file" => Inside::Named(Some(recorded_whole(&FILE))),
        "sync" => Inside::Named(Some(recorded_whole(&SYNC))),
        "depends-on" => Inside::Named(Some(recorded_whole(&DEPENDENCY))),
        "secret" => Inside::Named(Some(recorded_each(&SECRET))),
        "hook" => Inside::Block(recorded_each(&HOOKS)),
        "network" => Inside::Block(recorded_each(&NETWORK)),
        "tls" => Inside::Block(recorded_each(&TLS)),
        "logs" => Inside::Block(recorded_each(&LOGS)),
        "healthcheck" => Inside::Block(recorded_each(&HEALTHCHECK)),
        "restart" => Inside::Block(recorded_whole(&RESTART)),
        _ => Inside::Nothing,
    }
}

/// Splits a path at its first dot.
fn split(path: &str) -> (&str, Option<&str>) {
    path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest)))
}

/// Returns the property of this name in either spelling.
fn property(place: &PropertyTable, name: &str) -> Option<&'static Property> {
    let find = |place: &PropertyTable| {
        let properties: &'static [Property] = place.properties;
        properties.iter().find(|property| property.kdl == name || property.yaml == name)
    };
    // The two spellings write rules differently.
    find(place).or_else(|| if std::ptr::eq(place, &NETWORK) { find(&NETWORK_YAML) } else { None })
}

/// Finds the paths of the recorded values at a path.
///
/// # Errors
///
/// When there is no such property or name, and when no value is written there.
pub fn find(model: &Model, origins: &Origins, format: Format, path: &str) -> Result<Vec<String>, NotFound> {
    let lookup = Lookup::new(model, origins, format);
    let paths = lookup.project(path)?;
    if path.is_empty() || paths.iter().any(|path| origins.paths_beneath(path).next().is_some()) {
        return Ok(paths);
    }
    let message = format!("`{path}` is nowhere written: the default applies");
    Err(NotFound { message, hint: Some("`msb config` shows every value".to_owned()) })
}

struct Lookup<'a> {
    model: &'a Model,
    origins: &'a Origins,
    /// The spelling of suggestions.
    format: Format,
    /// The name in the Sandboxfile of each sandbox, by that name and by the names of its replicas.
    families: BTreeMap<&'a str, &'a str>,
}

impl<'a> Lookup<'a> {
    fn new(model: &'a Model, origins: &'a Origins, format: Format) -> Self {
        let mut families = BTreeMap::new();
        for sandbox in model.sandboxes() {
            let family = sandbox.family().as_str();
            families.insert(sandbox.name().as_str(), family);
            families.insert(family, family);
        }
        Self { model, origins, format, families }
    }

    fn spell(&self, property: &Property) -> &'static str {
        self.format.pick(property.kdl, property.yaml)
    }

    fn project(&self, path: &str) -> Result<Vec<String>, NotFound> {
        if path.is_empty() {
            return Ok(vec![String::new()]);
        }
        let (first, rest) = split(path);
        let section = property(&PROJECT, first).map(|property| property.kdl);
        let family = self.families.get(first).copied();
        let named = rest.map(split);
        // A sandbox may be called like a section; what is found in the section goes first.
        match (section, named) {
            (Some("sandbox" | "job"), Some((name, rest))) if self.families.contains_key(name) => {
                self.sandbox(&format!("{first}.{name}"), self.families[name], rest)
            }
            (Some("volume"), Some((name, rest))) if self.has_volume(name) => self.volume(first, name, rest),
            (_, rest_of_name) if family.is_some() => {
                let rest = rest_of_name.and(rest);
                self.sandbox(first, family.unwrap_or(first), rest)
            }
            (Some("sandbox" | "job"), Some((name, _))) => Err(self.no_sandbox(name)),
            (Some("sandbox"), None) => Ok(self.of_role(Role::Service)),
            (Some("job"), None) => Ok(self.of_role(Role::Job)),
            (Some("volume"), Some((name, _))) => {
                let known = self.volumes();
                Err(NotFound {
                    message: format!("there is no volume `{name}`"),
                    hint: hint(name, known, |near| format!("{first}.{near}")),
                })
            }
            (Some(section), None) => Ok(vec![section.to_owned()]),
            (Some(_), Some(_)) => Err(nothing_inside(first)),
            (None, _) => Err(self.no_sandbox(first)),
        }
    }

    fn volumes(&self) -> impl Iterator<Item = &'a str> {
        self.model.volumes().keys().chain(self.model.external().keys()).map(|name| name.as_str())
    }

    fn has_volume(&self, name: &str) -> bool {
        self.volumes().any(|known| known == name)
    }

    fn of_role(&self, role: Role) -> Vec<String> {
        let sandboxes = self.model.sandboxes().iter().filter(|one| one.definition().role == role);
        let families: BTreeSet<&str> = sandboxes.map(|one| one.family().as_str()).collect();
        families.into_iter().map(str::to_owned).collect()
    }

    fn no_sandbox(&self, name: &str) -> NotFound {
        NotFound {
            message: format!("there is no sandbox `{name}`"),
            hint: hint(name, self.families.keys().copied(), str::to_owned),
        }
    }

    fn volume(&self, section: &str, name: &str, rest: Option<&str>) -> Result<Vec<String>, NotFound> {
        let own = format!("volume.{name}");
        let Some(rest) = rest else { return Ok(vec![own]) };
        Ok(vec![self.block(recorded_each(&VOLUME), own, &format!("{section}.{name}"), rest)?])
    }

    /// Finds what is inside a sandbox; `shown` is the path so far as the user wrote it.
    fn sandbox(&self, shown: &str, family: &str, rest: Option<&str>) -> Result<Vec<String>, NotFound> {
        let Some(rest) = rest else { return Ok(vec![family.to_owned()]) };
        let (word, rest) = split(rest);
        let Some(found) = property(&SANDBOX, word) else {
            return Err(self.no_property(&SANDBOX, shown, word));
        };
        let own = format!("{family}.{}", found.kdl);
        let Some(rest) = rest else { return Ok(vec![own]) };
        let shown = format!("{shown}.{word}");
        match inside(found.kdl) {
            Inside::Nothing => Err(nothing_inside(&shown)),
            Inside::Block(block) => Ok(vec![self.block(block, own, &shown, rest)?]),
            Inside::Named(block) => Ok(vec![self.named(block, &own, &shown, rest)?]),
        }
    }

    /// Finds a property of the block that is recorded at `own`; returns `own` when only the block as a whole is recorded.
    fn block(&self, block: Block, own: String, shown: &str, rest: &str) -> Result<String, NotFound> {
        let (word, rest) = split(rest);
        let Some(found) = property(block.place, word) else {
            return Err(self.no_property(block.place, shown, word));
        };
        // The blocks inside this one.
        let is_in =
            |place: &'static PropertyTable, kdl: &str| std::ptr::eq(block.place, place) && found.kdl == kdl;
        let inner = if is_in(&SECRET, "from") || is_in(&PROXY, "password") {
            Some(&SECRET_SOURCE)
        } else if is_in(&NETWORK, "proxy") {
            Some(&PROXY)
        } else if is_in(&NETWORK, "dns") {
            Some(&DNS)
        } else {
            None
        };
        match (rest, inner) {
            (Some(rest), Some(inner)) => {
                let shown = format!("{shown}.{word}");
                self.block(recorded_whole(inner), String::new(), &shown, rest)?;
            }
            (Some(_), None) => return Err(nothing_inside(&format!("{shown}.{word}"))),
            (None, _) => {}
        }
        let name = match found.kdl {
            // The order of all rules counts, so they are one value.
            "allow" | "deny" => "rules",
            name => name,
        };
        Ok(if block.is_recorded_each { format!("{own}.{name}") } else { own })
    }

    /// Finds an entry by a name that the user chose.
    fn named(&self, block: Option<Block>, own: &str, shown: &str, rest: &str) -> Result<String, NotFound> {
        let prefix = format!("{own}.");
        let is_recorded_each = block.is_some_and(|block| block.is_recorded_each);
        let written = self.origins.paths_beneath(own).filter_map(|path| {
            let inside = path.strip_prefix(&prefix)?;
            if is_recorded_each { inside.rsplit_once('.').map(|(name, _)| name) } else { Some(inside) }
        });
        let known: BTreeSet<&str> = written.collect();
        // The longest name first: it may have dots in it.
        let ends = std::iter::once(rest.len()).chain(rest.rmatch_indices('.').map(|(at, _)| at));
        for end in ends {
            let name = &rest[..end];
            if !known.contains(name) {
                continue;
            }
            let own = format!("{own}.{name}");
            if end == rest.len() {
                return Ok(own);
            }
            if let Some(block) = block {
                return self.block(block, own, &format!("{shown}.{name}"), &rest[end + 1..]);
            }
        }
        Err(NotFound {
            message: format!("there is no `{rest}` in `{shown}`"),
            hint: hint(rest, known, |near| format!("{shown}.{near}")),
        })
    }

    fn no_property(&self, place: &PropertyTable, shown: &str, word: &str) -> NotFound {
        let foreign = match place.instead_of(word) {
            Some(Instead::Use(name) | Instead::Differs(name, _)) => property(place, name),
            _ => None,
        };
        // A misspelled name may be nearer to that of the other spelling.
        let names = || place.properties.iter().flat_map(|property| [property.kdl, property.yaml]);
        let meant = foreign.or_else(|| property(place, suggest::nearest(word, names())?));
        let hint = Some(match meant {
            Some(meant) => format!("did you mean `{shown}.{}`?", self.spell(meant)),
            None => {
                let names = place.properties.iter().map(|property| self.spell(property));
                format!("there are: {}", listing::names(names))
            }
        });
        NotFound { message: format!("there is no property `{word}` in `{shown}`"), hint }
    }
}

fn nothing_inside(path: &str) -> NotFound {
    NotFound {
        message: format!("`{path}` has no properties"),
        hint: Some(format!("ask for `{path}` as a whole")),
    }
}

/// Suggests the nearest of the known names as a whole path, or lists them where none is near.
fn hint<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
    path: impl Fn(&str) -> String,
) -> Option<String> {
    let known: Vec<&str> = known.into_iter().collect();
    match suggest::nearest(name, known.iter().copied()) {
        Some(near) => Some(format!("did you mean `{}`?", path(near))),
        None if known.is_empty() => None,
        None => Some(format!("there are: {}", listing::names(known))),
    }
}
