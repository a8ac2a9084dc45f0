//! Blocks of properties, each declared once: in a table of `schemas::spec`.

use super::read::Fields;
use crate::check::Weight;
use crate::diagnostics::Context;
use crate::merge::Layer;
use crate::print::{Item as PrintItem, Node};
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

/// Reads the property of this KDL name as typed.
pub(super) fn read<V: BlockValue>(
    context: &mut Context<'_>,
    fields: &Fields<'_>,
    property: &str,
    sample: &str,
) -> Option<V::Raw> {
    fields.one(property).and_then(|item| V::read(context, item, sample))
}

/// Checks a property; the default where it is not written.
pub(super) fn check<V: BlockValue, T: From<V::Model>>(
    context: &mut Context<'_>,
    raw: &Option<V::Raw>,
    property: &str,
    default: T,
) -> Option<T> {
    match raw {
        Some(raw) => V::check(context, raw, property).map(T::from),
        None => Some(default),
    }
}

/// Returns a property as a Sandboxfile declares it, if it has a value.
pub(super) fn print<V: BlockValue>(
    field: &impl Field<V::Model>,
    property: &'static str,
) -> Option<PrintItem> {
    field.value().map(|value| PrintItem::child(property, V::print(value)))
}

/// A field that always has a value, or one that may have none.
pub(super) trait Field<T> {
    /// Returns the value, if there is one.
    fn value(&self) -> Option<&T>;
}

impl<T> Field<T> for T {
    fn value(&self) -> Option<&T> {
        Some(self)
    }
}

impl<T> Field<T> for Option<T> {
    fn value(&self) -> Option<&T> {
        self.as_ref()
    }
}

/// Declares a block from its table: the names inside it, the block as typed, and how it is read, merged, checked and
/// printed.
macro_rules! block {
    (
        { $(#[$place_doc:meta])+ $place:ident { $($head:tt)* } $(#[$raw_doc:meta])+ $raw:ident => $model:ident }
        fields { $($fields:tt)* }
        other { $($other:tt)* }
    ) => {
        $crate::values::block::raw_block! {
            { $(#[$place_doc])+ $place { $($head)* } $(#[$raw_doc])+ $raw } $($fields)* $($other)*
        }
        $crate::values::block::model_block! { { $raw => $model } $($fields)* }
    };
}

macro_rules! raw_block {
    (
        { $(#[$place_doc:meta])+ $place:ident { $($head:tt)* } $(#[$raw_doc:meta])+ $raw:ident }
        $(
            $(#[doc = $doc:literal])+
            $field:ident $(: $type:ty = $default:expr)? => $value:ident {
                names: ($kdl:literal, $yaml:literal),
                $(differ: $differ:ident,)? sample: $sample:literal, instead: $instead:expr,
            };
        )+
    ) => {
        $(#[$place_doc])+
        pub static $place: $crate::language::Place = $crate::language::Place {
            properties: &[ $( $crate::language::Property {
                instead: &$instead,
                ..$crate::language::one($kdl, $yaml, <$value as $crate::values::BlockValue>::schema, concat!($($doc),+))
            }, )+ ],
            $($head)*
        };

        $(#[$raw_doc])+
        #[derive(Clone, Debug)]
        pub(crate) struct $raw {
            $( $field: Option<<$value as $crate::values::BlockValue>::Raw>, )+
        }

        impl $raw {
            fn read(context: &mut Context<'_>, fields: &Fields<'_>) -> Self {
                Self { $( $field: $crate::values::block::read::<$value>(context, fields, $kdl, $sample), )+ }
            }
        }

        impl $crate::merge::Layer for $raw {
            fn overlay(self, base: Self) -> Self {
                Self { $( $field: self.$field.overlay(base.$field), )+ }
            }

            fn origins(&self, found: &mut dyn FnMut(&str, $crate::syntax::Span)) {
                $( self.$field.origins(&mut |_, span| found($kdl, span)); )+
            }
        }

        impl $crate::check::Weight for $raw {
            fn weight(&self) -> usize {
                0 $( + self.$field.weight() )+
            }
        }
    };
}

macro_rules! model_block {
    (
        { $raw:ident => $model:ident }
        $( $(#[$attribute:meta])+ $field:ident: $type:ty = $default:expr => $value:ident {
            names: ($kdl:literal, $yaml:literal), $($rest:tt)*
        }; )+
    ) => {
        impl $raw {
            fn check(&self, context: &mut Context<'_>) -> Option<$model> {
                $( let $field = $crate::values::block::check::<$value, $type>(context, &self.$field, $kdl, $default); )+
                Some($model { $( $field: $field?, )+ })
            }

            fn print(model: &$model) -> Vec<$crate::print::Item> {
                let $model { $( $field, )+ } = model;
                [ $( $crate::values::block::print::<$value>($field, $kdl), )+ ].into_iter().flatten().collect()
            }
        }
    };
}

pub(super) use {block, block_values, model_block, raw_block};
