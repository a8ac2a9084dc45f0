//! One declaration for a payload's Rust type and for its lines in the golden schema.

/// What the golden schema shows of a type.
pub(super) trait Described {
    /// Field name and Rust type, in order.
    const FIELDS: &'static [(&'static str, &'static str)];
}

/// Declares structs with the derives that every payload has, and describes their fields.
///
/// Unknown fields are ignored when decoding: a peer of the same generation may have gained optional ones.
macro_rules! payload {
    ($($(#[$meta:meta])* pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $kind:ty,)* })*) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        pub struct $name { $($(#[$field_meta])* pub $field: $kind,)* }

        impl $crate::v1::payload::Described for $name {
            const FIELDS: &'static [(&'static str, &'static str)] =
                &[$((stringify!($field), stringify!($kind)),)*];
        }
    )*};
}

/// Declares an enum of kinds that travels as `snake_case` text, and lists its variants. The last one stands
/// for every kind of a later peer.
macro_rules! kinds {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$variant_meta:meta])* $variant:ident,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name { $($(#[$variant_meta])* $variant,)* }

        impl $name {
            pub(super) const VARIANTS: &'static [&'static str] = &[$(stringify!($variant),)*];
        }
    };
}

pub(super) use {kinds, payload};
