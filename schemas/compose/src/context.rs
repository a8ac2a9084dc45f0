//! What every step of a conversion shares: the files, the account, and the values of variables.

use crate::ledger::{Ledger, Outcome, key_path};
use crate::variables::{self, Piece};
use sandboxfile::yaml::{Files, Finding, Node, NodeValue};
use sandboxfile::{Code, HostFiles, ScalarKind, Span};
use schemas::excerpt::excerpt;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// The longest text that a message quotes, in characters.
const SHOWN_MAX: usize = 60;

/// The state of a conversion.
pub(crate) struct Context<'a> {
    /// The files that were read, and errors about them.
    pub files: Files,
    /// What has become of each key.
    pub ledger: Ledger,
    /// The files of the host.
    pub host: &'a dyn HostFiles,
    /// The values of variables.
    pub variables: &'a BTreeMap<String, String>,
    /// The folder of the Sandboxfile, absolute.
    pub folder: &'a str,
    /// Variables of included files that are replaced by their values.
    pub fixed: BTreeSet<String>,
    /// The start of each file, and its scope.
    scopes: Vec<(usize, Scope)>,
    /// Remarks for the property that is written next.
    notes: Vec<String>,
    /// What is left out of the block that is written now: the key and the reason.
    left_out: Vec<String>,
    /// Those of `notes` and `left_out`, to find repetitions.
    said: HashSet<String>,
}

/// What the texts of a file refer to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    /// The folder that its paths are relative to.
    pub folder: String,
    /// The number of the default values of its variables.
    pub defaults: usize,
}

/// A value of the input and its path.
#[derive(Clone, Debug)]
pub(crate) struct At<'n> {
    /// The path of its key.
    pub path: String,
    /// The place of its key.
    pub span: Span,
    /// The value.
    pub node: &'n Node,
}

/// A text, as written with variables, and with their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// With `${NAME}`.
    pub raw: String,
    /// With the values of variables.
    pub value: String,
}

impl Text {
    /// Returns whether it contains variables.
    pub fn is_template(&self) -> bool {
        variables::is_template(&self.raw)
    }
}

impl<'a> Context<'a> {
    pub fn new(host: &'a dyn HostFiles, variables: &'a BTreeMap<String, String>, folder: &'a str) -> Self {
        Self {
            files: Files::new("a compose file"),
            ledger: Ledger::default(),
            host,
            variables,
            folder,
            fixed: BTreeSet::new(),
            scopes: vec![(0, Scope { folder: "/".to_owned(), defaults: 0 })],
            notes: Vec::new(),
            left_out: Vec::new(),
            said: HashSet::new(),
        }
    }

    /// Reads a file; `None` after reporting an error.
    pub fn read(&mut self, name: &str, bytes: &[u8], scope: &Scope) -> Option<Node> {
        let node = self.files.read(name, bytes)?;
        self.scopes.push((node.span.start, scope.clone()));
        self.refuse_repeats(&node);
        Some(node)
    }

    fn refuse_repeats(&mut self, node: &Node) {
        match &node.value {
            NodeValue::Scalar { .. } => {}
            NodeValue::List(elements) => elements.iter().for_each(|element| self.refuse_repeats(element)),
            NodeValue::Map(entries) => {
                let mut first: BTreeMap<&str, Span> = BTreeMap::new();
                for (key, value) in entries {
                    if let Some(before) = first.insert(&key.value, key.span) {
                        self.files.refuse(Finding {
                            code: Code::DuplicateProperty,
                            span: key.span,
                            message: format!("`{}` is written twice", shown(&key.value)),
                            label: "again".to_owned(),
                            help: "keep one of the two".to_owned(),
                            also: Some((before, "first here".to_owned())),
                        });
                    }
                    self.refuse_repeats(value);
                }
            }
        }
    }

    /// Returns the folder that the paths in the file of a place are relative to.
    pub fn folder_of(&self, span: Span) -> &str {
        &self.scope_of(span).folder
    }

    /// Returns the scope of the file of a place.
    pub fn scope_of(&self, span: Span) -> &Scope {
        let after = self.scopes.partition_point(|(start, _)| *start <= span.start);
        &self.scopes[after.saturating_sub(1)].1
    }

    /// Returns a place for messages: `compose.yaml:3`.
    pub fn shown_place(&self, span: Span) -> String {
        let (file, line) = self.files.place(span);
        format!("{file}:{line}")
    }

    /// Adds an error.
    pub fn refuse<T>(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Option<T> {
        self.files.refuse(Finding {
            code,
            span,
            message: message.into(),
            label: String::new(),
            help: help.into(),
            also: None,
        });
        None
    }

    /// Adds an error about a value of another type than `expected`.
    pub fn refuse_type<T>(&mut self, at: &At<'_>, expected: &str) -> Option<T> {
        let found = at.node.describe();
        let message = format!("`{}` takes {expected}, not {found}", shown(&at.path));
        self.files.refuse(Finding {
            code: Code::WrongType,
            span: at.node.span,
            message,
            label: found.to_owned(),
            help: format!("write {expected}"),
            also: None,
        });
        None
    }

    /// Says that a value means the same.
    pub fn mapped(&mut self, at: &At<'_>) {
        self.ledger.mark(&at.path, Outcome::Mapped, None);
    }

    /// Says that a value needs nothing, and why.
    pub fn mapped_as(&mut self, at: &At<'_>, note: impl Into<String>) {
        self.ledger.mark(&at.path, Outcome::Mapped, Some(note.into()));
    }

    /// Says that a value means something else now; the next property shows the note.
    pub fn changed(&mut self, at: &At<'_>, note: impl Into<String>) {
        let note = note.into();
        if self.said.insert(note.clone()) {
            self.notes.push(note.clone());
        }
        self.ledger.mark(&at.path, Outcome::Changed, Some(note));
    }

    /// Says that a value is not in the result, why, and what to do; the block shows it at its end.
    pub fn left_out(&mut self, at: &At<'_>, key: &str, reason: impl Into<String>) {
        let reason = reason.into();
        let line = format!("{key}: {reason}");
        if self.said.insert(line.clone()) {
            self.left_out.push(line);
        }
        self.ledger.mark(&at.path, Outcome::LeftOut, Some(reason));
    }

    /// Takes the notes for the property that is written now, as comments.
    pub fn take_notes(&mut self) -> Vec<String> {
        for note in &self.notes {
            self.said.remove(note);
        }
        self.notes.drain(..).map(|note| format!("changed: {note}")).collect()
    }

    /// Takes what is left out of the block that is written now.
    pub fn take_left_out(&mut self) -> Vec<String> {
        for line in &self.left_out {
            self.said.remove(line);
        }
        std::mem::take(&mut self.left_out)
    }

    /// Returns the text of a scalar, as it is; `None` for nothing, and after reporting a list or a map.
    pub fn text(&mut self, at: &At<'_>) -> Option<Text> {
        match &at.node.value {
            NodeValue::Scalar { kind: ScalarKind::Null, .. } => None,
            NodeValue::Scalar { text, .. } => Some(self.template(at, text)),
            NodeValue::List(_) | NodeValue::Map(_) => self.refuse_type(at, "a text"),
        }
    }

    /// Returns a text of the input with the values of its variables. One that is not set stays as it is.
    pub fn template(&mut self, at: &At<'_>, text: &str) -> Text {
        self.check_variables(at, text);
        for name in variables::unset(text, self.variables) {
            let note = format!(
                "{name} is not set: compose takes an empty text for it, msb refuses it until it is set"
            );
            self.changed(at, note);
        }
        Text { raw: text.to_owned(), value: variables::expand(text, self.variables) }
    }

    /// Returns a text of the input that may be empty: a variable that is not set gets an empty default.
    pub fn lenient(&mut self, at: &At<'_>, text: &str) -> Text {
        self.check_variables(at, text);
        let unset = variables::unset(text, self.variables);
        for name in &unset {
            self.changed(at, format!("{name} is not set: an empty default says what compose takes for it"));
        }
        Text {
            raw: variables::with_empty_defaults(text, &unset),
            value: variables::expand(text, self.variables),
        }
    }

    fn check_variables(&mut self, at: &At<'_>, text: &str) {
        let malformed = variables::pieces(text).into_iter().find_map(|piece| match piece {
            Piece::Malformed(written) => Some(written.to_owned()),
            _ => None,
        });
        if let Some(written) = malformed {
            let message = format!("`{}` is not a variable", shown(&written));
            let help = "write `${NAME}` or `${NAME:-default}`; a plain dollar sign is `$$`";
            self.refuse::<()>(Code::InvalidVariable, at.node.span, message, help);
        }
    }

    /// Returns a truth value; `None` after reporting anything else.
    pub fn flag(&mut self, at: &At<'_>) -> Option<bool> {
        let text = self.text(at)?;
        match text.value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" | "1" => Some(true),
            "false" | "no" | "off" | "n" | "0" | "" => Some(false),
            _ => self.refuse_type(at, "true or false"),
        }
    }

    /// Returns the elements of a list, and a scalar as the only one; nothing for null.
    pub fn elements<'n>(&mut self, at: &At<'n>) -> Vec<At<'n>> {
        match &at.node.value {
            NodeValue::List(elements) => indexed(&at.path, elements),
            NodeValue::Scalar { kind: ScalarKind::Null, .. } => Vec::new(),
            NodeValue::Scalar { .. } => vec![at.clone()],
            NodeValue::Map(_) => {
                self.refuse_type::<()>(at, "a list");
                Vec::new()
            }
        }
    }

    /// Returns the entries of a map; nothing for null, and after reporting anything else.
    pub fn entries<'n>(&mut self, at: &At<'n>) -> Vec<(&'n str, At<'n>)> {
        match &at.node.value {
            NodeValue::Map(entries) => keyed(&at.path, entries),
            NodeValue::Scalar { kind: ScalarKind::Null, .. } => Vec::new(),
            NodeValue::Scalar { .. } | NodeValue::List(_) => {
                self.refuse_type::<()>(at, "a map");
                Vec::new()
            }
        }
    }

    /// Returns the pairs of a map, or of a list of `KEY=value`. A key alone has no value.
    pub fn pairs<'n>(&mut self, at: &At<'n>, separators: &[char]) -> Vec<(String, Option<String>, At<'n>)> {
        let NodeValue::List(elements) = &at.node.value else {
            let mut pairs = Vec::new();
            for (key, at) in self.entries(at) {
                match &at.node.value {
                    NodeValue::Scalar { kind: ScalarKind::Null, .. } => {
                        pairs.push((key.to_owned(), None, at))
                    }
                    NodeValue::Scalar { text, .. } => pairs.push((key.to_owned(), Some(text.clone()), at)),
                    NodeValue::List(_) | NodeValue::Map(_) => _ = self.refuse_type::<()>(&at, "a text"),
                }
            }
            return pairs;
        };
        let mut pairs: Vec<Option<(String, Option<String>, At<'n>)>> = Vec::new();
        let mut index_of: HashMap<String, usize> = HashMap::new();
        for at in indexed(&at.path, elements) {
            let NodeValue::Scalar { text, .. } = &at.node.value else {
                self.refuse_type::<()>(&at, "a text");
                continue;
            };
            let (key, value) = match text.split_once(separators) {
                Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
                None => (text.clone(), None),
            };
            // The last one of a name counts.
            let before = index_of.insert(key.clone(), pairs.len());
            if let Some((_, _, at)) = before.and_then(|index| pairs[index].take()) {
                self.mapped_as(&at, "a later line has another value");
            }
            pairs.push(Some((key, value, at)));
        }
        pairs.into_iter().flatten().collect()
    }
}

/// Returns the elements of a list with their paths.
pub(crate) fn indexed<'n>(path: &str, elements: &'n [Node]) -> Vec<At<'n>> {
    let at =
        |(index, node): (usize, &'n Node)| At { path: format!("{path}[{index}]"), span: node.span, node };
    elements.iter().enumerate().map(at).collect()
}

/// Returns the entries of a map with their paths.
pub(crate) fn keyed<'n>(
    path: &str,
    entries: &'n [(sandboxfile::Spanned<String>, Node)],
) -> Vec<(&'n str, At<'n>)> {
    let at = |(key, node): &'n (sandboxfile::Spanned<String>, Node)| {
        (key.value.as_str(), At { path: key_path(path, &key.value), span: key.span, node })
    };
    entries.iter().map(at).collect()
}

/// Returns a text as messages quote it.
pub(crate) fn shown(text: &str) -> String {
    excerpt(text, SHOWN_MAX).into_owned()
}

/// The keys of a map, each of which is taken once.
pub(crate) struct Fields<'n> {
    entries: Vec<Option<(&'n str, At<'n>)>>,
}

impl<'n> Fields<'n> {
    /// Returns the keys of a map; none for null, and after reporting anything else.
    pub fn of(context: &mut Context<'_>, at: &At<'n>) -> Self {
        Self { entries: context.entries(at).into_iter().map(Some).collect() }
    }

    /// Takes the value of a key. Nothing is written for a null, which is accounted for.
    pub fn take(&mut self, context: &mut Context<'_>, key: &str) -> Option<At<'n>> {
        let entry =
            self.entries.iter_mut().find(|entry| entry.as_ref().is_some_and(|(name, _)| *name == key))?;
        let (_, at) = entry.take()?;
        if at.node.is_null() {
            context.mapped_as(&at, "it has no value");
            return None;
        }
        Some(at)
    }

    /// Returns the value of a key without taking it.
    pub fn peek(&self, key: &str) -> Option<&At<'n>> {
        self.entries.iter().flatten().find(|(name, at)| *name == key && !at.node.is_null()).map(|(_, at)| at)
    }

    /// Returns whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.entries.iter().flatten().next().is_none()
    }

    /// Takes all that is left.
    pub fn rest(self) -> impl Iterator<Item = (&'n str, At<'n>)> {
        self.entries.into_iter().flatten()
    }

    /// Leaves out all that is left: extensions are ignored, and the others are unknown.
    pub fn leave_unknown(self, context: &mut Context<'_>, prefix: &str) {
        for (key, at) in self.rest() {
            if key.starts_with("x-") {
                context.mapped_as(&at, "an extension, which compose ignores too");
            } else {
                context.left_out(
                    &at,
                    &format!("{prefix}{key}"),
                    "it is not known to this version of msb: remove it if it is a typing error",
                );
            }
        }
    }
}
