//! Single values, each declared by its functions, and blocks of them, each declared by its table in `schemas::spec`.

use crate::diagnostics::Context;
use crate::syntax::Item;

/// Reads a single value as typed; `None` if it cannot be read, which is reported.
pub(super) type Read<R> = fn(&mut Context<'_>, &Item<'_>) -> Option<R>;

/// Checks a single value; `None` if it is wrong, which is reported.
pub(super) type Check<R, M> = fn(&mut Context<'_>, &R) -> Option<M>;

/// Declares kinds of single values by the functions that they consist of.
macro_rules! values {
    ($(
        $(#[$attribute:meta])+
        $name:ident: $raw:ty => $model:ty {
            read: $read:expr, check: $check:expr, print: $print:expr, schema: $schema:expr,
        }
    )+) => { $(
        $(#[$attribute])+
        pub(crate) struct $name;

        impl Value for $name {
            type Raw = Option<$raw>;
            type Model = $model;

            fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
                let read: $crate::values::block::Read<$raw> = $read;
                read(context, item)
            }

            fn check(context: &mut Context<'_>, raw: &$raw, _scope: &Scope<'_>) -> Option<$model> {
                let check: $crate::values::block::Check<$raw, $model> = $check;
                check(context, raw)
            }

            fn print(model: &$model, _scope: &PrintScope<'_>) -> Printed {
                let print: fn(&$model) -> Node = $print;
                Printed::One(print(model))
            }

            fn schema() -> serde_json::Value {
                $schema
            }
        }
    )+ };
}

/// Declares a block as typed, which is merged, weighed and traced by its fields, each of which has a name for traces.
macro_rules! layers {
    ($(#[$attribute:meta])+ $raw:ident { $( $(#[$field_attribute:meta])* $field:ident: $type:ty = $name:literal, )+ }) => {
        $(#[$attribute])+
        #[derive(Clone, Debug)]
        pub(crate) struct $raw {
            $( $(#[$field_attribute])* pub $field: $type, )+
        }

        impl Layer for $raw {
            fn overlay(self, base: Self) -> Self {
                Self { $( $field: self.$field.overlay(base.$field), )+ }
            }

            fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
                $( self.$field.origins(&mut |_, span| found($name, span)); )+
            }
        }

        impl Weight for $raw {
            fn weight(&self) -> usize {
                0 $( + self.$field.weight() )+
            }
        }
    };
}

/// Declares a block from its table: the names inside it, of which `more` are not in the table, the block as typed, and
/// how it is read, checked and printed.
macro_rules! block {
    (
        {
            $(#[$place_doc:meta])+ $place:ident { $($head:tt)* } more: [$($more:expr),*],
            $(#[$raw_doc:meta])+ $raw:ident => $model:ident
        }
        $(
            $(#[doc = $doc:literal])+
            $field:ident: $type:ty = $default:expr => $value:ident {
                names: ($kdl:literal, $yaml:literal),
                differ: $differ:ident, instead: $instead:expr,
            };
        )+
    ) => {
        $(#[$place_doc])+
        pub static $place: $crate::language::PropertyTable = $crate::language::PropertyTable {
            properties: &[
                $( $crate::language::Property {
                    instead: &$instead,
                    ..$crate::language::one($kdl, $yaml, <$value as Value>::schema, concat!($($doc),+))
                }, )+
                $( $more, )*
            ],
            $($head)*
        };

        layers! { $(#[$raw_doc])+ $raw { $( $field: <$value as Value>::Raw = $kdl, )+ } }

        impl $raw {
            fn read(context: &mut Context<'_>, fields: &Fields<'_>) -> Self {
                Self { $( $field: fields.reading($kdl, |item| <$value as Value>::read(context, item)), )+ }
            }

            fn check(&self, context: &mut Context<'_>, scope: &Scope<'_>) -> Option<$model> {
                $( let $field = match &self.$field {
                    Some(raw) => <$value as Value>::check(context, raw, scope).map(<$type>::from),
                    None => Some($default),
                }; )+
                Some($model { $( $field: $field?, )+ })
            }

            fn print(model: &$model, scope: &PrintScope<'_>) -> Vec<$crate::print::Item> {
                let $model { $( $field, )+ } = model;
                let mut items = Vec::new();
                $(
                    // From a reference to a value, or to an option of one.
                    let value: Option<&<$value as Value>::Model> = $field.into();
                    if let Some(Printed::One(node)) = value.map(|value| <$value as Value>::print(value, scope)) {
                        items.push($crate::print::Item::child($kdl, node));
                    }
                )+
                items
            }
        }
    };
}

pub(super) use {block, layers, values};
