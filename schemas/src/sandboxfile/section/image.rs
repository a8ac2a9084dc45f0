//! `image "./app"`: what a sandbox boots from.

use crate::sandboxfile::code::Code;
use crate::sandboxfile::context::{Context, shorten, steers_a_terminal};
use crate::sandboxfile::diagnostic::Diagnostic;
use crate::sandboxfile::read::{Takes, text};
use crate::sandboxfile::span::Spanned;
use crate::sandboxfile::tree::Item;
use crate::sandboxfile::{FileKind, path};
use crate::spec::ImageReference;

/// Reads the reference as typed.
pub(crate) fn read(context: &mut Context<'_>, item: &Item) -> Option<Spanned<String>> {
    let help = format!("write `{}`", context.sample("image", &["./image"]));
    text(context, item, Takes { what: "a path", bare: false }, &help)
}

/// Checks that it is local and there.
pub(crate) fn check(context: &mut Context<'_>, image: &Spanned<String>) -> Option<ImageReference> {
    let given = image.value.as_str();
    if !path::is_local(given) {
        let shown = shorten(given);
        let suggested = if given.is_empty() || given.contains(|c: char| c == ':' || steers_a_terminal(c)) {
            "./image".to_owned()
        } else {
            format!("./{shown}")
        };
        let what = if given.is_empty() {
            "an image cannot be empty"
        } else {
            "registry images are not supported yet"
        };
        context.push(
            Diagnostic::error(Code::RegistryImage, image.span, what)
                .label(if given.is_empty() { "no path" } else { "not a path" })
                .help(format!(
                    "point at a directory or a tar archive: `{}`",
                    context.sample("image", &[&suggested])
                )),
        );
        return None;
    }
    let absolute = context.absolute(image);
    match context.files.kind(&absolute) {
        Some(FileKind::Directory | FileKind::File) => Some(ImageReference::Local { path: absolute }),
        Some(FileKind::Other) => {
            let message = format!("`{}` is neither a directory nor a tar archive", shorten(given));
            context.push(
                Diagnostic::error(Code::ImageNotUsable, image.span, message)
                    .label("a socket, a pipe or a device")
                    .help("point at a directory or a tar archive"),
            );
            None
        }
        None => {
            context.push(
                Diagnostic::error(
                    Code::ImageNotFound,
                    image.span,
                    format!("there is no image `{}`", shorten(given)),
                )
                .label("no such file or directory")
                .help(format!("looked for {}", printable(&absolute))),
            );
            None
        }
    }
}

fn printable(path: &str) -> String {
    path.chars().map(|c| if steers_a_terminal(c) { '\u{FFFD}' } else { c }).collect()
}
