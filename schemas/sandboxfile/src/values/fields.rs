//! The properties, entries and elements of an item.

use super::Reading;
use super::read::{Help, Takes, text_of};
use super::repeats::given_twice;
use crate::Format;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{PROJECT, PropertyTable};
use crate::syntax::{Argument, Item, Span, Spanned, Value};

/// The properties of one item, by their KDL names; unknown and repeated ones are reported.
pub(crate) struct Fields<'t> {
    table: &'static PropertyTable,
    known: Vec<(&'static str, &'t Item<'t>)>,
    meant: Vec<&'static str>,
    /// Whether there is a value where only properties can be: it may have been meant for any of them.
    is_suspect: bool,
}

/// Whether a name is one of those at the top of YAML that are left to others, such as a place for anchors.
fn is_extension(context: &Context<'_>, table: &'static PropertyTable, name: &str) -> bool {
    context.format == Format::Yaml && std::ptr::eq(table, &PROJECT) && name.starts_with("x-")
}

impl<'t> Fields<'t> {
    /// Finds the property of each item in a table.
    pub fn read(context: &mut Context<'_>, table: &'static PropertyTable, items: &'t [Item<'t>]) -> Self {
        let mut known: Vec<(&'static str, &'t Item<'t>)> = Vec::new();
        let mut meant = Vec::new();
        let mut first: Vec<Option<Span>> = vec![None; table.properties.len()];
        for item in items {
            let mut properties = table.properties.iter().enumerate();
            let found = properties.find(|(_, property)| context.spell(property) == item.name.value);
            let Some((index, property)) = found else {
                if is_extension(context, table, &item.name.value) {
                    continue;
                }
                meant.extend(context.unknown_property(table, &item.name));
                continue;
            };
            let repeats = property.repeats && context.format == Format::Kdl;
            if let Some(before) = first[index]
                && !repeats
            {
                context.push(given_twice(&item.name.value, item.name.span, before));
                continue;
            }
            first[index].get_or_insert(item.name.span);
            known.push((property.kdl, item));
        }
        Self { table, known, meant, is_suspect: false }
    }

    /// Returns whether a property was probably meant by a name that was reported: it is then not missing as well.
    pub fn has_misspelling_of(&self, kdl: &str) -> bool {
        self.is_suspect || self.meant.contains(&kdl)
    }

    /// Suppresses errors about missing properties, after a value among the properties was reported.
    pub fn suspect_all(&mut self) {
        self.is_suspect = true;
    }

    /// Returns the property of this name.
    pub fn one(&self, kdl: &str) -> Option<&'t Item<'t>> {
        self.all(kdl).next()
    }

    /// Reads the property of this name.
    pub fn reading<R: Reading>(&self, kdl: &str, mut read: impl FnMut(&Item<'_>) -> R) -> R {
        let mut reading = R::default();
        self.all(kdl).for_each(|item| reading.add(read(item)));
        if self.has_misspelling_of(kdl) {
            reading.ignore_missing();
        }
        reading
    }

    /// Returns all properties of this name.
    pub fn all<'s>(&'s self, kdl: &'s str) -> impl Iterator<Item = &'t Item<'t>> + use<'s, 't> {
        debug_assert!(
            self.table.properties.iter().any(|property| property.kdl == kdl),
            "{} has no property `{kdl}`",
            self.table.what
        );
        self.known.iter().filter(move |(name, _)| *name == kdl).map(|(_, item)| *item)
    }
}

/// A named entry: `script "serve" …` in KDL, an entry of `scripts:` in YAML.
pub(crate) struct Entry<'t> {
    /// Its name.
    pub name: Spanned<String>,
    /// The values after the name.
    pub arguments: &'t [Argument<'t>],
    /// The items inside.
    pub items: &'t [Item<'t>],
}

/// Returns the named entries of an item: one in KDL, all of them in YAML.
pub(crate) fn entries<'t>(context: &mut Context<'_>, item: &'t Item<'t>, example: &str) -> Vec<Entry<'t>> {
    match context.format {
        Format::Kdl => {
            let [name, arguments @ ..] = item.arguments.as_slice() else {
                let message = format!("`{}` needs a name", shorten(&item.name.value));
                let help = format!("write `{} \"{example}\"`", shorten(&item.name.value));
                context.push(
                    Diagnostic::error(Code::MissingValue, item.name.span, message)
                        .label("the name is missing")
                        .help(help),
                );
                return Vec::new();
            };
            let Some(name) = text_of(context, name, &item.name.value, Takes { what: "a name", bare: false })
            else {
                return Vec::new();
            };
            vec![Entry { name, arguments, items: &item.items }]
        }
        Format::Yaml => {
            if let Some(wrong) = item.arguments.iter().find(|argument| !argument.is_null()) {
                let message =
                    format!("`{}` takes a map of names, not {}", shorten(&item.name.value), wrong.describe());
                let help = format!("write `{example}:` on an indented line below it");
                context.push(
                    Diagnostic::error(Code::WrongType, wrong.span, message)
                        .label(wrong.describe())
                        .help(help),
                );
            }
            let entries = item.items.iter();
            entries
                .map(|item| Entry { name: item.own_name(), arguments: &item.arguments, items: &item.items })
                .collect()
        }
    }
}

/// An element without a name: `mount "./src" to="/app"` in KDL, an element of `mounts:` in YAML.
pub(crate) struct Element<'t> {
    /// Its span, or that of its first part.
    pub span: Span,
    /// The values without a name.
    pub arguments: &'t [Argument<'t>],
    /// The items inside.
    pub items: &'t [Item<'t>],
}

/// Returns the elements of an item: one in KDL, all of them in YAML.
pub(crate) fn elements<'t>(
    context: &mut Context<'_>,
    item: &'t Item<'t>,
    help: &dyn Help,
) -> Vec<Element<'t>> {
    if context.format == Format::Kdl {
        return vec![Element { span: item.name.span, arguments: &item.arguments, items: &item.items }];
    }
    if is_map(context, item, help) {
        return Vec::new();
    }
    let mut elements = Vec::new();
    for argument in item.arguments.iter().filter(|argument| !argument.is_null()) {
        elements.push(match &argument.value {
            Value::Scalar(_) => {
                Element { span: argument.span, arguments: std::slice::from_ref(argument), items: &[] }
            }
            Value::Map(items) => {
                let span = items.first().map_or(argument.span, |item| item.name.span);
                Element { span, arguments: &[], items }
            }
            Value::List(_) => {
                let message = format!(
                    "`{}` takes texts and maps, not a list inside the list",
                    shorten(&item.name.value)
                );
                context.push(
                    Diagnostic::error(Code::WrongType, argument.span, message)
                        .label("a list")
                        .help(help.word(context)),
                );
                continue;
            }
        });
    }
    elements
}

/// Returns whether a property that takes a list is a map, which is reported.
pub(crate) fn is_map(context: &mut Context<'_>, item: &Item<'_>, help: &dyn Help) -> bool {
    let Some(inner) = item.items.first() else { return false };
    let message = format!("`{}` takes a list, not a map", shorten(&item.name.value));
    context.push(
        Diagnostic::error(Code::WrongType, inner.name.span, message).label("a map").help(help.word(context)),
    );
    true
}
