//! A sandbox from flags: the command line becomes the Sandboxfile of a project that has this one sandbox.
//!
//! So there is one grammar, one set of checks and one planner for both. The text that is made is never written
//! anywhere; a report on it shows its lines, each of which is one flag.

mod property;
mod script;
mod text;

use crate::cli::Global;
use crate::error::{CliError, Exit};
use crate::host;
use crate::output::OutputOptions;
use crate::project::load;
use crate::report;
use property::{Given, PropertyFlags};
use sandboxfile::language::{Flag, FlagKind};
use sandboxfile::{
    ENV_FILE_BYTES_MAX, EnvFile, Format, Input, Source, Variables, load as load_source, read_env_file,
};
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName, suggest_name};
use script::{Script, scripts};
use std::collections::BTreeMap;
use std::path::PathBuf;
use text::Declaration;

/// What the text is called where a report shows it.
const SOURCE_NAME: &str = "the command line, as a Sandboxfile";

/// The property that `--env-file` sets as well, by its YAML name.
const ENV: &str = "env";

/// What a sandbox is made of.
#[derive(Debug, clap::Args)]
pub struct SandboxFlags {
    /// What it boots from, as in a Sandboxfile: a reference such as alpine, or a path such as ./image.
    image: String,
    #[command(flatten)]
    properties: PropertyFlags,
    /// A file of NAME=value lines for its environment; `--env` and later files win.
    // Named as the option of every command whose place it takes.
    #[arg(id = "env_files", long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// A script for its PATH; \n, \t, \r, \\, \" and \' are decoded, and a first line for the shell is added.
    #[arg(long, value_name = "NAME=BODY")]
    script: Vec<String>,
    /// A script as it is given, with a first line of its own.
    #[arg(long, value_name = "NAME=BODY")]
    script_raw: Vec<String>,
    /// A script from a file, as it is.
    #[arg(long, value_name = "NAME:PATH")]
    script_path: Vec<String>,
    /// A rule of its network; may hold several, with commas.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    net_rule: Vec<String>,
    /// What happens to all that no rule speaks of: allow or deny.
    #[arg(long, value_name = "WHAT")]
    net_default: Option<String>,
    /// The same as --net-default deny.
    #[arg(long, conflicts_with = "net_default")]
    no_net: bool,
    /// The network that its IPv4 address is taken from; it gets a /30 of it.
    #[arg(long, value_name = "NETWORK")]
    net_ipv4_pool: Option<String>,
    /// The network that its IPv6 address is taken from; it gets a /64 of it.
    #[arg(long, value_name = "NETWORK")]
    net_ipv6_pool: Option<String>,
    /// A secret for these hosts; its value is read from the variable of this name.
    #[arg(long, value_name = "NAME@HOST[,HOST…]")]
    secret: Vec<String>,
    /// The project's name has no meaning here, so its short form is the port's.
    #[arg(id = "project", long = "project", hide = true)]
    project: Option<String>,
}

impl SandboxFlags {
    /// The model of a project that has one sandbox, with this main process.
    pub fn model(
        &self,
        global: &Global,
        name: &SandboxName,
        start: Option<&[String]>,
    ) -> Result<Model, CliError> {
        let scripts = scripts(&self.script, &self.script_raw, &self.script_path)?;
        let text = self.declaration(global, name, &scripts, start)?;
        let folder = load::current_folder()?;
        let folder = folder
            .to_str()
            .ok_or_else(|| CliError::new(format!("the path {} is not UTF-8", folder.display())))?;
        let source =
            Source { name: SOURCE_NAME, path: None, bytes: text.as_bytes(), format: Format::Yaml, folder };
        let input = Input {
            project: Some(ProjectName::of_one(name)),
            variables: Variables::default(),
            host_memory_mib: host::memory_mib(),
            ..Input::of(source)
        };
        let verbosity = OutputOptions::of(global);
        match load_source(&input, &load::OsFiles) {
            Ok(loaded) => {
                if let Some(warnings) = &loaded.warnings {
                    verbosity.say(report::diagnostics::text(warnings, &verbosity).trim_end());
                }
                Ok(loaded.model)
            }
            Err(report) => {
                let shown = report::diagnostics::text(&report, &verbosity);
                Err(CliError::refused(&report, shown.into()).exit(Exit::Usage))
            }
        }
    }

    fn declaration(
        &self,
        global: &Global,
        name: &SandboxName,
        scripts: &BTreeMap<String, Script>,
        start: Option<&[String]>,
    ) -> Result<String, CliError> {
        let mut declared = Declaration::new(name, &self.volumes());
        declared.text("image", &self.image);
        let mut env = env_of_files(global)?;
        for Given { property, flag, values } in &self.properties.given {
            match (flag.kind, values.as_slice()) {
                (FlagKind::Text, [text]) => declared.text(property.yaml, text),
                (FlagKind::Number, [number]) => declared.number(property.yaml, number),
                (FlagKind::Text | FlagKind::Number | FlagKind::List, values) => {
                    declared.list(property.yaml, values);
                }
                (FlagKind::Pairs, values) if property.yaml == ENV => env.extend(pairs(flag, values)?),
                (FlagKind::Pairs, values) => declared.map(property.yaml, &pairs(flag, values)?),
            }
        }
        declared.map(ENV, &env);
        declared.scripts(scripts);
        declared.list("start", start.unwrap_or_default());
        let default = if self.no_net { Some("deny") } else { self.net_default.as_deref() };
        let pools = [self.net_ipv4_pool.as_deref(), self.net_ipv6_pool.as_deref()];
        declared.network(default, pools, &self.net_rule);
        declared.secrets(&self.secrets()?);
        Ok(declared.finish())
    }

    /// The volumes that are mounted by name: each is one of this sandbox's own project.
    fn volumes(&self) -> Vec<&str> {
        let sources = self.properties.values("mount").filter_map(|volume| volume.split(':').next());
        let mut names: Vec<_> =
            sources.filter(|source| suggest_name(source).as_deref() == Some(source)).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn secrets(&self) -> Result<Vec<(&str, Vec<String>)>, CliError> {
        let one = |text: &'_ String| -> Result<(usize, Vec<String>), CliError> {
            let at = text.find('@').filter(|at| *at > 0 && at + 1 < text.len()).ok_or_else(|| {
                CliError::usage(format!("--secret {text:?} is not NAME@HOST"))
                    .hint("the value is read from the variable NAME, and is only for HOST")
            })?;
            Ok((at, text[at + 1..].split(',').map(str::to_owned).collect()))
        };
        let read = self.secret.iter().map(|text| one(text).map(|(at, hosts)| (&text[..at], hosts)));
        read.collect()
    }
}

/// Splits `NAME=VALUE` words; the last one of a name wins.
fn pairs(flag: &Flag, words: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(CliError::usage(format!("--{} {word:?} is not NAME=VALUE", flag.long))),
    };
    words.iter().map(pair).collect()
}

/// What the files of `--env-file` set; a later file wins, and may refer to the ones before it.
fn env_of_files(global: &Global) -> Result<BTreeMap<String, String>, CliError> {
    let environment = load::environment();
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for path in &global.env_files {
        let name = path.display().to_string();
        let file = std::fs::File::open(path)
            .map_err(|error| CliError::new(format!("cannot read the --env-file {name}: {error}")))?;
        let bytes = load::read_bounded(file, &name, ENV_FILE_BYTES_MAX)?;
        let known = env.clone().into_iter().chain(environment.clone()).collect();
        let values = read_env_file(&EnvFile { name: &name, bytes: &bytes }, &known).map_err(|report| {
            let shown = report::diagnostics::text(&report, &OutputOptions::of(global));
            CliError::refused(&report, shown.into())
        })?;
        env.extend(values);
    }
    Ok(env)
}
