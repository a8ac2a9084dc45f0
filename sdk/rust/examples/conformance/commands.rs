//! Steps of commands.

use crate::values::{of_bytes, to_bytes};
use crate::{Answer, Driver, Failure, Step, invalid};
use msb_sdk::{Error, Exec, ExecEvent, ExecOutput, ExitStatus, Rlimit};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

impl Driver {
    pub async fn command_step(&mut self, name: &str, step: &Step) -> Answer {
        match name {
            "exec" => {
                let exec = self.exec(step, step.text("cmd"), step.texts("args")).await?;
                of_output(&with_options(exec, step)?.await?)
            }
            "shell" => {
                let args = vec!["-c".to_owned(), step.text("script").to_owned()];
                let exec = self.exec(step, "/bin/sh", args).await?;
                of_output(&with_options(exec, step)?.await?)
            }
            "exec_start" => self.exec_start(step).await,
            "exec_write" => {
                let data = to_bytes(step.value("data"));
                let input = self.process(step)?.stdin.as_mut();
                input.ok_or_else(|| Failure::Skip("no input".to_owned()))?.write(data).await?;
                Ok(json!({}))
            }
            "exec_eof" => {
                let input = self.process(step)?.stdin.as_mut();
                input.ok_or_else(|| Failure::Skip("no input".to_owned()))?.close().await?;
                Ok(json!({}))
            }
            "exec_read" => self.exec_read(step).await,
            "exec_events" => self.exec_events(step).await,
            "exec_wait" => {
                let timeout = step.time("timeout_ms")?;
                let process = self.process(step)?;
                let ExitStatus { exit_code, signal } = match timeout {
                    Some(timeout) => process.wait_with_timeout(timeout).await?,
                    None => process.wait().await?,
                };
                Ok(json!({ "exit_code": exit_code, "signal": signal }))
            }
            "exec_signal" => {
                let signal = step.number("signal").unwrap_or_default() as i32;
                self.process(step)?.signal(signal).await?;
                Ok(json!({}))
            }
            "exec_kill" => {
                self.process(step)?.kill().await?;
                Ok(json!({}))
            }
            "exec_resize" => {
                let (rows, cols) = (size(step, "rows")?, size(step, "cols")?);
                self.process(step)?.resize(rows, cols).await?;
                Ok(json!({}))
            }
            "exec_cancel" => self.exec_cancel(step).await,
            "exec_many" => self.exec_many(step).await,
            _ => Err(Failure::Skip(format!("there is no step {name}"))),
        }
    }

    async fn exec_start(&mut self, step: &Step) -> Answer {
        let mut exec = self.exec(step, step.text("cmd"), step.texts("args")).await?;
        if step.flag("stdin_pipe") {
            exec = exec.stdin_pipe();
        }
        let process = with_options(exec, step)?.start().await?;
        let pid = process.pid();
        self.processes.insert(step.text("as").to_owned(), process);
        Ok(json!({ "pid": pid }))
    }

    async fn exec_read(&mut self, step: &Step) -> Answer {
        let process = self.process(step)?;
        let stream = if step.text("stream") == "stderr" { &mut process.stderr } else { &mut process.stdout };
        let mut read = Vec::new();
        loop {
            let room = match step.optional("until_text") {
                Some(text) if String::from_utf8_lossy(&read).contains(text) => break,
                Some(_) => 4096,
                None => step.number("until_len").unwrap_or_default() as usize - read.len(),
            };
            match stream.next_chunk(room).await? {
                Some(part) if room > 0 => read.extend(part),
                _ => break,
            }
            if step.number("until_len").is_some_and(|length| read.len() as u64 >= length) {
                break;
            }
        }
        Ok(json!({ "data": of_bytes(&read) }))
    }

    async fn exec_events(&mut self, step: &Step) -> Answer {
        let process = self.process(step)?;
        let (mut kinds, mut exit_code): (Vec<&str>, Option<i32>) = (Vec::new(), None);
        while let Some(event) = process.next().await? {
            let kind = match event {
                ExecEvent::Started { .. } => "started",
                ExecEvent::Stdout(_) => "stdout",
                ExecEvent::Stderr(_) => "stderr",
                ExecEvent::StdinError(_) => "stdin_error",
                ExecEvent::Exited(status) => {
                    exit_code = Some(status.exit_code);
                    "exited"
                }
                _ => continue,
            };
            if kinds.last() != Some(&kind) {
                kinds.push(kind);
            }
        }
        Ok(json!({ "kinds": kinds, "exit_code": exit_code }))
    }

    async fn exec_cancel(&mut self, step: &Step) -> Answer {
        let exec = self.exec(step, step.text("cmd"), step.texts("args")).await?;
        let after = step.time("after_ms")?.unwrap_or_default();
        let began = Instant::now();
        match tokio::time::timeout(after, exec.into_future()).await {
            Ok(_) => Ok(json!({ "cancelled": false })),
            Err(_) => {
                let took = began.elapsed().saturating_sub(after).as_millis() as u64;
                Ok(json!({ "cancelled": true, "took_ms": took }))
            }
        }
    }

    async fn exec_many(&mut self, step: &Step) -> Answer {
        let exec = self.exec(step, step.text("cmd"), step.texts("args")).await?;
        let count = step.number("count").unwrap_or(1);
        let concurrency = step.number("concurrency").unwrap_or(1) as usize;
        let mut times = Vec::new();
        let began = Instant::now();
        let mut succeeded = 0;
        if concurrency == 1 {
            for _ in 0..count {
                let began = Instant::now();
                succeeded += u64::from(exec.clone().await?.success());
                times.push(began.elapsed());
            }
        } else {
            let turns = Arc::new(Semaphore::new(concurrency));
            let mut tasks = JoinSet::new();
            for _ in 0..count {
                let (exec, turns) = (exec.clone(), turns.clone());
                tasks.spawn(async move {
                    let _turn = turns.acquire().await;
                    exec.await
                });
            }
            while let Some(done) = tasks.join_next().await {
                let done: Result<ExecOutput, Error> = done.map_err(|_| invalid())?;
                succeeded += u64::from(done?.success());
            }
        }
        times.sort_unstable();
        let middle = times.get(times.len() / 2).map(|time| time.as_micros() as u64);
        Ok(json!({ "ok": succeeded, "took_ms": began.elapsed().as_millis() as u64, "p50_us": middle }))
    }
}

fn with_options(mut exec: Exec, step: &Step) -> Result<Exec, Failure> {
    if let Some(path) = step.optional("cwd") {
        exec = exec.cwd(path);
    }
    if let Some(user) = step.optional("user") {
        exec = exec.user(user);
    }
    exec = exec.envs(step.pairs("env"));
    if step.flag("tty") {
        exec = exec.tty(size(step, "rows").unwrap_or(24), size(step, "cols").unwrap_or(80));
    }
    for limit in step.value("rlimits").as_array().into_iter().flatten() {
        let resource = limit["resource"].as_str().unwrap_or_default().to_owned();
        exec = exec.rlimit(Rlimit { resource, soft: limit["soft"].as_u64(), hard: limit["hard"].as_u64() });
    }
    if let Some(timeout) = step.time("timeout_ms")? {
        exec = exec.timeout(timeout);
    }
    if !step.value("stdin").is_null() {
        exec = exec.stdin(to_bytes(step.value("stdin")));
    }
    Ok(exec)
}

fn size(step: &Step, name: &str) -> Result<u16, Failure> {
    step.number(name).and_then(|number| u16::try_from(number).ok()).ok_or_else(invalid)
}

fn of_output(output: &ExecOutput) -> Answer {
    let ExitStatus { exit_code, signal } = output.status;
    let (stdout, stderr): (Value, Value) = (of_bytes(&output.stdout), of_bytes(&output.stderr));
    Ok(json!({ "exit_code": exit_code, "signal": signal, "stdout": stdout, "stderr": stderr }))
}
