//! The Sandboxfile from the outside: models, reports, round trips and hostile input.

#![allow(clippy::unwrap_used)]

mod hostile;
mod models;
mod reports;
mod round_trip;
mod spans;

use schemas::model::Model;
use schemas::name::ProjectName;
use schemas::sandboxfile::{FileKind, Format, HostFiles, Report, Source, load};

/// A host with a few files in `/project`.
struct FakeHost;

impl HostFiles for FakeHost {
    fn kind(&self, path: &str) -> Option<FileKind> {
        match path {
            "/project/socket" => Some(FileKind::Other),
            path if path.ends_with(".tar") => Some(FileKind::File),
            path if path.contains("missing") => None,
            _ => Some(FileKind::Directory),
        }
    }
}

fn load_named(name: &str, bytes: &[u8]) -> Result<Model, Report> {
    let source = Source {
        name,
        bytes,
        format: Format::of_file_name(name),
        folder: "/project",
        project: None,
        default_project: (!name.starts_with("nameless")).then(|| ProjectName::new("project").unwrap()),
    };
    load(&source, &FakeHost)
}

fn load_kdl(text: &str) -> Result<Model, Report> {
    load_named("Sandboxfile", text.as_bytes())
}

fn load_yaml(text: &str) -> Result<Model, Report> {
    load_named("Sandboxfile.yaml", text.as_bytes())
}
