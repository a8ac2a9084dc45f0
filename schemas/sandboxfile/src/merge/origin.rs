//! The origin of each value: its file and line, the values that it overrides, and the variables in it.

use crate::check::RawProject;
use crate::diagnostics::{Code, Context, Diagnostic, Report, VariableUse};
use crate::syntax::{Sources, Span, Spanned};
use crate::values::{RawVolume, path};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

/// A place where a value is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The name of the file.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The first line of the value, as written.
    pub text: String,
    /// The sandbox from which it is inherited by `like`, if it is.
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

/// The origins of all written values, by paths such as `web.env.PORT`. Lines and columns are computed on demand: a
/// large project has many values, and messages show few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// The places of each value, from the lowest layer to the uppermost; included files have the path `include.` and
    /// their absolute path.
    values: BTreeMap<String, Vec<Trace>>,
    /// The rules in force of each sandbox's network, by the sandbox's name in the Sandboxfile.
    rules: BTreeMap<String, Vec<Span>>,
    uses: HashMap<Span, Vec<VariableUse>>,
    sources: Sources,
}

/// A place of a value, and the sandbox from which it is inherited by `like`, if it is.
type Trace = (Span, Option<String>);

/// A remark on a value.
#[derive(Clone, Debug)]
pub struct Remark {
    /// The path of the value: `web.image`.
    pub path: String,
    /// The stable code.
    pub code: Code,
    /// The message, in one sentence without a full stop.
    pub message: String,
    /// The text below the span.
    pub label: String,
}

impl Origins {
    /// Returns a report of remarks, each at its value; remarks on values that are not written are left out.
    pub fn report(&self, remarks: impl IntoIterator<Item = Remark>) -> Report {
        let found = remarks.into_iter().filter_map(|Remark { path, code, message, label }| {
            Some(Diagnostic::error(code, self.span_of(&path)?, message).label(label))
        });
        Report::new(&self.sources, found.collect())
    }

    /// Returns whether the place of a value is known.
    pub fn is_known(&self, path: &str) -> bool {
        self.span_of(path).is_some()
    }

    /// Returns the place in force.
    fn span_of(&self, path: &str) -> Option<Span> {
        self.values.get(path).and_then(|places| places.last()).map(|(span, _)| *span)
    }

    /// Returns the places of a value, the one in force first; `None` for a default, which is not written.
    pub fn of(&self, path: &str) -> Option<Vec<Origin>> {
        self.values.get(path).map(|places| self.resolve(places))
    }

    /// Returns where the network rules of a sandbox are written, in their order.
    pub fn rules_of(&self, name: &str) -> Vec<Line> {
        let spans = self.rules.get(name).into_iter().flatten();
        let line = |span: &Span| {
            let (file, line, _) = self.place(span.start);
            Line { file, line }
        };
        spans.map(line).collect()
    }

    /// Returns the values at this path and below it, in the order of their paths.
    pub fn beneath<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, Vec<Origin>)> {
        self.traces_beneath(path).map(|(known, places)| (known, self.resolve(places)))
    }

    /// Returns the paths of the values at this path and below it, sorted.
    pub fn paths_beneath<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a str> {
        self.traces_beneath(path).map(|(known, _)| known)
    }

    fn traces_beneath<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, &'a [Trace])> {
        let is_beneath = move |known: &str| {
            path.is_empty()
                || known == path
                || known.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
        };
        self.values
            .range::<str, _>((Bound::Included(path), Bound::Unbounded))
            .take_while(move |(known, _)| known.starts_with(path))
            .filter(move |(known, _)| is_beneath(known))
            .map(|(known, places)| (known.as_str(), places.as_slice()))
    }

    /// Returns the places with lines and columns.
    fn resolve(&self, places: &[Trace]) -> Vec<Origin> {
        let origin = |(span, like): &Trace| {
            let (file, line, column) = self.place(span.start);
            let text = self.sources.slice(*span).lines().next().unwrap_or_default().to_owned();
            let variables = self.uses.get(span).into_iter().flatten().map(|one| {
                let set_at = one.set_at.map(|span| self.place(span.start));
                let set_at = set_at
                    .map_or_else(|| "the environment".to_owned(), |(file, line, _)| format!("{file}:{line}"));
                (one.name.clone(), set_at)
            });
            Origin { file, line, column, text, like: like.clone(), variables: variables.collect() }
        };
        places.iter().rev().map(origin).collect()
    }

    fn place(&self, offset: usize) -> (String, usize, usize) {
        let Some(file) = self.sources.file_at(offset) else { return (String::new(), 1, 1) };
        let (line, column) = file.position(offset);
        (file.text.name.clone(), line, column)
    }
}

/// The places by path while they are collected, from the lowest layer to the uppermost.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    values: BTreeMap<String, Vec<Trace>>,
    /// The inheritable paths.
    lent: BTreeSet<String>,
    includes: Vec<Spanned<String>>,
    rules: BTreeMap<String, Vec<Span>>,
}

impl Traces {
    /// Returns the values of all layers, the lowest first.
    pub fn of(layers: &[RawProject]) -> Self {
        let mut traces = Self::default();
        for layer in layers {
            traces.includes.extend(layer.includes.iter().cloned());
            if let Some(name) = &layer.name {
                traces.push("project".to_owned(), name.span);
            }
            for volume in &layer.volumes {
                let RawVolume { name, kind, size, shared, external } = volume;
                let spans = [
                    ("kind", kind.as_ref().map(|kind| kind.span)),
                    ("size", size.as_ref().map(|size| size.span)),
                    ("shared", shared.as_ref().map(|shared| shared.span)),
                    ("external", external.as_ref().map(|external| external.span)),
                ];
                for (property, span) in spans {
                    if let Some(span) = span {
                        traces.push(format!("volume.{}.{property}", name.value), span);
                    }
                }
            }
            for sandbox in &layer.sandboxes {
                for (path, span, lent) in sandbox.origins() {
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

    /// Copies the places of inherited values; returns the bytes of all copies.
    pub fn inherit(&mut self, name: &str, from: &str) -> usize {
        let mut bytes = 0;
        let prefix = format!("{from}.");
        // The paths are sorted: only those of the base sandbox are read, however many sandboxes there are.
        let lent = self.lent.range(prefix.clone()..).take_while(|path| path.starts_with(&prefix));
        let lent: Vec<String> = lent.cloned().collect();
        for path in lent {
            let mut places = self.values.get(&path).cloned().unwrap_or_default();
            for (_, like) in &mut places {
                like.get_or_insert_with(|| from.to_owned());
            }
            let own = format!("{name}.{}", &path[prefix.len()..]);
            bytes += 2 * own.len() + places.len() * (size_of::<Trace>() + from.len());
            if let Some(over) = self.values.remove(&own) {
                places.extend(over);
            }
            self.values.insert(own.clone(), places);
            self.lent.insert(own);
        }
        bytes
    }

    /// Records the network rules in force, once all files are merged and `like` is resolved.
    pub fn rules_of(&mut self, raw: &RawProject) {
        for sandbox in &raw.sandboxes {
            let rules = sandbox.network.iter().flat_map(|network| &network.rules);
            self.rules.insert(sandbox.name.value.clone(), rules.map(|rule| rule.span).collect());
        }
    }

    /// Keeps the data that lines and columns are computed from.
    pub fn finish(mut self, context: &mut Context<'_>) -> Origins {
        for include in std::mem::take(&mut self.includes) {
            let Some(file) = context.sources.file_at(include.span.start) else { continue };
            self.push(format!("include.{}", path::absolute(&file.folder, &include.value)), include.span);
        }
        let mut uses: HashMap<Span, Vec<VariableUse>> = HashMap::new();
        for one in context.take_uses() {
            uses.entry(one.value).or_default().push(one);
        }
        Origins { values: self.values, rules: self.rules, uses, sources: context.sources.clone() }
    }
}
