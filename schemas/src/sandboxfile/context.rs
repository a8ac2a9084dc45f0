//! What every stage carries along: the findings so far, and what is needed to word them.

use super::code::Code;
use super::diagnostic::Diagnostic;
use super::names::{Instead, PLACES, Place, Property};
use super::report::DIAGNOSTICS_MAX;
use super::span::Spanned;
use super::suggest::{list, nearest};
use super::{Format, HostFiles};

/// Collects findings, and words them in the spelling of the file.
pub(crate) struct Context<'a> {
    /// The spelling of the file.
    pub format: Format,
    /// The folder that relative paths start from.
    pub folder: &'a str,
    /// The caller's view of the file system.
    pub files: &'a dyn HostFiles,
    diagnostics: Vec<Diagnostic>,
}

impl<'a> Context<'a> {
    pub fn new(format: Format, folder: &'a str, files: &'a dyn HostFiles) -> Self {
        Self { format, folder, files, diagnostics: Vec::new() }
    }

    /// Adds a finding.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.diagnostics.push(diagnostic);
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.diagnostics.is_empty()
    }

    /// All findings.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// The candidate that was probably meant. Searching takes time for each finding, so it ends where
    /// nobody will see the result.
    pub fn nearest<'c>(&self, text: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
        if self.diagnostics.len() > 4 * DIAGNOSTICS_MAX { None } else { nearest(text, candidates) }
    }

    /// A property's name in the file's spelling.
    pub fn spell(&self, property: &Property) -> &'static str {
        match self.format {
            Format::Kdl => property.kdl,
            Format::Yaml => property.yaml,
        }
    }

    /// A property's KDL name in the file's spelling, for those that differ by the separator only.
    pub fn spell_name(&self, kdl: &str) -> String {
        match self.format {
            Format::Kdl => kdl.to_owned(),
            Format::Yaml => kdl.replace('-', "_"),
        }
    }

    /// A property with words as its value, written as the file would have it.
    pub fn sample(&self, kdl: &str, words: &[&str]) -> String {
        match (self.format, words) {
            (Format::Kdl, words) => {
                let quoted: Vec<String> = words.iter().map(|word| super::print::kdl_string(word)).collect();
                format!("{kdl} {}", quoted.join(" "))
            }
            (Format::Yaml, [word]) => {
                format!("{}: {}", self.spell_name(kdl), super::print::yaml_string(word))
            }
            (Format::Yaml, words) => {
                let quoted: Vec<String> = words.iter().map(|word| super::print::yaml_string(word)).collect();
                format!("{}: [{}]", self.spell_name(kdl), quoted.join(", "))
            }
        }
    }

    /// A property with a number or a keyword as its value, written as the file would have it.
    pub fn sample_bare(&self, kdl: &str, value: &str) -> String {
        match self.format {
            Format::Kdl => format!("{kdl} {value}"),
            Format::Yaml => format!("{}: {value}", self.spell_name(kdl)),
        }
    }

    /// Reports a name that is not valid at a place; returns the KDL name of the property that was meant.
    pub fn unknown_property(
        &mut self,
        place: &'static Place,
        name: &Spanned<String>,
    ) -> Option<&'static str> {
        let plain = |text: &str| text.to_ascii_lowercase().replace('-', "_");
        let foreign =
            place.foreign.iter().find(|(word, _)| *word == plain(&name.value)).map(|(_, instead)| instead);
        let property = |kdl: &str| place.properties.iter().find(|property| property.kdl == kdl);
        let (help, meant) = match foreign {
            Some(Instead::Say(sentence)) => ((*sentence).to_owned(), None),
            Some(Instead::Use(kdl)) => {
                let word = property(kdl).map_or(*kdl, |property| self.spell(property));
                match property(kdl).is_some_and(|property| property.supported) {
                    true => (format!("it is called `{word}` here"), Some(*kdl)),
                    false => (format!("it is called `{word}` here, and is not supported yet"), Some(*kdl)),
                }
            }
            None => {
                let valid = place.properties.iter().map(|property| self.spell(property));
                match self.nearest(&name.value, valid) {
                    Some(word) => {
                        let property = place.properties.iter().find(|property| self.spell(property) == word);
                        (format!("did you mean `{word}`?"), property.map(|property| property.kdl))
                    }
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

    /// Where a name is valid, if it is anywhere; else what is valid here.
    fn where_else(&self, place: &Place, name: &str) -> String {
        let holds = |place: &Place| place.properties.iter().any(|property| self.spell(property) == name);
        if let Some(other) = PLACES.iter().find(|other| other.what != place.what && holds(other)) {
            return format!("`{name}` stands inside {}", other.what);
        }
        let supported = place.properties.iter().filter(|property| property.supported);
        let names = supported.map(|property| self.spell(property));
        format!("{} takes {}", place.what, list(names, "and"))
    }
}

/// Whether a character moves the cursor, starts an escape sequence or turns the text around it.
pub(crate) fn steers_a_terminal(c: char) -> bool {
    let turns = matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// A text from the file as messages show it: on one line, and not longer than one.
pub(crate) fn shorten(text: &str) -> String {
    const SHOWN_MAX: usize = 60;
    let shown = text.chars().take(SHOWN_MAX);
    let line: String = shown.map(|c| if steers_a_terminal(c) { '\u{FFFD}' } else { c }).collect();
    if text.chars().count() > SHOWN_MAX { format!("{line}…") } else { line }
}
