//! `like "api"`, `profiles "dev"` and `replicas 3`: a sandbox's place among the others.

use crate::code::Code;
use crate::context::Context;
use crate::diagnostic::Diagnostic;
use crate::read::{Takes, integer, text, words};
use crate::section::script::invalid_name;
use crate::span::Spanned;
use crate::tree::Item;
use schemas::name::check_name;
use schemas::spec::limits::REPLICAS_MAX;
use std::collections::BTreeSet;

/// Reads whom it is like.
pub(crate) fn read_like(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<String>> {
    let help = |context: &Context<'_>| format!("name a sandbox: `{}`", context.sample("like", &["api"]));
    text(context, item, Takes { what: "a name", bare: false }, &help)
}

/// Reads the profiles.
pub(crate) fn read_profiles(context: &mut Context<'_>, item: &Item<'_>) -> Option<Vec<Spanned<String>>> {
    let help =
        |context: &Context<'_>| format!("name one or more: `{}`", context.sample("profiles", &["dev"]));
    words(context, item, &help)
}

/// Checks the names of the profiles.
pub(crate) fn check_profiles(context: &mut Context<'_>, profiles: &[Spanned<String>]) -> BTreeSet<String> {
    for profile in profiles {
        if let Err(reason) = check_name(&profile.value) {
            context.push(invalid_name(profile, "profile", &reason.to_string()));
        }
    }
    profiles.iter().map(|profile| profile.value.clone()).collect()
}

/// Reads the number of replicas.
pub(crate) fn read_replicas(context: &mut Context<'_>, item: &Item<'_>) -> Option<Spanned<i128>> {
    let help = |context: &Context<'_>| {
        format!("write a whole number without quotes: `{}`", context.sample_bare("replicas", "3"))
    };
    integer(context, item, &help)
}

/// Checks the number of replicas.
pub(crate) fn check_replicas(context: &mut Context<'_>, replicas: &Spanned<i128>) -> Option<u32> {
    let checked = u32::try_from(replicas.value).ok().filter(|count| (1..=REPLICAS_MAX).contains(count));
    if checked.is_none() {
        let label = if replicas.value < 1 { "at least 1" } else { "too many" };
        context.push(
            Diagnostic::error(
                Code::OutOfRange,
                replicas.span,
                format!("there cannot be {} replicas", replicas.value),
            )
            .label(label)
            .help(format!("give a number from 1 to {REPLICAS_MAX}; `profiles` leaves a sandbox out")),
        );
    }
    checked
}
