//! `depends-on "db" condition="healthy"`: what must be reached before a sandbox starts.

use super::read::{Fields, Takes, boolean, missing_value, text, text_of};
use super::word::{known_words, suggestion};
use super::{PrintScope, Scope, Value};
use crate::Format;
use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{DEPENDENCY, Vocabulary, schema};
use crate::merge::Keyed;
use crate::print::{Item as PrintItem, Name, Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use rules::suggest::list;
use schemas::name::SandboxName;
use schemas::spec::Condition;
use std::collections::BTreeMap;

/// A dependency as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawDependency {
    /// The name of the other sandbox.
    pub on: Spanned<String>,
    /// The condition that it must reach.
    pub condition: Option<Spanned<String>>,
    /// Whether the other sandbox must be in the file.
    pub is_required: bool,
}

impl Weight for RawDependency {
    fn weight(&self) -> usize {
        let Self { on, condition, is_required: _ } = self;
        on.weight() + condition.weight()
    }
}

impl Keyed for RawDependency {
    fn key(&self) -> &str {
        &self.on.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        let span = self.condition.as_ref().map_or(self.on.span, |condition| condition.span);
        found(&self.on.value, span);
    }
}

/// `db: { condition: healthy }`, `db: healthy` or `db:`.
fn read_entry(context: &mut Context<'_>, entry: &Item<'_>) -> RawDependency {
    let fields = Fields::read(context, &DEPENDENCY, &entry.items);
    let short = entry.arguments.iter().any(|argument| !argument.is_null());
    let condition = match fields.one("condition") {
        Some(item) => read_condition(context, item),
        None if short => read_condition(context, entry),
        None => None,
    };
    RawDependency { on: entry.own_name(), condition, is_required: read_required(context, &fields) }
}

fn read_required(context: &mut Context<'_>, fields: &Fields<'_>) -> bool {
    let help = |context: &Context<'_>| {
        context
            .format
            .pick("write `required=#false`, or omit it", "write `required: false`, or omit it")
            .to_owned()
    };
    let required = fields.one("required").and_then(|item| boolean(context, item, &help));
    required.is_none_or(|required| required.value)
}

fn read_condition(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
    let help = |_: &Context<'_>| format!("it is one of {}", list(known_words::<Condition>(), "and"));
    text(context, item, Takes { what: "a word", bare: false }, &help)
}

/// Checks the condition's word.
pub(crate) fn check_condition(context: &mut Context<'_>, dependency: &RawDependency) -> Option<Condition> {
    let Some(condition) = &dependency.condition else { return Some(Condition::default()) };
    let word = condition.value.as_str();
    if let Some(known) = Condition::from_word(word) {
        return Some(known);
    }
    let words = known_words::<Condition>();
    let help = match suggestion(context, word, words.clone(), Condition::FOREIGN) {
        Some(ours) => format!("did you mean `{ours}`?"),
        None => format!("a dependency can wait until the other one is {}", list(words, "or")),
    };
    let message = format!("there is no condition `{}`", shorten(word));
    context.refuse(
        Diagnostic::error(Code::UnknownValue, condition.span, message).label("not a condition").help(help),
    )
}

/// Dependencies by the names of other sandboxes.
pub(crate) struct DependsOn;

impl Value for DependsOn {
    type Raw = Vec<RawDependency>;
    type Model = BTreeMap<SandboxName, Condition>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let takes = Takes { what: "names of sandboxes", bare: false };
        let named: Vec<Spanned<String>> = item
            .arguments
            .iter()
            .filter(|argument| !argument.is_null())
            .filter_map(|argument| text_of(context, argument, &item.name.value, takes))
            .collect();
        match context.format {
            Format::Kdl => {
                if item.arguments.is_empty() {
                    let help = |context: &Context<'_>| {
                        format!("name a sandbox: `{}`", context.sample("depends-on", &["db"]))
                    };
                    missing_value(context, item, &help);
                }
                let fields = Fields::read(context, &DEPENDENCY, &item.items);
                let condition = fields.one("condition").and_then(|item| read_condition(context, item));
                let is_required = read_required(context, &fields);
                let of = |on| RawDependency { on, condition: condition.clone(), is_required };
                named.into_iter().map(of).collect()
            }
            Format::Yaml => {
                let listed =
                    named.into_iter().map(|on| RawDependency { on, condition: None, is_required: true });
                let mapped: Vec<RawDependency> =
                    item.items.iter().map(|entry| read_entry(context, entry)).collect();
                listed.chain(mapped).collect()
            }
        }
    }

    /// Returns none: they are checked together with those of all other sandboxes, and added afterwards.
    fn check(_context: &mut Context<'_>, _raw: &[RawDependency], _scope: &Scope<'_>) -> Option<Self::Model> {
        Some(BTreeMap::new())
    }

    fn print(_model: &Self::Model, scope: &PrintScope<'_>) -> Printed {
        let print_one = |(on, condition): (&&SandboxName, &Condition)| {
            let condition = PrintItem::property("condition", Scalar::text(condition.as_str()));
            (Name::Key(on.to_string()), Node::flow(vec![condition]))
        };
        Printed::Named(scope.depends_on.iter().map(print_one).collect())
    }

    fn schema() -> serde_json::Value {
        schema::dependencies()
    }
}
