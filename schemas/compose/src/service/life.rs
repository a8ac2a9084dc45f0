//! When a service starts, what keeps it alive, and how it ends.

use super::{Builder, quantity};
use crate::context::{At, Fields, shown};
use crate::out::{Body, Commented, Property, Value};

use std::collections::HashSet;

impl<'n> Builder<'_, '_, 'n> {
    /// Dependencies, health, restarts, the end, logs, labels, copies and profiles.
    pub(super) fn life(&mut self) {
        self.sync();
        self.hooks();
        self.depends_on();
        self.healthcheck();
        self.restart();
        self.stop();
        self.logs();
        self.labels();
        if self.replicas > 1 {
            let count = self.replicas.to_string();
            let comments = std::mem::take(&mut self.replica_notes);
            let property = Property::new("replicas", "replicas", Body::One(Value::Number(count)));
            self.properties.push(Property { comments, ..property });
        }
        self.profiles();
    }

    fn restart(&mut self) {
        let policy = self.deploy_restart.take();
        let own = self.take("restart");
        if let Some(at) = own {
            if let Some(at) = policy {
                self.context.mapped_as(&at, "`restart` says it");
            }
            let Some(text) = self.context.text(&at) else { return };
            self.context.mapped(&at);
            let value = match text.value.as_str() {
                "unless-stopped" => {
                    self.context.changed(
                        &at,
                        "`unless-stopped` is `always` here: a stopped sandbox stays stopped, and none starts with the host",
                    );
                    Value::literal("always")
                }
                "on-failure" | "no" | "always" => Value::of(&text),
                "" => return,
                "false" => Value::literal("no"),
                other
                    if other
                        .strip_prefix("on-failure:")
                        .is_some_and(|max| max.parse::<u32>().is_ok_and(|max| max > 0)) =>
                {
                    Value::of(&text)
                }
                other => {
                    let reason = format!(
                        "`{}` is not a policy: write `no`, `on-failure`, `on-failure:N` or `always`",
                        shown(other)
                    );
                    return self.context.left_out(&at, "restart", reason);
                }
            };
            return self.push_restart(&at, value, None);
        }
        let Some(at) = policy else { return };
        self.context.mapped(&at);
        let mut fields = Fields::of(self.context, &at);
        let mut text = |builder: &mut Self, key: &str| {
            let at = fields.take(builder.context, key)?;
            builder.context.mapped(&at);
            Some((builder.context.text(&at)?, at))
        };
        let condition = text(self, "condition").map_or_else(|| "any".to_owned(), |(text, _)| text.value);
        let max = text(self, "max_attempts")
            .and_then(|(text, _)| text.value.parse::<u32>().ok())
            .filter(|max| *max > 0);
        let window = text(self, "window").filter(|(text, _)| quantity::duration(&text.value) == Some(false));
        if let Some(at) = fields.take(self.context, "delay") {
            self.context.left_out(
                &at,
                "deploy.restart_policy.delay",
                "the pauses between restarts grow by themselves: remove it",
            );
        }
        fields.leave_unknown(self.context, "deploy.restart_policy.");
        let value = match (condition.as_str(), max) {
            ("none", _) => "no".to_owned(),
            ("on-failure", None) => "on-failure".to_owned(),
            ("on-failure", Some(max)) => format!("on-failure:{max}"),
            (_, None) => "always".to_owned(),
            (_, Some(max)) => {
                self.context.changed(&at, format!("restarts are counted after failures only: {max} of them"));
                format!("on-failure:{max}")
            }
        };
        let window = window.filter(|_| value.starts_with("on-failure:")).map(|(text, _)| Value::of(&text));
        self.push_restart(&at, Value::literal(&value), window);
    }

    fn push_restart(&mut self, at: &At<'n>, value: Value, window: Option<Value>) {
        if self.is_job && value == Value::literal("always") {
            self.context.take_notes();
            return self.context.left_out(
                at,
                "restart",
                "a job runs once: `on-failure` tries it again when it has failed",
            );
        }
        let body = match window {
            None => Body::One(value),
            Some(window) => Body::Beside { name: "policy", value, beside: vec![("window", window)] },
        };
        self.push("restart", "restart", body);
    }

    fn stop(&mut self) {
        if let Some((at, text)) = self.taken_text("stop_grace_period") {
            match quantity::duration(&text.value) {
                Some(false) => self.push_text("stop-timeout", "stop_timeout", Value::of(&text)),
                Some(true) => {
                    self.context.changed(&at, "a sandbox has 1ms at least");
                    self.push_text("stop-timeout", "stop_timeout", Value::literal("1ms"));
                }
                None => self.context.left_out(
                    &at,
                    "stop_grace_period",
                    "it is not a duration: write one such as `1m30s`",
                ),
            }
        }
        if let Some((_, text)) = self.taken_text("stop_signal") {
            let is_word = text.value.chars().all(|c| c.is_ascii_lowercase());
            let name = if is_word { text.raw.to_ascii_uppercase() } else { text.raw };
            self.push_text("stop-signal", "stop_signal", Value::Text(name));
        }
    }

    fn logs(&mut self) {
        if let Some(at) = self.take("attach") {
            self.context.left_out(
                &at,
                "attach",
                "`msb up` follows all logs, `msb logs NAME` those of one: remove it",
            );
        }
        let Some(at) = self.take("logging") else { return };
        self.context.mapped(&at);
        let mut fields = Fields::of(self.context, &at);
        let driver = fields.take(self.context, "driver");
        let options = fields.take(self.context, "options");
        fields.leave_unknown(self.context, "logging.");
        let name = driver.as_ref().and_then(|at| self.context.text(at)).map(|text| text.value);
        match (name.as_deref(), driver) {
            (Some("none"), Some(at)) => {
                self.context.mapped(&at);
                if let Some(at) = options {
                    self.context.mapped_as(&at, "there are no logs");
                }
                let capture = Property::new("capture", "capture", Body::One(Value::literal("off")));
                self.push("logs", "logs", Body::Block(vec![capture]));
                return;
            }
            (None | Some("json-file" | "local" | ""), Some(at)) => {
                self.context.mapped_as(&at, "logs are files")
            }
            (_, Some(at)) => {
                self.context.left_out(
                    &at,
                    "logging.driver",
                    "logs are files, which `msb logs --follow --json` passes on to other programs",
                );
            }
            (_, None) => {}
        }
        let Some(at) = options else { return };
        self.context.mapped(&at);
        let mut properties = Vec::new();
        for (key, at) in self.context.entries(&at) {
            let Some(text) = self.context.text(&at) else { continue };
            match (key, quantity::bytes(&text.value)) {
                ("max-size", Some(bytes)) if (64 * 1024..=1 << 40).contains(&bytes) => {
                    self.context.mapped(&at);
                    let is_same = rules::unit::parse_size_bytes(&text.value) == Ok(bytes);
                    let value =
                        if is_same { Value::of(&text) } else { Value::literal(&quantity::size_of(bytes)) };
                    properties.push(Property::new("max-size", "max_size", Body::One(value)));
                }
                ("max-file", _)
                    if text.value.parse::<u32>().is_ok_and(|files| (1..=1_000).contains(&files)) =>
                {
                    self.context.mapped_as(&at, "`keep` counts the files beside the newest");
                    let keep = text.value.parse::<u32>().unwrap_or(1) - 1;
                    properties.push(Property::new(
                        "keep",
                        "keep",
                        Body::One(Value::Number(keep.to_string())),
                    ));
                }
                _ => self.context.left_out(
                    &at,
                    &format!("logging.options.{key}"),
                    "log files have no such option: remove it",
                ),
            }
        }
        if !properties.is_empty() {
            self.push("logs", "logs", Body::Block(properties));
        }
    }

    fn labels(&mut self) {
        let Some(at) = self.take("labels") else { return };
        self.context.mapped(&at);
        let (mut labels, mut said) = (Vec::new(), HashSet::new());
        for (name, value, at) in self.context.pairs(&at, &['=']) {
            if name.is_empty()
                || name.contains(|c: char| c.is_whitespace() || c == '\0')
                || name.contains('$')
            {
                self.context.left_out(
                    &at,
                    "labels",
                    format!("{} cannot be the name of a label: rename it", shown(&name)),
                );
                continue;
            }
            let text = self.context.lenient(&at, value.as_deref().unwrap_or_default());
            self.context.mapped(&at);
            if ["traefik.", "caddy", "com.centurylinklabs.watchtower", "ofelia.", "diun."]
                .iter()
                .any(|tool| name.starts_with(tool))
            {
                self.context.changed(
                    &at,
                    "a tool that reads labels from the engine's socket does not see those of sandboxes",
                );
            }
            // The same remark for the next label says nothing new.
            let comments = self.context.take_notes();
            let comments = comments.into_iter().filter(|note| said.insert(note.clone())).collect();
            labels.push(Commented { comments, value: (name, Some(Value::of(&text))) });
        }
        if !labels.is_empty() {
            self.push("labels", "labels", Body::Map(labels));
        }
    }

    fn profiles(&mut self) {
        let mut names = Vec::new();
        if let Some(at) = self.take("profiles") {
            self.context.mapped(&at);
            for at in self.context.elements(&at) {
                names.extend(self.context.text(&at).map(|text| Value::of(&text)));
            }
        }
        if self.is_off && names.is_empty() {
            names.push(Value::literal("off"));
        }
        if !names.is_empty() {
            let comments = std::mem::take(&mut self.replica_notes);
            let property = Property::new("profiles", "profiles", Body::Words(names));
            self.properties.push(Property { comments, ..property });
        }
    }
}
