//! Readers of values, each of which checks the type.

pub(crate) use super::fields::{Element, Entry, Fields, elements, entries, is_map};

use crate::Format;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::syntax::{Argument, Item, Scalar, ScalarKind, Spanned, Value};
use crate::variables::interpolate::interpolate;
use std::str::FromStr;

/// The help of a message, which is formatted only when there is a message: a large file has many values, few of them
/// wrong.
pub(crate) trait Help {
    /// Returns the text, in the format of the current file.
    fn word(&self, context: &Context<'_>) -> String;
}

impl Help for &str {
    fn word(&self, _context: &Context<'_>) -> String {
        (*self).to_owned()
    }
}

impl Help for String {
    fn word(&self, _context: &Context<'_>) -> String {
        self.clone()
    }
}

impl<F: Fn(&Context<'_>) -> String> Help for F {
    fn word(&self, context: &Context<'_>) -> String {
        self(context)
    }
}

/// The values that a text property takes.
#[derive(Clone, Copy)]
pub(crate) struct Takes {
    /// Their description for messages: `a path`.
    pub what: &'static str,
    /// Whether a bare number or truth value is read as text in KDL too; in YAML it always is.
    pub bare: bool,
}

/// Returns the value of a property that takes one value and no block.
pub(crate) fn single<'t>(
    context: &mut Context<'_>,
    item: &'t Item<'t>,
    help: &dyn Help,
) -> Option<&'t Argument<'t>> {
    no_block(context, item, help);
    match item.arguments.as_slice() {
        [] if !item.items.is_empty() => None,
        [argument] if !argument.is_null() => Some(argument),
        [] | [_] => context.refuse(nothing_follows(item).help(help.word(context))),
        [_, extra, ..] => {
            let message = format!("`{}` takes one value", shorten(&item.name.value));
            context.refuse(
                Diagnostic::error(Code::TooManyValues, extra.span, message)
                    .label("one too many")
                    .help(help.word(context)),
            )
        }
    }
}

/// Reports a value where there can only be properties, and returns it.
pub(crate) fn no_value<'t>(
    context: &mut Context<'_>,
    arguments: &'t [Argument<'t>],
    message: &dyn Help,
    help: &dyn Help,
) -> Option<&'t Argument<'t>> {
    let argument = arguments.iter().find(|argument| !argument.is_null())?;
    context.push(
        Diagnostic::error(Code::WrongType, argument.span, message.word(context))
            .label(argument.describe())
            .help(help.word(context)),
    );
    Some(argument)
}

/// A value that either follows the name of its node, or is a property.
pub(crate) struct MainValue<'a> {
    /// The name of the property.
    pub property: &'static str,
    /// Returns the report about a missing value.
    pub missing: &'a dyn Fn() -> Diagnostic,
    /// The message about several values.
    pub too_many: &'a str,
    /// The next step for a missing value, and for several ones unless they have their own.
    pub help: &'a dyn Help,
    /// The next step for several values.
    pub too_many_help: Option<&'a dyn Help>,
}

impl MainValue<'_> {
    /// Finds the value, and the name of the property where it is one.
    pub fn find<'t>(
        &self,
        context: &mut Context<'_>,
        arguments: &'t [Argument<'t>],
        fields: &Fields<'t>,
    ) -> Option<(&'t Argument<'t>, Option<&'t str>)> {
        let mut direct = arguments.iter().filter(|argument| !argument.is_null());
        let (first, second) = (direct.next(), direct.next());
        let property = fields.one(self.property);
        let diagnostic = match (first, second.or(first.filter(|_| property.is_some())), property) {
            (_, Some(extra), _) => {
                let help = self.too_many_help.unwrap_or(self.help).word(context);
                Diagnostic::error(Code::TooManyValues, extra.span, self.too_many)
                    .label("one too many")
                    .help(help)
            }
            (Some(argument), None, _) => return Some((argument, None)),
            (None, None, Some(item)) => {
                return Some((single(context, item, self.help)?, Some(&item.name.value)));
            }
            (None, None, None) if fields.has_misspelling_of(self.property) => return None,
            (None, None, None) => (self.missing)().help(self.help.word(context)),
        };
        context.refuse(diagnostic)
    }
}

/// Reports a property that no value follows.
pub(crate) fn missing_value(context: &mut Context<'_>, item: &Item<'_>, help: &dyn Help) {
    context.push(nothing_follows(item).help(help.word(context)));
}

/// Returns the report about a property that no value follows.
pub(crate) fn nothing_follows(item: &Item<'_>) -> Diagnostic {
    let message = format!("`{}` needs a value", shorten(&item.name.value));
    Diagnostic::error(Code::MissingValue, item.name.span, message).label("nothing follows")
}

/// Reports properties where there can be none.
pub(crate) fn no_block(context: &mut Context<'_>, item: &Item<'_>, help: &dyn Help) {
    if let Some(inner) = item.items.first() {
        let message = format!("`{}` takes no properties", shorten(&item.name.value));
        context.push(
            Diagnostic::error(Code::UnknownProperty, inner.name.span, message)
                .label("not known here")
                .help(help.word(context)),
        );
    }
}

/// Returns the text of an argument, its variables replaced.
pub(crate) fn text_of(
    context: &mut Context<'_>,
    argument: &Argument<'_>,
    property: &str,
    takes: Takes,
) -> Option<Spanned<String>> {
    let text = raw_text_of(context, argument, property, takes)?;
    interpolate(context, text)
}

/// Returns the text of an argument, its variables not replaced.
pub(crate) fn raw_text_of(
    context: &mut Context<'_>,
    argument: &Argument<'_>,
    property: &str,
    takes: Takes,
) -> Option<Spanned<String>> {
    let bare = takes.bare || context.format == Format::Yaml;
    let text = match &argument.value {
        Value::Scalar(Scalar { kind: ScalarKind::Text, text }) => text,
        Value::Scalar(Scalar { kind, text }) if bare && *kind != ScalarKind::Null => text,
        _ => {
            let found = argument.describe();
            let message = format!("`{}` takes {}, not {found}", shorten(property), takes.what);
            let diagnostic = Diagnostic::error(Code::WrongType, argument.span, message).label(found);
            return context.refuse(match &argument.value {
                Value::Scalar(scalar) if scalar.kind != ScalarKind::Null => {
                    diagnostic.help(format!("put it in quotes: \"{}\"", shorten(&scalar.text)))
                }
                Value::Scalar(_) => diagnostic.help("an empty text is written \"\""),
                Value::List(_) | Value::Map(_) => diagnostic,
            });
        }
    };
    if text.contains('\0') {
        let message = format!("`{}` cannot hold a NUL character", shorten(property));
        return context
            .refuse(Diagnostic::error(Code::InvalidText, argument.span, message).label("holds \\0"));
    }
    Some(Spanned::new(text.clone().into_owned(), argument.span))
}

/// Reads the text of a property with a single value.
pub(crate) fn text(
    context: &mut Context<'_>,
    item: &Item<'_>,
    takes: Takes,
    help: &dyn Help,
) -> Option<Spanned<String>> {
    let argument = single(context, item, help)?;
    text_of(context, argument, &item.name.value, takes)
}

/// Reads the text of a property with a single value; `sample` is one, for messages.
pub(crate) fn text_like(
    context: &mut Context<'_>,
    item: &Item<'_>,
    takes: Takes,
    sample: &str,
) -> Option<Spanned<String>> {
    let help = |context: &Context<'_>| format!("write `{}`", context.sample(&item.name.value, &[sample]));
    text(context, item, takes, &help)
}

/// Reads the whole number of a property with a single value; `sample` is one, for messages.
pub(crate) fn integer(context: &mut Context<'_>, item: &Item<'_>, sample: &str) -> Option<Spanned<i128>> {
    let help: &dyn Help = &|context: &Context<'_>| {
        format!("write a whole number without quotes: `{}`", context.sample_bare(&item.name.value, sample))
    };
    let of_kind = |kind| if let ScalarKind::Integer(value) = kind { Some(value) } else { None };
    scalar(context, item, "a whole number", of_kind, help)
}

/// Reads the truth value of a property with a single value.
pub(crate) fn boolean(context: &mut Context<'_>, item: &Item<'_>, help: &dyn Help) -> Option<Spanned<bool>> {
    let of_kind = |kind| if let ScalarKind::Bool(value) = kind { Some(value) } else { None };
    scalar(context, item, "true or false", of_kind, help)
}

/// Reads a value of one kind, or a text whose variables make one; `what` is one, for messages.
fn scalar<T: FromStr>(
    context: &mut Context<'_>,
    item: &Item<'_>,
    what: &str,
    of_kind: impl Fn(ScalarKind) -> Option<T>,
    help: &dyn Help,
) -> Option<Spanned<T>> {
    let argument = single(context, item, help)?;
    let (found, label) = match &argument.value {
        Value::Scalar(Scalar { kind: ScalarKind::Text, text }) if text.contains('$') => {
            let text = interpolate(context, Spanned::new(text.clone().into_owned(), argument.span))?;
            if let Ok(value) = text.value.trim().parse() {
                return Some(Spanned::new(value, text.span));
            }
            let shown = format!("`{}`", shorten(&text.value));
            (shown.clone(), format!("this is {shown}"))
        }
        value => {
            if let Value::Scalar(scalar) = value
                && let Some(value) = of_kind(scalar.kind)
            {
                return Some(Spanned::new(value, argument.span));
            }
            (argument.describe().to_owned(), argument.describe().to_owned())
        }
    };
    let message = format!("`{}` takes {what}, not {found}", shorten(&item.name.value));
    context.refuse(
        Diagnostic::error(Code::WrongType, argument.span, message).label(label).help(help.word(context)),
    )
}

/// Reads a flag, which is false by default.
pub(crate) fn flag(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<bool>> {
    let help =
        |context: &Context<'_>| format!("write `{}`, or omit it", context.sample_flag(&item.name.value));
    boolean(context, item, &help)
}

/// Reads a size or a duration as typed: any text, which the parser of the unit judges; `sample` is one, for messages.
pub(crate) fn quantity(context: &mut Context<'_>, item: &Item<'_>, sample: &str) -> Option<Spanned<String>> {
    let help = |context: &Context<'_>| {
        format!("write it with its unit: `{}`", context.sample(&item.name.value, &[sample]))
    };
    text(context, item, Takes { what: "a text with a unit", bare: true }, &help)
}

/// Reads the words of a command line.
pub(crate) fn words(
    context: &mut Context<'_>,
    item: &Item<'_>,
    help: &dyn Help,
) -> Option<Vec<Spanned<String>>> {
    if !has_values(context, item, help) {
        return None;
    }
    words_of(context, &item.arguments, &item.name.value)
}

/// Returns whether a property that takes values and no block has any; reports if not.
pub(crate) fn has_values(context: &mut Context<'_>, item: &Item<'_>, help: &dyn Help) -> bool {
    no_block(context, item, help);
    let has_values = !item.arguments.iter().all(Argument::is_null);
    if !has_values && item.items.is_empty() {
        missing_value(context, item, help);
    }
    has_values
}

/// Reads arguments as words; `None` if one is wrong, after all are read.
pub(crate) fn words_of(
    context: &mut Context<'_>,
    arguments: &[Argument<'_>],
    property: &str,
) -> Option<Vec<Spanned<String>>> {
    let takes = Takes { what: "words", bare: true };
    let words: Vec<_> =
        arguments.iter().map(|argument| text_of(context, argument, property, takes)).collect();
    words.into_iter().collect()
}
