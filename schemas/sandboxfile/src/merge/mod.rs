//! Merges two readings of the same thing: scalars replace, maps merge by key, lists replace.

pub(crate) mod layers;
pub(crate) mod like;
mod origin;

pub(crate) use origin::Traces;
pub use origin::{Line, Origin, Origins, Remark};

use crate::syntax::{Span, Spanned};
use crate::values::Parsed;
use std::collections::HashMap;

/// A reading that can be merged over another one.
pub(crate) trait Layer: Sized {
    /// Merges this reading over `base`, another one of the same thing.
    fn overlay(self, base: Self) -> Self;

    /// Calls `found` with the path inside the property, empty for the property itself, and the span of each value.
    fn origins(&self, found: &mut dyn FnMut(&str, Span));
}

/// An entry of a map.
pub(crate) trait Keyed: Sized {
    /// Returns the key.
    fn key(&self) -> &str;

    /// Merges this entry over `base`, one of the same key.
    fn overlay(self, _base: Self) -> Self {
        self
    }

    /// Calls `found` with the path inside the map and the span of each value of the entry.
    fn origins(&self, found: &mut dyn FnMut(&str, Span));
}

/// Returns the span from the first word to the last; `None` without words.
pub(crate) fn words_span<T>(words: &[Spanned<T>]) -> Option<Span> {
    Some(words.first()?.span.join(words.last()?.span))
}

impl<T> Layer for Spanned<T> {
    fn overlay(self, _base: Self) -> Self {
        self
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found("", self.span);
    }
}

impl<T: Layer> Layer for Option<T> {
    fn overlay(self, base: Self) -> Self {
        match (self, base) {
            (Some(over), Some(base)) => Some(over.overlay(base)),
            (over, base) => over.or(base),
        }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        if let Some(value) = self {
            value.origins(found);
        }
    }
}

impl<T: Layer> Layer for Parsed<T> {
    fn overlay(self, base: Self) -> Self {
        if matches!(self, Self::Missing) { base } else { self }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        if let Self::Value(value) = self {
            value.origins(found);
        }
    }
}

impl<T> Layer for Vec<Spanned<T>> {
    fn overlay(self, base: Self) -> Self {
        if self.is_empty() { base } else { self }
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        if let Some(span) = words_span(self) {
            found("", span);
        }
    }
}

impl<T: Keyed> Layer for Vec<T> {
    fn overlay(self, base: Self) -> Self {
        if self.is_empty() {
            return base;
        }
        if base.is_empty() {
            return self;
        }
        let mut indices: HashMap<String, usize> = HashMap::new();
        for (index, entry) in self.iter().enumerate() {
            indices.entry(entry.key().to_owned()).or_insert(index);
        }
        let mut over: Vec<Option<T>> = self.into_iter().map(Some).collect();
        let mut all = Vec::new();
        for entry in base {
            match indices.get(entry.key()) {
                Some(&index) => over[index] = over[index].take().map(|own| own.overlay(entry)),
                None => all.push(entry),
            }
        }
        all.extend(over.into_iter().flatten());
        all
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        for entry in self {
            entry.origins(found);
        }
    }
}
