//! Macros that declare the type of a payload together with its lines in the golden schema.

/// A field of a payload.
pub(super) struct Field {
    /// The name, which is the key on the wire.
    pub name: &'static str,
    /// The Rust type.
    pub kind: &'static str,
    /// The attributes, such as `doc = " The path."` and `serde(default)`.
    pub attributes: &'static [&'static str],
}

/// A type in the golden schema.
pub(super) trait Described {
    /// Its attributes.
    const ATTRIBUTES: &'static [&'static str];
    /// Its fields, in order.
    const FIELDS: &'static [Field];
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
            const ATTRIBUTES: &'static [&'static str] = &[$(stringify!($meta),)*];
            const FIELDS: &'static [$crate::v1::payload::Field] = &[$($crate::v1::payload::Field {
                name: stringify!($field),
                kind: stringify!($kind),
                attributes: &[$(stringify!($field_meta),)*],
            },)*];
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
