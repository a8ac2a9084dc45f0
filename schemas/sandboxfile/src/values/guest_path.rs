//! Paths inside a sandbox at which host paths and volumes appear.

use super::path;
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::syntax::Spanned;

/// Paths of msb and of the kernel, and their uses for messages.
const RESERVED: [(&str, &str); 4] = [
    ("/.msb", "msb keeps its own things there"),
    ("/proc", "the kernel shows itself there"),
    ("/sys", "the kernel shows itself there"),
    ("/dev", "the kernel keeps its devices there"),
];

/// Checks that a path in the sandbox is absolute, normalized and not reserved.
pub(crate) fn check(context: &mut Context<'_>, given: &Spanned<String>, example: &str) -> Option<String> {
    let text = given.value.as_str();
    let shown = shorten(text);
    let invalid = |message: String| Diagnostic::error(Code::InvalidPath, given.span, message);
    if !text.starts_with('/') {
        let meant = path::absolute("/", text);
        let help = if text.is_empty() || text.starts_with(['.', '~', '$']) || meant == "/" {
            format!("such a path begins with `/`: \"{example}\"")
        } else {
            format!("did you mean \"{}\"?", shorten(&meant))
        };
        let diagnostic = invalid(format!("`{shown}` is not a path in the sandbox"));
        return context.refuse(diagnostic.label("not absolute").help(help));
    }
    let normal = path::absolute("/", text);
    if normal == "/" {
        return context.refuse(
            invalid("the root of the sandbox is its image".to_owned())
                .label("cannot be replaced")
                .help(format!("choose a folder inside it, such as \"{example}\"")),
        );
    }
    if normal != text {
        return context.refuse(
            invalid(format!("`{shown}` is not the shortest form of this path"))
                .label("holds `.`, `..`, or a slash too many")
                .help(format!("write \"{}\"", shorten(&normal))),
        );
    }
    let reserved = RESERVED.iter().find(|(reserved, _)| {
        text.strip_prefix(reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    if let Some((reserved, why)) = reserved {
        return context.refuse(
            invalid(format!("nothing can lie over `{reserved}`"))
                .label(*why)
                .help(format!("choose another path, such as \"{example}\"")),
        );
    }
    Some(normal)
}
