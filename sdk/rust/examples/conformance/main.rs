//! The driver of the conformance kit (`sdk/conformance/README.md`): carries out the steps on standard input.

mod agents;
mod codec;
mod commands;
mod files;
mod sandboxes;
mod storage;
mod values;

use msb_sdk::agent::AgentStream;
use msb_sdk::{AgentClient, Client, Error, Exec, Files, Process, Sandbox};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::time::Duration;

/// Why a step has no answer.
pub enum Failure {
    /// The error of the SDK.
    Sdk(Error),
    /// The driver does not know the step, or it is invalid.
    Skip(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Sdk(error)
    }
}

/// The answer of a step.
pub type Answer = Result<Value, Failure>;

/// Objects that live from step to step.
#[derive(Default)]
pub struct Driver {
    client: Client,
    sandboxes: HashMap<String, Sandbox>,
    agents: HashMap<String, AgentClient>,
    streams: HashMap<String, AgentStream>,
    processes: HashMap<String, Process>,
}

/// A step and its arguments.
pub struct Step(Value);

impl Step {
    pub fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0[name].as_str()
    }

    pub fn number(&self, name: &str) -> Option<u64> {
        self.0[name].as_u64()
    }

    pub fn flag(&self, name: &str) -> bool {
        self.0[name].as_bool().unwrap_or_default()
    }

    pub fn texts(&self, name: &str) -> Vec<String> {
        let items = self.0[name].as_array().into_iter().flatten();
        items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
    }

    pub fn pairs(&self, name: &str) -> Vec<(String, String)> {
        let entries = self.0[name].as_object().into_iter().flatten();
        entries.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
    }

    /// Returns a time; a negative one cannot be expressed in Rust, so the driver refuses it as the type does.
    pub fn time(&self, name: &str) -> Result<Option<Duration>, Failure> {
        match &self.0[name] {
            Value::Null => Ok(None),
            value => match value.as_u64() {
                Some(ms) => Ok(Some(Duration::from_millis(ms))),
                None => Err(invalid()),
            },
        }
    }

    pub fn value(&self, name: &str) -> &Value {
        &self.0[name]
    }
}

/// The error of a value that the types of the SDK cannot express.
pub fn invalid() -> Failure {
    Failure::Skip("invalid-argument".to_owned())
}

impl Driver {
    /// Returns the handle of a sandbox, one for each name.
    pub async fn sandbox(&mut self, name: &str) -> Result<&mut Sandbox, Failure> {
        if !self.sandboxes.contains_key(name) {
            let found = self.client.get(name).await?;
            self.sandboxes.insert(name.to_owned(), found);
        }
        self.sandboxes.get_mut(name).ok_or_else(|| Failure::Skip("no handle".to_owned()))
    }

    /// Returns a command on the connection of a step.
    pub async fn exec(&mut self, step: &Step, cmd: &str, args: Vec<String>) -> Result<Exec, Failure> {
        match step.optional("agent") {
            Some(label) => Ok(self.agent(label)?.exec(cmd, args)),
            None => Ok(self.sandbox(step.text("sandbox")).await?.exec(cmd, args)),
        }
    }

    /// Returns the files on the connection of a step.
    pub async fn files(&mut self, step: &Step) -> Result<Files, Failure> {
        match step.optional("agent") {
            Some(label) => Ok(self.agent(label)?.fs()),
            None => Ok(self.sandbox(step.text("sandbox")).await?.fs()),
        }
    }

    pub fn agent(&self, label: &str) -> Result<&AgentClient, Failure> {
        self.agents.get(label).ok_or_else(|| Failure::Skip(format!("there is no agent {label}")))
    }

    pub fn process(&mut self, step: &Step) -> Result<&mut Process, Failure> {
        let label = step.text("process");
        self.processes.get_mut(label).ok_or_else(|| Failure::Skip(format!("there is no process {label}")))
    }

    async fn handle(&mut self, step: &Step) -> Answer {
        let name = step.text("do");
        match name {
            "reset" => {
                self.reset().await;
                Ok(json!({}))
            }
            _ if name.starts_with("agent_") => self.agent_step(name, step).await,
            _ if name.starts_with("exec") || name == "shell" => self.command_step(name, step).await,
            _ if name.starts_with("fs_") || name.starts_with("copy_") => self.file_step(name, step).await,
            _ if name.starts_with("cbor_") || name.starts_with("frames_") => codec::step(name, step),
            "volume_create" | "volume_get" | "volume_list" | "volume_remove" | "snapshot_create"
            | "snapshot_list" | "snapshot_remove" | "image_list" | "project_plan" | "project_up"
            | "project_down" => self.storage_step(name, step).await,
            _ => self.sandbox_step(name, step).await,
        }
    }

    async fn reset(&mut self) {
        self.processes.clear();
        self.streams.clear();
        for (_, agent) in self.agents.drain() {
            agent.close().await;
        }
        for (_, mut sandbox) in self.sandboxes.drain() {
            sandbox.detach();
            // Closing a sandbox that is not owned only closes its connection.
            let _ = sandbox.close().await;
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let mut driver = Driver::default();
    let (sender, mut lines) = tokio::sync::mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    while let Some(line) = lines.recv().await {
        let step = Step(serde_json::from_str(&line)?);
        let mut answer = match driver.handle(&step).await {
            Ok(ok) => json!({ "ok": ok }),
            Err(Failure::Sdk(error)) => json!({ "error": values::of_error(&error) }),
            Err(Failure::Skip(why)) if why == "invalid-argument" => json!({ "error": { "code": why } }),
            Err(Failure::Skip(why)) => json!({ "skip": why }),
        };
        answer["id"] = step.value("id").clone();
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    driver.reset().await;
    Ok(())
}
