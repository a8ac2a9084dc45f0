//! A model in YAML.

use super::yaml_text::{block, string, value};
use super::{Family, Script, declared, unwrap_script, yaml_outward};
use rules::unit::{format_duration_ms, format_size_bytes, format_size_mib};
use schemas::model::Model;
use schemas::spec::{
    Definition, HealthCheck, HealthSetting, ImageReference, Logs, RestartPolicy, Role, VolumeSpec,
};
use std::collections::BTreeMap;

/// The model in YAML.
pub fn yaml(model: &Model) -> String {
    let mut out = format!("project: {}\n", string(model.project().as_str()));
    if !model.volumes().is_empty() {
        out.push_str("volumes:\n");
    }
    for (name, VolumeSpec { size_mib }) in model.volumes() {
        let size = format_size_mib((*size_mib).into());
        out.push_str(&format!("  {}: {{ size: {size} }}\n", string(name.as_str())));
    }
    for (heading, role) in [("sandboxes", Role::Service), ("jobs", Role::Job)] {
        let mut members = declared(model).filter(|sandbox| sandbox.definition().role == role).peekable();
        if members.peek().is_some() {
            out.push_str(&format!("{heading}:\n"));
        }
        members.for_each(|sandbox| push_sandbox(&mut out, &Family::of(model, sandbox)));
    }
    out
}

fn push_sandbox(out: &mut String, family: &Family<'_>) {
    let Family { sandbox, depends_on } = family;
    let Definition {
        role: _,
        cpus,
        memory_mib,
        disk_mib,
        env,
        workdir,
        user,
        shell,
        scripts,
        start,
        mounts,
        sync,
        ports,
        network,
        secrets,
        hooks,
        depends_on: _,
        healthcheck,
        restart,
        logs,
        labels,
    } = sandbox.definition();
    out.push_str(&format!("  {}:\n", string(sandbox.family().as_str())));
    let mut line = |text: String| {
        out.push_str("    ");
        out.push_str(&text);
        out.push('\n');
    };
    let (ImageReference::Local { path } | ImageReference::Registry { name: path }) = sandbox.image();
    line(format!("image: {}", value(path)));
    line(format!("cpus: {cpus}"));
    line(format!("memory: {}", format_size_mib((*memory_mib).into())));
    line(format!("disk: {}", format_size_mib((*disk_mib).into())));
    push_pairs(&mut line, "env", env);
    if let Some(workdir) = workdir {
        line(format!("workdir: {}", value(workdir)));
    }
    if let Some(user) = user {
        line(format!("user: {}", value(user)));
    }
    line(format!("shell: {}", value(shell)));
    if !scripts.is_empty() {
        line("scripts:".to_owned());
    }
    for (script, text) in scripts {
        match unwrap_script(text, shell) {
            Script::Wrapped(body) => line(format!("  {}: {}", string(script), block(body, "        "))),
            Script::Raw(text) => {
                line(format!("  {}:", string(script)));
                line("    raw: true".to_owned());
                line(format!("    body: {}", block(text, "          ")));
            }
        }
    }
    yaml_outward::push_mounts(&mut line, mounts, sync);
    yaml_outward::push_network(&mut line, ports, network);
    yaml_outward::push_secrets(&mut line, secrets);
    if !hooks.is_empty() {
        line("hooks:".to_owned());
    }
    for (event, argv) in hooks {
        line(format!("  {}: {}", event.as_str().replace('-', "_"), words(argv)));
    }
    // One that is empty was not written in any file.
    if let Some(start) = start.as_ref().filter(|start| !start.is_empty()) {
        line(format!("start: {}", words(start)));
    }
    if !depends_on.is_empty() {
        line("depends_on:".to_owned());
    }
    for (on, condition) in depends_on {
        line(format!("  {}: {{ condition: {condition} }}", string(on.as_str())));
    }
    match healthcheck {
        None => {}
        Some(HealthSetting::Disabled) => line("healthcheck: { disable: true }".to_owned()),
        Some(HealthSetting::Check(check)) => push_healthcheck(&mut line, check),
    }
    line(match restart {
        RestartPolicy::No => "restart: \"no\"".to_owned(),
        RestartPolicy::OnFailure { max: None } => "restart: on-failure".to_owned(),
        RestartPolicy::OnFailure { max: Some(max) } => {
            format!("restart: {{ policy: on-failure, max: {max} }}")
        }
        RestartPolicy::Always => "restart: always".to_owned(),
    });
    push_logs(&mut line, logs);
    push_pairs(&mut line, "labels", labels);
    if let Some(replica) = sandbox.replica() {
        line(format!("replicas: {}", replica.count));
    }
    if !sandbox.profiles().is_empty() {
        line(format!("profiles: {}", words(sandbox.profiles())));
    }
}

fn push_pairs(line: &mut impl FnMut(String), heading: &str, pairs: &BTreeMap<String, String>) {
    if pairs.is_empty() {
        return;
    }
    line(format!("{heading}:"));
    for (key, text) in pairs {
        line(format!("  {}: {}", string(key), value(text)));
    }
}

fn push_logs(line: &mut impl FnMut(String), logs: &Logs) {
    if logs.is_silent() {
        return;
    }
    let Logs { capture, max_size_bytes, keep } = logs;
    line("logs:".to_owned());
    line(format!("  capture: {}", string(capture.as_str())));
    if let Some(bytes) = max_size_bytes {
        line(format!("  max_size: {}", format_size_bytes(*bytes)));
    }
    if let Some(keep) = keep {
        line(format!("  keep: {keep}"));
    }
}

fn push_healthcheck(line: &mut impl FnMut(String), check: &HealthCheck) {
    let HealthCheck { exec, interval_ms, timeout_ms, retries, start_period_ms, hint } = check;
    line("healthcheck:".to_owned());
    line(format!("  exec: {}", words(exec)));
    line(format!("  interval: {}", format_duration_ms(*interval_ms)));
    line(format!("  timeout: {}", format_duration_ms(*timeout_ms)));
    line(format!("  retries: {retries}"));
    line(format!("  start_period: {}", format_duration_ms(*start_period_ms)));
    if let Some(hint) = hint {
        line(format!("  hint: {}", value(hint)));
    }
}

pub(super) fn words<'a>(words: impl IntoIterator<Item = &'a String>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| value(word)).collect();
    format!("[{}]", quoted.join(", "))
}
