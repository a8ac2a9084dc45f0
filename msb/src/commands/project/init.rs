//! `msb init`.

use crate::cli::Global;
use crate::error::{CliError, Context};
use crate::output::OutputOptions;
use clap::ValueEnum;
use sandboxfile::{AssumePresent, FILE_NAMES, Format as Spelling, Input, Source, load, text_in};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Arguments of `msb init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The language.
    #[arg(long, value_enum, default_value_t = Format::Kdl, value_name = "SPELLING")]
    format: Format,
    /// The image of the sandboxes: a name in a registry, a directory or a tar archive.
    #[arg(long, value_name = "REF", default_value = DEFAULT_IMAGE)]
    image: String,
}

/// The languages of a Sandboxfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// KDL 2.
    Kdl,
    /// YAML.
    Yaml,
}

/// The image of the templates: small, and available for every platform.
const DEFAULT_IMAGE: &str = "alpine";
const KDL: &str = include_str!("init/Sandboxfile");
const YAML: &str = include_str!("init/Sandboxfile.yaml");

/// Writes a starter Sandboxfile; an existing one is never overwritten.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let folder = global.project_directory.clone().unwrap_or_else(|| PathBuf::from("."));
    if let Some(found) = FILE_NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        let shown = found.strip_prefix(".").unwrap_or(&found).display();
        return Err(
            CliError::new(format!("a Sandboxfile already exists: {shown}")).hint("`msb validate` checks it")
        );
    }
    let (name, text) = match arguments.format {
        Format::Kdl => ("Sandboxfile", KDL),
        Format::Yaml => ("Sandboxfile.yaml", YAML),
    };
    let text = with_image(name, text, &arguments.image)?;
    let path = folder.join(name);
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .context(format_args!("cannot write {}", path.display()))?;
    OutputOptions::of(global).say(&format!(
        "wrote {name} with the image {}\nEdit it, then run: msb plan, msb up",
        arguments.image
    ));
    Ok(ExitCode::SUCCESS)
}

/// Inserts an image into a template.
fn with_image(name: &str, template: &str, image: &str) -> Result<String, CliError> {
    let format = Spelling::of_file_name(name);
    let text = template.replace(&text_in(format, DEFAULT_IMAGE), &text_in(format, image));
    let source = Source { name, path: None, bytes: text.as_bytes(), format, folder: "/project" };
    let project = schemas::name::ProjectName::new("project").ok();
    let input = Input { default_project: project, ..Input::of(source) };
    if let Err(report) = load(&input, &AssumePresent) {
        let reason = report.diagnostics().first().map_or("", |finding| finding.message.as_str());
        return Err(CliError::usage(format!("--image {image:?} cannot be an image: {reason}"))
            .hint("for example python:3.12-slim, or ./image for a directory"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_accept_any_image() {
        for (name, template) in [("Sandboxfile", KDL), ("Sandboxfile.yaml", YAML)] {
            for image in ["alpine", "python:3.12-slim", "./my image \"$HOME\"", "/a'b: #c"] {
                let text = with_image(name, template, image).unwrap_or_else(|error| panic!("{error:?}"));
                assert_eq!(text.contains("alpine"), image == "alpine", "{text}");
            }
            assert!(with_image(name, template, "a b").is_err());
            assert!(with_image(name, template, "").is_err());
        }
    }
}
