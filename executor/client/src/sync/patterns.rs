//! Ignore patterns as in a `.gitignore`: later ones override earlier ones, and `!` includes again.

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use std::path::Path;

/// Patterns that always apply: version control, and temporary files of editors.
const ALWAYS: [&str; 7] = [".git/", ".hg/", ".svn/", ".*.sw?", ".#*", "*~", "4913"];

/// Compiled ignore patterns.
#[derive(Debug)]
pub struct Patterns(Gitignore);

/// An invalid pattern.
#[derive(Debug, thiserror::Error)]
#[error("{pattern:?} is no pattern as in a .gitignore")]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// The cause.
    pub source: ignore::Error,
}

impl Patterns {
    /// Returns patterns that ignore nothing.
    pub fn none() -> Self {
        Self(Gitignore::empty())
    }

    /// Compiles patterns for paths relative to a folder.
    ///
    /// # Errors
    ///
    /// If a pattern is invalid.
    pub fn new<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Result<Self, PatternError> {
        let mut builder = GitignoreBuilder::new("");
        for pattern in ALWAYS.into_iter().chain(patterns) {
            builder
                .add_line(None, pattern)
                .map_err(|source| PatternError { pattern: pattern.to_owned(), source })?;
        }
        builder.build().map(Self).map_err(|source| PatternError { pattern: String::new(), source })
    }

    /// Whether the patterns match this path, regardless of its parents.
    pub fn is_ignored(&self, path: &Path, is_directory: bool) -> bool {
        !path.as_os_str().is_empty() && self.0.matched(path, is_directory).is_ignore()
    }

    /// Whether the patterns match this path or one of its parents. The path counts as a file, so a pattern for folders
    /// only matches its parents.
    pub fn is_ignored_within(&self, path: &Path) -> bool {
        let mut above = path.ancestors();
        let itself = above.next().is_some_and(|path| self.is_ignored(path, false));
        itself || above.any(|folder| self.is_ignored(folder, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_those_of_gitignore() {
        let patterns = Patterns::new(["target", "*.tmp", "/only-here", "!kept.tmp", "build/"]).unwrap();
        let ignored = |path: &str| patterns.is_ignored_within(Path::new(path));
        for path in ["target", "a/target/b/c", "x.tmp", "only-here", "build/x", ".git/HEAD", "a/.f.swp", "f~"]
        {
            assert!(ignored(path), "{path}");
        }
        for path in ["", "targets", "a/only-here", "kept.tmp", "build", ".gitignore", "src/main.rs"] {
            assert!(!ignored(path), "{path}");
        }
        assert!(patterns.is_ignored(Path::new("build"), true));
    }

    #[test]
    fn an_invalid_pattern_is_named() {
        assert_eq!(Patterns::new(["ok", "[z-a]"]).err().map(|error| error.pattern).as_deref(), Some("[z-a]"));
        assert!(!Patterns::new(["!.git/"]).unwrap().is_ignored_within(Path::new(".git/HEAD")));
    }
}
