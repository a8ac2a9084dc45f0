//! The data paths of an image (`VOLUME`), which get volumes of their own unless a mount covers them.

use executor_image::ImageConfig;
use schemas::listing::{LISTED_MAX, lines};
use schemas::spec::Definition;
use schemas::spec::limits::MOUNTS_PER_SANDBOX_MAX;
use std::collections::BTreeSet;

/// Paths of msb and of the kernel, which nothing may cover.
const RESERVED: [&str; 4] = ["/.msb", "/proc", "/sys", "/dev"];
/// The longest path, in bytes: the kernel's limit without the final NUL.
const PATH_BYTES_MAX: usize = 4095;
/// The most characters of a path in a warning.
const SHOWN_CHARS_MAX: usize = 80;

/// The data paths of an image, as far as a sandbox has no mounts there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct DataPaths {
    /// The paths, sorted.
    pub paths: BTreeSet<String>,
    /// Warnings about all others.
    pub warnings: Vec<String>,
}

impl DataPaths {
    /// Returns the paths of an image's configuration, which may be hostile, that get volumes.
    pub fn of(image: &ImageConfig, definition: &Definition) -> Self {
        let mut found = Self::default();
        let mut invalid = Vec::new();
        let covers = definition.mounts.keys().chain(definition.tmpfs.keys());
        for declared in &image.volumes {
            match normal(declared) {
                Some(path) if covers.clone().any(|mount| is_below(&path, mount)) => {}
                Some(path) => drop(found.paths.insert(path)),
                None => invalid.push(declared.as_str()),
            }
        }
        let room = MOUNTS_PER_SANDBOX_MAX.saturating_sub(definition.mounts.len());
        let rest: Vec<String> = found.paths.iter().skip(room).cloned().collect();
        for path in &rest {
            found.paths.remove(path);
        }
        found.warn(&invalid, "the image declares volumes at paths that cannot have one, which are ignored");
        let message = format!(
            "a sandbox has at most {MOUNTS_PER_SANDBOX_MAX} mounts, so these of the image get no volumes of their own"
        );
        found.warn(&rest, &message);
        found
    }

    /// Leaves all paths on the root.
    pub fn leave_on_root(&mut self, reason: &str) {
        let paths: Vec<String> = std::mem::take(&mut self.paths).into_iter().collect();
        self.warn(&paths, &format!("{reason}, so the image's data stay on the sandbox's disk"));
    }

    fn warn(&mut self, paths: &[impl AsRef<str>], message: &str) {
        if !paths.is_empty() {
            let shown = lines(paths, LISTED_MAX, |path| shown(path.as_ref()));
            self.warnings.push(format!("{message}: {}", shown.join(", ")));
        }
    }
}

/// Returns a path without slashes that do not matter; `None` for one that cannot have a volume.
fn normal(path: &str) -> Option<String> {
    let parts: Vec<&str> = path.strip_prefix('/')?.split('/').filter(|part| !part.is_empty()).collect();
    let normal = format!("/{}", parts.join("/"));
    let is_valid = !parts.is_empty()
        && !parts.iter().any(|part| matches!(*part, "." | ".."))
        && normal.len() <= PATH_BYTES_MAX
        && !RESERVED.iter().any(|reserved| is_below(&normal, reserved));
    is_valid.then_some(normal)
}

/// Returns whether a path is another one or below it.
fn is_below(path: &str, other: &str) -> bool {
    path.strip_prefix(other).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns a text of an image for people.
fn shown(text: &str) -> String {
    let escaped: String = text.escape_debug().take(SHOWN_CHARS_MAX + 1).collect();
    match escaped.char_indices().nth(SHOWN_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &escaped[..end]),
        None => escaped,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use schemas::spec::{Mount, MountSource, Role};

    fn definition(paths: &[&str]) -> Definition {
        let mount = Mount::of(MountSource::Host { path: "/srv".to_owned() });
        let mut definition = Definition::with_defaults(Role::Service);
        definition.mounts = paths.iter().map(|path| ((*path).to_owned(), mount.clone())).collect();
        definition
    }

    fn of(paths: &[&str], mounts: &[&str]) -> DataPaths {
        let volumes = paths.iter().map(|path| (*path).to_owned()).collect();
        DataPaths::of(&ImageConfig { volumes, ..ImageConfig::default() }, &definition(mounts))
    }

    #[test]
    fn paths_without_mounts_get_volumes() {
        let found =
            of(&["/data", "/data/deep/", "//var//lib/db", "/srv/app/files", "/opt"], &["/srv/app", "/opt"]);
        let paths: Vec<_> = found.paths.iter().map(String::as_str).collect();
        assert_eq!(paths, ["/data", "/data/deep", "/var/lib/db"]);
        assert_eq!(found.warnings, Vec::<String>::new());
        assert!(of(&["/datafile"], &["/data"]).paths.contains("/datafile"));
    }

    #[test]
    fn invalid_paths_are_ignored_with_a_warning() {
        let long = format!("/{}", "x".repeat(PATH_BYTES_MAX));
        let hostile = [
            "/",
            "//",
            "/..",
            "/a/../../etc",
            "/./a",
            "relative",
            "/proc",
            "/proc/self",
            "/sys/x",
            "/dev",
            "/.msb/scripts",
            "/dev/\u{1b}[2J/..",
            &long,
        ];
        let found = of(&hostile, &[]);
        assert_eq!(found.paths, BTreeSet::new());
        let [warning] = found.warnings.as_slice() else { panic!("{:?}", found.warnings) };
        assert!(warning.starts_with("the image declares volumes at paths that cannot have one"), "{warning}");
        assert!(warning.len() < 1000 && !warning.contains('\u{1b}'), "{warning}");
        assert!(of(&["/process", "/device"], &[]).warnings.is_empty());
    }

    #[test]
    fn mounts_are_counted_together() {
        let many: Vec<String> = (0..1000).map(|number| format!("/data/{number:04}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let found = of(&many, &["/srv", "/opt"]);
        assert_eq!(found.paths.len(), MOUNTS_PER_SANDBOX_MAX - 2);
        let [warning] = found.warnings.as_slice() else { panic!("{:?}", found.warnings) };
        assert!(warning.starts_with("a sandbox has at most 64 mounts"), "{warning}");
        assert!(warning.ends_with(" more"), "{warning}");
    }

    #[test]
    fn data_may_stay_on_the_root() {
        let mut found = of(&["/data"], &[]);
        found.leave_on_root("no FUSE");
        assert_eq!(found.paths, BTreeSet::new());
        assert_eq!(found.warnings, ["no FUSE, so the image's data stay on the sandbox's disk: /data"]);
    }
}
