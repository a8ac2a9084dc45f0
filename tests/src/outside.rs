//! A network namespace with servers that record all traffic, created by `tests/outside`.

use crate::process::Process;
use crate::{Msb, Project, installation};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The servers of such a namespace. Dropping it ends them.
#[derive(Debug)]
pub struct Outside {
    folder: PathBuf,
    /// Known from their start on: the folder may be removed before this is dropped.
    servers: Option<Process>,
}

impl Outside {
    /// The servers that `tests/outside` starts with this directory, now or later.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder, servers: None }
    }

    /// Brings a project up inside.
    pub fn up(project: &Project, folder: PathBuf) -> Self {
        Self::up_with(project, folder, &[])
    }

    /// Brings a project up inside, with environment variables.
    pub fn up_with(project: &Project, folder: PathBuf, variables: &[(&str, &str)]) -> Self {
        let mut outside = Self::at(folder);
        let program = installation::root().join("tests/outside");
        let (program, place) = (program.display(), outside.folder.display());
        let msb = project.shell(&format!("{program} {place} msb up -d --wait"));
        variables.iter().fold(msb, |msb, (name, value)| msb.env(name, value)).run().ok();
        outside.servers = outside.find_servers();
        outside
    }

    /// Prepares a shell's command line that runs inside, beside the supervisor of a running sandbox.
    pub fn shell(&self, project: &Project, sandbox: &str, line: &str) -> Msb {
        let (pid, folder) = (project.processes(sandbox).supervisor.pid, project.directory().display());
        project.shell(&format!(
            "exec nsenter --target {pid} --user --mount --net --preserve-credentials --wd={folder} -- {line}"
        ))
    }

    /// Runs a command of the host in a supervisor's namespaces and returns its output.
    pub fn beside(&self, supervisor: Process, command: &[&str]) -> String {
        let pid = supervisor.pid.to_string();
        let enter = ["--target", &pid, "--user", "--net", "--preserve-credentials", "--"];
        let output = Command::new("nsenter").args(enter).args(command).output().expect("nsenter can be run");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command:?}: {out}{err}");
        out.into_owned()
    }

    /// Starts a program of the host beside the servers, where they have their addresses. It ends with the returned guard.
    pub fn start_there(&self, command: &[&str]) -> Started {
        let pid = fs::read_to_string(self.folder.join("pid")).expect("the servers run");
        let enter = ["--target", pid.trim(), "--user", "--mount", "--net", "--preserve-credentials", "--"];
        let child = Command::new("nsenter").args(enter).args(command).stdin(Stdio::null()).spawn();
        Started(child.expect("nsenter can be run"))
    }

    fn find_servers(&self) -> Option<Process> {
        let pid = fs::read_to_string(self.folder.join("pid")).ok()?;
        pid.trim().parse().ok().and_then(Process::find)
    }

    /// Returns the servers' records, one line for each event.
    pub fn seen(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("seen")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Asserts that no record begins with this text.
    pub fn never_saw(&self, beginning: &str) {
        let seen: Vec<_> = self.seen().into_iter().filter(|line| line.starts_with(beginning)).collect();
        assert!(seen.is_empty(), "{seen:#?}");
    }
}

/// A program beside the servers. Dropping it ends the program.
#[derive(Debug)]
pub struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // It fails if the program has ended already.
        let _ = self.0.kill().and_then(|()| self.0.wait().map(drop));
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        if let Some(process) = self.servers.take().or_else(|| self.find_servers()) {
            process.kill();
        }
    }
}
