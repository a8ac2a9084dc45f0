//! `healthcheck`.

use super::{Builder, facts, quantity};
use crate::context::{At, Fields};
use crate::out::{Body, Property, Value};
use sandboxfile::Code;
use sandboxfile::yaml::NodeValue;

impl<'n> Builder<'_, '_, 'n> {
    pub(super) fn healthcheck(&mut self) {
        let Some(at) = self.take("healthcheck") else { return };
        self.context.mapped(&at);
        let mut fields = Fields::of(self.context, &at);
        if facts::is_off(&at) {
            for (_, at) in fields.rest() {
                self.context.mapped_as(&at, "the check is off");
            }
            let flag = Property::new("disable", "disable", Body::One(Value::Flag(true)));
            self.push("healthcheck", "healthcheck", Body::Block(vec![flag]));
            return;
        }
        if let Some(at) = fields.take(self.context, "disable") {
            self.context.mapped(&at);
        }
        let test = fields.take(self.context, "test");
        let is_empty = fields.is_empty();
        let exec = test.as_ref().and_then(|at| self.test(at));
        let mut properties = Vec::new();
        if let Some(words) = exec {
            let comments = self.context.take_notes();
            properties.push(Property { comments, ..Property::new("exec", "exec", Body::Words(words)) });
        }
        for (key, kdl, may_be_zero) in [
            ("interval", "interval", false),
            ("timeout", "timeout", false),
            ("start_period", "start-period", true),
        ] {
            let default = || Property::new(kdl, key, Body::One(Value::literal("30s")));
            let Some(at) = fields.take(self.context, key) else {
                // Compose's own default, which is not that of msb.
                properties.extend((!may_be_zero).then(default));
                continue;
            };
            let Some(text) = self.context.text(&at) else { continue };
            match quantity::duration(&text.value) {
                Some(is_zero) if !is_zero || may_be_zero => {
                    self.context.mapped(&at);
                    properties.push(self.with_notes(kdl, key, Body::One(Value::of(&text))));
                }
                Some(_) => {
                    self.context.mapped_as(&at, "zero is the default");
                    properties.push(default());
                }
                None if text.is_template() && text.value.is_empty() => {
                    self.context.mapped(&at);
                    properties.push(self.with_notes(kdl, key, Body::One(Value::of(&text))));
                }
                None => self.context.left_out(
                    &at,
                    &format!("healthcheck.{key}"),
                    "it is not a duration: write one such as `1m30s`",
                ),
            }
        }
        if let Some(at) = fields.take(self.context, "retries")
            && let Some(text) = self.context.text(&at)
        {
            match text.value.parse::<u32>() {
                Ok(0) => self.context.mapped_as(&at, "zero is the default"),
                Err(_) if !text.is_template() => {
                    self.context.left_out(&at, "healthcheck.retries", "it is not a number: write one from 1");
                }
                _ => {
                    self.context.mapped(&at);
                    properties.push(self.with_notes(
                        "retries",
                        "retries",
                        Body::One(Value::Number(text.raw)),
                    ));
                }
            }
        }
        if let Some(at) = fields.take(self.context, "start_interval") {
            self.context.left_out(
                &at,
                "healthcheck.start_interval",
                "probes come at `interval` from the start: shorten it if that matters",
            );
        }
        fields.leave_unknown(self.context, "healthcheck.");
        if properties.iter().any(|property| property.kdl == "exec") {
            self.push("healthcheck", "healthcheck", Body::Block(properties));
        } else if !is_empty {
            self.context.take_notes();
            let reason = "it changes the times of the image's own check, whose command msb has to know: write `exec` with it";
            self.context.left_out(&at, "healthcheck", reason);
        }
    }

    /// Returns a property with the notes so far.
    fn with_notes(&mut self, kdl: &'static str, yaml: &'static str, body: Body) -> Property {
        Property { comments: self.context.take_notes(), ..Property::new(kdl, yaml, body) }
    }

    /// Returns the command of a check.
    fn test(&mut self, at: &At<'n>) -> Option<Vec<Value>> {
        let shell = |line: Value| vec![Value::literal("sh"), Value::literal("-c"), line];
        if let NodeValue::Scalar { text, .. } = &at.node.value {
            self.context.mapped(at);
            let line = self.context.lenient(at, text);
            return Some(shell(Value::of(&line)));
        }
        let mut words = self.words(at)?;
        let kind = words.first().cloned();
        match kind {
            Some(Value::Text(kind)) if kind == "CMD" && words.len() > 1 => {
                words.remove(0);
                if words.len() == 1
                    && let Value::Text(only) = &words[0]
                    && only.contains(char::is_whitespace)
                {
                    self.context
                        .changed(at, "the program of this check has blanks in its name: a shell runs it");
                    return Some(shell(words.remove(0)));
                }
                Some(words)
            }
            Some(Value::Text(kind)) if kind == "CMD-SHELL" && words.len() == 2 => {
                Some(shell(words.remove(1)))
            }
            _ => {
                let help = "write [\"CMD\", \"program\", \"argument\"] or [\"CMD-SHELL\", \"line\"]";
                self.context.refuse(
                    Code::UnknownValue,
                    at.node.span,
                    "this is not the test of a health check",
                    help,
                )
            }
        }
    }
}
