//! `post_start`, `pre_stop` and `develop`.

use super::Builder;
use crate::context::{At, Fields, shown};
use crate::out::{Body, Commented, Element, Value};
use sandboxfile::yaml::NodeValue;

impl<'n> Builder<'_, '_, 'n> {
    pub(super) fn hooks(&mut self) {
        let mut moments = Vec::new();
        for (key, kdl) in [("post_start", "post-start"), ("pre_stop", "pre-stop")] {
            let Some(at) = self.take(key) else { continue };
            self.context.mapped(&at);
            let mut found = None;
            for at in self.context.elements(&at) {
                if found.is_some() {
                    let reason = "a sandbox has one hook for each moment: put all commands into one script";
                    self.context.left_out(&at, key, reason);
                    continue;
                }
                self.context.mapped(&at);
                let mut fields = Fields::of(self.context, &at);
                let command = fields.take(self.context, "command");
                for (name, reason) in [
                    ("user", "a hook runs as the `user` of the sandbox"),
                    ("privileged", "a sandbox is a machine of its own: remove it"),
                    ("working_dir", "a hook runs in the `workdir` of the sandbox"),
                    ("environment", "a hook has the `env` of the sandbox"),
                ] {
                    if let Some(at) = fields.take(self.context, name) {
                        self.context.left_out(&at, &format!("{key}.{name}"), reason);
                    }
                }
                fields.leave_unknown(self.context, &format!("{key}."));
                let words = command.and_then(|at| self.words(&at)).filter(|words| !words.is_empty());
                let comments = self.context.take_notes();
                found = words.map(|value| Commented { comments, value });
            }
            moments.extend(found.map(|command| (kdl, key, command)));
        }
        if !moments.is_empty() {
            self.push("hook", "hooks", Body::Hooks(moments));
        }
    }

    /// `develop.watch`.
    pub(super) fn sync(&mut self) {
        let Some(at) = self.take("develop") else { return };
        self.context.mapped(&at);
        let mut fields = Fields::of(self.context, &at);
        let mut elements = Vec::new();
        if let Some(at) = fields.take(self.context, "watch") {
            self.context.mapped(&at);
            for at in self.context.elements(&at) {
                elements.extend(self.watched(&at));
            }
        }
        fields.leave_unknown(self.context, "develop.");
        if !elements.is_empty() {
            self.push("sync", "sync", Body::Each { elements, is_map: false });
        }
    }

    fn watched(&mut self, at: &At<'n>) -> Option<Element> {
        let mut fields = Fields::of(self.context, at);
        let action = fields.peek("action").and_then(|at| match &at.node.value {
            NodeValue::Scalar { text, .. } => Some(text.clone()),
            _ => None,
        })?;
        if !action.starts_with("sync") {
            let reason = format!(
                "`{}` builds an image, which msb does not: build it elsewhere, and run `msb up`",
                shown(&action)
            );
            self.context.left_out(at, "develop.watch", reason);
            return None;
        }
        self.context.mapped(at);
        if action != "sync" {
            self.context.changed(at, format!("`{}` also restarts: `msb restart` does that", shown(&action)));
        }
        let path = fields.take(self.context, "path")?;
        let target = fields.take(self.context, "target")?;
        let source = self.host_path(&path)?;
        let target = self.context.text(&target)?;
        let ignore = fields.take(self.context, "ignore");
        let mut words = Vec::new();
        if let Some(at) = ignore {
            for at in self.context.elements(&at) {
                words.extend(self.context.text(&at).map(|text| Value::of(&text)));
            }
        }
        for key in ["include", "initial_sync", "exec"] {
            if let Some(at) = fields.take(self.context, key) {
                self.context.left_out(
                    &at,
                    &format!("develop.watch.{key}"),
                    "a folder is copied whole, but for what `ignore` names: remove it",
                );
            }
        }
        let comments = self.context.take_notes();
        let words = (!words.is_empty()).then_some(("ignore", words));
        let properties = vec![("to", "to", Value::of(&target))];
        Some(Element { comments, argument: source, source: "source", properties, words, short: None })
    }
}
