//! `secrets` and `configs`: files that are written into a sandbox.

use super::Builder;
use super::storage::octal_of;
use crate::context::{At, Context, Fields, shown};
use crate::out::{Body, Element, Value};
use sandboxfile::Code;
use sandboxfile::yaml::NodeValue;

/// Says what becomes of the keys of a secret or a config at the top level.
pub(crate) fn account(context: &mut Context<'_>, section: &str, name: &str, entries: &[(&str, At<'_>)]) {
    for (key, at) in entries {
        match *key {
            "file" | "environment" | "content" => context.mapped(at),
            "external" => {
                let reason = "only compose's engine has it: write the file beside the Sandboxfile, and name it in `file`";
                context.left_out(at, &format!("{section}.{name}.external"), reason);
            }
            "name" | "labels" | "driver" | "driver_opts" | "template_driver" => {
                let reason = "a file in a sandbox has a path and nothing else: remove it";
                context.left_out(at, &format!("{section}.{name}.{key}"), reason);
            }
            key if key.starts_with("x-") => context.mapped_as(at, "an extension, which compose ignores too"),
            key => {
                context.left_out(
                    at,
                    &format!("{section}.{name}.{key}"),
                    "it is not known to this version of msb: remove it if it is a typing error",
                );
            }
        }
    }
}

impl<'n> Builder<'_, '_, 'n> {
    /// `secrets` and `configs` of the service.
    pub(super) fn files(&mut self) {
        let mut elements = Vec::new();
        for section in ["configs", "secrets"] {
            let Some(at) = self.take(section) else { continue };
            self.context.mapped(&at);
            for at in self.context.elements(&at) {
                elements.extend(self.file(section, &at));
            }
        }
        if !elements.is_empty() {
            self.push("file", "files", Body::Each { elements, is_map: true });
        }
    }

    fn file(&mut self, section: &'static str, at: &At<'n>) -> Option<Element> {
        self.context.mapped(at);
        let mut target = None;
        let mut properties = Vec::new();
        let name = if let NodeValue::Map(_) = &at.node.value {
            let mut fields = Fields::of(self.context, at);
            let source = fields.take(self.context, "source").and_then(|at| {
                self.context.mapped(&at);
                self.context.text(&at)
            });
            target = fields.take(self.context, "target").and_then(|at| {
                self.context.mapped(&at);
                self.context.text(&at)
            });
            for key in ["mode", "uid", "gid"] {
                let Some(at) = fields.take(self.context, key) else { continue };
                let Some(text) = self.context.text(&at) else { continue };
                let value = octal_of(&text.value);
                let is_good = if key == "mode" {
                    u32::from_str_radix(&value, 8).is_ok_and(|mode| mode <= 0o777)
                } else {
                    value.parse::<u32>().is_ok_and(|id| id < u32::MAX)
                };
                if !is_good {
                    self.context.left_out(
                        &at,
                        &format!("{section}.{key}"),
                        "it is not a number that a file can have",
                    );
                    continue;
                }
                self.context.mapped(&at);
                let value = if key == "mode" { Value::literal(&value) } else { Value::Number(value) };
                properties.push((key, key, value));
            }
            fields.leave_unknown(self.context, &format!("{section}."));
            source?.value
        } else {
            self.context.text(at)?.value
        };
        let all = if section == "configs" { &self.facts.configs } else { &self.facts.secrets };
        let Some(definition) = all.get(name.as_str()).cloned() else {
            let message = format!(
                "the service `{}` uses `{}`, which `{section}` does not declare",
                shown(self.service),
                shown(&name)
            );
            let help = format!("add it: `{section}: {{ {}: {{ file: ./{} }} }}`", shown(&name), shown(&name));
            return self.context.refuse(Code::UnknownVolume, at.node.span, message, help);
        };
        let path = match (target.map(|text| text.raw), section) {
            (Some(target), _) if target.starts_with(['/', '$']) => target,
            (Some(target), "configs") => format!("/{target}"),
            (Some(target), _) => format!("/run/secrets/{target}"),
            (None, "configs") => format!("/{name}"),
            (None, _) => format!("/run/secrets/{name}"),
        };
        let contents = self.contents(section, at, &definition)?;
        let argument = self.target(at, &path, section)?;
        if section == "secrets" {
            self.context.changed(at, "its contents are in plans and in the catalog; a value that goes into HTTP requests is safer as `secret`, which the sandbox never holds");
        }
        properties.insert(0, contents);
        let comments = self.context.take_notes();
        Some(Element { comments, argument, source: "to", properties, words: None, short: None })
    }

    /// Returns the property with the contents of a file.
    fn contents(
        &mut self,
        section: &str,
        at: &At<'n>,
        definition: &At<'n>,
    ) -> Option<(&'static str, &'static str, Value)> {
        let mut fields = Fields::of(self.context, definition);
        if let Some(file) = fields.take(self.context, "file") {
            return self.host_path(&file).map(|path| ("from", "from", path));
        }
        if let Some(text) = fields.take(self.context, "content").and_then(|at| self.context.text(&at)) {
            return Some(("content", "content", Value::of(&text)));
        }
        if let Some(text) = fields.take(self.context, "environment").and_then(|at| self.context.text(&at)) {
            return Some(("content", "content", Value::Text(format!("${{{}:-}}", text.value))));
        }
        let reason =
            "only compose's engine has it: write the file beside the Sandboxfile, and name it in `file`";
        self.context.left_out(at, section, reason);
        None
    }
}
