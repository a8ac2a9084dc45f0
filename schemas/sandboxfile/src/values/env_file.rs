//! `env-file "./app.env" required=#false`: files of the host with variables of the environment.

use super::mount::host_path;
use super::read::{Element, Fields, Help, MainValue, Takes, boolean, elements, text_of};
use super::{PrintScope, Scope, Value, path};
use crate::Format;
use crate::check::{Growth, Weight};
use crate::diagnostics::{Code, Context, Diagnostic, shorten};
use crate::language::{ENV_FILE, schema};
use crate::merge::Keyed;
use crate::print::{Item as PrintItem, Node, Printed, Scalar};
use crate::syntax::{Item, Span, Spanned};
use crate::variables::{ENV_FILE_BYTES_MAX, EnvFile as File, file_values};
use schemas::spec::EnvFile;
use std::collections::BTreeMap;

/// A file as typed.
#[derive(Clone, Debug)]
pub(crate) struct RawEnvFile {
    path: Spanned<String>,
    required: bool,
}

impl Weight for RawEnvFile {
    fn weight(&self) -> usize {
        let Self { path, required: _ } = self;
        path.weight()
    }
}

impl Keyed for RawEnvFile {
    fn key(&self) -> &str {
        &self.path.value
    }

    fn origins(&self, found: &mut dyn FnMut(&str, Span)) {
        found(&self.path.value, self.path.span);
    }
}

fn read_one(
    context: &mut Context<'_>,
    item: &Item<'_>,
    element: &Element<'_>,
    help: &dyn Help,
) -> Option<RawEnvFile> {
    let fields = Fields::read(context, &ENV_FILE, element.items);
    let required = fields.one("required").and_then(|item| boolean(context, item, help));
    let missing = || {
        Diagnostic::error(Code::MissingProperty, element.span, "a file of variables has no path")
            .label("the path is missing")
    };
    let too_many = "an `env-file` has one path";
    let main = MainValue { property: "path", missing: &missing, too_many, help, too_many_help: None };
    let (argument, name) = main.find(context, element.arguments, &fields)?;
    let takes = Takes { what: "a path", bare: false };
    let path = text_of(context, argument, name.unwrap_or(&item.name.value), takes)?;
    Some(RawEnvFile { path, required: required.is_none_or(|required| required.value) })
}

/// Returns the variables of the files of a sandbox; those of later files take precedence. Their faults are reported.
pub(crate) fn variables(context: &mut Context<'_>, files: &[RawEnvFile]) -> Option<BTreeMap<String, String>> {
    let mut variables = BTreeMap::new();
    let mut is_sound = true;
    for RawEnvFile { path, required } in files {
        let absolute = context.absolute(path);
        if !required && context.files.kind(&absolute).is_none() {
            continue;
        }
        let shown = shorten(&path.value);
        match context.files.read(&absolute, ENV_FILE_BYTES_MAX) {
            Ok(bytes) => {
                context.charge(Growth::Files, bytes.len(), path.span)?;
                variables.extend(file_values(context, &File { name: &shown, bytes: &bytes }));
            }
            Err(reason) => {
                let message = format!("`{shown}` cannot be read");
                context.push(
                    Diagnostic::error(Code::HostPathNotUsable, path.span, message).label(shorten(&reason)),
                );
                is_sound = false;
            }
        }
    }
    is_sound.then_some(variables)
}

/// Files of variables, in order.
pub(crate) struct EnvFiles;

impl Value for EnvFiles {
    type Raw = Vec<RawEnvFile>;
    type Model = Vec<EnvFile>;

    fn read(context: &mut Context<'_>, item: &Item<'_>) -> Self::Raw {
        let help = |context: &Context<'_>| match context.format {
            Format::Kdl => {
                "write `env-file \"./app.env\"`, or `env-file \"./app.env\" required=#false`".to_owned()
            }
            Format::Yaml => "write `- ./app.env` on a line below it".to_owned(),
        };
        let found = elements(context, item, &help);
        found.iter().filter_map(|element| read_one(context, item, element, &help)).collect()
    }

    /// Checks the paths. The variables are read with those of `env`.
    fn check(context: &mut Context<'_>, raw: &[RawEnvFile], _scope: &Scope<'_>) -> Option<Self::Model> {
        let mut checked = Vec::new();
        for RawEnvFile { path, required } in raw {
            if !path::is_local(&path.value) {
                let shown = shorten(&path.value);
                return context.refuse(
                    Diagnostic::error(Code::InvalidPath, path.span, format!("`{shown}` is not a path"))
                        .label("does not begin with `/`, `./` or `../`")
                        .help(format!("did you mean \"./{shown}\"?")),
                );
            }
            let absolute = match required {
                true => host_path(context, path, "read")?.0,
                false => context.absolute(path),
            };
            checked.push(EnvFile { path: absolute, required: *required });
        }
        Some(checked)
    }

    fn print(model: &Self::Model, _scope: &PrintScope<'_>) -> Printed {
        let one = |EnvFile { path, required }: &EnvFile| {
            let mut items = vec![PrintItem::argument("path", Scalar::text(path))];
            items.extend((!required).then(|| PrintItem::property("required", Scalar::Flag(false))));
            Node::flow(items)
        };
        Printed::List(model.iter().map(one).collect())
    }

    fn schema() -> serde_json::Value {
        let each = schema::any_of([schema::definition(ENV_FILE.definition), schema::text()]);
        schema::any_of([schema::list(&each, 0), schema::text()])
    }
}
