//! `$NAME` and `${NAME…}` in values.
//!
//! | written | value |
//! | --- | --- |
//! | `$V`, `${V}` | the value of `V`; an error when it is not set |
//! | `${V:-d}`, `${V-d}` | `d` when `V` is unset or empty, or when it is unset |
//! | `${V:?m}`, `${V?m}` | the error `m` when `V` is unset or empty, or when it is unset |
//! | `${V:+x}`, `${V+x}` | `x` when `V` is set and not empty, or when it is set; else nothing |
//! | `$$` | a dollar sign |
//!
//! The texts `d`, `m` and `x` may contain variables. A `$` before anything else is literal.

use super::is_name;
use crate::check::{ENTRY_BYTES, Growth};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::syntax::{Span, Spanned};

/// The deepest nesting of `${…}`.
const DEPTH_MAX: usize = 8;
/// The longest value after replacement, in bytes.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Replaces the variables of a text; returns `None` after reporting an error.
pub(crate) fn interpolate(context: &mut Context<'_>, text: Spanned<String>) -> Option<Spanned<String>> {
    if !text.value.contains('$') {
        return Some(text);
    }
    let value = expand(context, text.span, &text.value)?;
    Some(Spanned::new(value, text.span))
}

/// Replaces the variables of a text that is written at `whole`; returns `None` after reporting an error.
pub(crate) fn expand(context: &mut Context<'_>, whole: Span, text: &str) -> Option<String> {
    let mut expansion = Expansion { out: String::new(), whole, depth: 0 };
    expansion.text(context, text)?;
    if expansion.out.len() > VALUE_BYTES_MAX || expansion.out.contains('\0') {
        let label = if expansion.out.contains('\0') { "holds \\0" } else { "longer than 1 MiB" };
        let message = "variables make a value here that cannot be used";
        context.push(Diagnostic::error(Code::InvalidText, whole, message).label(label));
        return None;
    }
    Some(expansion.out)
}

/// Doubles each `$`, so that nothing in the text is a variable.
pub(crate) fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

struct Expansion {
    out: String,
    /// The span of the whole value.
    whole: Span,
    depth: usize,
}

impl Expansion {
    fn text(&mut self, context: &mut Context<'_>, text: &str) -> Option<()> {
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            self.out.push_str(&rest[..at]);
            let behind = &rest[at + 1..];
            let name_length =
                behind.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
            if let Some(after) = behind.strip_prefix('$') {
                self.out.push('$');
                rest = after;
            } else if let Some(inside) = behind.strip_prefix('{') {
                let Some(end) = closing(inside) else {
                    self.unclosed(context, &rest[at..]);
                    return None;
                };
                self.braced(context, &inside[..end], &rest[at..at + 2 + end + 1])?;
                rest = &inside[end + 1..];
            } else if is_name(&behind[..name_length]) {
                let name = &behind[..name_length];
                self.value(context, name, &rest[at..=at + name_length])?;
                rest = &behind[name_length..];
            } else {
                self.out.push('$');
                rest = behind;
            }
            if self.out.len() > VALUE_BYTES_MAX {
                return Some(());
            }
        }
        self.out.push_str(rest);
        Some(())
    }

    /// Expands one variable; `written` is the whole `${…}`.
    fn braced(&mut self, context: &mut Context<'_>, inside: &str, written: &str) -> Option<()> {
        let length = inside.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_').count();
        let (name, operation) = inside.split_at(length);
        let (only_unset, operation) = match operation.strip_prefix(':') {
            Some(operation) => (false, operation),
            None => (true, operation),
        };
        let mut characters = operation.chars();
        let (sign, word) = (characters.next(), characters.as_str());
        if !is_name(name) || !matches!(sign, None | Some('-' | '?' | '+')) || (sign.is_none() && !only_unset)
        {
            self.malformed(context, name, written);
            return None;
        }
        let known = context.variables.get(name);
        let usable = known.is_some_and(|found| only_unset || !found.value.is_empty());
        match sign {
            Some('-') if !usable => self.nested(context, word, written),
            Some('+') if usable => self.nested(context, word, written),
            Some('+') => Some(()),
            Some('?') if !usable => {
                let outer = std::mem::take(&mut self.out);
                let done = self.nested(context, word, written);
                let message = std::mem::replace(&mut self.out, outer);
                done?;
                self.required(context, name, message.trim(), written);
                None
            }
            _ => self.value(context, name, written),
        }
    }

    fn nested(&mut self, context: &mut Context<'_>, word: &str, written: &str) -> Option<()> {
        if self.depth == DEPTH_MAX {
            context.push(
                Diagnostic::error(
                    Code::InvalidVariable,
                    self.place(context, written),
                    "variables nest too deep",
                )
                .label(format!("more than {DEPTH_MAX} levels")),
            );
            return None;
        }
        self.depth += 1;
        let done = self.text(context, word);
        self.depth -= 1;
        done
    }

    fn value(&mut self, context: &mut Context<'_>, name: &str, written: &str) -> Option<()> {
        let Some(found) = context.variables.get(name) else {
            self.unset(context, name, written);
            return None;
        };
        let (length, span) = (found.value.len(), found.span);
        context.charge(Growth::Variables, ENTRY_BYTES + length, self.whole)?;
        self.out.extend(context.variables.get(name).map(|found| found.value));
        context.note_use(self.whole, name, span);
        Some(())
    }

    /// Returns the span of `written`; that of the whole value when escapes hide it.
    fn place(&self, context: &Context<'_>, written: &str) -> Span {
        let source = context.sources.slice(self.whole);
        source
            .find(written)
            .map_or(self.whole, |at| Span::new(self.whole.start + at, self.whole.start + at + written.len()))
    }

    fn unset(&self, context: &mut Context<'_>, name: &str, written: &str) {
        let help = match context.nearest(name, context.variables.names()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("set it, or give it a default: `${{{name}:-…}}`; a plain dollar sign is `$$`"),
        };
        let message = format!("the variable `{}` is not set", shorten(name));
        let label = format!("looked for it in {}", context.variables.places());
        context.push(
            Diagnostic::error(Code::UnsetVariable, self.place(context, written), message)
                .label(label)
                .help(help),
        );
    }

    fn required(&self, context: &mut Context<'_>, name: &str, message: &str, written: &str) {
        let text = match message {
            "" => format!("the variable `{name}` must be set"),
            message => format!("the variable `{name}` must be set: {}", shorten(message)),
        };
        let label = format!("looked for it in {}", context.variables.places());
        context.push(
            Diagnostic::error(Code::UnsetVariable, self.place(context, written), text)
                .label(label)
                .help(format!("set it: `{name}=… msb …`, or in `.env`")),
        );
    }

    fn malformed(&self, context: &mut Context<'_>, name: &str, written: &str) {
        let message = format!("`{}` is not a variable", shorten(written));
        let label = if name.is_empty() || !is_name(name) {
            "a name is made of letters, digits and `_`"
        } else {
            "the name is followed by `:-`, `-`, `:?`, `?`, `:+` or `+`"
        };
        context.push(
            Diagnostic::error(Code::InvalidVariable, self.place(context, written), message)
                .label(label)
                .help("write `${NAME}` or `${NAME:-default}`; a plain dollar sign is `$$`"),
        );
    }

    fn unclosed(&self, context: &mut Context<'_>, rest: &str) {
        let start: String = rest.chars().take(24).take_while(|c| !c.is_whitespace()).collect();
        context.push(
            Diagnostic::error(Code::InvalidVariable, self.place(context, &start), "this `${` is not closed")
                .label("a `}` is missing")
                .help("write `${NAME}`; a plain dollar sign is `$$`"),
        );
    }
}

/// Returns the offset of the `}` that closes a `${` before `text`.
fn closing(text: &str) -> Option<usize> {
    let mut open = 0;
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at] {
            b'$' if bytes.get(at + 1) == Some(&b'$') => at += 1,
            b'$' if bytes.get(at + 1) == Some(&b'{') => {
                open += 1;
                at += 1;
            }
            b'}' if open == 0 => return Some(at),
            b'}' => open -= 1,
            _ => {}
        }
        at += 1;
    }
    None
}
