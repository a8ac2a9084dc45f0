//! `msb init`.

mod from;

pub use from::Document;

use crate::cli::Global;
use crate::error::{CliError, Context};
use crate::output::{OutputOptions, print_raw};
use clap::ValueEnum;
use sandboxfile::{AssumePresent, FILE_NAMES, Format as Spelling, Input, Source, load, text_in};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Arguments of `msb init`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The language; without it that of the file's name, or KDL.
    #[arg(long, value_enum, value_name = "SPELLING")]
    format: Option<Format>,
    /// The same as --format kdl.
    #[arg(long, conflicts_with_all = ["format", "yaml"])]
    kdl: bool,
    /// The same as --format yaml.
    #[arg(long, conflicts_with = "format")]
    yaml: bool,
    /// The image of the sandboxes: a name in a registry, a directory or a tar archive.
    #[arg(long, value_name = "REF", default_value = DEFAULT_IMAGE, conflicts_with = "from")]
    image: String,
    /// Convert a compose file; without FILE, that of this folder. Repeated, each file overrides the ones before.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = ".")]
    from: Vec<PathBuf>,
    /// The file to write, instead of a Sandboxfile in this folder; `-` prints it.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Exit with 1 if something of the compose file is left out.
    #[arg(long, requires = "from")]
    strict: bool,
    /// Print the report of the conversion as JSON.
    #[arg(long, requires = "from")]
    json: bool,
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

/// Writes a starter Sandboxfile, or one from compose files; an existing one is never overwritten.
pub fn run(global: &Global, arguments: &Args) -> Result<ExitCode, CliError> {
    let folder = global.project_directory.clone().unwrap_or_else(|| PathBuf::from("."));
    if arguments.output.is_none() {
        refuse_second(&folder)?;
    }
    let format = arguments.spelling();
    if !arguments.from.is_empty() {
        let request = from::Request {
            from: &arguments.from,
            output: arguments.output.as_deref(),
            format,
            folder: &folder,
            is_strict: arguments.strict,
            is_json: arguments.json,
        };
        return from::run(global, &request);
    }
    let template = match format {
        Spelling::Kdl => KDL,
        Spelling::Yaml => YAML,
    };
    let text = with_image(file_name(format), template, &arguments.image)?;
    let path = match &arguments.output {
        Some(path) if path.as_os_str() == "-" => {
            print_raw(&text);
            return Ok(ExitCode::SUCCESS);
        }
        Some(path) => path.clone(),
        None => folder.join(file_name(format)),
    };
    let written = std::fs::OpenOptions::new().write(true).create_new(true).open(&path);
    written
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .context(format_args!("cannot write {}", path.display()))?;
    let name = arguments.output.as_deref().unwrap_or(Path::new(file_name(format))).display();
    OutputOptions::of(global).say(&format!(
        "wrote {name} with the image {}\nEdit it, then run: msb plan, msb up",
        arguments.image
    ));
    Ok(ExitCode::SUCCESS)
}

/// Refuses to write a Sandboxfile beside another one.
fn refuse_second(folder: &Path) -> Result<(), CliError> {
    if let Some(found) = FILE_NAMES.iter().map(|name| folder.join(name)).find(|path| path.exists()) {
        let shown = found.strip_prefix(".").unwrap_or(&found).display();
        return Err(
            CliError::new(format!("a Sandboxfile already exists: {shown}")).hint("`msb validate` checks it")
        );
    }
    Ok(())
}

impl Args {
    /// Returns the language that is asked for, or that of the name of the file to write.
    fn spelling(&self) -> Spelling {
        match self.format {
            Some(Format::Kdl) => Spelling::Kdl,
            Some(Format::Yaml) => Spelling::Yaml,
            None if self.kdl => Spelling::Kdl,
            None if self.yaml => Spelling::Yaml,
            None => {
                let name = self.output.as_deref().unwrap_or(Path::new(""));
                Spelling::of_file_name(&name.to_string_lossy())
            }
        }
    }
}

/// Returns the name of a Sandboxfile in a language.
fn file_name(format: Spelling) -> &'static str {
    match format {
        Spelling::Kdl => "Sandboxfile",
        Spelling::Yaml => "Sandboxfile.yaml",
    }
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
