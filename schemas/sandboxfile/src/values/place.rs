//! `like "api"`, `profiles "dev"` and `replicas 3`: the relation of a sandbox to the others.

use super::read::{Takes, integer, text, words};
use super::resources::check_number;
use super::script::invalid_name;
use super::{PrintScope, Scope, Value};
use crate::diagnostics::Context;
use crate::language::schema;
use crate::print::{Node, Printed};
use crate::syntax::{Item, Spanned};
use schemas::name::check_name;
use schemas::spec::limits::REPLICAS_MAX;
use std::collections::BTreeSet;

/// The name of the sandbox whose properties are inherited.
pub(crate) struct Like;

impl Value for Like {
    type Raw = Option<Spanned<String>>;
    type Model = ();

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help = |context: &Context<'_>| format!("name a sandbox: `{}`", context.sample("like", &["api"]));
        text(context, item, Takes { what: "a name", bare: false }, &help)
    }

    /// Returns nothing: it is resolved before the checks.
    fn check(_context: &mut Context<'_>, _like: &Spanned<String>, _scope: &Scope<'_>) -> Option<()> {
        Some(())
    }

    fn print((): &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::Nothing
    }

    fn schema() -> serde_json::Value {
        schema::name()
    }
}

/// The profiles that a sandbox belongs to.
pub(crate) struct Profiles;

impl Value for Profiles {
    type Raw = Option<Vec<Spanned<String>>>;
    type Model = BTreeSet<String>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help =
            |context: &Context<'_>| format!("name one or more: `{}`", context.sample("profiles", &["dev"]));
        words(context, item, &help)
    }

    fn check(
        context: &mut Context<'_>,
        profiles: &Vec<Spanned<String>>,
        _scope: &Scope<'_>,
    ) -> Option<Self::Model> {
        for profile in profiles {
            if let Err(reason) = check_name(&profile.value) {
                context.push(invalid_name(profile, "profile", &reason.to_string()));
            }
        }
        Some(profiles.iter().map(|profile| profile.value.clone()).collect())
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        if model.is_empty() { Printed::Nothing } else { Printed::One(Node::words(model)) }
    }

    fn schema() -> serde_json::Value {
        schema::words()
    }
}

/// The number of copies of a sandbox.
pub(crate) struct Replicas;

impl Value for Replicas {
    type Raw = Option<Spanned<i128>>;
    type Model = u32;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        integer(context, item, "3")
    }

    fn check(context: &mut Context<'_>, replicas: &Spanned<i128>, _scope: &Scope<'_>) -> Option<u32> {
        check_number(context, replicas, 1..=REPLICAS_MAX, || {
            (
                format!("there cannot be {} replicas", replicas.value),
                format!("give a number from 1 to {REPLICAS_MAX}; `profiles` leaves a sandbox out"),
            )
        })
    }

    fn print(model: &u32, _scope: &PrintScope<'_>) -> Printed {
        if *model > 1 { Printed::One(Node::number(model)) } else { Printed::Nothing }
    }

    fn schema() -> serde_json::Value {
        schema::integer(1, Some(REPLICAS_MAX))
    }
}
