//! Sandboxes described by flags: the command line becomes the Sandboxfile of a project with one sandbox.
//!
//! Flags and files thus share one grammar, one set of checks and one planner. The generated text is never written to a
//! file; error reports show its lines.

mod file;
mod mount;
mod property;
mod script;
mod secret;
mod text;

use crate::cli::Global;
use crate::error::{CliError, ErrorCode};
use crate::host;
use crate::output::OutputOptions;
use crate::project::load;
use crate::report;
use property::{FlagValues, PropertyFlags};
use sandboxfile::language::{Flag, FlagKind};
use sandboxfile::{
    ENV_FILE_BYTES_MAX, EnvFile, Format, Input, Source, Variables, load as load_source, read_env_file,
};
use schemas::model::Model;
use schemas::name::{ProjectName, SandboxName};
use script::{Script, scripts};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use text::{Properties, list, literal, map, set};

/// Name of the generated text in reports.
const SOURCE_NAME: &str = "the command line, as a Sandboxfile";

/// YAML name of the property that `--env-file` also sets.
const ENV: &str = "env";
/// YAML name of the property that `--mount` also sets.
const MOUNTS: &str = "mounts";
/// YAML name of the property whose entries `--add-file` has in a short form.
const FILES: &str = "files";

/// The flags that describe a sandbox.
#[derive(Debug, clap::Args)]
pub struct SandboxFlags {
    /// The image, as in a Sandboxfile: a reference such as alpine, a path such as ./image, or snapshot:NAME.
    image: String,
    #[command(flatten)]
    properties: PropertyFlags,
    /// File of NAME=value lines for its environment; `--env` and later files take precedence.
    // It replaces the global option of this id.
    #[arg(id = "env_files", long = "env-file", value_name = "FILE")]
    env_files: Vec<PathBuf>,
    /// Path of the host that is mounted at /TAG; takes the options of `--volume`.
    #[arg(long, value_name = "TAG:HOST[:ro][,OPTIONS]")]
    mount: Vec<String>,
    /// Script for its PATH; \n, \t, \r, \\, \" and \' are decoded, and the interpreter line is added.
    #[arg(long, value_name = "NAME=BODY")]
    script: Vec<String>,
    /// Script that is not changed, interpreter line included.
    #[arg(long, value_name = "NAME=BODY")]
    script_raw: Vec<String>,
    /// Script from a file, not changed.
    #[arg(long, value_name = "NAME:PATH")]
    script_path: Vec<String>,
    /// Rule of its network, or several with commas.
    #[arg(long, value_name = "RULE", value_delimiter = ',')]
    net_rule: Vec<String>,
    /// Action for connections that no rule matches: allow or deny.
    #[arg(long, value_name = "ACTION")]
    net_default: Option<String>,
    /// The same as --net-default deny.
    #[arg(long, conflicts_with = "net_default")]
    no_net: bool,
    /// Network that its IPv4 addresses, a /30, are taken from.
    #[arg(long, value_name = "NETWORK")]
    net_ipv4_pool: Option<String>,
    /// Network that its IPv6 addresses, a /64, are taken from.
    #[arg(long, value_name = "NETWORK")]
    net_ipv6_pool: Option<String>,
    /// Proxy that its TCP connections to other machines go through: http://HOST:PORT or socks5://HOST:PORT.
    #[arg(long, value_name = "URL")]
    net_proxy: Option<String>,
    /// Where the password of the proxy's user is read: env=NAME, file=PATH or keyring=SERVICE.
    #[arg(long, value_name = "SOURCE", requires = "net_proxy")]
    net_proxy_password: Option<String>,
    /// Name server that is asked for names that the rules allow; without it, the host's.
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,
    /// Domain in which the guest looks up names without a dot.
    #[arg(long, value_name = "DOMAIN")]
    dns_search: Vec<String>,
    /// Secret for these hosts; its value is read from the variable NAME, or as `env=`, `file=` or `keyring=` says.
    #[arg(long, value_name = "NAME@HOST[,HOST…][:OPTIONS]")]
    secret: Vec<String>,
    /// Intercept TLS even without a secret.
    #[arg(long)]
    tls_intercept: bool,
    /// Host whose connections are not intercepted.
    #[arg(long, value_name = "HOST")]
    tls_bypass: Vec<String>,
    /// File with CAs of servers that this host does not trust.
    #[arg(long, value_name = "FILE")]
    tls_ca: Vec<String>,
    /// Not applicable here; its short form is that of `--port`.
    #[arg(id = "project", long = "project", hide = true)]
    project: Option<String>,
}

impl SandboxFlags {
    /// Returns the model of a project with this sandbox only, whose main process is `start`.
    ///
    /// # Errors
    ///
    /// If a flag is invalid or a file that it names cannot be read.
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
        let output = OutputOptions::of(global);
        match load_source(&input, &load::OsFiles) {
            Ok(loaded) => {
                if let Some(warnings) = &loaded.warnings {
                    output.say(report::diagnostics::text(warnings, &output).trim_end());
                }
                Ok(loaded.model)
            }
            Err(report) => Err(CliError::refused(&report, &output).code(ErrorCode::Usage)),
        }
    }

    fn declaration(
        &self,
        global: &Global,
        name: &SandboxName,
        scripts: &BTreeMap<String, Script>,
        start: Option<&[String]>,
    ) -> Result<String, CliError> {
        let mut properties = Properties::new();
        set(&mut properties, "image", literal(&self.image));
        let mut env = env_of_files(global)?;
        let mounts = mount::declared(self.properties.values("mount"), &self.mount)?;
        for name in mounts.volumes.keys().filter(|name| Path::new(name).is_dir()) {
            let note = format!("{name} is a volume; --volume ./{name}:… mounts the folder of this name");
            OutputOptions::of(global).say(&note);
        }
        for FlagValues { property, flag, values } in &self.properties.given {
            let value = match (flag.kind, values.as_slice()) {
                _ if [MOUNTS, FILES].contains(&property.yaml) => continue,
                (FlagKind::Text, [text]) => literal(text),
                (FlagKind::Number, [number]) => number.parse().unwrap_or_else(|_| literal(number)),
                (FlagKind::Text | FlagKind::Number | FlagKind::List, values) => list(values),
                (FlagKind::Pairs, values) if property.yaml == ENV => {
                    env.extend(pairs(flag, values)?);
                    continue;
                }
                (FlagKind::Pairs, values) => map(&pairs(flag, values)?),
            };
            set(&mut properties, property.yaml, value);
        }
        set(&mut properties, ENV, map(&env));
        set(&mut properties, MOUNTS, mounts.mounts);
        set(&mut properties, FILES, file::declared(self.properties.values("file"))?);
        // Dollar signs in a script belong to the shell, as in any Sandboxfile.
        let scripts =
            scripts.iter().map(|(name, Script { body, raw })| (name, json!({ "body": body, "raw": raw })));
        set(&mut properties, "scripts", scripts.collect::<Value>());
        set(&mut properties, "start", list(start.unwrap_or_default()));
        set(&mut properties, "network", self.network()?);
        set(&mut properties, "secrets", secret::declared(&self.secret)?);
        set(&mut properties, "tls", self.tls());
        Ok(text::sandboxfile(name, mounts.volumes, properties))
    }

    fn network(&self) -> Result<Properties, CliError> {
        let default = if self.no_net { Some("deny") } else { self.net_default.as_deref() };
        let mut network = Properties::new();
        set(&mut network, "default", default.map(literal));
        set(&mut network, "ipv4_pool", self.net_ipv4_pool.as_deref().map(literal));
        set(&mut network, "ipv6_pool", self.net_ipv6_pool.as_deref().map(literal));
        set(&mut network, "rules", list(&self.net_rule));
        let mut proxy = Properties::new();
        set(&mut proxy, "url", self.net_proxy.as_deref().map(literal));
        let password = self.net_proxy_password.as_deref().map(secret::source_of).transpose()?;
        set(&mut proxy, "password", password.unwrap_or_default());
        set(&mut network, "proxy", proxy);
        let mut dns = Properties::new();
        set(&mut dns, "servers", list(&self.dns));
        set(&mut dns, "search", list(&self.dns_search));
        set(&mut network, "dns", dns);
        Ok(network)
    }

    fn tls(&self) -> Properties {
        let mut tls = Properties::new();
        set(&mut tls, "intercept", self.tls_intercept.then_some(Value::Bool(true)));
        set(&mut tls, "bypass", list(&self.tls_bypass));
        set(&mut tls, "cas", list(&self.tls_ca));
        tls
    }
}

/// Splits `NAME=VALUE` words; the last value of a name wins.
fn pairs(flag: &Flag, words: &[String]) -> Result<BTreeMap<String, String>, CliError> {
    let pair = |word: &String| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(CliError::usage(format!("--{} {word:?} is not NAME=VALUE", flag.long))),
    };
    words.iter().map(pair).collect()
}

/// Reads the files of `--env-file`; later ones win, and may refer to variables of earlier ones.
fn env_of_files(global: &Global) -> Result<BTreeMap<String, String>, CliError> {
    let environment = load::environment();
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for path in &global.env_files {
        let name = path.display().to_string();
        let bytes = load::read_file(path, &format!("the --env-file {name}"), ENV_FILE_BYTES_MAX)?;
        let known = env.clone().into_iter().chain(environment.clone()).collect();
        let values = read_env_file(&EnvFile { name: &name, bytes: &bytes }, &known)
            .map_err(|report| CliError::refused(&report, &OutputOptions::of(global)))?;
        env.extend(values);
    }
    Ok(env)
}
