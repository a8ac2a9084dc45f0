//! Values as typed: read from a node, or from several.

use crate::check::Weight;
use crate::diagnostics::{Code, Context, Diagnostic};
use crate::merge::{Keyed, Layer};
use crate::syntax::{Span, Spanned};

/// A value as typed; its default is that of a property that is not written.
pub(crate) trait Reading: Default {
    /// The value that is checked.
    type Written: ?Sized;

    /// Adds the reading of another node of the property.
    fn add(&mut self, node: Self);

    /// Returns what is checked; `None` if the default of the property applies.
    fn written(&self) -> Option<&Self::Written>;

    /// Suppresses the error about a missing value.
    fn ignore_missing(&mut self) {}
}

impl<T> Reading for Option<T> {
    type Written = T;

    fn add(&mut self, node: Self) {
        *self = node;
    }

    fn written(&self) -> Option<&T> {
        self.as_ref()
    }
}

impl<T> Reading for Vec<T> {
    type Written = [T];

    fn add(&mut self, node: Self) {
        self.extend(node);
    }

    fn written(&self) -> Option<&[T]> {
        (!self.is_empty()).then_some(self)
    }
}

/// A value whose absence may be an error.
#[derive(Clone, Debug, Default)]
pub(crate) enum Parsed<T> {
    /// It is not present.
    #[default]
    Missing,
    /// It could not be read, or its absence is reported already.
    Invalid,
    /// It was read.
    Value(T),
}

impl<T> Parsed<T> {
    /// Returns the value. `missing` returns the message and the help about a missing one, which is reported at `place`.
    pub fn required(
        &self,
        context: &mut Context<'_>,
        property: &str,
        place: Span,
        missing: impl FnOnce(&Context<'_>) -> (String, String),
    ) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Invalid => None,
            Self::Missing => {
                let (message, help) = missing(context);
                context.refuse(
                    Diagnostic::error(Code::MissingProperty, place, message)
                        .label(format!("`{property}` is missing"))
                        .help(help),
                )
            }
        }
    }
}

impl<T> Reading for Parsed<T> {
    type Written = Self;

    fn add(&mut self, node: Self) {
        *self = node;
    }

    fn written(&self) -> Option<&Self> {
        Some(self)
    }

    fn ignore_missing(&mut self) {
        if matches!(self, Self::Missing) {
            *self = Self::Invalid;
        }
    }
}

impl<T> From<Option<T>> for Parsed<T> {
    fn from(read: Option<T>) -> Self {
        read.map_or(Self::Invalid, Self::Value)
    }
}

/// A value with a name that the user chose.
#[derive(Clone, Debug)]
pub(crate) struct Named<T> {
    /// The name.
    pub name: Spanned<String>,
    /// The value.
    pub value: T,
}

impl<T: Layer> Keyed for Named<T> {
    fn key(&self) -> &str {
        &self.name.value
    }

    fn overlay(self, base: Self) -> Self {
        Self { name: self.name, value: self.value.overlay(base.value) }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        let name = &self.name.value;
        self.value.origins(&mut |inside, span| {
            if inside.is_empty() { found(name, span) } else { found(&format!("{name}.{inside}"), span) }
        });
    }
}

impl<T: Weight> Weight for Named<T> {
    fn weight(&self) -> usize {
        self.name.weight() + self.value.weight()
    }
}
