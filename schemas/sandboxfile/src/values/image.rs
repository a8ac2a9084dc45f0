//! `image "./app"`: what a sandbox boots from.

use super::path;
use super::read::{Takes, text_like};
use super::{Parsed, PrintScope, Scope, Value};
use crate::FileKind;
use crate::check::{RawSandbox, word};
use crate::diagnostics::{Code, Context, Diagnostic, shorten, shorten_message};
use crate::language::schema;
use crate::print::{Node, Printed};
use crate::syntax::{Item, Spanned};
use rules::reference::InvalidReference;
use schemas::spec::ImageReference;

/// Checks that a local image exists, and parses the reference of any other; no registry is queried.
fn check(context: &mut Context<'_>, image: &Spanned<String>) -> Option<ImageReference> {
    let given = image.value.as_str();
    match ImageReference::snapshot(given) {
        Some(Ok(snapshot)) => return Some(snapshot),
        Some(Err(invalid)) => {
            let message = format!("`{}` does not name a snapshot: {invalid}", shorten(given));
            let diagnostic =
                Diagnostic::error(Code::InvalidImage, image.span, message).label("not a snapshot");
            return context.refuse(diagnostic.help("`msb snapshot ls` lists those of this host"));
        }
        None => {}
    }
    if !path::is_local(given) {
        return match given.parse() {
            Ok(name) => Some(ImageReference::Registry { name }),
            Err(invalid) => context.refuse(invalid_image(context, image, &invalid)),
        };
    }
    let absolute = context.absolute(image);
    let (code, message, label, help) = match context.files.kind(&absolute) {
        Some(FileKind::Directory | FileKind::File) => return Some(ImageReference::Local { path: absolute }),
        Some(FileKind::Other) => {
            let message = format!("`{}` is neither a directory nor a tar archive", shorten(given));
            let help = "point at a directory or a tar archive".to_owned();
            (Code::ImageNotUsable, message, "a socket, a pipe or a device", help)
        }
        None => {
            let message = format!("there is no image `{}`", shorten(given));
            let help = format!("looked for {}", shorten_message(&absolute));
            (Code::ImageNotFound, message, "no such file or directory", help)
        }
    };
    context.refuse(Diagnostic::error(code, image.span, message).label(label).help(help))
}

fn invalid_image(context: &Context<'_>, image: &Spanned<String>, invalid: &InvalidReference) -> Diagnostic {
    let given = image.value.as_str();
    let diagnostic = Diagnostic::error(Code::InvalidImage, image.span, shorten_message(&invalid.to_string()))
        .label("not an image");
    if let Some(suggestion) = &invalid.suggestion {
        return diagnostic.help(format!("did you mean \"{}\"?", shorten(suggestion)));
    }
    if given.starts_with('~') {
        let rest = shorten(given.trim_start_matches('~'));
        return diagnostic.help(format!("only a shell knows what `~` is: write \"${{HOME}}{rest}\""));
    }
    let example = context.sample("image", &["./image"]);
    diagnostic.help(format!("name one, such as \"python:3.12-slim\", or a path: `{example}`"))
}

/// The image that a sandbox boots from.
pub(crate) struct Image;

impl Value for Image {
    type Raw = Parsed<Spanned<String>>;
    type Model = ImageReference;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        text_like(context, item, Takes { what: "an image", bare: false }, "./image").into()
    }

    fn check(context: &mut Context<'_>, raw: &Self::Raw, scope: &Scope<'_>) -> Option<Self::Model> {
        let RawSandbox { name, role, .. } = scope.sandbox;
        let image = raw.required(context, "image", name.span, |context| {
            let message = format!("the {} `{}` has no image", word(*role), shorten(&name.value));
            (message, format!("say what it boots from: `{}`", context.sample("image", &["./image"])))
        })?;
        check(context, image)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        Printed::One(Node::text(model.to_string()))
    }

    fn schema() -> serde_json::Value {
        schema::with(schema::text(), "examples", ["python:3.12-slim", "./image", "snapshot:NAME"])
    }
}
