//! Files of a project: the lock file, a kept plan, ignore patterns.

use planner::PlanFile;
use schemas::lockfile::LockFile;
use std::path::{Component, Path, PathBuf};

// The very source of the product; the crate that it belongs to would bring SQLite into every build of the fuzzer.
#[expect(dead_code, reason = "not all of it is tried here")]
#[path = "../../../executor/client/src/sync/patterns.rs"]
mod patterns;

/// A lock file prints to a text that reads back as the same, and that printing does not change.
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

/// A plan file with its digest put right, so that more than the digest is tried: it reads back, or it is refused.
pub fn plan_file(bytes: &[u8]) {
    let _ = PlanFile::parse(bytes);
    let Some(sealed) = planner::sealed(bytes) else { return };
    if let Ok(file) = PlanFile::parse(&sealed) {
        let text = file.to_bytes().expect("it was text before");
        let again = PlanFile::parse(&text).expect("what was read can be written and read again");
        assert_eq!(again.to_bytes().ok(), Some(text));
        // The parts agree: carrying it out against its own snapshot finds nothing changed.
        assert_eq!(file.plan.snapshot, file.snapshot.digest());
    }
}

/// Patterns, one a line, and after an empty line paths: what is ignored as a folder is ignored with what is in it.
pub fn ignore_patterns(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (lines, paths) = text.split_once("\n\n").unwrap_or((text, "a/b\nbuild/x\n"));
    if lines.len() > 400 {
        return;
    }
    let Ok(patterns) = patterns::Patterns::new(lines.lines()) else { return };
    for path in paths.lines().take(16).map(Path::new) {
        if path.components().any(|component| !matches!(component, Component::Normal(_))) {
            continue;
        }
        // As a walk over folders gives it: without a `/` at its end.
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
