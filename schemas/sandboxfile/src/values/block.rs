//! Blocks of properties, each declared once: in a table of `schemas::spec`.

use crate::check::Weight;
use crate::diagnostics::Context;
use crate::merge::Layer;
use crate::print::Node;
use crate::syntax::Item;
use std::fmt::Debug;

/// A kind of value inside a block.
pub(crate) trait BlockValue {
    /// The value as typed.
    type Raw: Clone + Debug + Layer + Weight;
    /// The checked value.
    type Model;

    /// Reads the value as typed; `sample` is one, for messages.
    fn read(context: &mut Context<'_>, item: &Item<'_>, sample: &str) -> Option<Self::Raw>;

    /// Checks the value of the property of this KDL name; `None` when it is wrong, which is reported.
    fn check(context: &mut Context<'_>, raw: &Self::Raw, property: &str) -> Option<Self::Model>;

    /// Returns the value as a Sandboxfile declares it.
    fn print(model: &Self::Model) -> Node;

    /// Returns the JSON Schema of the YAML spelling.
    fn schema() -> serde_json::Value;
}

/// Declares kinds of values inside blocks by the functions that they consist of.
macro_rules! block_values {
    ($(
        $(#[$attribute:meta])+
        $name:ident: $raw:ty => $model:ty {
            read: $read:path, check: $check:path, print: $print:path, schema: $schema:path,
        }
    )+) => { $(
        $(#[$attribute])+
        struct $name;

        impl $crate::values::BlockValue for $name {
            type Raw = $raw;
            type Model = $model;

            fn read(context: &mut Context<'_>, item: &Item<'_>, sample: &str) -> Option<Self::Raw> {
                $read(context, item, sample)
            }

            fn check(context: &mut Context<'_>, raw: &Self::Raw, property: &str) -> Option<Self::Model> {
                $check(context, raw, property)
            }

            fn print(model: &Self::Model) -> $crate::print::Node {
                $print(model)
            }

            fn schema() -> serde_json::Value {
                $schema()
            }
        }
    )+ };
}

/// Declares a block from its table: the names inside it, of which `more` are not in the table, the block as typed, and
/// how it is read, merged, checked and printed.
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
                differ: $differ:ident, sample: $sample:literal, instead: $instead:expr,
            };
        )+
    ) => {
        $(#[$place_doc])+
        pub static $place: $crate::language::Place = $crate::language::Place {
            properties: &[
                $( $crate::language::Property {
                    instead: &$instead,
                    ..$crate::language::one($kdl, $yaml, <$value as BlockValue>::schema, concat!($($doc),+))
                }, )+
                $( $more, )*
            ],
            $($head)*
        };

        $(#[$raw_doc])+
        #[derive(Clone, Debug)]
        pub(crate) struct $raw {
            $( $field: Option<<$value as BlockValue>::Raw>, )+
        }

        impl $raw {
            fn read(context: &mut Context<'_>, fields: &Fields<'_>) -> Self {
                Self { $(
                    $field: fields.one($kdl).and_then(|item| <$value as BlockValue>::read(context, item, $sample)),
                )+ }
            }

            fn check(&self, context: &mut Context<'_>) -> Option<$model> {
                $( let $field = match &self.$field {
                    Some(raw) => <$value as BlockValue>::check(context, raw, $kdl).map(<$type>::from),
                    None => Some($default),
                }; )+
                Some($model { $( $field: $field?, )+ })
            }

            fn print(model: &$model) -> Vec<$crate::print::Item> {
                let $model { $( $field, )+ } = model;
                let mut items = Vec::new();
                $(
                    // From a reference to a value, or to an option of one.
                    let value: Option<&<$value as BlockValue>::Model> = $field.into();
                    items.extend(value.map(|value| $crate::print::Item::child($kdl, <$value as BlockValue>::print(value))));
                )+
                items
            }
        }

        impl Layer for $raw {
            fn overlay(self, base: Self) -> Self {
                Self { $( $field: self.$field.overlay(base.$field), )+ }
            }

            fn origins(&self, found: &mut dyn FnMut(&str, $crate::syntax::Span)) {
                $( self.$field.origins(&mut |_, span| found($kdl, span)); )+
            }
        }

        impl Weight for $raw {
            fn weight(&self) -> usize {
                0 $( + self.$field.weight() )+
            }
        }
    };
}

pub(super) use {block, block_values};
