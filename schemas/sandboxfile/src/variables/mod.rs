//! The values of `${NAME}`: from the environment, then `.env` beside the file, then `--env-file`.

mod env_file;
pub(crate) mod interpolate;

use crate::diagnostics::{Context, shorten};
use crate::syntax::Span;
use crate::{AssumePresent, Format, Report, Source};
use env_file::Entry;
use interpolate::expand;
use std::collections::BTreeMap;

/// The sources of variables; the first one with a name provides its value.
#[derive(Clone, Debug, Default)]
pub struct Variables<'a> {
    /// The host's environment.
    pub environment: BTreeMap<String, String>,
    /// `.env` and the files of `--env-file`, in the order of the search; a value may refer to the environment, to the
    /// files before its own, and to the lines before it.
    pub files: Vec<EnvFile<'a>>,
}

/// A file of `NAME=value` lines.
#[derive(Clone, Debug)]
pub struct EnvFile<'a> {
    /// The name of the file, as messages show it.
    pub name: &'a str,
    /// Its contents.
    pub bytes: &'a [u8],
}

/// The largest env file, in bytes.
pub const ENV_FILE_BYTES_MAX: usize = 1024 * 1024;

/// The values by name, and where each one is written.
#[derive(Debug, Default)]
pub(crate) struct Lookup {
    environment: BTreeMap<String, String>,
    files: Vec<(String, Values)>,
}

/// The values that a file sets, with their lines.
type Values = BTreeMap<String, (String, Span)>;

/// A value of a variable and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub value: &'a str,
    /// `None` for the environment.
    pub span: Option<Span>,
}

impl Lookup {
    /// Reads the files into the variables of the context; reports their errors.
    pub fn read(context: &mut Context<'_>, variables: &Variables<'_>) {
        context.variables = Self { environment: variables.environment.clone(), files: Vec::new() };
        for file in &variables.files {
            read_file(context, file);
        }
    }

    /// Returns the value of a name.
    pub fn get(&self, name: &str) -> Option<Found<'_>> {
        if let Some(value) = self.environment.get(name) {
            return Some(Found { value, span: None });
        }
        self.files
            .iter()
            .find_map(|(_, values)| values.get(name).map(|(value, span)| Found { value, span: Some(*span) }))
    }

    /// Returns all known names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        let in_files = self.files.iter().flat_map(|(_, values)| values.keys());
        in_files.chain(self.environment.keys()).map(String::as_str)
    }

    /// Returns the names of the sources, for messages.
    pub fn places(&self) -> String {
        let mut places = vec!["the environment".to_owned()];
        places.extend(self.files.iter().map(|(name, _)| shorten(name)));
        places.join(", then in ")
    }
}

/// Reads the variables that an env file sets; its values may refer to those of `known`.
///
/// # Errors
///
/// A report of all errors.
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
    if findings.is_empty() {
        Ok(values.map(|(name, (value, _))| (name, value)).collect())
    } else {
        Err(Report::new(&sources, findings))
    }
}

/// Returns the variables that a file sets; its values may refer to all others. Its errors are reported.
pub(crate) fn file_values(context: &mut Context<'_>, file: &EnvFile<'_>) -> BTreeMap<String, String> {
    read_file(context, file);
    let (_, values) = context.variables.files.pop().unwrap_or_default();
    values.into_iter().map(|(name, (value, _))| (name, value)).collect()
}

/// Returns whether a text can be the name of a variable: `[A-Za-z_][A-Za-z0-9_]*`.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Adds the entries of a file, line by line: a value may refer to the ones before it.
fn read_file(context: &mut Context<'_>, file: &EnvFile<'_>) {
    context.variables.files.push((file.name.to_owned(), Values::new()));
    let source = Source { name: file.name, path: None, bytes: file.bytes, format: Format::Kdl, folder: "/" };
    let Some(start) = context.add_source(&source, ENV_FILE_BYTES_MAX) else { return };
    let text = context.sources.slice(Span::new(start, usize::MAX)).to_owned();
    let mut at = 0;
    // After an unclosed quote, lines may belong to the value: they are no faults of their own.
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
            // An invalid value is reported; the name counts as set, so that its uses are not reported too.
            Entry::Template(name, text) => (name, expand(context, whole, &text).unwrap_or_default()),
        };
        // A later line wins, as a shell that reads the file has it.
        if let Some((_, values)) = context.variables.files.last_mut() {
            values.insert(name.to_owned(), (value, line));
        }
    }
}
