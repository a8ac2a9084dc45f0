//! The whole file: as typed, and checked into a [`Model`].

use super::code::Code;
use super::context::{Context, shorten};
use super::dependencies;
use super::diagnostic::Diagnostic;
use super::names::PROJECT;
use super::read::{Fields, Takes, entries, text};
use super::sandbox::{self, RawSandbox};
use super::section::script::invalid_name;
use super::span::{Span, Spanned};
use super::tree::Item;
use crate::model::Model;
use crate::name::{ProjectName, suggest_name};
use crate::spec::Role;
use std::collections::{BTreeMap, HashMap, HashSet};

/// A Sandboxfile as typed.
#[derive(Debug)]
pub(crate) struct RawProject {
    name: Option<Spanned<String>>,
    sandboxes: Vec<RawSandbox>,
}

/// Reads the whole file as typed.
pub(crate) fn read(context: &mut Context<'_>, items: &[Item]) -> RawProject {
    let fields = Fields::read(context, &PROJECT, items);
    let name = fields.one("project").and_then(|item| {
        let help = format!("write `{}`", context.sample("project", &["shop"]));
        text(context, item, Takes { what: "a name", bare: false }, &help)
    });
    let mut sandboxes = Vec::new();
    for (property, role, example) in [("sandbox", Role::Service, "web"), ("job", Role::Job, "migrate")] {
        for item in fields.all(property) {
            let found = entries(context, item, example);
            sandboxes.extend(found.iter().map(|entry| sandbox::read(context, entry, role)));
        }
    }
    // In the order of the file, so that "first" means first for the reader as well.
    sandboxes.sort_by_key(|sandbox| sandbox.name.span.start);
    RawProject { name, sandboxes }
}

/// Checks the whole file. The model is there only when nothing is wrong.
pub(crate) fn check(
    context: &mut Context<'_>,
    raw: &RawProject,
    chosen: Option<ProjectName>,
    default: Option<ProjectName>,
) -> Option<Model> {
    let written = raw.name.as_ref().map(|name| check_name(context, name));
    let project = match (chosen, written, default) {
        (Some(chosen), _, _) => Some(chosen),
        (None, Some(written), _) => written,
        (None, None, Some(default)) => Some(default),
        (None, None, None) => {
            let help = format!("add `{}` as the first line, or use -p", context.sample("project", &["shop"]));
            context.push(
                Diagnostic::error(Code::NoProjectName, Span::default(), "the project has no name")
                    .label("no name is given here, and the folder's name cannot be one")
                    .help(help),
            );
            None
        }
    };
    if raw.sandboxes.is_empty() && context.is_clean() {
        let example = match context.format {
            super::Format::Kdl => "sandbox \"web\" { image \"./image\" }",
            super::Format::Yaml => "sandboxes: { web: { image: ./image } }",
        };
        context.push(
            Diagnostic::error(Code::NoSandboxes, Span::default(), "no sandbox is declared")
                .label("nothing to run in this file")
                .help(format!("add one: `{example}`, or start from `msb init`")),
        );
    }
    let taken: HashSet<&str> = raw.sandboxes.iter().map(|sandbox| sandbox.name.value.as_str()).collect();
    check_duplicates(context, &raw.sandboxes, &taken);
    let dependencies = dependencies::check(context, &raw.sandboxes);
    let sandboxes: Vec<_> = raw
        .sandboxes
        .iter()
        .zip(dependencies)
        .map(|(sandbox, depends_on)| sandbox::check(context, sandbox, depends_on, &taken))
        .collect();
    let sandboxes: Option<Vec<_>> = sandboxes.into_iter().collect();
    Some(Model::new(project?, BTreeMap::new(), sandboxes?)).filter(|_| context.is_clean())
}

fn check_name(context: &mut Context<'_>, name: &Spanned<String>) -> Option<ProjectName> {
    match ProjectName::new(name.value.as_str()) {
        Ok(name) => Some(name),
        Err(reason) => {
            context.push(invalid_name(name, "project", &reason.to_string()));
            None
        }
    }
}

fn check_duplicates(context: &mut Context<'_>, sandboxes: &[RawSandbox], taken: &HashSet<&str>) {
    let mut first: HashMap<&str, &RawSandbox> = HashMap::new();
    for raw in sandboxes {
        let name = raw.name.value.as_str();
        let Some(before) = first.get(name) else {
            first.insert(name, raw);
            continue;
        };
        let message = match before.role == raw.role {
            true if raw.role == Role::Job => format!("two jobs are called `{}`", shorten(name)),
            true => format!("two sandboxes are called `{}`", shorten(name)),
            false => format!("a sandbox and a job are both called `{}`", shorten(name)),
        };
        let diagnostic = Diagnostic::error(Code::DuplicateName, raw.name.span, message)
            .label("the same name again")
            .also(before.name.span, "first given here");
        let free = format!("{name}-2");
        let is_free = suggest_name(&free).as_ref() == Some(&free) && !taken.contains(free.as_str());
        context.push(match is_free.then_some(free) {
            Some(free) => {
                diagnostic.help(format!("sandboxes and jobs share their names: call one of them `{free}`"))
            }
            None => diagnostic.help("sandboxes and jobs share their names: rename one of the two"),
        });
    }
}
