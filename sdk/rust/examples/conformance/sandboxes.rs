//! Steps of sandboxes, logs and metrics.

use crate::values::of_bytes;
use crate::{Answer, Driver, Failure, Step, invalid};
use jiff::Timestamp;
use msb_sdk::{
    HostPermissions, List, LogEntry, LogQuery, Mount, Network, Port, Protocol, Restart, Sandbox,
    SandboxBuilder, SandboxMetrics, StatVirtualization,
};
use serde_json::{Value, json};
use std::time::Duration;

/// The timeout of waits without one.
const FOREVER: Duration = Duration::from_secs(3600);

impl Driver {
    pub async fn sandbox_step(&mut self, name: &str, step: &Step) -> Answer {
        match name {
            "create" | "connect_or_create" => return self.create(name, step).await,
            "get" => {
                self.forget(step.text("name")).await;
                let found = self.sandbox(step.text("name")).await?;
                let (name, status, labels) = (found.name(), found.status(), found.labels());
                let ports: Vec<Value> = found.ports().iter().map(of_port).collect();
                return Ok(json!({ "name": name, "status": status, "labels": labels, "ports": ports }));
            }
            "list" => {
                let pairs = step.pairs("labels").into_iter();
                let list = pairs.fold(List::new(), |list, (name, value)| list.label(name, value));
                let page = self.client.list(list).await?;
                let names: Vec<&str> = page.sandboxes.iter().map(Sandbox::name).collect();
                return Ok(json!({ "names": names }));
            }
            "remove" => {
                let name = step.text("sandbox");
                if step.flag("force") {
                    self.client.remove_by_force(name).await?;
                } else {
                    self.client.remove(name).await?;
                }
                self.forget(name).await;
                return Ok(json!({}));
            }
            "scope" => {
                self.forget(step.text("sandbox")).await;
                let mut owned = self.client.get(step.text("sandbox")).await?;
                owned.stop_on_drop();
                let output = owned.shell(step.text("cmd")).await?;
                owned.close().await?;
                let status = self.client.get(step.text("sandbox")).await?.status().to_owned();
                return Ok(json!({ "stdout": of_bytes(&output.stdout), "status": status }));
            }
            "metrics_all" => {
                let all = self.client.all_metrics().await?;
                return Ok(json!({ "names": all.into_keys().collect::<Vec<_>>() }));
            }
            _ => {}
        }
        let timeout = step.time("timeout_ms")?;
        let sandbox = self.sandbox(step.text("sandbox")).await?;
        match (name, timeout) {
            ("start", _) => sandbox.start().await?,
            ("kill", _) => sandbox.kill().await?,
            ("restart", _) => sandbox.restart().await?,
            ("pause", _) => sandbox.pause().await?,
            ("resume", _) => sandbox.resume().await?,
            ("stop", None) => sandbox.stop().await?,
            ("stop", Some(timeout)) => sandbox.stop_with_timeout(timeout).await?,
            ("wait", _) => {
                let ended = sandbox.wait_with_timeout(timeout.unwrap_or(FOREVER)).await?;
                return Ok(json!({ "exit_code": ended.exit_code }));
            }
            ("wait_for_status", _) => {
                sandbox.wait_for_status(step.text("status"), timeout.unwrap_or(FOREVER)).await?;
            }
            ("logs", _) => {
                let entries = sandbox.logs(&query(step)?).await?;
                return Ok(json!({ "entries": entries.iter().map(of_entry).collect::<Vec<_>>() }));
            }
            ("log_stream", _) => return log_stream(sandbox, step).await,
            ("metrics", _) => return Ok(of_metrics(&sandbox.metrics().await?)),
            ("metrics_stream", _) => return metrics_stream(sandbox, step).await,
            _ => return Err(Failure::Skip(format!("there is no step {name}"))),
        }
        Ok(json!({ "status": sandbox.status() }))
    }

    async fn forget(&mut self, name: &str) {
        if let Some(mut sandbox) = self.sandboxes.remove(name) {
            sandbox.detach();
            let _ = sandbox.close().await;
        }
    }

    async fn create(&mut self, name: &str, step: &Step) -> Answer {
        let builder = builder(self.client.sandbox(step.text("name"), step.text("image")), step)?;
        let mut made = match name {
            "create" => builder.create().await?,
            _ => builder.connect_or_create().await?,
        };
        made.detach();
        let answer = json!({ "name": made.name(), "status": made.status() });
        self.forget(step.text("name")).await;
        self.sandboxes.insert(step.text("name").to_owned(), made);
        Ok(answer)
    }
}

async fn log_stream(sandbox: &Sandbox, step: &Step) -> Answer {
    let count = step.number("count").unwrap_or_default() as usize;
    let mut stream = sandbox.log_stream(&query(step)?)?;
    let mut entries = Vec::new();
    while entries.len() < count {
        let Some(entry) = stream.next().await? else { break };
        entries.push(of_entry(&entry));
    }
    stream.close().await;
    Ok(json!({ "entries": entries }))
}

async fn metrics_stream(sandbox: &Sandbox, step: &Step) -> Answer {
    let count = step.number("count").unwrap_or_default() as usize;
    let mut stream = sandbox.metrics_stream(step.time("interval_ms")?.unwrap_or_default())?;
    let mut samples = Vec::new();
    while samples.len() < count {
        let Some(sample) = stream.next().await? else { break };
        samples.push(of_metrics(&sample));
    }
    stream.close().await;
    Ok(json!({ "samples": samples }))
}

fn builder(mut builder: SandboxBuilder, step: &Step) -> Result<SandboxBuilder, Failure> {
    builder = builder.envs(step.pairs("env")).labels(step.pairs("labels"));
    if let Some(cpus) = step.number("cpus") {
        builder = builder.cpus(cpus as u32);
    }
    if let Some(size) = step.number("memory_mib") {
        builder = builder.memory_mib(size);
    }
    if let Some(path) = step.optional("workdir") {
        builder = builder.workdir(path);
    }
    if let Some(user) = step.optional("user") {
        builder = builder.user(user);
    }
    if let Some(name) = step.optional("hostname") {
        builder = builder.hostname(name);
    }
    for (name, text) in step.pairs("scripts") {
        builder = builder.script(name, text);
    }
    for port in step.value("ports").as_array().into_iter().flatten() {
        builder = builder.port(to_port(port)?);
    }
    for (path, mount) in step.value("volumes").as_object().into_iter().flatten() {
        builder = builder.volume(path, to_mount(mount)?);
    }
    for path in step.texts("tmpfs") {
        builder = builder.mount(path, Mount::tmpfs());
    }
    if !step.value("network").is_null() {
        builder = builder.network(to_network(step.value("network")));
    }
    if step.value("command").is_array() {
        builder = builder.command(step.texts("command"));
    }
    if step.text("restart") == "always" {
        builder = builder.restart(Restart::Always);
    }
    if let Some(time) = step.time("max_duration_ms")? {
        builder = builder.max_duration(time);
    }
    if let Some(time) = step.time("idle_timeout_ms")? {
        builder = builder.idle_timeout(time);
    }
    if step.flag("replace") {
        builder = builder.replace();
    }
    if let Some(timeout) = step.time("replace_with_timeout_ms")? {
        builder = builder.replace_with_timeout(timeout);
    }
    Ok(builder)
}

fn to_port(value: &Value) -> Result<Port, Failure> {
    let number =
        |name: &str| value[name].as_u64().and_then(|port| u16::try_from(port).ok()).ok_or_else(invalid);
    let (host, guest) = (number("host")?, number("guest")?);
    let port = if value["protocol"] == "udp" { Port::udp(host, guest) } else { Port::tcp(host, guest) };
    match value["bind"].as_str() {
        Some(bind) => Ok(port.bind(bind.parse().map_err(|_| invalid())?)),
        None => Ok(port),
    }
}

fn of_port(port: &Port) -> Value {
    let protocol = if port.protocol == Protocol::Udp { "udp" } else { "tcp" };
    json!({ "host": port.host, "guest": port.guest, "bind": port.bind.to_string(), "protocol": protocol })
}

fn to_mount(value: &Value) -> Result<Mount, Failure> {
    let mut mount = match (value["bind"].as_str(), value["named"].as_str()) {
        (Some(path), _) => Mount::bind(path),
        (None, Some(name)) => Mount::named(name),
        (None, None) => Mount::tmpfs(),
    };
    if value["readonly"] == true {
        mount = mount.readonly();
    }
    if let Some(word) = value["stat_virtualization"].as_str() {
        mount = mount.stat_virtualization(match word {
            "strict" => StatVirtualization::Strict,
            "relaxed" => StatVirtualization::Relaxed,
            "off" => StatVirtualization::Off,
            _ => return Err(invalid()),
        });
    }
    if let Some(word) = value["host_permissions"].as_str() {
        mount = mount.host_permissions(match word {
            "private" => HostPermissions::Private,
            "mirror" => HostPermissions::Mirror,
            _ => return Err(invalid()),
        });
    }
    Ok(match value["size_mib"].as_u64() {
        Some(size) => mount.size_mib(size),
        None => mount,
    })
}

fn to_network(value: &Value) -> Network {
    let network = match value["default"].as_str() {
        Some("deny") => Network::none(),
        Some("allow") => Network::allow_all(),
        _ => Network::new(),
    };
    let rules = value["rules"].as_array().into_iter().flatten().filter_map(Value::as_str);
    rules.fold(network, |network, rule| network.rule(rule))
}

fn query(step: &Step) -> Result<LogQuery, Failure> {
    let mut query = LogQuery::new();
    if let Some(count) = step.number("tail") {
        query = query.tail(count);
    }
    if let Some(cursor) = step.optional("cursor") {
        query = query.cursor(cursor);
    }
    for source in step.texts("sources") {
        query = query.source(source.parse()?);
    }
    Ok(if step.flag("follow") { query.follow() } else { query })
}

fn of_entry(entry: &LogEntry) -> Value {
    let time = Timestamp::try_from(entry.timestamp).map(|time| time.to_string()).unwrap_or_default();
    json!({
        "timestamp": time,
        "source": entry.source,
        "session_id": entry.session_id,
        "cursor": entry.cursor,
        "data": of_bytes(&entry.data),
    })
}

fn of_metrics(metrics: &SandboxMetrics) -> Value {
    let time = Timestamp::try_from(metrics.timestamp()).map(|time| time.as_millisecond()).unwrap_or_default();
    json!({
        "cpu_percent": metrics.cpu_percent,
        "memory_bytes": metrics.memory_bytes,
        "memory_limit_bytes": metrics.memory_limit_bytes,
        "uptime_ms": metrics.uptime_ms,
        "timestamp_ms": time,
    })
}
