//! Where `${NAME}` finds its values: the environment, then `.env` beside the file, then `--env-file`.

mod env_file;
pub(crate) mod interpolate;

use crate::diagnostics::{Context, shorten};
use crate::syntax::Span;
use crate::{AssumePresent, Format, Report, Source};
use env_file::Entry;
use interpolate::expand;
use std::collections::BTreeMap;

/// The caller's view of variables; the first place that knows a name gives its value.
#[derive(Clone, Debug, Default)]
pub struct Variables<'a> {
    /// The host's environment.
    pub environment: BTreeMap<String, String>,
    /// `.env` and the files of `--env-file`, in the order in which they are looked in; a value may refer to the
    /// environment, to the files before its own, and to the lines before it.
    pub files: Vec<EnvFile<'a>>,
}

/// A file of `NAME=value` lines.
#[derive(Clone, Debug)]
pub struct EnvFile<'a> {
    /// The name of the file, as messages show it.
    pub name: &'a str,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// The largest file of variables that is read, in bytes.
pub const ENV_FILE_BYTES_MAX: usize = 1024 * 1024;

/// The values by name, and where each one stands.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    environment: BTreeMap<String, String>,
    files: Vec<(String, Values)>,
}

/// What a file sets, and the line that does.
type Values = BTreeMap<String, (String, Span)>;

/// A variable's value and the place it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub value: &'a str,
    /// Nothing for the environment.
    pub span: Option<Span>,
}

impl Lookup {
    /// Reads the files into the context's variables; what is wrong in them goes into the context as well.
    pub fn read(context: &mut Context<'_>, variables: &Variables<'_>) {
        context.variables = Self { environment: variables.environment.clone(), files: Vec::new() };
        for file in &variables.files {
            read_file(context, file);
        }
    }

    /// Looks a name up.
    pub fn get(&self, name: &str) -> Option<Found<'_>> {
        if let Some(value) = self.environment.get(name) {
            return Some(Found { value, span: None });
        }
        self.files
            .iter()
            .find_map(|(_, values)| values.get(name).map(|(value, span)| Found { value, span: Some(*span) }))
    }

    /// All names that are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let in_files = self.files.iter().flat_map(|(_, values)| values.keys());
        in_files.chain(self.environment.keys()).map(String::as_str)
    }

    /// The places that are looked in, for messages.
    pub fn places(&self) -> String {
        let mut places = vec!["the environment".to_owned()];
        places.extend(self.files.iter().map(|(name, _)| shorten(name)));
        places.join(", then in ")
    }
}

/// The variables that a file sets, for whoever takes them as they are; its values may refer to what is `known`.
pub fn read_env_file(
    file: &EnvFile<'_>,
    known: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, Report> {
    let mut context = Context::new(&AssumePresent);
    context.variables.environment.clone_from(known);
    read_file(&mut context, file);
    let files = std::mem::take(&mut context.variables.files);
    let (sources, findings) = context.into_findings();
    let values = files.into_iter().flat_map(|(_, values)| values);
    match findings.is_empty() {
        true => Ok(values.map(|(name, (value, _))| (name, value)).collect()),
        false => Err(Report::new(&sources, findings)),
    }
}

/// Whether a text can be the name of a variable: `[A-Za-z_][A-Za-z0-9_]*`.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Adds what a file sets to the variables, line by line: a value may refer to what is known before it.
fn read_file(context: &mut Context<'_>, file: &EnvFile<'_>) {
    context.variables.files.push((file.name.to_owned(), Values::new()));
    let source = Source { name: file.name, path: None, bytes: file.bytes, format: Format::Kdl, folder: "/" };
    let Some(start) = context.add_source(&source, ENV_FILE_BYTES_MAX) else { return };
    let text = context.sources.slice(Span::new(start, usize::MAX)).to_owned();
    let mut at = 0;
    // Behind a quote that is not closed, lines may belong to the value: they are no faults of their own.
    let mut has_open_quote = false;
    while at < text.len() {
        let (entry, length) = env_file::read_entry(&text[at..]);
        let written = text[at..at + length].trim_end();
        let (begin, whole) = (start + at, Span::new(start + at, start + at + written.len()));
        let line = Span::new(begin, begin + written.lines().next().map_or(0, str::len));
        at += length;
        let (name, value) = match entry {
            Entry::Nothing => continue,
            Entry::Wrong(fault) => {
                if !has_open_quote {
                    context.push(fault.diagnostic(line));
                }
                has_open_quote |= fault.leaves_quote_open();
                continue;
            }
            Entry::Literal(name, value) => (name, value),
            // What cannot be replaced is reported; the name counts as set, so that its uses are not wrong too.
            Entry::Template(name, text) => (name, expand(context, whole, &text).unwrap_or_default()),
        };
        // A later line wins, as a shell that reads the file has it.
        if let Some((_, values)) = context.variables.files.last_mut() {
            values.insert(name.to_owned(), (value, line));
        }
    }
}
