//! What mounts and copied folders have in common: a source, its path in the sandbox, and options.

use super::guest_path;
use super::read::{Element, Fields, Help, MainValue, Takes, elements, text, text_of};
use super::repeats::given_before;
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{Instead, PropertyTable, schema};
use crate::merge::Keyed;
use crate::syntax::{Item, Span, Spanned, Value};
use std::collections::BTreeMap;

/// A mount or a copied folder as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawPlacement<T> {
    /// The path of the host, or the name of a volume.
    pub source: Spanned<String>,
    /// The path in the sandbox.
    pub to: Spanned<String>,
    /// All else.
    pub options: T,
}

impl<T: Weight> Weight for RawPlacement<T> {
    fn weight(&self) -> usize {
        let Self { source, to, options } = self;
        source.weight() + to.weight() + options.weight()
    }
}

impl<T> Keyed for RawPlacement<T> {
    fn key(&self) -> &str {
        &self.to.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found(&self.to.value, self.source.span);
    }
}

/// The words of messages about one kind of placement.
pub(super) struct Words {
    /// The name of its KDL node.
    pub node: &'static str,
    /// What its source is: `a path`.
    pub source: &'static str,
    /// What is done with its source: `copied`.
    pub verb: &'static str,
    /// The same before a path in the sandbox: `copied to`.
    pub placed: &'static str,
    /// The message about several sources.
    pub too_many: &'static str,
    /// The message about two of the same path, up to the path, and the next step.
    pub twice: (&'static str, &'static str),
}

/// The options of one kind of placement.
pub(super) trait Options: Sized {
    /// The words of messages.
    const WORDS: Words;

    /// The names inside it.
    const TABLE: &'static PropertyTable;

    /// Reads the options as typed.
    fn read(context: &mut Context<'_>, fields: &Fields<'_>) -> Self;

    /// A text that is source, path and options at once, for messages; `None` when there is no such form of it.
    const SHORT: Option<&'static str> = None;

    /// Reads a text that is source, path and options at once; `None` when there is no such form of it.
    fn read_short(_context: &mut Context<'_>, _text: &Spanned<String>) -> Option<Parsed<Self>> {
        None
    }
}

/// A placement that was read; `None` when it is wrong, which is reported.
type Parsed<T> = Option<RawPlacement<T>>;

/// Reads one in KDL, all of them in YAML.
pub(super) fn read<T: Options>(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RawPlacement<T>> {
    let help = |context: &Context<'_>| match context.format {
        Format::Kdl => format!("write `{} \"./src\" to=\"/app\"`", T::WORDS.node),
        Format::Yaml => "write `- { source: ./src, to: /app }` on a line below it".to_owned(),
    };
    let found = elements(context, item, &help);
    found.iter().filter_map(|element| read_one(context, item, element, &help)).collect()
}

fn read_one<T: Options>(
    context: &mut Context<'_>,
    item: &Item<'_>,
    element: &Element<'_>,
    help: &dyn Help,
) -> Parsed<T> {
    let Words { source, verb, placed, too_many, .. } = T::WORDS;
    let fields = Fields::read(context, T::TABLE, element.items);
    let options = T::read(context, &fields);
    let missing = || {
        Diagnostic::error(Code::MissingProperty, element.span, format!("nothing is {verb}"))
            .label("the source is missing")
    };
    let second = second_value(context, T::TABLE, element);
    let too_many_help = second.as_ref().map(|text| text as &dyn Help);
    let main = MainValue { property: "source", missing: &missing, too_many, help, too_many_help };
    let (argument, name) = main.find(context, element.arguments, &fields)?;
    let takes = Takes { what: source, bare: false };
    let source = text_of(context, argument, name.unwrap_or(&item.name.value), takes)?;
    let Some(to) = fields.one("to") else {
        if fields.has_misspelling_of("to") {
            return None;
        }
        if element.items.is_empty()
            && let Some(short) = T::read_short(context, &source)
        {
            return short;
        }
        let message = format!("where is `{}` {placed}?", shorten(&source.value));
        let help = match T::SHORT {
            // The text is an element of a list, or a value of a flag.
            Some(short) if element.items.is_empty() && context.format == Format::Yaml => {
                format!("write it as {short}")
            }
            Some(short) if source.value.contains(":/") => {
                format!(
                    "options follow the path, as in \"{short}:ro\"; beside properties, write the path as `to`"
                )
            }
            _ => help.word(context),
        };
        return context.refuse(
            Diagnostic::error(Code::MissingProperty, source.span, message)
                .label("`to` is missing")
                .help(help),
        );
    };
    let to = text(context, to, Takes { what: "a path", bare: false }, help)?;
    if T::SHORT.is_some()
        && source.value.contains(":/")
        && context.files.kind(&context.absolute(&source)).is_none()
    {
        let message = format!("`{}` has a path in the sandbox already", shorten(&source.value));
        return context.refuse(
            Diagnostic::error(Code::Conflict, source.span, message)
                .label("a source and a path")
                .also(to.span, "another path")
                .help("keep one of the two"),
        );
    }
    Some(RawPlacement { source, to, options })
}

/// Returns the next step for a value after the source: a flag, or the path in the sandbox. `None` for any other value.
fn second_value(
    context: &Context<'_>,
    table: &'static PropertyTable,
    element: &Element<'_>,
) -> Option<String> {
    let mut values = element.arguments.iter().filter(|argument| !argument.is_null());
    let (_, Value::Scalar(second)) = (values.next()?, &values.next()?.value) else { return None };
    let kdl = match table.instead_of(&second.text) {
        Some(Instead::Use(kdl)) => kdl,
        _ => second.text.as_ref(),
    };
    let flag = table.properties.iter().find(|property| property.kdl == kdl);
    if flag.is_some_and(|property| (property.schema)() == schema::flag()) {
        Some(format!("write `{}`", context.sample_flag(kdl)))
    } else if second.text.starts_with('/') {
        Some(format!("name the path in the sandbox: `to=\"{}\"`", shorten(&second.text)))
    } else {
        None
    }
}

/// Reports a path of the host in place of that in the sandbox, and the other way round.
fn are_swapped<T: Options>(context: &mut Context<'_>, placement: &RawPlacement<T>) -> bool {
    let RawPlacement { source, to, options: _ } = placement;
    let are_swapped = (to.value.starts_with("./") || to.value.starts_with("../"))
        && source.value.starts_with('/')
        && context.files.kind(&source.value).is_none();
    if are_swapped {
        let message = format!("`{}` is a path of the host", shorten(&to.value));
        let (host, guest) = (shorten(&to.value), shorten(&source.value));
        let help = match context.format {
            Format::Kdl => format!("write `{} \"{host}\" to=\"{guest}\"`", T::WORDS.node),
            Format::Yaml => format!("write `{{ source: {host}, to: {guest} }}`"),
        };
        context.push(
            Diagnostic::error(Code::InvalidPath, to.span, message)
                .label("not a path in the sandbox")
                .help(format!("the source comes first: {help}")),
        );
    }
    are_swapped
}

/// Checks the paths in the sandbox, of which each can be used once, and all else by `check`.
pub(super) fn check<T: Options, M>(
    context: &mut Context<'_>,
    placements: &[RawPlacement<T>],
    check: impl Fn(&mut Context<'_>, &RawPlacement<T>) -> Option<M>,
) -> BTreeMap<String, M> {
    let mut first = BTreeMap::new();
    let mut checked = BTreeMap::new();
    for placement in placements {
        if are_swapped(context, placement) {
            continue;
        }
        let to = guest_path::check(context, &placement.to, "/app");
        let model = check(context, placement);
        let path = placement.to.value.as_str();
        if let Some(before) = given_before(&mut first, path, placement.to.span) {
            let (message, help) = T::WORDS.twice;
            let message = format!("{message} `{}`", shorten(path));
            context.push(
                Diagnostic::error(Code::Conflict, placement.to.span, message)
                    .label("the same path again")
                    .also(before, "first given here")
                    .help(help),
            );
            continue;
        }
        if let (Some(to), Some(model)) = (to, model) {
            checked.insert(to, model);
        }
    }
    checked
}
