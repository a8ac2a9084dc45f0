//! Files of a project: lock files, plan files, ignore patterns.

use executor_client::sync::Patterns;
use planner::PlanFile;
use schemas::lockfile::LockFile;
use std::path::{Component, Path, PathBuf};

/// A printed lock file is parsed as the same value and printed as the same text.
pub fn lock_file(bytes: &[u8]) {
    match LockFile::parse(bytes) {
        Ok(lock_file) => {
            let text = lock_file.print();
            let again = LockFile::parse(text.as_bytes()).expect("a printed lock file");
            assert_eq!(again, lock_file);
            assert_eq!(again.print(), text);
        }
        Err(error) => {
            assert!(error.to_string().len() < 2000, "the message quotes too much");
            assert!(!error.help().is_empty());
        }
    }
}

/// A plan file with a corrected digest is invalid, or printed and parsed as the same value.
pub fn plan_file(bytes: &[u8]) {
    let _ = PlanFile::parse(bytes);
    let Some(sealed) = planner::sealed(bytes) else { return };
    if let Ok(file) = PlanFile::parse(&sealed) {
        let text = file.to_bytes().expect("it was text before");
        let again = PlanFile::parse(&text).expect("what was read can be written and read again");
        assert_eq!(again.to_bytes().ok(), Some(text));
        // It is not stale for its own snapshot.
        assert_eq!(file.plan.snapshot, file.snapshot.digest());
    }
}

/// Patterns, one a line, and paths after an empty line: everything in an ignored directory is ignored.
pub fn ignore_patterns(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (lines, paths) = text.split_once("\n\n").unwrap_or((text, "a/b\nbuild/x\n"));
    if lines.len() > 400 {
        return;
    }
    let Ok(patterns) = Patterns::new(lines.lines()) else { return };
    for path in paths.lines().take(16).map(Path::new) {
        if path.components().any(|component| !matches!(component, Component::Normal(_))) {
            continue;
        }
        // Without a `/` at its end, as a directory walk has it.
        let path: &Path = &path.components().collect::<PathBuf>();
        let within = patterns.is_ignored_within(path);
        if patterns.is_ignored(path, false) {
            assert!(within, "{path:?} is ignored, but not within");
        }
        if patterns.is_ignored(path, true) {
            assert!(patterns.is_ignored_within(&path.join("below")), "what is below {path:?} is not ignored");
        }
    }
    assert!(!patterns.is_ignored(Path::new(""), true), "the folder itself is never ignored");
}
