//! A part of a list of sandboxes: those with some labels, and of these a page.

use crate::error::CliError;
use executor::observe::Observation;
use std::collections::BTreeMap;

/// Options of commands that list sandboxes.
#[derive(Clone, Debug, clap::Args)]
pub struct PageOptions {
    /// Only sandboxes with this label; NAME alone is any value. Can be repeated, and all must fit.
    #[arg(short, long = "label", value_name = "NAME=VALUE")]
    labels: Vec<String>,
    /// At most this many sandboxes; the JSON then has a cursor for the next ones.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Only sandboxes after this cursor, which an earlier list has printed.
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,
}

impl PageOptions {
    /// Keeps the sandboxes of the page, in the order of projects and names. Returns the cursor for the next page, if there
    /// are more.
    ///
    /// # Errors
    ///
    /// If the cursor is none.
    pub fn apply(&self, sandboxes: &mut Vec<Observation>) -> Result<Option<String>, CliError> {
        sandboxes.retain(|seen| self.fits(&seen.row.spec.definition.labels));
        sandboxes.sort_by(|one, other| key(one).cmp(&key(other)));
        if let Some(cursor) = &self.cursor {
            let after = cursor.split_once('/').ok_or_else(|| {
                CliError::usage(format!("{cursor:?} is no cursor"))
                    .hint("`msb ps --limit NUMBER --json` prints one as `next_cursor`")
            })?;
            sandboxes.retain(|seen| key(seen) > after);
        }
        let limit = self.limit.map_or(usize::MAX, |limit| limit as usize);
        let has_more = sandboxes.len() > limit;
        sandboxes.truncate(limit);
        let last = sandboxes.last().filter(|_| has_more).map(key);
        Ok(last.map(|(project, name)| format!("{project}/{name}")))
    }

    /// Whether this may be only a part of the list.
    pub fn is_partial(&self) -> bool {
        !self.labels.is_empty() || self.limit.is_some() || self.cursor.is_some()
    }

    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels.iter().all(|wanted| match wanted.split_once('=') {
            Some((name, value)) => labels.get(name).is_some_and(|label| label == value),
            None => labels.contains_key(wanted),
        })
    }
}

/// The order of lists. Neither part contains a `/`.
fn key(seen: &Observation) -> (&str, &str) {
    (seen.row.project.as_str(), seen.row.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_labels_must_fit() {
        let labels: BTreeMap<String, String> =
            [("owner", "ci"), ("task", "7")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let fits = |wanted: &[&str]| {
            let labels_wanted = wanted.iter().map(|label| (*label).to_owned()).collect();
            PageOptions { labels: labels_wanted, limit: None, cursor: None }.fits(&labels)
        };
        assert!(fits(&[]));
        assert!(fits(&["owner=ci", "task"]));
        assert!(!fits(&["owner=ci", "task=8"]));
        assert!(!fits(&["missing"]));
        assert!(!fits(&["owner="]));
    }
}
