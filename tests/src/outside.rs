//! A world for sandboxes to live in, of which `tests/outside` is the gate: servers that write down all that they see.

use crate::process::Process;
use crate::{Project, installation};
use std::fs;
use std::path::PathBuf;
use std::process::Command;

/// The folder of the world, and its servers. Dropping it ends them.
#[derive(Debug)]
pub struct Outside {
    folder: PathBuf,
}

impl Outside {
    /// The one that `tests/outside` makes in this folder, now or later.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Brings a project up in there.
    pub fn up(project: &Project, folder: PathBuf) -> Self {
        let outside = Self::at(folder);
        let program = installation::root().join("tests/outside");
        let (program, place) = (program.display(), outside.folder.display());
        project.shell(&format!("{program} {place} msb up -d --wait")).run().ok();
        outside
    }

    /// What a command of the host prints there, beside a sandbox's supervisor.
    pub fn beside(&self, supervisor: Process, command: &[&str]) -> String {
        let pid = supervisor.pid.to_string();
        let enter = ["--target", &pid, "--user", "--net", "--preserve-credentials", "--"];
        let output = Command::new("nsenter").args(enter).args(command).output().expect("nsenter can be run");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{command:?}: {out}{err}");
        out.into_owned()
    }

    /// Lines about what the servers saw.
    pub fn seen(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("seen")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Nothing that the servers saw begins like this.
    pub fn never_saw(&self, beginning: &str) {
        let seen: Vec<_> = self.seen().into_iter().filter(|line| line.starts_with(beginning)).collect();
        assert!(seen.is_empty(), "{seen:#?}");
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let pid = fs::read_to_string(self.folder.join("pid")).unwrap_or_default();
        if let Some(process) = pid.trim().parse().ok().and_then(Process::find) {
            process.kill();
        }
    }
}
