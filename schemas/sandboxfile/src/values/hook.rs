//! `hook "post-start" "migrate"`: commands that run inside a sandbox at moments of its life.

use super::read::{Entry, Fields, entries, no_value, words, words_of};
use super::repeats::given_before;
use super::start::check_command;
use super::word::{advice, known_words};
use super::{Named, PrintScope, Scope, Value};
use crate::Format;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{HOOKS, Instead, schema};
use crate::print::{Name, Node, Printed};
use crate::syntax::{Argument, Item, Spanned};
use schemas::spec::HookEvent;
use std::collections::BTreeMap;

/// The command of a hook as typed, by its moment.
type RawHook = Named<Vec<Spanned<String>>>;

/// Reads a hook in KDL.
fn read_node(context: &mut Context<'_>, entry: Entry<'_>) -> Option<RawHook> {
    let help = format!("write `hook \"{}\" \"echo\" \"hello\"`", shorten(&entry.name.value));
    if let Some(inner) = entry.items.first() {
        return context.refuse(
            Diagnostic::error(Code::UnknownProperty, inner.name.span, "a hook takes no properties")
                .label("not known here")
                .help(help),
        );
    }
    if entry.arguments.iter().all(Argument::is_null) {
        let message = format!("the hook `{}` runs nothing", shorten(&entry.name.value));
        return context.refuse(
            Diagnostic::error(Code::MissingValue, entry.name.span, message)
                .label("no command follows")
                .help(help),
        );
    }
    Some(Named { value: words_of(context, entry.arguments, "hook")?, name: entry.name })
}

fn check_event(context: &mut Context<'_>, given: &Spanned<String>) -> Option<HookEvent> {
    if let Some(event) = HookEvent::from_word(&given.value) {
        return Some(event);
    }
    let help = match HOOKS.instead_of(&given.value) {
        Some(Instead::Use(event)) => format!("did you mean `{event}`?"),
        _ => advice(context, &given.value, known_words::<HookEvent>(), &[]),
    };
    let message = format!("no hook runs at `{}`", shorten(&given.value));
    context
        .refuse(Diagnostic::error(Code::UnknownValue, given.span, message).label("not a moment").help(help))
}

/// Commands by the moments at which they run.
pub(crate) struct Hooks;

impl Value for Hooks {
    type Raw = Vec<RawHook>;
    type Model = BTreeMap<HookEvent, Vec<String>>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        if context.format == Format::Kdl {
            let found = entries(context, item, "post-start");
            return found.into_iter().filter_map(|entry| read_node(context, entry)).collect();
        }
        let help = "write `post_start: [echo, hello]` on an indented line below it";
        no_value(context, &item.arguments, &"`hooks` takes a map of moments", &help);
        let fields = Fields::read(context, &HOOKS, &item.items);
        let read = |event: &HookEvent| {
            let item = fields.one(event.as_str())?;
            let help = |context: &Context<'_>| {
                format!("write `{}`", context.sample(event.as_str(), &["echo", "hello"]))
            };
            let name = Spanned::new(event.as_str().to_owned(), item.name.span);
            Some(Named { name, value: words(context, item, &help)? })
        };
        HookEvent::ALL.iter().filter_map(read).collect()
    }

    fn check(context: &mut Context<'_>, hooks: &[RawHook], scope: &Scope<'_>) -> Option<Self::Model> {
        let mut first = BTreeMap::new();
        let mut checked = BTreeMap::new();
        for Named { name, value: argv } in hooks {
            let Some(event) = check_event(context, name) else { continue };
            if let Some(before) = given_before(&mut first, event, name.span) {
                let message = format!("there are two hooks for `{event}`");
                context.push(
                    Diagnostic::error(Code::DuplicateName, name.span, message)
                        .label("the same moment again")
                        .also(before, "first given here")
                        .help("put both commands into one script"),
                );
                continue;
            }
            let property = context.format.pick(format!("hook \"{event}\""), event.to_string());
            let argv = check_command(context, argv, &property, "of a hook", &scope.sandbox.scripts);
            checked.extend(argv.map(|argv| (event, argv)));
        }
        Some(checked)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::Named(
            model.iter().map(|(event, argv)| (Name::Word(event.as_str()), Node::words(argv))).collect(),
        )
    }

    fn schema() -> serde_json::Value {
        schema::definition("Hooks")
    }
}
