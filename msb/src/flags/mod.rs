//! A sandbox from flags: the command line becomes the Sandboxfile of a project that has this one sandbox.
//!
//! So there is one grammar, one set of checks and one planner for both. The text that is made is never written
//! anywhere; a report on it shows its lines, each of which is one flag.

mod script;
mod text;

use crate::cli::Global;
use crate::error::{CliError, Exit};
use crate::host;
use crate::output::OutputOptions;
use crate::project::load;
use crate::report;
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

/// What a sandbox is made of.
#[derive(Debug, clap::Args)]
pub struct SandboxFlags {
    /// What it boots from, as in a Sandboxfile: a reference such as alpine, or a path such as ./image.
    image: String,
    /// Virtual processors.
    #[arg(long, value_name = "N")]
    cpus: Option<u32>,
    /// Memory, such as 512M or 2G.
    #[arg(long, value_name = "SIZE")]
    memory: Option<String>,
    /// The size of its writable disk.
    #[arg(long, value_name = "SIZE")]
    disk: Option<String>,
    /// Set a variable of its environment.
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// A file of NAME=value lines for its environment; `--env` and later files win.
    // Named as the option of every command whose place it takes.
    #[arg(id = "env_files", long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// The working directory of its processes.
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The user, and group, of its processes: names or numbers.
    #[arg(short, long, value_name = "USER[:GROUP]")]
    user: Option<String>,
    /// The shell of its scripts.
    #[arg(long, value_name = "PROGRAM")]
    shell: Option<String>,
    /// A script for its PATH; \n, \t, \r, \\, \" and \' are decoded, and a first line for the shell is added.
    #[arg(long, value_name = "NAME=BODY")]
    script: Vec<String>,
    /// A script as it is given, with a first line of its own.
    #[arg(long, value_name = "NAME=BODY")]
    script_raw: Vec<String>,
    /// A script from a file, as it is.
    #[arg(long, value_name = "NAME:PATH")]
    script_path: Vec<String>,
    /// A label.
    #[arg(short, long = "label", value_name = "NAME=VALUE")]
    label: Vec<String>,
    /// Mount a volume, or a path of the host.
    #[arg(short, long = "volume", value_name = "SOURCE:DEST[:OPTIONS]")]
    volume: Vec<String>,
    /// Let a port of the host lead into it.
    #[arg(short = 'p', long = "port", value_name = "[BIND:]HOST:GUEST[/udp]")]
    port: Vec<String>,
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
    /// When it is started again after it has ended: no, on-failure, on-failure:N or always.
    #[arg(long, value_name = "POLICY")]
    restart: Option<String>,
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
        declared.number("cpus", self.cpus);
        for (property, value) in [("memory", &self.memory), ("disk", &self.disk)] {
            declared.some("    ", property, value.as_deref());
        }
        let mut env = env_of_files(global)?;
        env.extend(pairs("--env", &self.env)?);
        declared.map("env", &env);
        let words = [("workdir", &self.workdir), ("user", &self.user), ("shell", &self.shell)];
        for (property, value) in words.into_iter().chain([("restart", &self.restart)]) {
            declared.some("    ", property, value.as_deref());
        }
        declared.scripts(scripts);
        declared.list("start", start.unwrap_or_default());
        declared.map("labels", &pairs("--label", &self.label)?);
        declared.list("mounts", &self.volume);
        declared.list("ports", &self.port);
        let default = if self.no_net { Some("deny") } else { self.net_default.as_deref() };
        let pools = [self.net_ipv4_pool.as_deref(), self.net_ipv6_pool.as_deref()];
        declared.network(default, pools, &self.net_rule);
        declared.secrets(&self.secrets()?);
        Ok(declared.finish())
    }

    /// The volumes that are mounted by name: each is one of this sandbox's own project.
    fn volumes(&self) -> Vec<&str> {
        let sources = self.volume.iter().filter_map(|volume| volume.split(':').next());
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

/// `NAME=VALUE` words; the last one of a name wins.
fn pairs(flag: &str, words: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(CliError::usage(format!("{flag} {word:?} is not NAME=VALUE"))),
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
