//! The syntax tree that both formats share: named items with arguments and further items inside.
//!
//! `restart "on-failure" max=5` and `restart: { policy: on-failure, max: 5 }` differ only in whether the
//! policy is an argument or an item, so that one reader serves both.

use super::{Span, Spanned};
use std::borrow::Cow;

/// A decoded text, which is borrowed from the file unless it has escapes.
pub(crate) type Text<'t> = Cow<'t, str>;

/// A KDL node or property, or an entry of a YAML mapping.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Item<'t> {
    /// Its name: the node's name, the property's name or the mapping's key.
    pub name: Spanned<Text<'t>>,
    /// KDL: the node's arguments. YAML: the scalar, or the elements of the sequence.
    pub arguments: Vec<Argument<'t>>,
    /// KDL: properties and children. YAML: the entries of the mapping.
    pub items: Vec<Item<'t>>,
    /// Whether the value is a sequence of YAML, which one element would not tell from that element alone.
    pub is_list: bool,
    /// The tag of the value; only YAML of other formats than a Sandboxfile has one.
    pub tag: Option<MergeTag>,
}

/// A value without a name.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Argument<'t> {
    /// The value.
    pub value: Value<'t>,
    /// Its span.
    pub span: Span,
    /// Its tag; only YAML of other formats than a Sandboxfile has one.
    pub tag: Option<MergeTag>,
}

/// A tag of YAML that says how a value merges with the one of another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MergeTag {
    /// `!reset`: neither the other value nor this one counts.
    Reset,
    /// `!override`: this value replaces the other one.
    Override,
}

impl MergeTag {
    /// Every tag.
    pub const ALL: [Self; 2] = [Self::Reset, Self::Override];

    /// Returns the tag as it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reset => "!reset",
            Self::Override => "!override",
        }
    }
}

/// The value of an argument; only YAML has lists and maps here.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value<'t> {
    /// One word, text, number or truth value.
    Scalar(Scalar<'t>),
    /// A list inside a list.
    List(Vec<Argument<'t>>),
    /// A map inside a list.
    Map(Vec<Item<'t>>),
}

/// A scalar, with its text for where a text is expected.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scalar<'t> {
    /// Its type by its syntax.
    pub kind: ScalarKind,
    /// The decoded text of a string; of all else the source text, so that `NO` and `1e3` stay themselves.
    pub text: Text<'t>,
}

/// The type of a scalar by its syntax.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalarKind {
    /// A string.
    Text,
    /// `#true`, `true`.
    Bool(bool),
    /// A whole number.
    Integer(i128),
    /// Any other number.
    Float,
    /// `#null`, `null`, `~` or nothing.
    Null,
}

impl ScalarKind {
    /// Returns its type in words, for messages.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Text => "a string",
            Self::Bool(_) => "a truth value",
            Self::Integer(_) => "a number",
            Self::Float => "a fraction",
            Self::Null => "nothing",
        }
    }
}

impl<'t> Argument<'t> {
    /// Returns a scalar with its span.
    pub fn scalar(scalar: Scalar<'t>, span: Span) -> Self {
        Self { value: Value::Scalar(scalar), span, tag: None }
    }

    /// Returns the item of a YAML key with this value.
    pub fn named(self, name: Spanned<Text<'t>>) -> Item<'t> {
        let (mut arguments, mut items) = (Vec::new(), Vec::new());
        let is_list = matches!(self.value, Value::List(_));
        let tag = self.tag;
        match self.value {
            Value::Scalar(_) => arguments = vec![self],
            Value::List(elements) => arguments = elements,
            Value::Map(entries) => items = entries,
        }
        Item { name, arguments, items, is_list, tag }
    }

    /// Returns its type in words, for messages.
    pub fn describe(&self) -> &'static str {
        match &self.value {
            Value::Scalar(scalar) => scalar.kind.describe(),
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }

    /// Returns whether it is null.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(Scalar { kind: ScalarKind::Null, .. }))
    }
}

impl Item<'_> {
    /// Returns a copy of its name.
    pub fn own_name(&self) -> Spanned<String> {
        Spanned::new(self.name.value.clone().into_owned(), self.name.span)
    }

    /// Returns the number of names and values in it, its own included; each text counts as `weigh` says.
    pub fn count(&self, weigh: &impl Fn(&str) -> usize) -> usize {
        let arguments = self.arguments.iter().map(|argument| argument.count(weigh));
        weigh(&self.name.value)
            + arguments.chain(self.items.iter().map(|item| item.count(weigh))).sum::<usize>()
    }

    /// Moves every span in it by `offset` bytes.
    pub fn move_by(&mut self, offset: usize) {
        if offset == 0 {
            return;
        }
        self.name.span = self.name.span.moved_by(offset);
        self.arguments.iter_mut().for_each(|argument| argument.move_by(offset));
        self.items.iter_mut().for_each(|item| item.move_by(offset));
    }
}

impl Argument<'_> {
    /// Returns the number of names and values in it; each text counts as `weigh` says.
    pub fn count(&self, weigh: &impl Fn(&str) -> usize) -> usize {
        match &self.value {
            Value::Scalar(scalar) => weigh(&scalar.text),
            Value::List(elements) => 1 + elements.iter().map(|element| element.count(weigh)).sum::<usize>(),
            Value::Map(items) => 1 + items.iter().map(|item| item.count(weigh)).sum::<usize>(),
        }
    }

    fn move_by(&mut self, offset: usize) {
        self.span = self.span.moved_by(offset);
        match &mut self.value {
            Value::Scalar(_) => {}
            Value::List(elements) => elements.iter_mut().for_each(|element| element.move_by(offset)),
            Value::Map(items) => items.iter_mut().for_each(|item| item.move_by(offset)),
        }
    }
}
