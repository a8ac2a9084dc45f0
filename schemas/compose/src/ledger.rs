//! The account of the input: every key and every element of a list is in exactly one entry.

use sandboxfile::Span;
use sandboxfile::yaml::{Files, Node, NodeValue};
use serde::Serialize;
use std::collections::BTreeMap;

/// The most notes about one path.
const NOTES_MAX: usize = 16;

/// What has become of a part of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It means the same in the Sandboxfile.
    Mapped,
    /// Another file, or the service that extends it, has another value for it.
    Replaced,
    /// It is in the Sandboxfile and means something else there.
    Changed,
    /// It is not in the Sandboxfile.
    LeftOut,
}

/// A part of the input and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The path of its key, such as `services.web.ports[0]`.
    pub path: String,
    /// The name of its file.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// What has become of it.
    pub outcome: Outcome,
    /// The reason and the next step; a remark where it is mapped.
    pub note: Option<String>,
    /// The number of keys and list elements that the entry is about, its own included.
    pub keys: usize,
}

/// An entry without what the end of the conversion adds.
#[derive(Clone, Debug)]
struct Mark {
    outcome: Outcome,
    notes: Vec<String>,
}

/// A part of the input that is not in the merged files.
#[derive(Debug)]
struct Removed {
    path: String,
    span: Span,
    outcome: Outcome,
    note: String,
    keys: usize,
}

/// The account while the conversion goes on.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    marks: BTreeMap<String, Mark>,
    removed: Vec<Removed>,
}

impl Ledger {
    /// Says what has become of a path. Of several outcomes the last in the order of [`Outcome`] stays.
    pub fn mark(&mut self, path: &str, outcome: Outcome, note: Option<String>) {
        let mark = self.marks.entry(path.to_owned()).or_insert_with(|| Mark { outcome, notes: Vec::new() });
        mark.outcome = mark.outcome.max(outcome);
        if mark.notes.len() < NOTES_MAX {
            mark.notes.extend(note.filter(|note| !mark.notes.contains(note)));
        }
    }

    /// Says that another value at `by` replaces one.
    pub fn replace(&mut self, path: &str, node: &Node, by: &str) {
        self.remove(path, node, Outcome::Replaced, format!("{by} has another value"));
    }

    /// Says that `!reset` at `by` removes a value.
    pub fn reset(&mut self, path: &str, node: &Node, by: &str) {
        self.remove(path, node, Outcome::Replaced, format!("{by} removes it with `!reset`"));
    }

    /// Says that a value with `!reset` was applied.
    pub fn applied_reset(&mut self, path: &str, node: &Node) {
        self.remove(path, node, Outcome::Mapped, "`!reset` removes it".to_owned());
    }

    fn remove(&mut self, path: &str, node: &Node, outcome: Outcome, note: String) {
        let mut keys = 1;
        for_each(node, path, &mut |_, _, _| keys += 1);
        self.removed.push(Removed { path: path.to_owned(), span: node.span, outcome, note, keys });
    }

    /// Returns the entries about a whole input, in the order of its files and lines.
    pub fn close(self, root: &Node, files: &Files) -> Vec<Entry> {
        let mut entries: Vec<(Span, Entry)> = Vec::new();
        let mut index_of: BTreeMap<String, usize> = BTreeMap::new();
        for_each(root, "", &mut |path, span, _| {
            let own = self.marks.get(path);
            let parent = || parents(path).find_map(|parent| index_of.get(parent).copied());
            let at = match (own, parent()) {
                (None, Some(at)) => at,
                (own, _) => {
                    let unread =
                        Mark { outcome: Outcome::LeftOut, notes: vec!["it was not read".to_owned()] };
                    let Mark { outcome, notes } = own.cloned().unwrap_or(unread);
                    let note = (!notes.is_empty()).then(|| notes.join("; "));
                    entries.push((span, entry(files, span, path, outcome, note)));
                    entries.len() - 1
                }
            };
            index_of.insert(path.to_owned(), at);
            entries[at].1.keys += 1;
        });
        for Removed { path, span, outcome, note, keys } in self.removed {
            entries.push((span, Entry { keys, ..entry(files, span, &path, outcome, Some(note)) }));
        }
        entries.sort_by(|(one, first), (other, second)| {
            (one.start, &first.path).cmp(&(other.start, &second.path))
        });
        entries.into_iter().map(|(_, entry)| entry).collect()
    }
}

fn entry(files: &Files, span: Span, path: &str, outcome: Outcome, note: Option<String>) -> Entry {
    let (file, line) = files.place(span);
    Entry { path: path.to_owned(), file: file.to_owned(), line, outcome, note, keys: 0 }
}

/// Returns the paths around a path, the closest first.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let mut is_quoted = rest.ends_with('"');
        let cut = rest.char_indices().rev().skip(1).find(|&(at, c)| {
            if c == '"' {
                is_quoted = false;
                return false;
            }
            !is_quoted && (c == '.' || c == '[') && at > 0
        });
        rest = &rest[..cut?.0];
        Some(rest)
    })
}

/// Returns the path of a key below another path.
pub(crate) fn key_path(parent: &str, key: &str) -> String {
    let is_plain = !key.is_empty() && !key.contains(['.', '[', '"']);
    let key = if is_plain { key.to_owned() } else { format!("\"{}\"", key.replace('"', "'")) };
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// Calls a function with the path, the place and the value of every key and list element below a node.
pub(crate) fn for_each(node: &Node, path: &str, each: &mut impl FnMut(&str, Span, &Node)) {
    match &node.value {
        NodeValue::Scalar { .. } => {}
        NodeValue::List(elements) => {
            for (index, element) in elements.iter().enumerate() {
                let path = format!("{path}[{index}]");
                each(&path, element.span, element);
                for_each(element, &path, each);
            }
        }
        NodeValue::Map(entries) => {
            for (key, value) in entries {
                let path = key_path(path, &key.value);
                each(&path, key.span, value);
                for_each(value, &path, each);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_have_parents() {
        let all = |path| parents(path).collect::<Vec<_>>();
        assert_eq!(
            all("services.web.ports[0].target"),
            ["services.web.ports[0]", "services.web.ports", "services.web", "services"]
        );
        assert_eq!(all("services.\"a.b[0]\".image"), ["services.\"a.b[0]\"", "services"]);
        assert_eq!(all("name"), [""; 0]);
    }
}
