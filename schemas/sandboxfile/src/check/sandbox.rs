//! A sandbox or a job: as typed, and checked by itself.

use super::budget::{ENTRY_BYTES, Weight};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::SANDBOX;
use crate::merge::Layer;
use crate::syntax::{Item, Span, Spanned};
use crate::values::read::{Entry, Fields, no_value};
use crate::values::{self, Scope, Value, invalid_name};
use schemas::model::Sandbox;
use schemas::name::{SandboxName, suggest_name};
use schemas::spec::{Condition, Definition, Role};
use std::collections::{BTreeMap, BTreeSet, HashSet};

macro_rules! define_raw {
    ($(
        $(#[$attribute:meta])+
        $field:ident $(: $type:ty = $default:expr)? => $value:ident {
            names: $count:ident($kdl:literal, $yaml:literal),
            like: $like:literal,
            $($rest:tt)*
        };
    )+) => {
        /// A sandbox or a job as typed. A property that is missing or could not be read has the default of its type;
        /// errors are in the context.
        #[derive(Clone, Debug)]
        pub(crate) struct RawSandbox {
            /// Its name.
            pub name: Spanned<String>,
            /// Service or job.
            pub role: Role,
            $( pub $field: <values::$value as Value>::Raw, )+
        }

        impl RawSandbox {
            fn from_fields(
                context: &mut Context<'_>,
                name: Spanned<String>,
                role: Role,
                fields: &Fields<'_>,
            ) -> Self {
                Self { name, role, $( $field: values::$value::read(context, fields, $kdl), )+ }
            }

            /// Merges another reading of the same sandbox over this one.
            pub fn override_with(&mut self, over: Self) {
                $( self.$field = over.$field.overlay(std::mem::take(&mut self.$field)); )+
            }

            /// Merges this sandbox over the inheritable properties of the one named by its `like`.
            pub fn inherit(&mut self, base: &Self) {
                $(
                    if $like {
                        self.$field = std::mem::take(&mut self.$field).overlay(base.$field.clone());
                    }
                )+
            }

            /// Returns the cost of a copy of the inheritable properties, in bytes of the budget.
            pub fn inherited_weight(&self) -> usize {
                ENTRY_BYTES $( + if $like { self.$field.weight() } else { 0 } )+
            }

            /// Returns the cost of a copy of the whole sandbox, in bytes of the budget.
            pub fn weight(&self) -> usize {
                ENTRY_BYTES + self.name.weight() $( + self.$field.weight() )+
            }

            /// Returns the path inside the sandbox and the span of every written value, and whether it is inheritable.
            pub fn origins(&self) -> Vec<(String, Span, bool)> {
                let mut origins = Vec::new();
                $(
                    self.$field.origins(&mut |inside, span| {
                        let path = if inside.is_empty() { $kdl.to_owned() } else { format!("{}.{inside}", $kdl) };
                        origins.push((path, span, $like));
                    });
                )+
                origins
            }
        }
    };
}

macro_rules! define_declaration {
    ($(
        $(#[$attribute:meta])+
        $field:ident => $value:ident { $($rest:tt)* };
    )+) => {
        /// What a Sandboxfile declares of a sandbox besides its definition.
        pub(crate) struct Declaration {
            $( $(#[$attribute])+ pub $field: <values::$value as Value>::Model, )+
        }

        fn check_declaration(context: &mut Context<'_>, scope: &Scope<'_>) -> Option<Declaration> {
            $( let $field = values::$value::check(context, &scope.sandbox.$field, scope); )+
            Some(Declaration { $( $field: $field?, )+ })
        }
    };
}

macro_rules! define_check {
    ($(
        $(#[$attribute:meta])+
        $field:ident: $type:ty = $default:expr => $value:ident { $($rest:tt)* };
    )+) => {
        fn check_definition(context: &mut Context<'_>, scope: &Scope<'_>) -> Option<Definition> {
            $( let $field = values::$value::check(context, &scope.sandbox.$field, scope); )+
            Some(Definition { role: scope.sandbox.role, $( $field: $field?, )+ })
        }
    };
}

macro_rules! define {
    (
        first { $($first:tt)* }
        definition { $($definition:tt)* }
        last { $($last:tt)* }
    ) => {
        define_raw! { $($first)* $($definition)* $($last)* }
        define_declaration! { $($first)* $($last)* }
        define_check! { $($definition)* }
    };
}

schemas::sandbox_properties!(define);

/// Names that are reserved inside the network of a sandbox.
pub(crate) const RESERVED_NAMES: [&str; 4] = ["localhost", "host", "gateway", "msb"];

/// A required property.
#[derive(Clone, Debug, Default)]
pub(crate) enum Parsed<T> {
    /// It is not present.
    #[default]
    Missing,
    /// It could not be read, which is reported.
    Invalid,
    /// It was read.
    Value(T),
}

impl<T> Parsed<T> {
    /// Reads a property. It is invalid rather than missing when it is probably misspelt, or when its absence is reported.
    pub(crate) fn read(
        fields: &Fields<'_>,
        property: &'static str,
        is_reported: bool,
        read: impl FnOnce(&Item<'_>) -> Option<T>,
    ) -> Self {
        match fields.one(property) {
            Some(item) => read(item).map_or(Self::Invalid, Self::Value),
            None if is_reported || fields.has_misspelling_of(property) => Self::Invalid,
            None => Self::Missing,
        }
    }
}

impl RawSandbox {
    /// Suppresses the error about a missing image after `like` could not be resolved.
    pub fn ignore_missing_image(&mut self) {
        if matches!(self.image, Parsed::Missing) {
            self.image = Parsed::Invalid;
        }
    }
}

/// Reads one sandbox as typed.
pub(crate) fn read(context: &mut Context<'_>, entry: Entry<'_>, role: Role) -> RawSandbox {
    let message =
        |_: &Context<'_>| format!("`{}` takes its properties as a block", shorten(&entry.name.value));
    let help = |context: &Context<'_>| format!("write `{}` inside it", context.sample("image", &["./image"]));
    let wrong = no_value(context, entry.arguments, &message, &help);
    let mut fields = Fields::read(context, &SANDBOX, entry.items);
    if wrong.is_some() {
        fields.suspect_all();
    }
    RawSandbox::from_fields(context, entry.name, role, &fields)
}

/// A sandbox that was checked by itself.
pub(crate) struct Checked {
    /// Its name in the Sandboxfile.
    pub name: SandboxName,
    /// What is declared besides the definition.
    pub declaration: Declaration,
    /// The definition; its dependencies are names of the Sandboxfile.
    pub definition: Definition,
}

/// Checks one sandbox without its dependencies, which are checked already.
pub(crate) fn check(
    context: &mut Context<'_>,
    sandbox: &RawSandbox,
    depends_on: BTreeMap<SandboxName, Condition>,
    taken: &HashSet<&str>,
    volumes: &BTreeSet<&str>,
) -> Option<Checked> {
    context.speak_as(sandbox.name.span);
    let name = check_name(context, sandbox, taken);
    let scope = Scope { sandbox, volumes };
    let declaration = check_declaration(context, &scope);
    let definition = check_definition(context, &scope);
    let definition = definition.map(|definition| Definition { depends_on, ..definition });
    Some(Checked { name: name?, declaration: declaration?, definition: definition? })
}

fn check_name(context: &mut Context<'_>, raw: &RawSandbox, taken: &HashSet<&str>) -> Option<SandboxName> {
    match SandboxName::new(raw.name.value.as_str()) {
        Ok(name) if RESERVED_NAMES.contains(&name.as_str()) => {
            let message = format!("`{name}` cannot be the name of a {}", word(raw.role));
            context.push(
                Diagnostic::error(Code::ReservedName, raw.name.span, message)
                    .label("has a meaning of its own inside a sandbox")
                    .help("choose another name"),
            );
            None
        }
        Ok(name) => Some(name),
        Err(reason) => {
            let diagnostic = invalid_name(&raw.name, word(raw.role), &reason.to_string());
            // The lower-case form may be the name of another sandbox.
            let twin = suggest_name(&raw.name.value).filter(|suggestion| taken.contains(suggestion.as_str()));
            context.push(match twin {
                Some(twin) => diagnostic.help(format!("choose another name: `{twin}` is taken")),
                None => diagnostic,
            });
            None
        }
    }
}

/// Returns the word for a role.
pub(crate) fn word(role: Role) -> &'static str {
    match role {
        Role::Service => "sandbox",
        Role::Job => "job",
    }
}

impl Declaration {
    /// Returns the declaration of a sandbox of the model, in which `like` is resolved.
    pub fn of(sandbox: &Sandbox) -> Self {
        Self {
            image: sandbox.image().clone(),
            like: (),
            replicas: sandbox.replica().map_or(1, |replica| replica.count),
            profiles: sandbox.profiles().clone(),
        }
    }
}
