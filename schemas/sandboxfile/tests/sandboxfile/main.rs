//! The Sandboxfile from the outside: models, reports, round trips and hostile input.

#![allow(clippy::unwrap_used)]

mod bombs;
mod hostile;
mod json_schema;
mod layers;
mod lookup;
mod models;
mod reference;
mod reports;
mod round_trip;
mod spans;

use sandboxfile::{FileKind, Format, HostFiles, Input, Report, Source, load};
use schemas::model::Model;
use schemas::name::ProjectName;

/// The files that can be included in `/project`.
const FILES: [(&str, &str); 4] = [
    (
        "common/base.kdl",
        "project \"common\"\nvolume \"data\" size=\"1G\"\nsandbox \"base\" { image \"./image\"; memory \"1G\"; env { A 1; B 2 } }\n",
    ),
    ("common/wrong.yaml", "sandboxes:\n  base:\n    image: ./image\n    memroy: 1G\n"),
    ("circle.kdl", "include \"./circle-2.kdl\"\n"),
    ("circle-2.kdl", "\n  include \"./circle.kdl\"\n"),
];

/// A host with a few files in `/project`.
struct FakeHost;

impl HostFiles for FakeHost {
    fn kind(&self, path: &str) -> Option<FileKind> {
        match path {
            "/project/socket" => Some(FileKind::Other),
            path if path.contains("missing") => None,
            path if [".tar", ".img", ".qcow2", ".conf", ".pem"].iter().any(|end| path.ends_with(end)) => {
                Some(FileKind::File)
            }
            _ => Some(FileKind::Directory),
        }
    }

    fn read(&self, path: &str, limit: usize) -> Result<Vec<u8>, String> {
        if path.ends_with("/unreadable.conf") {
            return Err("not allowed to read it".to_owned());
        }
        if let Some(path) = path.strip_suffix("large.conf") {
            return Ok(path.as_bytes().iter().copied().cycle().take(limit + 1).collect());
        }
        if let Some(path) = path.strip_suffix("largest.conf") {
            return Ok(path.as_bytes().iter().copied().cycle().take(limit).collect());
        }
        if path.ends_with(".conf") {
            // Not text.
            return Ok([path.as_bytes(), &[0, 0xFF]].concat());
        }
        let found = FILES.iter().find(|(name, _)| path.strip_prefix("/project/") == Some(name));
        found.map(|(_, text)| text.as_bytes().to_vec()).ok_or_else(|| "no such file".to_owned())
    }
}

fn source<'a>(name: &'a str, bytes: &'a [u8]) -> Source<'a> {
    Source { name, path: None, bytes, format: Format::of_file_name(name), folder: "/project" }
}

fn input<'a>(name: &'a str, bytes: &'a [u8]) -> Input<'a> {
    let default_project = (!name.starts_with("nameless")).then(|| ProjectName::new("project").unwrap());
    Input { default_project, ..Input::of(source(name, bytes)) }
}

fn load_named(name: &str, bytes: &[u8]) -> Result<Model, Report> {
    load(&input(name, bytes), &FakeHost).map(|loaded| loaded.model)
}

fn load_kdl(text: &str) -> Result<Model, Report> {
    load_named("Sandboxfile", text.as_bytes())
}

fn load_yaml(text: &str) -> Result<Model, Report> {
    load_named("Sandboxfile.yaml", text.as_bytes())
}
