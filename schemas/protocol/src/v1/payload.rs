//! Macros that declare the type of a payload together with its lines in the golden schema.

/// A type in the golden schema.
pub(super) trait Described {
    /// The names and Rust types of its fields, in order.
    const FIELDS: &'static [(&'static str, &'static str)];
}

/// Declares the structs of payloads, and describes their fields.
///
/// Decoding ignores unknown fields, as a later peer of the same generation may send more optional ones.
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

/// Declares an enum of kinds, which are encoded as `snake_case` text, and lists its variants. The last one is the
/// kind of any unknown word.
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
