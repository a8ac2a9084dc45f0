//! `hook "post-start" "migrate"`: commands that run inside a sandbox at moments of its life.

use super::read::{Fields, Takes, entries, no_value, text_of, words};
use super::script::RawScript;
use super::start::command_in_one_string;
use super::word::{advice, words_of};
use super::{PrintScope, Scope, Value};
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{HOOKS, Instead, schema};
use crate::merge::{Keyed, words_span};
use crate::print::{Name, Node, Printed};
use crate::syntax::{Argument, Item, Span, Spanned};
use schemas::spec::HookEvent;
use std::collections::{BTreeMap, HashMap};

/// A hook as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawHook {
    /// When it runs.
    pub event: Spanned<String>,
    /// The command.
    pub argv: Vec<Spanned<String>>,
}

impl Keyed for RawHook {
    fn key(&self) -> &str {
        &self.event.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found(&self.event.value, words_span(&self.argv).unwrap_or(self.event.span));
    }
}

impl Weight for RawHook {
    fn weight(&self) -> usize {
        let Self { event, argv } = self;
        event.weight() + argv.weight()
    }
}

/// Reads one hook in KDL, all of them in YAML.
fn read(context: &mut Context<'_>, item: &Item<'_>) -> Vec<RawHook> {
    match context.format {
        Format::Kdl => {
            let found = entries(context, item, "post-start");
            found
                .into_iter()
                .filter_map(|entry| {
                    let help = format!("write `hook \"{}\" \"echo\" \"hello\"`", shorten(&entry.name.value));
                    if let Some(inner) = entry.items.first() {
                        context.push(
                            Diagnostic::error(
                                Code::UnknownProperty,
                                inner.name.span,
                                "a hook takes no properties",
                            )
                            .label("not known here")
                            .help(help),
                        );
                        return None;
                    }
                    if entry.arguments.iter().all(Argument::is_null) {
                        let message = format!("the hook `{}` runs nothing", shorten(&entry.name.value));
                        context.push(
                            Diagnostic::error(Code::MissingValue, entry.name.span, message)
                                .label("no command follows")
                                .help(help),
                        );
                        return None;
                    }
                    let takes = Takes { what: "words", bare: true };
                    let argv: Vec<_> =
                        entry.arguments.iter().map(|word| text_of(context, word, "hook", takes)).collect();
                    let argv: Option<Vec<_>> = argv.into_iter().collect();
                    Some(RawHook { event: entry.name, argv: argv? })
                })
                .collect()
        }
        Format::Yaml => {
            let help = "write `post_start: [echo, hello]` on an indented line below it";
            no_value(context, &item.arguments, &"`hooks` takes a map of moments", &help);
            let fields = Fields::read(context, &HOOKS, &item.items);
            let mut hooks = Vec::new();
            for event in HookEvent::ALL {
                let Some(item) = fields.one(event.as_str()) else { continue };
                let help = |context: &Context<'_>| {
                    format!("write `{}`", context.sample(event.as_str(), &["echo", "hello"]))
                };
                if let Some(argv) = words(context, item, &help) {
                    hooks.push(RawHook {
                        event: Spanned::new(event.as_str().to_owned(), item.name.span),
                        argv,
                    });
                }
            }
            hooks
        }
    }
}

/// Checks moments and commands; a script's name is a program like any other, being on PATH.
fn check(
    context: &mut Context<'_>,
    hooks: &[RawHook],
    scripts: &[RawScript],
) -> BTreeMap<HookEvent, Vec<String>> {
    let mut first: HashMap<HookEvent, Span> = HashMap::new();
    let mut checked = BTreeMap::new();
    for raw in hooks {
        let Some(event) = check_event(context, &raw.event) else { continue };
        if let Some(&before) = first.get(&event) {
            let message = format!("there are two hooks for `{event}`");
            context.push(
                Diagnostic::error(Code::DuplicateName, raw.event.span, message)
                    .label("the same moment again")
                    .also(before, "first given here")
                    .help("put both commands into one script"),
            );
            continue;
        }
        first.insert(event, raw.event.span);
        let Some(program) = raw.argv.first() else { continue };
        if program.value.trim().is_empty() {
            let message = "the program of a hook is empty";
            context.push(Diagnostic::error(Code::MissingValue, program.span, message).label("no program"));
            continue;
        }
        let is_script = scripts.iter().any(|script| script.name.value == program.value);
        if raw.argv.len() == 1 && !is_script && program.value.contains(char::is_whitespace) {
            let property = match context.format {
                Format::Kdl => format!("hook \"{event}\""),
                Format::Yaml => event.to_string(),
            };
            command_in_one_string(context, &property, program);
            continue;
        }
        checked.insert(event, raw.argv.iter().map(|word| word.value.clone()).collect());
    }
    checked
}

fn check_event(context: &mut Context<'_>, given: &Spanned<String>) -> Option<HookEvent> {
    if let Some(event) = HookEvent::from_word(&given.value) {
        return Some(event);
    }
    let help = match HOOKS.instead_of(&given.value) {
        Some(Instead::Use(event)) => format!("did you mean `{event}`?"),
        _ => advice(context, &given.value, words_of::<HookEvent>(), &[]),
    };
    let message = format!("no hook runs at `{}`", shorten(&given.value));
    context.push(Diagnostic::error(Code::UnknownValue, given.span, message).label("not a moment").help(help));
    None
}

/// Commands by the moments at which they run.
pub(crate) struct Hooks;

impl Value for Hooks {
    type Raw = Vec<RawHook>;
    type Model = BTreeMap<HookEvent, Vec<String>>;

    fn read(context: &mut Context<'_>, fields: &Fields<'_>, property: &'static str) -> Self::Raw {
        fields.all(property).flat_map(|item| read(context, item)).collect()
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, scope: &Scope<'_>) -> Option<Self::Model> {
        Some(check(context, raw, &scope.sandbox.scripts))
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
