//! Default values of variables, written into the texts that use them.
//!
//! A Sandboxfile has no env file for a part of it: what an included file has as `$NAME`, and an env file as
//! `NAME=value`, becomes `${NAME-value}`. The environment takes precedence in both.

use crate::variables::{Piece, pieces};
use sandboxfile::yaml::{Node, NodeValue};
use sandboxfile::{ScalarKind, Spanned};
use std::collections::{BTreeMap, BTreeSet};

/// The deepest nesting of `${…}`.
const DEPTH_MAX: usize = 8;

/// The default values of the variables in a file.
#[derive(Debug, Default)]
pub(super) struct Defaults {
    values: BTreeMap<String, String>,
}

/// The state while defaults are written into a file.
pub(super) struct Writer<'a> {
    defaults: &'a Defaults,
    /// The variables of the project.
    known: &'a BTreeMap<String, String>,
    /// The most bytes to write.
    limit: usize,
    /// The bytes that were written.
    pub written: usize,
    /// Variables that are replaced by their values, which no default can contain.
    pub fixed: BTreeSet<String>,
    /// Those whose values cannot be written, as they would be inside of a default.
    pub unwritable: BTreeSet<String>,
}

impl Defaults {
    pub fn new(values: BTreeMap<String, String>) -> Self {
        Self { values }
    }

    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    pub fn writer<'a>(&'a self, known: &'a BTreeMap<String, String>, limit: usize) -> Writer<'a> {
        Writer {
            defaults: self,
            known,
            limit,
            written: 0,
            fixed: BTreeSet::new(),
            unwritable: BTreeSet::new(),
        }
    }
}

impl Writer<'_> {
    /// Writes the defaults into a compose file; `None` after as many bytes as the limit.
    pub fn file(&mut self, root: &mut Node) -> Option<()> {
        for service in entries_of(root, "services") {
            for (key, node) in map_of(&mut service.1) {
                if key.value == "environment" {
                    self.names_alone(node);
                }
            }
        }
        self.node(root)
    }

    fn node(&mut self, node: &mut Node) -> Option<()> {
        match &mut node.value {
            NodeValue::Scalar { text, .. } => {
                if text.contains('$') {
                    let mut out = String::new();
                    self.push(&mut out, text, 0, false)?;
                    *text = out;
                }
            }
            NodeValue::List(elements) => {
                for element in elements {
                    self.node(element)?;
                }
            }
            NodeValue::Map(entries) => {
                for (_, value) in entries {
                    self.node(value)?;
                }
            }
        }
        Some(())
    }

    /// Gives variables of an environment that have no value the variable of the same name.
    fn names_alone(&mut self, node: &mut Node) {
        let known = &self.defaults.values;
        let variable =
            |name: &str| NodeValue::Scalar { kind: ScalarKind::Text, text: format!("${{{name}}}") };
        match &mut node.value {
            NodeValue::Scalar { .. } => {}
            NodeValue::List(elements) => {
                for element in elements {
                    let NodeValue::Scalar { text, .. } = &mut element.value else { continue };
                    if known.contains_key(text) {
                        *text = format!("{text}=${{{text}}}");
                    }
                }
            }
            NodeValue::Map(entries) => {
                for (key, value) in entries {
                    if value.is_null() && known.contains_key(&key.value) {
                        value.value = variable(&key.value);
                    }
                }
            }
        }
    }

    /// Appends a text, at a depth of `${…}`; `is_word` says whether it is inside of a `${…}` that is written.
    fn push(&mut self, out: &mut String, text: &str, depth: usize, is_word: bool) -> Option<()> {
        for piece in pieces(text) {
            let Piece::Variable { written, name, operator, word } = piece else {
                self.push_plain(out, piece.written())?;
                continue;
            };
            if depth == DEPTH_MAX {
                // Neither compose nor a Sandboxfile reads on from here.
                self.push_plain(out, written)?;
                continue;
            }
            // An operator with a colon takes an empty value for none, and that of the project counts first.
            let takes_empty = !operator.starts_with(':');
            let is_usable = |value: &&String| takes_empty || !value.is_empty();
            let known = self.known.get(name);
            let value = self.defaults.values.get(name).filter(is_usable);
            match value.filter(|_| known.as_ref().is_none_or(is_usable)).map(|value| value.replace('$', "$$"))
            {
                None if operator.is_empty() => self.push_plain(out, written)?,
                None => {
                    self.push_plain(out, &format!("${{{name}{operator}"))?;
                    self.push(out, word, depth + 1, true)?;
                    self.push_plain(out, "}")?;
                }
                Some(_) if operator.ends_with('+') => self.push(out, word, depth + 1, is_word)?,
                Some(value) if value.contains('}') => match known {
                    Some(_) => self.push_plain(out, written)?,
                    None if is_word => {
                        self.unwritable.insert(name.to_owned());
                    }
                    None => {
                        self.fixed.insert(name.to_owned());
                        self.push_plain(out, &value)?;
                    }
                },
                Some(value) => {
                    let operator = if takes_empty { "-" } else { ":-" };
                    self.push_plain(out, &format!("${{{name}{operator}{value}}}"))?;
                }
            }
        }
        Some(())
    }

    fn push_plain(&mut self, out: &mut String, text: &str) -> Option<()> {
        self.written += text.len();
        if self.written > self.limit {
            return None;
        }
        out.push_str(text);
        Some(())
    }
}

fn map_of(node: &mut Node) -> &mut [(Spanned<String>, Node)] {
    match &mut node.value {
        NodeValue::Map(entries) => entries,
        NodeValue::Scalar { .. } | NodeValue::List(_) => &mut [],
    }
}

/// Returns the entries of the map at a key.
fn entries_of<'n>(root: &'n mut Node, key: &str) -> &'n mut [(Spanned<String>, Node)] {
    let found = map_of(root).iter_mut().find(|(name, _)| name.value == key);
    found.map(|(_, node)| map_of(node)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variables::expand;

    const DEFAULTS: [(&str, &str); 4] = [("A", "1"), ("EMPTY", ""), ("JSON", "{\"a\":1}"), ("DOLLAR", "$x")];

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn written(text: &str, known: &[(&str, &str)]) -> String {
        let defaults = Defaults::new(map(&DEFAULTS));
        let known = map(known);
        let mut out = String::new();
        defaults.writer(&known, 10_000).push(&mut out, text, 0, false).unwrap();
        out
    }

    #[test]
    fn values_of_env_files_become_defaults() {
        for (text, expected) in [
            ("$A ${A} $B $$A ${A", "${A-1} ${A-1} $B $$A ${A"),
            ("${A-x} ${A:-x} ${A?x} ${A:?x}", "${A-1} ${A:-1} ${A-1} ${A:-1}"),
            ("${A+x$A} ${A:+x}", "x${A-1} x"),
            (
                "$EMPTY ${EMPTY:-$A} ${EMPTY-x} ${EMPTY:+x}",
                "${EMPTY-} ${EMPTY:-${A-1}} ${EMPTY-} ${EMPTY:+x}",
            ),
            ("${B:-${A}}", "${B:-${A-1}}"),
            ("$JSON $DOLLAR", "{\"a\":1} ${DOLLAR-$$x}"),
        ] {
            assert_eq!(written(text, &[]), expected, "{text}");
        }
        assert_eq!(written("$JSON", &[("JSON", "2")]), "$JSON");
        let deep = "${A+".repeat(1_000) + &"}".repeat(1_000);
        assert_eq!(written(&deep, &[]), &deep[4 * DEPTH_MAX..deep.len() - DEPTH_MAX]);
    }

    /// What is written has the value that the text has where both sources of variables are one.
    #[test]
    fn values_are_those_of_both_sources() {
        let names = ["A", "EMPTY", "DOLLAR", "JSON", "B"];
        let operators = ["", "-w", ":-w", "+w", ":+w", "-${A}", ":-$EMPTY", ":+${A:+w}"];
        for known in
            [vec![], vec![("A", "2"), ("JSON", "3")], vec![("A", ""), ("EMPTY", "4"), ("DOLLAR", "")]]
        {
            let mut both = map(&DEFAULTS);
            both.extend(map(&known));
            for text in
                names.iter().flat_map(|name| operators.map(|operator| format!("${{{name}{operator}}}")))
            {
                let found = expand(&written(&text, &known), &map(&known));
                assert_eq!(found, expand(&text, &both), "{text} {known:?}");
            }
        }
    }

    #[test]
    fn defaults_are_bounded() {
        let defaults = Defaults::new(map(&[("A", &"x".repeat(100))]));
        let known = BTreeMap::new();
        let mut writer = defaults.writer(&known, 1_000);
        assert_eq!(writer.push(&mut String::new(), &"$A".repeat(100), 0, false), None);
    }
}
