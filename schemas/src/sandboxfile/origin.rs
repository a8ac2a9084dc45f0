//! Where each value comes from: which file and line, what it lies over, what variables are in it.

use super::code::Code;
use super::context::Context;
use super::diagnostic::Diagnostic;
use super::path;
use super::project::RawProject;
use super::report::Report;
use super::sources::Sources;
use super::span::{Span, Spanned};
use std::collections::{BTreeMap, BTreeSet};

/// One place that a value was written at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The value as it stands there, its first line.
    pub text: String,
    /// The sandbox from which `like` took it over, if one did.
    pub like: Option<String>,
    /// The variables in it, and where each one got its value: `the environment`, `.env:3`.
    pub variables: Vec<(String, String)>,
}

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
}

/// Every value that is written, by its path such as `web.env.PORT`: the one that holds first, then those that
/// it lies over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    values: BTreeMap<String, Vec<Origin>>,
    /// Where each rule of a sandbox's network stands that holds, by the sandbox's name in the Sandboxfile.
    rules: BTreeMap<String, Vec<Line>>,
    /// Where each value stands that holds; a file that is included as `include.` and its absolute path.
    places: BTreeMap<String, Span>,
    sources: Sources,
}

/// Something to be said about a value.
#[derive(Clone, Debug)]
pub struct Remark {
    /// Which value: `web.image`.
    pub path: String,
    /// The stable code.
    pub code: Code,
    /// In one sentence without a full stop.
    pub message: String,
    /// The remark beneath the place.
    pub label: String,
}

impl Origins {
    /// Remarks on values, each where its value is written. Nothing can be shown of one that is nowhere written.
    pub fn report(&self, remarks: impl IntoIterator<Item = Remark>) -> Report {
        let found = remarks.into_iter().filter_map(|Remark { path, code, message, label }| {
            Some(Diagnostic::error(code, *self.places.get(&path)?, message).label(label))
        });
        Report::new(&self.sources, found.collect())
    }

    /// Whether it is known where a value is written.
    pub fn is_known(&self, path: &str) -> bool {
        self.places.contains_key(path)
    }

    /// The places of one value; nothing when it is nowhere written, and so a default.
    pub fn of(&self, path: &str) -> Option<&[Origin]> {
        self.values.get(path).map(Vec::as_slice)
    }

    /// Where the rules of a sandbox's network stand, in their order; nothing where it has none of its own.
    pub fn rules_of(&self, name: &str) -> &[Line] {
        self.rules.get(name).map_or(&[], Vec::as_slice)
    }

    /// The values at this path or beneath it, in the order of their paths.
    pub fn beneath<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a [Origin])> {
        let is_beneath = move |known: &str| {
            path.is_empty()
                || known == path
                || known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
        };
        self.values
            .iter()
            .filter(move |(known, _)| is_beneath(known))
            .map(|(known, origins)| (known.as_str(), origins.as_slice()))
    }
}

/// The places by path while they are gathered, from the lowest to the uppermost.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    values: BTreeMap<String, Vec<(Span, Option<String>)>>,
    /// The paths that `like` takes over.
    lent: BTreeSet<String>,
    includes: Vec<Spanned<String>>,
    rules: BTreeMap<String, Vec<Span>>,
}

impl Traces {
    /// The values of all layers, the lowest first.
    pub fn of(layers: &[RawProject]) -> Self {
        let mut traces = Self::default();
        for layer in layers {
            traces.includes.extend(layer.includes.iter().cloned());
            if let Some(name) = &layer.name {
                traces.push("project".to_owned(), name.span);
            }
            for volume in &layer.volumes {
                if let Some(size) = &volume.size {
                    traces.push(format!("volume.{}.size", volume.name.value), size.span);
                }
            }
            for sandbox in &layer.sandboxes {
                for (path, span, lent) in sandbox.places() {
                    let path = format!("{}.{path}", sandbox.name.value);
                    if lent {
                        traces.lent.insert(path.clone());
                    }
                    traces.push(path, span);
                }
            }
        }
        traces
    }

    fn push(&mut self, path: String, span: Span) {
        self.values.entry(path).or_default().push((span, None));
    }

    /// One sandbox has taken over from another one what was lent.
    pub fn take_over(&mut self, name: &str, from: &str) {
        let prefix = format!("{from}.");
        let lent: Vec<String> = self.lent.iter().filter(|path| path.starts_with(&prefix)).cloned().collect();
        for path in lent {
            let mut places = self.values.get(&path).cloned().unwrap_or_default();
            for (_, like) in &mut places {
                like.get_or_insert_with(|| from.to_owned());
            }
            let own = format!("{name}.{}", &path[prefix.len()..]);
            if let Some(over) = self.values.remove(&own) {
                places.extend(over);
            }
            self.values.insert(own.clone(), places);
            self.lent.insert(own);
        }
    }

    /// Every file has been laid over the others, and `like` has lent: these are the rules that hold.
    pub fn rules_of(&mut self, raw: &RawProject) {
        for sandbox in &raw.sandboxes {
            let rules = sandbox.network.iter().flat_map(|network| &network.rules);
            self.rules.insert(sandbox.name.value.clone(), rules.map(|rule| rule.text.span).collect());
        }
    }

    /// The places as a person finds them.
    pub fn resolve(self, context: &Context<'_>) -> Origins {
        let origin = |(span, like): (Span, Option<String>)| {
            let (file, line, column) = place(context, span.start);
            let text = context.sources.slice(span).lines().next().unwrap_or_default().to_owned();
            let variables = context.uses_in(span).map(|one| {
                let set_at = one.set_at.map(|span| place(context, span.start));
                let set_at = set_at
                    .map_or_else(|| "the environment".to_owned(), |(file, line, _)| format!("{file}:{line}"));
                (one.name.clone(), set_at)
            });
            Origin { file, line, column, text, like, variables: variables.collect() }
        };
        let rules = self.rules.into_iter().map(|(name, spans)| {
            let places = spans.into_iter().map(|span| {
                let (file, line, _) = place(context, span.start);
                Line { file, line }
            });
            (name, places.collect())
        });
        let rules = rules.collect();
        let included = self.includes.into_iter().filter_map(|include| {
            let folder = &context.sources.file_at(include.span.start)?.folder;
            Some((format!("include.{}", path::absolute(folder, &include.value)), include.span))
        });
        let highest = self.values.iter().filter_map(|(path, places)| Some((path.clone(), places.last()?.0)));
        let places = highest.chain(included).collect();
        let values = self.values.into_iter();
        let values =
            values.map(|(path, places)| (path, places.into_iter().rev().map(origin).collect())).collect();
        Origins { values, rules, places, sources: context.sources.clone() }
    }
}

fn place(context: &Context<'_>, offset: usize) -> (String, usize, usize) {
    let Some(file) = context.sources.file_at(offset) else { return (String::new(), 1, 1) };
    let before = &file.text[..file.local(Span::new(offset, offset)).start];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (file.name.clone(), before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}
