//! Where `${NAME}` finds its values: the environment, then `.env` beside the file, then `--env-file`.

use super::code::Code;
use super::context::{Context, shorten};
use super::diagnostic::Diagnostic;
use super::span::Span;
use super::{AssumePresent, Format, Report, Source};
use std::collections::BTreeMap;

/// The caller's view of variables; the first place that knows a name gives its value.
#[derive(Clone, Debug, Default)]
pub struct Variables<'a> {
    /// The host's environment.
    pub environment: BTreeMap<String, String>,
    /// `.env` and the files of `--env-file`, in the order in which they are looked in.
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
    /// Reads the files; what is wrong in them goes into the context.
    pub fn read(context: &mut Context<'_>, variables: &Variables<'_>) -> Self {
        let files = variables.files.iter().map(|file| (file.name.to_owned(), read_file(context, file)));
        Self { files: files.collect(), environment: variables.environment.clone() }
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

/// The variables that a file sets, for whoever takes them as they are.
pub fn read_env_file(file: &EnvFile<'_>) -> Result<BTreeMap<String, String>, Report> {
    let mut context = Context::new(&AssumePresent);
    let values = read_file(&mut context, file);
    let (sources, findings) = context.into_findings();
    match findings.is_empty() {
        true => Ok(values.into_iter().map(|(name, (value, _))| (name, value)).collect()),
        false => Err(Report::new(&sources, findings)),
    }
}

/// Whether a text can be the name of a variable: `[A-Za-z_][A-Za-z0-9_]*`.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn read_file(context: &mut Context<'_>, file: &EnvFile<'_>) -> Values {
    let mut values = BTreeMap::new();
    let source = Source { name: file.name, path: None, bytes: file.bytes, format: Format::Kdl, folder: "/" };
    let Some(start) = context.add_source(&source, ENV_FILE_BYTES_MAX) else { return values };
    let text = context.sources.slice(Span::new(start, usize::MAX)).to_owned();
    let mut at = start;
    for line in text.split_inclusive('\n') {
        let span = Span::new(at, at + line.trim_end().len());
        at += line.len();
        match read_line(line) {
            Line::Nothing => {}
            // A later line wins, as a shell that reads the file has it.
            Line::Value(name, value) => {
                values.insert(name.to_owned(), (value, span));
            }
            Line::Wrong(label) => context.push(
                Diagnostic::error(Code::InvalidEnvFile, span, "this line sets no variable")
                    .label(label)
                    .help("write `NAME=value`, or put the value in quotes: `NAME=\"a value\"`"),
            ),
        }
    }
    values
}

enum Line<'a> {
    Nothing,
    Value(&'a str, String),
    Wrong(&'static str),
}

/// One line: `NAME=value`, with or without `export`, in single quotes (as it is) or in double quotes
/// (`\n \t \r \" \\ \$` are escapes); ` #` starts a comment behind a bare value.
fn read_line(line: &str) -> Line<'_> {
    let line = line.trim_start_matches('\u{FEFF}').trim();
    if line.is_empty() || line.starts_with('#') {
        return Line::Nothing;
    }
    let line = line.strip_prefix("export ").map_or(line, str::trim_start);
    let Some((name, value)) = line.split_once('=') else { return Line::Wrong("no `=`") };
    let (name, value) = (name.trim_end(), value.trim_start());
    if !is_name(name) {
        return Line::Wrong("a name is made of letters, digits and `_`");
    }
    let rest_is_comment = |rest: &str| rest.trim().is_empty() || rest.trim_start().starts_with('#');
    if let Some(quoted) = value.strip_prefix('\'') {
        return match quoted.split_once('\'') {
            Some((value, rest)) if rest_is_comment(rest) => Line::Value(name, value.to_owned()),
            Some(_) => Line::Wrong("something follows the closing quote"),
            None => Line::Wrong("the closing quote is missing"),
        };
    }
    if let Some(quoted) = value.strip_prefix('"') {
        return match unquote(quoted) {
            Some((value, rest)) if rest_is_comment(rest) => Line::Value(name, value),
            Some(_) => Line::Wrong("something follows the closing quote"),
            None => Line::Wrong("the closing quote is missing"),
        };
    }
    let bare = value.split_once(" #").map_or(value, |(value, _)| value);
    Line::Value(name, bare.trim_end().to_owned())
}

/// The text up to the closing quote, and what follows it.
fn unquote(quoted: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return Some((value, &quoted[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                c @ ('"' | '\\' | '$') => value.push(c),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_file() {
        let value = |line: &str| match read_line(line) {
            Line::Nothing => "nothing".to_owned(),
            Line::Value(name, value) => format!("{name} is {value}"),
            Line::Wrong(why) => why.to_owned(),
        };
        for (line, expected) in [
            ("", "nothing"),
            ("  # a comment", "nothing"),
            ("A=1", "A is 1"),
            ("export A = b c ", "A is b c"),
            ("A=b # comment", "A is b"),
            ("A=b#c", "A is b#c"),
            ("A=", "A is "),
            ("A='$x \\n' # as it is", "A is $x \\n"),
            ("A=\"a\\n\\\"b\\\" \\q\"", "A is a\n\"b\" \\q"),
            ("A=x=y", "A is x=y"),
            ("A=\"x", "the closing quote is missing"),
            ("A='x'y", "something follows the closing quote"),
            ("just words", "no `=`"),
            ("1A=x", "a name is made of letters, digits and `_`"),
        ] {
            assert_eq!(value(line), expected, "{line}");
        }
    }
}
