//! `msb schema`.

use super::{doctor, image, project, sandbox, snapshot, volume};
use crate::apply::lifecycle;
use crate::error::FailureDocument;
use crate::logs::JsonLine;
use crate::output::graph;
use crate::output::print;
use crate::output::results::{Copied, CreatedSnapshot, CreatedVolume, Images, Removed, RemovedImage};
use crate::progress::stream;
use clap::builder::PossibleValuesParser;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use std::process::ExitCode;

/// The schema of a Sandboxfile in YAML, which is not a document of a command.
const SANDBOXFILE: &str = "sandboxfile";

/// Arguments of `msb schema`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What it describes.
    #[arg(default_value = SANDBOXFILE, value_parser = PossibleValuesParser::new(names()))]
    document: String,
}

/// Generates a schema.
type Generate = fn() -> Schema;

/// Every document that a command prints with `--json`, by the name of the command. Commands that print the same have one
/// entry.
const DOCUMENTS: &[(&str, Generate)] = &[
    ("doctor", of::<doctor::Document>),
    ("events", of::<JsonLine<'_>>),
    ("failure", of::<FailureDocument<'_>>),
    ("cp", of::<Copied>),
    ("graph", of::<graph::Graph>),
    ("image-df", of::<image::df::Document>),
    ("image-inspect", of::<image::inspect::Document>),
    ("image-ls", of::<image::ls::Document>),
    ("image-prune", of::<image::prune::Document>),
    ("image-pull", of::<Images<'_>>),
    ("image-rm", of::<Removed<'_, RemovedImage>>),
    ("init", of::<project::init::Document<'_>>),
    ("inspect", of::<sandbox::inspect::Document>),
    ("jobs", of::<sandbox::jobs::Document>),
    ("lifecycle", of::<lifecycle::Results<'_>>),
    ("logs", of::<JsonLine<'_>>),
    ("metrics", of::<sandbox::metrics::Document>),
    ("net-learn", of::<sandbox::net::Learned>),
    ("plan", of::<project::plan::Document<'_>>),
    ("ps", of::<sandbox::ps::Document>),
    ("snapshot-create", of::<CreatedSnapshot<'_>>),
    ("snapshot-inspect", of::<snapshot::inspect::Document>),
    ("snapshot-ls", of::<snapshot::ls::Document>),
    ("snapshot-rm", of::<Removed<'_, String>>),
    ("trust", of::<project::trust::Document<'_>>),
    ("trust-list", of::<project::trust::Listing<'_>>),
    ("up", of::<stream::Line<'_>>),
    ("validate", of::<project::validate::Document<'_>>),
    ("volume-create", of::<CreatedVolume<'_>>),
    ("volume-inspect", of::<volume::inspect::Document>),
    ("volume-ls", of::<volume::ls::Document>),
    ("volume-rm", of::<Removed<'_, String>>),
    ("wait", of::<sandbox::wait::Document<'_>>),
];

/// Returns the names of all schemas.
fn names() -> Vec<&'static str> {
    [SANDBOXFILE].into_iter().chain(DOCUMENTS.iter().map(|(name, _)| *name)).collect()
}

/// Returns the schema of what a type is as JSON.
fn of<T: JsonSchema>() -> Schema {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<T>()
}

/// Prints the JSON Schema of a Sandboxfile in YAML, or of what a command prints with `--json`.
pub fn run(arguments: &Args) -> ExitCode {
    print(&text(&arguments.document));
    ExitCode::SUCCESS
}

fn text(document: &str) -> String {
    match DOCUMENTS.iter().find(|(name, _)| *name == document) {
        Some((name, schema)) => {
            let mut schema = schema();
            schema.insert("title".to_owned(), format!("msb {}", name.replace('-', " ")).into());
            serde_json::to_string_pretty(&schema).map_or_else(|_| String::new(), |text| text + "\n")
        }
        None => sandboxfile::json_schema(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    /// The folder of the schemas, from this crate.
    const FOLDER: &str = "../docs/schemas";

    #[test]
    fn the_files_are_current() {
        let is_update = std::env::var_os("UPDATE_GOLDEN").is_some();
        for (name, _) in DOCUMENTS {
            let path = Path::new(FOLDER).join(format!("{name}.json"));
            let current = text(name);
            if is_update {
                std::fs::create_dir_all(FOLDER).unwrap();
                std::fs::write(&path, &current).unwrap();
            }
            let golden = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(golden == current, "{path:?} is out of date: UPDATE_GOLDEN=1 cargo test -p msb schema");
        }
        let files: BTreeSet<String> = std::fs::read_dir(FOLDER)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(files, DOCUMENTS.iter().map(|(name, _)| format!("{name}.json")).collect());
    }
}
