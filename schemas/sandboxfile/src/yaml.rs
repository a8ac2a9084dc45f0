//! YAML of other formats, such as compose files, read with the limits, the places and the reports of a Sandboxfile.

use crate::diagnostics::{Code, Context, Diagnostic, Report, shorten};
pub use crate::syntax::MergeTag;
use crate::syntax::yaml::problem::{Problem, ProblemKind};
use crate::syntax::{Argument, Item, ScalarKind, Span, Spanned, Value, yaml::reader};
use crate::{AssumePresent, Format, Source};
use schemas::spec::limits::SANDBOXFILE_BYTES_MAX;

/// A value of a document, in which aliases and merge keys are resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: NodeValue,
    /// Its place among all files of a [`Files`].
    pub span: Span,
    /// How it merges with the same value of another file.
    pub tag: Option<MergeTag>,
}

/// The value of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum NodeValue {
    /// A text, a number, a truth value or nothing.
    Scalar {
        /// Its type by its syntax.
        kind: ScalarKind,
        /// The decoded text of a string; of all else the source text.
        text: String,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, whose keys may repeat.
    Map(Vec<(Spanned<String>, Node)>),
}

impl Node {
    /// Returns whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, NodeValue::Scalar { kind: ScalarKind::Null, .. })
    }

    /// Returns its type in words, for messages.
    pub fn describe(&self) -> &'static str {
        match &self.value {
            NodeValue::Scalar { kind, .. } => kind.describe(),
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }
}

/// An error about a document.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Its stable code.
    pub code: Code,
    /// Its place.
    pub span: Span,
    /// The problem, in one sentence without a full stop.
    pub message: String,
    /// The text below the place; empty for none.
    pub label: String,
    /// The next step.
    pub help: String,
    /// A related place, and the text below it.
    pub also: Option<(Span, String)>,
}

/// The files that were read, and the errors about them.
pub struct Files {
    context: Context<'static>,
    /// What a file is, for messages: `a compose file`.
    what: &'static str,
}

impl Files {
    /// Returns an empty collection; `what` is what each file is, for messages: `a compose file`.
    pub fn new(what: &'static str) -> Self {
        Self { context: Context::new(&AssumePresent), what }
    }

    /// Reads a document, a map; `None` after reporting an error, and an empty map if there is nothing in it.
    pub fn read(&mut self, name: &str, bytes: &[u8]) -> Option<Node> {
        let source = Source { name, path: None, bytes, format: Format::Yaml, folder: "/" };
        let start = self.context.add_source(&source, SANDBOXFILE_BYTES_MAX)?;
        let text = self.context.sources.slice(Span::new(start, start + bytes.len())).to_owned();
        let document = reader::read_with_merge_tags(&text);
        let is_sound = document.problems.is_empty();
        for problem in &document.problems {
            let diagnostic = self.diagnostic(problem, &text);
            self.context.push(diagnostic.moved_by(start));
        }
        let span = Span::new(start, start + text.len());
        is_sound.then(|| Node { value: map_of(document.items, start), span, tag: None })
    }

    /// Words what a Sandboxfile's own messages would call a Sandboxfile.
    fn diagnostic(&self, problem: &Problem, text: &str) -> Diagnostic {
        let what = self.what;
        let span = problem.span.clamp_to(text);
        match &problem.kind {
            ProblemKind::NotAMap { found } => {
                Diagnostic::error(Code::WrongType, span, format!("{what} is a map, not {found}"))
                    .label(*found)
                    .help("start with a line such as `services:`")
            }
            ProblemKind::SecondDocument => {
                Diagnostic::error(Code::YamlSyntax, span, format!("{what} is a single YAML document"))
                    .help("remove `---` and what follows it")
            }
            ProblemKind::TooDeep => Diagnostic::error(Code::TooDeep, span, "collections nest too deep"),
            ProblemKind::TooComplex => {
                Diagnostic::error(Code::TooComplex, span, format!("this is more than {what} ever needs"))
                    .help("what an alias repeats counts each time: write fewer of them")
            }
            ProblemKind::Tag { name } => {
                let message = format!("the tag `{}` is not supported here", shorten(name));
                let known = MergeTag::ALL.map(|tag| format!("`{}`", tag.name())).join(" and ");
                Diagnostic::error(Code::WrongType, span, message)
                    .label("has this tag")
                    .help(format!("remove it; the value of a key takes {known}"))
            }
            _ => problem.diagnostic(text),
        }
    }

    /// Adds an error.
    pub fn refuse(&mut self, finding: Finding) {
        let Finding { code, span, message, label, help, also } = finding;
        let mut diagnostic = Diagnostic::error(code, span, message).label(label);
        if !help.is_empty() {
            diagnostic = diagnostic.help(help);
        }
        if let Some((span, text)) = also {
            diagnostic = diagnostic.also(span, text);
        }
        self.context.push(diagnostic);
    }

    /// Returns whether there are no errors.
    pub fn is_clean(&self) -> bool {
        self.context.is_clean()
    }

    /// Returns the file and the line of a place.
    pub fn place(&self, span: Span) -> (&str, usize) {
        self.context
            .sources
            .file_at(span.start)
            .map_or(("", 1), |file| (file.text.name.as_str(), file.position(span.start).0))
    }

    /// Returns the report of all errors.
    pub fn into_report(self) -> Report {
        let (sources, findings) = self.context.into_findings();
        Report::new(&sources, findings)
    }
}

fn map_of(items: Vec<Item<'_>>, start: usize) -> NodeValue {
    NodeValue::Map(items.into_iter().map(|item| entry_of(item, start)).collect())
}

fn entry_of(item: Item<'_>, start: usize) -> (Spanned<String>, Node) {
    let Item { name, mut arguments, items, is_list, tag } = item;
    let name = Spanned::new(name.value.into_owned(), name.span.moved_by(start));
    let span = name.span;
    let node = match arguments.pop() {
        Some(only) if !is_list => node_of(only, start),
        last if is_list => {
            arguments.extend(last);
            let elements = arguments.into_iter().map(|element| node_of(element, start)).collect();
            Node { value: NodeValue::List(elements), span, tag }
        }
        _ => Node { value: map_of(items, start), span, tag },
    };
    (name, node)
}

fn node_of(argument: Argument<'_>, start: usize) -> Node {
    let Argument { value, span, tag } = argument;
    let value = match value {
        Value::Scalar(scalar) => NodeValue::Scalar { kind: scalar.kind, text: scalar.text.into_owned() },
        Value::List(elements) => {
            NodeValue::List(elements.into_iter().map(|element| node_of(element, start)).collect())
        }
        Value::Map(items) => map_of(items, start),
    };
    Node { value, span: span.moved_by(start), tag }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_one_differ_from_their_element() {
        let mut files = Files::new("a test");
        files.read("first.yaml", b"x: y\n");
        let node = files.read("test.yaml", b"a: b\nc: [d]\ne: []\nf: {}\ng:\nh:\n- i: [j]\n").unwrap();
        let NodeValue::Map(entries) = node.value else { panic!("a map") };
        let described: Vec<_> = entries.iter().map(|(_, node)| node.describe()).collect();
        assert_eq!(described, ["a string", "a list", "a list", "a map", "nothing", "a list"]);
        assert_eq!(files.place(entries[1].0.span), ("test.yaml", 2));
        assert!(files.is_clean());
    }

    #[test]
    fn values_have_merge_tags() {
        let text = "a: !reset b\nc: !override [d, !reset e]\nf: &f !override { g: h }\ni: *f\nj: !reset\nk: !reset null\nl: m\n";
        let mut files = Files::new("a test");
        let node = files.read("test.yaml", text.as_bytes()).unwrap();
        let NodeValue::Map(entries) = node.value else { panic!("a map") };
        let (reset, over) = (Some(MergeTag::Reset), Some(MergeTag::Override));
        let found: Vec<_> = entries.iter().map(|(_, node)| node.tag).collect();
        assert_eq!(found, [reset, over, over, over, reset, reset, None]);
        let NodeValue::List(elements) = &entries[1].1.value else { panic!("a list") };
        assert_eq!([elements[0].tag, elements[1].tag], [None, reset]);
        assert!(entries[4].1.is_null() && entries[5].1.is_null());
    }

    #[test]
    fn problems_are_worded_for_the_format() {
        for (text, message) in [
            ("[a]\n", "a test is a map, not a list"),
            ("a: b\n---\nc: d\n", "a test is a single YAML document"),
            ("a: !secret b\n", "the tag `!secret` is not supported here"),
            ("!reset {}\n", "the tag `!reset` is not supported here"),
            ("!override a: b\n", "the tag `!override` is not supported here"),
            ("a: { <<: [!override { b: c }] }\n", "the tag `!override` is not supported here"),
            ("a: !!str 1\n", "the tag `!!str` is not supported here"),
            ("a: [\n", "did not find expected"),
        ] {
            let mut files = Files::new("a test");
            assert_eq!(files.read("test.yaml", text.as_bytes()), None);
            let report = files.into_report();
            let found = &report.diagnostics()[0].message;
            assert!(found.contains(message) || message.starts_with("did"), "{found}");
        }
    }
}
