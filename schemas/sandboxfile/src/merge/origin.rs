//! Where each value comes from: which file and line, what it lies over, what variables are in it.

use crate::check::RawProject;
use crate::diagnostics::{Code, Context, Diagnostic, Report, VariableUse};
use crate::syntax::{Sources, Span, Spanned};
use crate::values::path;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

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

/// Every value that is written, by its path such as `web.env.PORT`. Lines and columns are worked out for the
/// values that are asked for only: a large project has many, and messages show few.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// The places of each value, from the lowest layer to the uppermost; those of included files as `include.`
    /// and the absolute path.
    values: BTreeMap<String, Vec<Trace>>,
    /// The rules in force of each sandbox's network, by the sandbox's name in the Sandboxfile.
    rules: BTreeMap<String, Vec<Span>>,
    uses: HashMap<Span, Vec<VariableUse>>,
    sources: Sources,
}

/// One place of a value, and the sandbox from which `like` took it over, if one did.
type Trace = (Span, Option<String>);

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
            Some(Diagnostic::error(code, self.span_of(&path)?, message).label(label))
        });
        Report::new(&self.sources, found.collect())
    }

    /// Whether it is known where a value is written.
    pub fn is_known(&self, path: &str) -> bool {
        self.span_of(path).is_some()
    }

    /// The place that holds.
    fn span_of(&self, path: &str) -> Option<Span> {
        self.values.get(path).and_then(|places| places.last()).map(|(span, _)| *span)
    }

    /// The places of one value, the one in force first; `None` when it is nowhere written, and so a default.
    pub fn of(&self, path: &str) -> Option<Vec<Origin>> {
        self.values.get(path).map(|places| self.resolve(places))
    }

    /// Returns where the rules of a sandbox's network are written, in their order; none where it has none of
    /// its own.
    pub fn rules_of(&self, name: &str) -> Vec<Line> {
        let spans = self.rules.get(name).into_iter().flatten();
        let line = |span: &Span| {
            let (file, line, _) = self.place(span.start);
            Line { file, line }
        };
        spans.map(line).collect()
    }

    /// The values at this path or beneath it, in the order of their paths.
    pub fn beneath<'a>(&'a self, path: &'a str) -> impl Iterator<Item = (&'a str, Vec<Origin>)> {
        self.traces_beneath(path).map(|(known, places)| (known, self.resolve(places)))
    }

    /// Returns the paths of the values at this path or beneath it, sorted.
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

    /// The places as a person finds them.
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

/// The places by path while they are gathered, from the lowest to the uppermost.
#[derive(Debug, Default)]
pub(crate) struct Traces {
    values: BTreeMap<String, Vec<Trace>>,
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

    /// Copies the places of what a sandbox has taken over from another one. Returns the bytes of all copies.
    pub fn take_over(&mut self, name: &str, from: &str) -> usize {
        let mut bytes = 0;
        let prefix = format!("{from}.");
        // The paths are sorted: only those of the lender are read, however many sandboxes there are.
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

    /// Every file has been laid over the others, and `like` has lent: these are the rules that hold.
    pub fn rules_of(&mut self, raw: &RawProject) {
        for sandbox in &raw.sandboxes {
            let rules = sandbox.network.iter().flat_map(|network| &network.rules);
            self.rules.insert(sandbox.name.value.clone(), rules.map(|rule| rule.text.span).collect());
        }
    }

    /// Keeps what is needed to find each place later.
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
