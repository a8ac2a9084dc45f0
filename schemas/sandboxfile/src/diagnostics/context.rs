//! The state that every stage shares: the diagnostics so far, and the data for their words.

use super::{Code, DIAGNOSTICS_MAX, Diagnostic, Severity};
use crate::check::Budget;
use crate::language::{Instead, Property, PropertyTable, TABLES};
use crate::print::{kdl_string, yaml_string};
use crate::syntax::{Sources, Span, Spanned, Text};
use crate::variables::Lookup;
use crate::{Format, HostFiles, Source};
use rules::suggest::{list, nearest};
use schemas::excerpt::excerpt;
use schemas::terminal::steers;
use std::cell::Cell;

/// Collects diagnostics, and words them in the format of the current file.
pub(crate) struct Context<'a> {
    /// The format of the current file.
    pub format: Format,
    /// The files of the host.
    pub files: &'a dyn HostFiles,
    /// The source files read so far.
    pub sources: Sources,
    /// The values of `${NAME}`.
    pub variables: Lookup,
    /// The size that the project has expanded to so far.
    pub budget: Budget,
    /// Whether uses of variables are recorded.
    pub explain: bool,
    diagnostics: Vec<Diagnostic>,
    errors: usize,
    uses: Vec<VariableUse>,
    /// The number of comparisons made for suggestions.
    comparisons: Cell<usize>,
}

/// Upper bound on comparisons for suggestions: a file may have many wrong words and many candidates.
const COMPARISONS_MAX: usize = 1_000_000;

/// A use of a variable in a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct VariableUse {
    /// The value that contains it.
    pub value: Span,
    /// Its name.
    pub name: String,
    /// The line that sets it; `None` for the environment.
    pub set_at: Option<Span>,
}

impl<'a> Context<'a> {
    pub fn new(files: &'a dyn HostFiles) -> Self {
        Self {
            format: Format::Kdl,
            files,
            sources: Sources::default(),
            variables: Lookup::default(),
            budget: Budget::default(),
            explain: false,
            diagnostics: Vec::new(),
            errors: 0,
            uses: Vec::new(),
            comparisons: Cell::new(0),
        }
    }

    /// Adds a diagnostic.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        if diagnostic.severity == Severity::Error {
            self.errors += 1;
        }
        self.diagnostics.push(diagnostic);
    }

    /// Adds an error; returns `None`, the value of what is wrong.
    pub fn refuse<T>(&mut self, diagnostic: Diagnostic) -> Option<T> {
        self.push(diagnostic);
        None
    }

    /// Returns whether there are no errors.
    pub fn is_clean(&self) -> bool {
        self.errors == 0
    }

    /// Returns all diagnostics, with the source files.
    pub fn into_findings(self) -> (Sources, Vec<Diagnostic>) {
        (self.sources, self.diagnostics)
    }

    /// Adds a source file; returns the start of its range, or `None` after reporting that it is too large or not UTF-8.
    pub fn add_source(&mut self, source: &Source<'_>, limit: usize) -> Option<usize> {
        let Source { name, path: _, bytes, format, folder } = *source;
        if bytes.len() > limit {
            let start = self.sources.add(name, "", format, folder);
            let message = format!("this file has {} bytes, more than are ever needed", bytes.len());
            let help = format!("it may have {} MiB at most; put data into the image", limit >> 20);
            let span = Span::new(start, start);
            self.push(Diagnostic::error(Code::TooLarge, span, message).help(help));
            return None;
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Some(self.sources.add(name, text, format, folder)),
            Err(error) => {
                let good = error.valid_up_to();
                let at = self.sources.add(name, &String::from_utf8_lossy(bytes), format, folder) + good;
                let message = format!("this file is not UTF-8: byte {} is 0x{:02X}", good + 1, bytes[good]);
                let span = Span::new(at, at + '\u{FFFD}'.len_utf8());
                self.push(
                    Diagnostic::error(Code::NotUtf8, span, message)
                        .label("not a character")
                        .help("save the file as UTF-8"),
                );
                None
            }
        }
    }

    /// Makes the file that contains a span the current one.
    pub fn speak_as(&mut self, span: Span) {
        if let Some(file) = self.sources.file_at(span.start) {
            self.format = file.format;
        }
    }

    /// Resolves a path against the folder of the file that contains it.
    pub fn absolute(&self, path: &Spanned<String>) -> String {
        let folder = self.sources.file_at(path.span.start).map_or("/", |file| file.folder.as_str());
        crate::values::path::absolute(folder, &path.value)
    }

    /// Records a use of a variable, if uses are recorded.
    pub fn note_use(&mut self, value: Span, name: &str, set_at: Option<Span>) {
        if self.explain {
            self.uses.push(VariableUse { value, name: name.to_owned(), set_at });
        }
    }

    /// Takes the recorded uses of variables.
    pub fn take_uses(&mut self) -> Vec<VariableUse> {
        std::mem::take(&mut self.uses)
    }

    /// Returns the candidate that was probably meant. Gives up once there are more diagnostics than are shown, or after
    /// [`COMPARISONS_MAX`] comparisons.
    pub fn nearest<'c>(&self, text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
        if self.diagnostics.len() > 4 * DIAGNOSTICS_MAX {
            return None;
        }
        let left = COMPARISONS_MAX.saturating_sub(self.comparisons.get());
        let candidates = candidates.into_iter().take(left);
        nearest(text, candidates.inspect(|_| self.comparisons.set(self.comparisons.get() + 1)))
    }

    /// Returns the name of a property in the current format.
    pub fn spell(&self, property: &Property) -> &'static str {
        self.format.pick(property.kdl, property.yaml)
    }

    /// Returns a KDL name in the current format, for names that differ by the separator only.
    pub fn spell_name(&self, kdl: &str) -> String {
        match self.format {
            Format::Kdl => kdl.to_owned(),
            Format::Yaml => kdl.replace('-', "_"),
        }
    }

    /// Returns a sample of a property whose value is words.
    pub fn sample(&self, kdl: &str, words: &[&str]) -> String {
        match (self.format, words) {
            (Format::Yaml, [word]) => self.sample_bare(kdl, &yaml_string(word)),
            _ => self.sample_list(kdl, words),
        }
    }

    /// Returns a sample of a property whose value is a list, even of a single word.
    pub fn sample_list(&self, kdl: &str, words: &[&str]) -> String {
        let joined = |quoted: fn(&str) -> String, separator| {
            words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(separator)
        };
        match self.format {
            Format::Kdl => self.sample_bare(kdl, &joined(kdl_string, " ")),
            Format::Yaml => self.sample_bare(kdl, &format!("[{}]", joined(yaml_string, ", "))),
        }
    }

    /// Returns a sample of a flag that is set.
    pub fn sample_flag(&self, kdl: &str) -> String {
        match self.format {
            Format::Kdl => format!("{kdl}=#true"),
            Format::Yaml => format!("{}: true", self.spell_name(kdl)),
        }
    }

    /// Returns a sample of a property whose value is a number or a keyword.
    pub fn sample_bare(&self, kdl: &str, value: &str) -> String {
        match self.format {
            Format::Kdl => format!("{kdl} {value}"),
            Format::Yaml => format!("{}: {value}", self.spell_name(kdl)),
        }
    }

    /// Reports an unknown property; returns the KDL name of the one that was probably meant.
    pub fn unknown_property(
        &mut self,
        place: &'static PropertyTable,
        name: &Spanned<Text<'_>>,
    ) -> Option<&'static str> {
        let spell = |kdl| {
            let property = place.properties.iter().find(|property| property.kdl == kdl);
            property.map_or(kdl, |property| self.spell(property))
        };
        let (help, meant) = match place.instead_of(&name.value) {
            Some(Instead::Say(sentence)) => (sentence.to_owned(), None),
            Some(Instead::Use(kdl)) => (format!("it is called `{}` here", spell(kdl)), Some(kdl)),
            Some(Instead::Differs(kdl, difference)) => {
                (format!("it is called `{}` here; {difference}", spell(kdl)), Some(kdl))
            }
            Some(Instead::Write { kdl, yaml }) => (self.format.pick(kdl, yaml).to_owned(), None),
            // Compose's extension fields, which hold anchors.
            None if name.value.starts_with("x-") => {
                let advice = self.format.pick(
                    "`like` takes over what another sandbox has",
                    "put the anchor (`&name`) where its value is first used",
                );
                (format!("there are no extension fields: {advice}"), None)
            }
            None => {
                let valid = || place.properties.iter().map(|property| (self.spell(property), property.kdl));
                let near = self.nearest(&name.value, valid().map(|(word, _)| word));
                match valid().find(|(word, _)| Some(*word) == near) {
                    Some((word, kdl)) => (format!("did you mean `{word}`?"), Some(kdl)),
                    None => (self.where_else(place, &name.value), None),
                }
            }
        };
        let message = format!("{} has no property `{}`", place.what, shorten(&name.value));
        self.push(
            Diagnostic::error(Code::UnknownProperty, name.span, message).label("not known here").help(help),
        );
        meant
    }

    /// Returns a sentence that names the place where the property exists, or else the properties of this place.
    fn where_else(&self, place: &PropertyTable, name: &str) -> String {
        let holds =
            |place: &PropertyTable| place.properties.iter().any(|property| self.spell(property) == name);
        if let Some(other) = TABLES.iter().find(|other| other.what != place.what && holds(other)) {
            return format!("`{name}` belongs inside {}", other.what);
        }
        let names = place.properties.iter().map(|property| self.spell(property));
        format!("{} takes {}", place.what, list(names, "and"))
    }
}

/// Shortens a text of the file for a message, and replaces characters that would steer a terminal.
pub(crate) fn shorten(text: &str) -> String {
    shorten_to(60, text)
}

/// Shortens the message of a parser that quotes the file, and replaces characters that would steer a terminal.
pub(crate) fn shorten_message(message: &str) -> String {
    shorten_to(160, message)
}

fn shorten_to(shown_max: usize, text: &str) -> String {
    excerpt(text, shown_max).chars().map(|c| if steers(c) { '\u{FFFD}' } else { c }).collect()
}
