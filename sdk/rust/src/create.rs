//! Creating sandboxes.

use crate::client::Client;
use crate::error::{Error, Result};
use crate::exec::Rlimit;
use crate::mount::{Mount, absolute};
use crate::msb::{Limit, Run, duration};
use crate::network::Network;
use crate::port::Port;
use crate::sandbox::Sandbox;
use crate::secret::Secret;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// When a sandbox is started again after it has ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Restart {
    /// Never.
    No,
    /// After a failure; at most this many times, if there is a number.
    OnFailure(Option<u32>),
    /// Always.
    Always,
}

/// When registries are queried for the image of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pull {
    /// If the image is not known on this machine. The default.
    Missing,
    /// Always.
    Always,
    /// Never: a missing image is an error.
    Never,
}

/// The options of a new sandbox. [`create`](Self::create) creates and boots it.
#[derive(Clone, Debug)]
#[must_use = "nothing is created until `create` is called"]
pub struct SandboxBuilder {
    client: Client,
    name: String,
    image: String,
    /// Options as `--name=value`.
    options: Vec<OsString>,
    env_files: Vec<PathBuf>,
    limits: Vec<Rlimit>,
    ports: Vec<Port>,
    mounts: Vec<(String, Mount)>,
    files: Vec<(String, PathBuf)>,
    secrets: Vec<Secret>,
    network: Network,
    command: Vec<String>,
    is_ephemeral: bool,
}

impl SandboxBuilder {
    pub(crate) fn new(client: Client, name: String, image: String) -> Self {
        Self {
            client,
            name,
            image,
            options: Vec::new(),
            env_files: Vec::new(),
            limits: Vec::new(),
            ports: Vec::new(),
            mounts: Vec::new(),
            files: Vec::new(),
            secrets: Vec::new(),
            network: Network::new(),
            command: Vec::new(),
            is_ephemeral: false,
        }
    }

    fn option(mut self, flag: &str, value: impl AsRef<str>) -> Self {
        self.options.push(format!("--{flag}={}", value.as_ref()).into());
        self
    }

    /// Sets the number of virtual processors.
    pub fn cpus(self, cpus: u32) -> Self {
        self.option("cpus", cpus.to_string())
    }

    /// Sets the size of the memory, in MiB.
    pub fn memory_mib(self, size: u64) -> Self {
        self.option("memory", format!("{size}M"))
    }

    /// Sets the size of the writable disk, in MiB. The space is taken as it is filled.
    pub fn disk_mib(self, size: u64) -> Self {
        self.option("disk", format!("{size}M"))
    }

    /// Sets an environment variable of every process.
    pub fn env(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.option("env", format!("{}={}", name.as_ref(), value.as_ref()))
    }

    /// Sets environment variables, as [`SandboxBuilder::env`] does.
    pub fn envs<K: AsRef<str>, V: AsRef<str>>(self, vars: impl IntoIterator<Item = (K, V)>) -> Self {
        vars.into_iter().fold(self, |builder, (name, value)| builder.env(name, value))
    }

    /// Adds a file of the host with lines `NAME=value` for the environment. Later ones, and [`SandboxBuilder::env`], take
    /// precedence.
    pub fn env_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.env_files.push(file.into());
        self
    }

    /// Adds a label.
    pub fn label(self, name: impl AsRef<str>, value: impl AsRef<str>) -> Self {
        self.option("label", format!("{}={}", name.as_ref(), value.as_ref()))
    }

    /// Adds labels.
    pub fn labels<K: AsRef<str>, V: AsRef<str>>(self, labels: impl IntoIterator<Item = (K, V)>) -> Self {
        labels.into_iter().fold(self, |builder, (name, value)| builder.label(name, value))
    }

    /// Sets the working directory of every process; that of the image by default.
    pub fn workdir(self, path: impl AsRef<str>) -> Self {
        self.option("workdir", path)
    }

    /// Sets the user of every process as `name|uid[:group|gid]`; that of the image by default.
    pub fn user(self, user: impl AsRef<str>) -> Self {
        self.option("user", user)
    }

    /// Sets the host name; the name of the sandbox by default.
    pub fn hostname(self, name: impl AsRef<str>) -> Self {
        self.option("hostname", name)
    }

    /// Sets the shell that scripts of the Sandboxfile's form run under.
    pub fn shell(self, program: impl AsRef<str>) -> Self {
        self.option("shell", program)
    }

    /// Sets a resource limit of every process.
    pub fn ulimit(mut self, limit: Rlimit) -> Self {
        self.limits.push(limit);
        self
    }

    /// Sets the size of `/dev/shm`, in MiB; half of the memory by default.
    pub fn shm_size_mib(self, size: u64) -> Self {
        self.option("shm-size", format!("{size}M"))
    }

    /// Adds a name with its address to `/etc/hosts`.
    pub fn host(self, name: impl AsRef<str>, address: impl Into<IpAddr>) -> Self {
        self.option("add-host", format!("{}={}", name.as_ref(), address.into()))
    }

    /// Adds names with their addresses, as [`SandboxBuilder::host`] does.
    pub fn hosts<N: AsRef<str>, A: Into<IpAddr>>(self, hosts: impl IntoIterator<Item = (N, A)>) -> Self {
        hosts.into_iter().fold(self, |builder, (name, address)| builder.host(name, address))
    }

    /// Adds a script to the PATH, with its interpreter line as written.
    pub fn script(self, name: impl AsRef<str>, text: impl AsRef<str>) -> Self {
        self.option("script-raw", format!("{}={}", name.as_ref(), text.as_ref()))
    }

    /// Adds a port of the host that leads into the sandbox.
    pub fn port(mut self, port: Port) -> Self {
        self.ports.push(port);
        self
    }

    /// Mounts something at a path of the sandbox.
    pub fn mount(mut self, path: impl Into<String>, mount: Mount) -> Self {
        self.mounts.push((path.into(), mount));
        self
    }

    /// Mounts a volume or a folder of the host, as [`SandboxBuilder::mount`] does.
    pub fn volume(self, path: impl Into<String>, mount: Mount) -> Self {
        self.mount(path, mount)
    }

    /// Writes a file of the host to a path of the sandbox at each start.
    pub fn file(mut self, path: impl Into<String>, source: impl Into<PathBuf>) -> Self {
        self.files.push((path.into(), source.into()));
        self
    }

    /// Adds a secret.
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secrets.push(secret);
        self
    }

    /// Sets the network; the public internet by default.
    pub fn network(mut self, network: Network) -> Self {
        self.network = network;
        self
    }

    /// Sets the main process; that of the image by default, or none.
    pub fn command<A: Into<String>>(mut self, command: impl IntoIterator<Item = A>) -> Self {
        self.command = command.into_iter().map(Into::into).collect();
        self
    }

    /// Sets when it is started again after it has ended by itself.
    pub fn restart(self, policy: Restart) -> Self {
        match policy {
            Restart::No => self.option("restart", "no"),
            Restart::OnFailure(None) => self.option("restart", "on-failure"),
            Restart::OnFailure(Some(times)) => self.option("restart", format!("on-failure:{times}")),
            Restart::Always => self.option("restart", "always"),
        }
    }

    /// Stops it this long after its start.
    pub fn max_duration(self, time: Duration) -> Self {
        self.option("max-duration", duration(time))
    }

    /// Stops it after this long without activity.
    pub fn idle_timeout(self, time: Duration) -> Self {
        self.option("idle-timeout", duration(time))
    }

    /// Sets the time that it has to shut down before it is killed, where a call has none of its own; 10 seconds by default.
    pub fn stop_timeout(self, time: Duration) -> Self {
        self.option("stop-timeout", duration(time))
    }

    /// Sets the signal that asks its main process to end, by name or number; that of the image by default, or `SIGTERM`.
    pub fn stop_signal(self, signal: impl AsRef<str>) -> Self {
        self.option("stop-signal", signal)
    }

    /// Removes an existing sandbox of this name, with its disk.
    pub fn replace(mut self) -> Self {
        self.options.push("--replace".into());
        self
    }

    /// Removes an existing sandbox of this name as [`SandboxBuilder::replace`] does, and kills it if it does not shut down
    /// within this time; 10 seconds by default.
    pub fn replace_with_timeout(mut self, timeout: Duration) -> Self {
        self.options.retain(|option| option != "--replace");
        self.option("replace-with-timeout", duration(timeout))
    }

    /// Sets when registries are queried for the image.
    pub fn pull(self, pull: Pull) -> Self {
        self.option(
            "pull",
            match pull {
                Pull::Missing => "missing",
                Pull::Always => "always",
                Pull::Never => "never",
            },
        )
    }

    /// Waits this long while another `msb` holds the lock; not at all by default.
    pub fn lock_timeout(self, timeout: Duration) -> Self {
        self.option("lock-timeout", duration(timeout))
    }

    /// Removes the sandbox at the end of its scope, instead of only stopping it.
    pub fn ephemeral(mut self) -> Self {
        self.is_ephemeral = true;
        self
    }

    /// Creates the sandbox and boots it. The result owns it: the end of its scope stops it.
    ///
    /// # Errors
    ///
    /// [`Error::SandboxExists`], [`Error::ImageNotFound`], [`Error::SuffixTooBroad`] for a rule with a public suffix,
    /// [`Error::Usage`] for an option that `msb` refuses, and [`Error::InvalidArgument`].
    pub async fn create(self) -> Result<Sandbox> {
        let (run, secrets) = self.run()?;
        let results: crate::client::Results = self.client.msb().json(run.limit(Limit::Long)).await?;
        results.check()?;
        let mut sandbox = self.client.get(&self.name).await?;
        sandbox.own(self.is_ephemeral, secrets);
        Ok(sandbox)
    }

    /// Returns the sandbox of this name, started if it does not run; or else creates it, and owns it then.
    ///
    /// # Errors
    ///
    /// As [`SandboxBuilder::create`].
    pub async fn connect_or_create(self) -> Result<Sandbox> {
        // An invalid option is an error, whether the sandbox exists or not.
        self.run()?;
        let (client, name) = (self.client.clone(), self.name.clone());
        let mut sandbox = match client.get(&name).await {
            Err(Error::SandboxNotFound(_)) => match self.create().await {
                Err(Error::SandboxExists(_)) => client.get(&name).await?,
                created => return created,
            },
            found => found?,
        };
        match sandbox.status() {
            "running" => {}
            "paused" => sandbox.resume().await?,
            _ => sandbox.start().await?,
        }
        Ok(sandbox)
    }

    fn run(&self) -> Result<(Run, Vec<(String, String)>)> {
        if self.name.is_empty() {
            return Err(Error::invalid("the name of a sandbox is empty"));
        }
        let mut run = Run::new(["create"]).arg(format!("--name={}", self.name)).args(&self.options);
        for file in &self.env_files {
            run = run.arg(format!("--env-file={}", absolute(file)?));
        }
        for limit in &self.limits {
            run = run.arg(format!("--ulimit={}", limit.argument()?));
        }
        for port in &self.ports {
            run = run.arg(format!("--port={}", port.argument()?));
        }
        for (path, source) in &self.files {
            run = run.arg(format!("--add-file={}:{path}", absolute(source)?));
        }
        for (path, mount) in &self.mounts {
            let (flag, value) = mount.arguments(path)?;
            run = run.arg(format!("{flag}={value}"));
        }
        let mut secrets = Vec::new();
        for secret in &self.secrets {
            let (argument, variable) = secret.argument()?;
            run = run.arg(format!("--secret={argument}"));
            secrets.extend(variable);
        }
        run = run.args(self.network.arguments()?).arg(image(&self.image)?);
        run = run.flag("--", !self.command.is_empty()).args(&self.command);
        let cwd = std::env::current_dir().map_err(|source| Error::host("find", ".", source))?;
        Ok((run.about(&self.name).cwd(&cwd).env(&secrets), secrets))
    }
}

/// Returns an image as `msb` reads it, with an absolute path.
fn image(image: &str) -> Result<String> {
    if image.starts_with("./") || image.starts_with("../") {
        return absolute(Path::new(image));
    }
    if image.is_empty() || image.starts_with('-') {
        return Err(Error::invalid(format!("{image:?} is not an image")));
    }
    Ok(image.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn builder() -> SandboxBuilder {
        Client::builder().build().sandbox("web", "alpine")
    }

    #[test]
    fn options_become_flags() {
        let nofile = Rlimit { resource: "nofile".into(), soft: Some(1024), hard: None };
        let core = Rlimit { resource: "core".into(), soft: Some(0), hard: Some(0) };
        let builder = builder()
            .memory_mib(512)
            .shm_size_mib(64)
            .host("db", Ipv4Addr::new(10, 0, 0, 5))
            .hosts([("six", "fd00::1".parse::<IpAddr>().unwrap())])
            .stop_timeout(Duration::from_millis(2500))
            .stop_signal("SIGINT")
            .env_file("/etc/b.env")
            .env_file("a.env")
            .ulimit(nofile)
            .ulimit(core);
        let here = std::env::current_dir().unwrap();
        let file = format!("--env-file={}", here.join("a.env").display());
        let expected = [
            "create",
            "--name=web",
            "--memory=512M",
            "--shm-size=64M",
            "--add-host=db=10.0.0.5",
            "--add-host=six=fd00::1",
            "--stop-timeout=2500ms",
            "--stop-signal=SIGINT",
            "--env-file=/etc/b.env",
            &file,
            "--ulimit=nofile=1024:unlimited",
            "--ulimit=core=0:0",
            "alpine",
        ];
        assert_eq!(builder.run().unwrap().0.words(), expected);
    }

    #[test]
    fn wrong_options_are_refused() {
        let limit = |resource: &str| Rlimit { resource: resource.into(), soft: None, hard: None };
        for builder in [builder().ulimit(limit("")), builder().ulimit(limit("a=b"))] {
            assert_eq!(builder.run().unwrap_err().code(), "invalid-argument");
        }
    }
}
