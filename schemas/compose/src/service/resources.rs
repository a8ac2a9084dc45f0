//! Processors, memory, limits, and the block `deploy`.

use super::{Builder, quantity};
use crate::context::{At, Fields, Text, shown};
use crate::out::{Body, Commented, Value};
use sandboxfile::yaml::NodeValue;

/// The least memory of a sandbox, in MiB.
const MEMORY_MIB_MIN: u64 = 64;
/// The most processors and copies of a sandbox.
const CPUS_MAX: u32 = 64;
const REPLICAS_MAX: u32 = 1_000;

/// The block `deploy`, as far as other properties need it.
#[derive(Default)]
struct Deploy<'n> {
    cpus: Option<At<'n>>,
    memory: Option<At<'n>>,
    pids: Option<At<'n>>,
    replicas: Option<At<'n>>,
}

impl<'n> Builder<'_, '_, 'n> {
    /// `cpus`, `mem_limit`, `shm_size`, `ulimits`, `scale` and `deploy`.
    pub(super) fn resources(&mut self) {
        let deploy = self.deploy();
        let cpus = self.take("cpus");
        let memory = self.take("mem_limit");
        self.cpus(cpus.as_ref(), deploy.cpus.as_ref());
        self.memory(memory.as_ref(), deploy.memory.as_ref());
        let pids = self.take("pids_limit");
        for at in [pids, deploy.pids].into_iter().flatten() {
            let reason =
                "processes are limited by `memory` alone; `nproc` in `ulimits` limits those of a user";
            self.context.left_out(&at, "pids_limit", reason);
        }
        if let Some((at, text)) = self.taken_text("shm_size") {
            match quantity::bytes(&text.value) {
                Some(_)
                    if text.is_template()
                        && rules::unit::parse_size_bytes(&text.value)
                            .is_ok_and(|size| size % (1 << 20) == 0) =>
                {
                    self.push_text("shm-size", "shm_size", Value::of(&text));
                }
                Some(bytes) => {
                    self.push_text("shm-size", "shm_size", Value::literal(&quantity::size_of(bytes)))
                }
                None => self.context.left_out(&at, "shm_size", "it is not a size: write one such as `64M`"),
            }
        }
        self.ulimits();
        let scale = self.take("scale");
        self.count_replicas(scale.or(deploy.replicas));
        self.replica_notes = self.context.take_notes();
    }

    fn cpus(&mut self, own: Option<&At<'n>>, deploy: Option<&At<'n>>) {
        for (at, is_used) in own.map(|at| (at, true)).into_iter().chain(deploy.map(|at| (at, own.is_none())))
        {
            let Some(text) = self.context.text(at) else { continue };
            if !is_used {
                self.context.mapped_as(at, "`cpus` says the same");
                continue;
            }
            let Some((count, is_whole)) = quantity::processors(&text.value) else {
                self.context.left_out(
                    at,
                    "cpus",
                    format!("{} is not a number of processors: write one from 1 to 64", shown(&text.value)),
                );
                continue;
            };
            if count == 0 {
                self.context.mapped_as(at, "no limit");
                continue;
            }
            let fitting = count.clamp(1, CPUS_MAX);
            if is_whole && fitting == count {
                self.context.mapped(at);
            } else {
                self.context.changed(
                    at,
                    format!(
                        "a sandbox has whole processors, 1 to {CPUS_MAX}: {} becomes {fitting}",
                        shown(&text.value)
                    ),
                );
            }
            let keeps = text.is_template() && is_whole && fitting == count && !text.value.contains('.');
            if !keeps {
                self.frozen(at, &text);
            }
            self.push_text("cpus", "cpus", Value::Number(if keeps { text.raw } else { fitting.to_string() }));
        }
    }

    fn memory(&mut self, own: Option<&At<'n>>, deploy: Option<&At<'n>>) {
        for (at, is_used) in own.map(|at| (at, true)).into_iter().chain(deploy.map(|at| (at, own.is_none())))
        {
            let Some(text) = self.context.text(at) else { continue };
            if !is_used {
                self.context.mapped_as(at, "`mem_limit` says the same");
                continue;
            }
            let Some(bytes) = quantity::bytes(&text.value) else {
                self.context.left_out(
                    at,
                    "memory",
                    format!("{} is not a size: write one such as `512M`", shown(&text.value)),
                );
                continue;
            };
            if bytes == 0 {
                self.context.mapped_as(at, "no limit");
                continue;
            }
            let least = MEMORY_MIB_MIN << 20;
            self.context.mapped(at);
            if bytes < least {
                self.context
                    .changed(at, format!("a sandbox has its own kernel and at least {MEMORY_MIB_MIN}M"));
            }
            let is_same = rules::unit::parse_size_bytes(&text.value)
                .is_ok_and(|size| size == bytes && size % (1 << 20) == 0);
            let value = if text.is_template() && is_same && bytes >= least {
                Value::of(&text)
            } else {
                self.frozen(at, &text);
                Value::literal(&quantity::size_of(bytes.max(least)))
            };
            self.push_text("memory", "memory", value);
        }
    }

    /// Says that variables have been replaced, if there are any.
    fn frozen(&mut self, at: &At<'n>, text: &Text) {
        if text.is_template() {
            self.context
                .changed(at, format!("{} has the value that it had when it was converted", shown(&text.raw)));
        }
    }

    fn ulimits(&mut self) {
        let Some(at) = self.take("ulimits") else { return };
        self.context.mapped(&at);
        let mut limits = Vec::new();
        for (name, at) in self.context.entries(&at) {
            self.context.mapped(&at);
            let limit = |builder: &mut Self, at: &At<'n>| {
                let text = builder.context.text(at)?;
                Some(if text.value == "-1" { "unlimited".to_owned() } else { text.raw })
            };
            let value = if let NodeValue::Map(_) = &at.node.value {
                let mut fields = Fields::of(self.context, &at);
                let soft = fields.take(self.context, "soft");
                let hard = fields.take(self.context, "hard");
                for at in [&soft, &hard].into_iter().flatten() {
                    self.context.mapped(at);
                }
                let soft = soft.and_then(|at| limit(self, &at));
                let hard = hard.and_then(|at| limit(self, &at));
                fields.leave_unknown(self.context, &format!("ulimits.{name}."));
                match (soft, hard) {
                    (Some(soft), Some(hard)) => Value::Text(format!("{soft}:{hard}")),
                    (Some(one), None) | (None, Some(one)) => Value::Number(one),
                    (None, None) => continue,
                }
            } else {
                let Some(limit) = limit(self, &at) else { continue };
                Value::Number(limit)
            };
            let comments = self.context.take_notes();
            limits.push(Commented { comments, value: (name.to_owned(), Some(value)) });
        }
        if !limits.is_empty() {
            self.push("ulimits", "ulimits", Body::Map(limits));
        }
    }

    fn count_replicas(&mut self, at: Option<At<'n>>) {
        let Some(at) = at else { return };
        let Some(text) = self.context.text(&at) else { return };
        match text.value.parse::<u32>() {
            Ok(1) => self.context.mapped(&at),
            Ok(0) => {
                self.context.changed(
                    &at,
                    "msb has no sandbox without a copy: with a profile, `up` does not start it",
                );
                self.replicas = 1;
                self.is_off = true;
            }
            Ok(count) => {
                self.replicas = count.min(REPLICAS_MAX);
                let name = self.facts.names[self.service].clone();
                let note = format!(
                    "the copies are found as {name}-1 to {name}-{}: the name {name} leads to none of them",
                    self.replicas
                );
                self.context.changed(&at, note);
                if count > REPLICAS_MAX {
                    self.context.changed(&at, format!("a sandbox has at most {REPLICAS_MAX} copies"));
                }
            }
            Err(_) => self.context.left_out(&at, "replicas", "it is not a number: write `replicas` with one"),
        }
    }

    /// Reads the block `deploy`, and says what becomes of its keys that need nothing else.
    fn deploy(&mut self) -> Deploy<'n> {
        let mut deploy = Deploy::default();
        let Some(at) = self.take("deploy") else { return deploy };
        self.context.mapped(&at);
        let mut fields = Fields::of(self.context, &at);
        deploy.replicas = fields.take(self.context, "replicas");
        if let Some(at) = fields.take(self.context, "mode") {
            match self.context.text(&at) {
                Some(text) if text.value != "replicated" => {
                    self.context.left_out(
                        &at,
                        "deploy.mode",
                        "there is one host, so that each mode starts the sandbox here",
                    );
                }
                _ => self.context.mapped(&at),
            }
        }
        if let Some(at) = fields.take(self.context, "resources") {
            self.context.mapped(&at);
            self.deploy_resources(&at, &mut deploy);
        }
        if let Some(at) = fields.take(self.context, "restart_policy") {
            self.deploy_restart = Some(at);
        }
        for (key, reason) in [
            ("labels", "they are labels of a swarm's service: write `labels` outside of `deploy`"),
            ("placement", "there is one host: remove it"),
            ("update_config", "`msb up` restarts what has changed, one sandbox after another: remove it"),
            ("rollback_config", "`msb up` with the former file takes a change back: remove it"),
            ("endpoint_mode", "sandboxes find each other by name: remove it"),
        ] {
            if let Some(at) = fields.take(self.context, key) {
                self.context.left_out(&at, &format!("deploy.{key}"), reason);
            }
        }
        fields.leave_unknown(self.context, "deploy.");
        deploy
    }

    fn deploy_resources(&mut self, at: &At<'n>, deploy: &mut Deploy<'n>) {
        let mut fields = Fields::of(self.context, at);
        if let Some(at) = fields.take(self.context, "limits") {
            self.context.mapped(&at);
            let mut limits = Fields::of(self.context, &at);
            deploy.cpus = limits.take(self.context, "cpus");
            deploy.memory = limits.take(self.context, "memory");
            deploy.pids = limits.take(self.context, "pids");
            limits.leave_unknown(self.context, "deploy.resources.limits.");
        }
        if let Some(at) = fields.take(self.context, "reservations") {
            self.context.mapped(&at);
            let mut reservations = Fields::of(self.context, &at);
            for (key, reason) in [
                ("cpus", "a sandbox takes processor time as it needs it, up to `cpus`: nothing is reserved"),
                ("memory", "a sandbox takes memory as it needs it, up to `memory`: nothing is reserved"),
                (
                    "devices",
                    "no device of the host, and no GPU, can be passed to a sandbox: run this service elsewhere",
                ),
                ("generic_resources", "there is one host, without such resources: remove it"),
            ] {
                if let Some(at) = reservations.take(self.context, key) {
                    self.context.left_out(&at, &format!("deploy.resources.reservations.{key}"), reason);
                }
            }
            reservations.leave_unknown(self.context, "deploy.resources.reservations.");
        }
        fields.leave_unknown(self.context, "deploy.resources.");
    }
}
