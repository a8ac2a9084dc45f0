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
    let normal = path::absolute("/", text);
    let is_below = |reserved: &str| {
        text.strip_prefix(reserved).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let (message, label, help) = if !text.starts_with('/') {
        let help = if text.is_empty() || text.starts_with(['.', '~', '$']) || normal == "/" {
            format!("such a path begins with `/`: \"{example}\"")
        } else {
            format!("did you mean \"{}\"?", shorten(&normal))
        };
        (format!("`{shown}` is not a path in the sandbox"), "not absolute", help)
    } else if normal == "/" {
        let help = format!("choose a folder inside it, such as \"{example}\"");
        ("the root of the sandbox is its image".to_owned(), "cannot be replaced", help)
    } else if normal != text {
        let message = format!("`{shown}` is not the shortest form of this path");
        (message, "holds `.`, `..`, or a slash too many", format!("write \"{}\"", shorten(&normal)))
    } else if let Some((reserved, why)) = RESERVED.iter().find(|(reserved, _)| is_below(reserved)) {
        let help = format!("choose another path, such as \"{example}\"");
        (format!("nothing can lie over `{reserved}`"), *why, help)
    } else {
        return Some(normal);
    };
    context.refuse(Diagnostic::error(Code::InvalidPath, given.span, message).label(label).help(help))
}
