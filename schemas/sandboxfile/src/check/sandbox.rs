//! A sandbox or a job: as typed, and checked by itself.

use super::budget::{ENTRY_BYTES, Weight};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::SANDBOX;
use crate::merge::Layer;
use crate::syntax::{Span, Spanned};
use crate::values::env_file;
use crate::values::read::{Entry, Fields, no_value};
use crate::values::{self, Declared, Reading, Scope, Value, invalid_name};
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
                Self { name, role, $( $field: fields.reading($kdl, |item| values::$value::read(context, item)), )+ }
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
        $field:ident $(: $type:ty = $default:expr)? => $value:ident { $($rest:tt)* };
    )+) => {
        /// What a Sandboxfile declares of a sandbox besides its definition.
        pub(crate) struct Declaration {
            $( $(#[$attribute])+ pub $field: <values::$value as Value>::Model, )+
        }

        fn check_declaration(context: &mut Context<'_>, scope: &Scope<'_>) -> Option<Declaration> {
            $( let $field = match scope.sandbox.$field.written() {
                Some(raw) => values::$value::check(context, raw, scope),
                None => None $(.or(Some($default)))?,
            }; )+
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
            let mut definition = Definition::with_defaults(scope.sandbox.role);
            let mut is_sound = true;
            $( if let Some(raw) = scope.sandbox.$field.written() {
                match values::$value::check(context, raw, scope) {
                    Some(checked) => definition.$field = checked.into(),
                    None => is_sound = false,
                }
            } )+
            is_sound.then_some(definition)
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
    volumes: &BTreeMap<&str, Declared>,
) -> Option<Checked> {
    context.speak_as(sandbox.name.span);
    let name = check_name(context, sandbox, taken);
    let scope = Scope { sandbox, volumes };
    let declaration = check_declaration(context, &scope);
    let definition = check_definition(context, &scope);
    let mut definition = definition.map(|definition| Definition { depends_on, ..definition })?;
    for (name, value) in env_file::variables(context, &sandbox.env_files)? {
        definition.env.entry(name).or_insert(value);
    }
    Some(Checked { name: name?, declaration: declaration?, definition })
}

fn check_name(context: &mut Context<'_>, raw: &RawSandbox, taken: &HashSet<&str>) -> Option<SandboxName> {
    match SandboxName::new(raw.name.value.as_str()) {
        Ok(name) if RESERVED_NAMES.contains(&name.as_str()) => {
            let message = format!("`{name}` cannot be the name of a {}", word(raw.role));
            context.refuse(
                Diagnostic::error(Code::ReservedName, raw.name.span, message)
                    .label("has a meaning of its own inside a sandbox")
                    .help("choose another name"),
            )
        }
        Ok(name) => Some(name),
        Err(reason) => {
            let diagnostic = invalid_name(&raw.name, word(raw.role), &reason.to_string());
            // The lower-case form may be the name of another sandbox.
            let twin = suggest_name(&raw.name.value).filter(|suggestion| taken.contains(suggestion.as_str()));
            context.refuse(match twin {
                Some(twin) => diagnostic.help(format!("choose another name: `{twin}` is taken")),
                None => diagnostic,
            })
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
