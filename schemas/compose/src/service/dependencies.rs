//! `depends_on`: what a service waits for.

use super::Builder;
use crate::context::{At, Fields, shown};
use crate::out::{Body, Element, Value};
use sandboxfile::Code;
use sandboxfile::yaml::NodeValue;

use std::collections::HashSet;

impl<'n> Builder<'_, '_, 'n> {
    pub(super) fn depends_on(&mut self) {
        let (mut elements, mut waited) = (Vec::new(), HashSet::new());
        let at = self.take("depends_on");
        if let Some(at) = &at {
            self.context.mapped(at);
        }
        let all = match at.as_ref().map(|at| (at, &at.node.value)) {
            None => Vec::new(),
            Some((at, NodeValue::List(_))) => {
                let mut all = Vec::new();
                for at in self.context.elements(at) {
                    all.extend(self.context.text(&at).map(|text| (text.value, at)));
                }
                all
            }
            Some((at, _)) => {
                self.context.entries(at).into_iter().map(|(name, at)| (name.to_owned(), at)).collect()
            }
        };
        let is_plain = |elements: &[Element]| elements.iter().all(|element| element.properties.is_empty());
        for (name, at) in all {
            self.context.mapped(&at);
            if waited.insert(name.clone()) {
                elements.extend(self.dependency(&name, &at));
            }
        }
        let linked = std::mem::take(&mut self.linked);
        let linked = linked.into_iter().filter(|name| waited.insert(name.clone()));
        for name in linked {
            let Some(sandbox) = self.facts.names.get(&name) else { continue };
            let argument = Value::literal(sandbox);
            elements.push(Element { argument, source: "on", ..Element::default() });
        }
        if !elements.is_empty() {
            let is_map = !is_plain(&elements);
            self.push("depends-on", "depends_on", Body::Each { elements, is_map });
        }
    }

    fn dependency(&mut self, name: &str, at: &At<'n>) -> Option<Element> {
        let (mut condition, mut required) = ("started", true);
        if let NodeValue::Map(_) = &at.node.value {
            let mut fields = Fields::of(self.context, at);
            if let Some(at) = fields.take(self.context, "condition")
                && let Some(text) = self.context.text(&at)
            {
                self.context.mapped(&at);
                condition = match text.value.as_str() {
                    "service_started" => "started",
                    "service_healthy" => "healthy",
                    "service_completed_successfully" => "completed",
                    other => {
                        let message = format!("`{}` is not a condition", shown(other));
                        let help = "write service_started, service_healthy or service_completed_successfully";
                        return self.context.refuse(Code::UnknownValue, at.node.span, message, help);
                    }
                };
                condition = self.possible(name, condition, &at);
            }
            if let Some(at) = fields.take(self.context, "required") {
                self.context.mapped(&at);
                required = self.context.flag(&at) != Some(false);
            }
            if let Some(at) = fields.take(self.context, "restart") {
                match self.context.flag(&at) {
                    Some(true) => {
                        let reason = "a sandbox goes on when one that it waited for is restarted: restart both with `msb restart`";
                        self.context.left_out(&at, &format!("depends_on.{name}.restart"), reason);
                    }
                    _ => self.context.mapped(&at),
                }
            }
            fields.leave_unknown(self.context, &format!("depends_on.{name}."));
        }
        let Some(sandbox) = self.facts.names.get(name).cloned() else {
            if !required {
                self.context.left_out(
                    at,
                    "depends_on",
                    format!("there is no service {}, which need not exist", shown(name)),
                );
                return None;
            }
            let message = format!(
                "`{}` waits for `{}`, which is not a service of these files",
                shown(self.service),
                shown(name)
            );
            return self.context.refuse(
                Code::UnknownDependency,
                at.span,
                message,
                "name another service, or remove it",
            );
        };
        let mut properties = Vec::new();
        if condition != "started" {
            properties.push(("condition", "condition", Value::literal(condition)));
        }
        if !required {
            properties.push(("required", "required", Value::Flag(false)));
        }
        let comments = self.context.take_notes();
        let argument = Value::literal(&sandbox);
        Some(Element { comments, argument, source: "on", properties, words: None, short: None })
    }

    /// Returns the condition, or the closest one that can come true.
    fn possible(&mut self, name: &str, condition: &'static str, at: &At<'n>) -> &'static str {
        if condition == "healthy" && self.facts.unchecked.contains(name) {
            self.context.changed(
                at,
                format!("{} has no health check: it is waited for until it has started", shown(name)),
            );
            return "started";
        }
        if condition == "completed" && !self.facts.jobs.contains(name) {
            let note = format!(
                "{} would be a job, for which msb has to know the command: write `job` with `start`, and the condition `completed`",
                shown(name)
            );
            self.context.changed(at, note);
            return "started";
        }
        condition
    }
}
