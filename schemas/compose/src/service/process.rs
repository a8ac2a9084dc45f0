//! Image, command, environment and user.

use super::Builder;
use crate::context::{At, Fields, Text, shown};
use crate::ledger::Outcome;
use crate::out::{Body, Commented, Element, Property, Value};
use crate::paths;
use crate::variables::{self, Piece};
use rules::reference::Reference;
use sandboxfile::Code;
use sandboxfile::yaml::NodeValue;
use schemas::name::suggest_name;

impl<'n> Builder<'_, '_, 'n> {
    /// `image`, `build`, `pull_policy` and `platform`.
    pub(super) fn image(&mut self) {
        let build = self.take("build");
        let image = self.take("image");
        let is_written = image.is_some();
        let image = image.and_then(|at| Some((self.context.text(&at)?, at)));
        match (image, build) {
            (Some((text, at)), build) => {
                self.context.mapped(&at);
                if paths::is_path(&text.value) {
                    self.context.changed(&at, "this is no name for compose; msb boots from the path");
                } else if !text.is_template() && text.value.parse::<Reference>().is_err() {
                    let note = format!("{} is not the name of an image: msb refuses it", shown(&text.value));
                    self.context.changed(&at, note);
                }
                if let Some(build) = build {
                    let how = self.how_to_build(&build, &text.value);
                    self.context.left_out(
                        &build,
                        "build",
                        format!("msb builds no images, and pulls this one; to use your own, run {how}"),
                    );
                }
                self.push_text("image", "image", Value::of(&text));
            }
            (None, Some(build)) => {
                let tag = suggest_name(self.service).unwrap_or_else(|| "image".to_owned());
                let how = self.how_to_build(&build, &tag);
                let reason = format!("msb builds no images: run {how}");
                // The comment stands beside the image, not at the end.
                self.context.ledger.mark(&build.path, Outcome::LeftOut, Some(reason.clone()));
                let file = Value::literal(&format!("./{tag}.tar"));
                let comments = vec![format!("left out: build: {reason}")];
                let property = Property { comments, ..Property::new("image", "image", Body::One(file)) };
                self.properties.push(property);
            }
            (None, None) if is_written => {}
            (None, None) => {
                let place = self.span;
                let help = "add `image: NAME`, or `build: ./folder`";
                let message =
                    format!("the service `{}` has neither an image nor a build context", shown(self.service));
                self.context.refuse::<()>(Code::MissingProperty, place, message, help);
            }
        }
        self.pull_policy();
        self.platform();
    }

    fn how_to_build(&mut self, build: &At<'n>, tag: &str) -> String {
        let folder = self.context.folder_of(build.node.span).to_owned();
        let member = |name: &str| match &build.node.value {
            NodeValue::Map(entries) => {
                entries.iter().find(|(key, _)| key.value == name).and_then(|(_, node)| match &node.value {
                    NodeValue::Scalar { text, .. } => Some(text.clone()),
                    _ => None,
                })
            }
            _ => None,
        };
        let context = match &build.node.value {
            NodeValue::Scalar { text, .. } => text.clone(),
            _ => member("context").unwrap_or_else(|| ".".to_owned()),
        };
        let context = variables::expand(&context, self.context.variables);
        let is_remote = context.contains("://") || context.starts_with("git@");
        let context = if is_remote {
            context
        } else {
            paths::relative(self.context.folder, &paths::absolute(&folder, &context))
        };
        let file = member("dockerfile").map(|file| format!(" -f {file}")).unwrap_or_default();
        let target = member("target").map(|target| format!(" --target {target}")).unwrap_or_default();
        let archive = suggest_name(self.service).unwrap_or_else(|| "image".to_owned());
        format!(
            "`docker build -t {tag}{file}{target} {context} && docker save -o {archive}.tar {tag}`, and boot from `./{archive}.tar`"
        )
    }

    fn pull_policy(&mut self) {
        let Some(at) = self.take("pull_policy") else { return };
        let Some(text) = self.context.text(&at) else { return };
        let word = match text.value.as_str() {
            "always" => "always",
            "missing" | "if_not_present" => "missing",
            "never" => "never",
            "daily" | "weekly" => {
                self.context
                    .changed(&at, format!("msb knows no {} pulls, only those of each `up`", text.value));
                "always"
            }
            other if other.starts_with("every_") => {
                self.context.changed(&at, "msb pulls at each `up`, not at intervals");
                "always"
            }
            other => {
                let reason = format!(
                    "`{}` has no counterpart: write `pull` with `always`, `missing` or `never`",
                    shown(other)
                );
                return self.context.left_out(&at, "pull_policy", reason);
            }
        };
        self.context.mapped(&at);
        self.push_text("pull", "pull", Value::literal(word));
    }

    fn platform(&mut self) {
        let Some(at) = self.take("platform") else { return };
        self.context.left_out(
            &at,
            "platform",
            "a sandbox has the architecture of the host: use an image for that",
        );
    }

    /// `environment` and `env_file`.
    pub(super) fn environment(&mut self) {
        self.env_file();
        let Some(at) = self.take("environment") else { return };
        self.context.mapped(&at);
        let mut pairs = Vec::new();
        for (name, value, at) in self.context.pairs(&at, &['=']) {
            if name.is_empty()
                || name.contains(|c: char| c.is_whitespace() || c == '\0')
                || name.contains('$')
            {
                let reason = "it cannot be the name of a variable: rename it";
                self.context.left_out(&at, &format!("environment.{}", shown(&name)), reason);
                continue;
            }
            let value = value.map(|text| self.context.lenient(&at, &text));
            self.context.mapped(&at);
            let comments = self.context.take_notes();
            pairs.push(Commented { comments, value: (name, value.as_ref().map(Value::of)) });
        }
        if !pairs.is_empty() {
            self.push("env", "env", Body::Map(pairs));
        }
    }

    fn env_file(&mut self) {
        let Some(at) = self.take("env_file") else { return };
        self.context.mapped(&at);
        let mut elements = Vec::new();
        for at in self.context.elements(&at) {
            let (path, required) = match &at.node.value {
                NodeValue::Map(_) => {
                    let mut fields = Fields::of(self.context, &at);
                    let path = fields.take(self.context, "path");
                    let required = fields.take(self.context, "required");
                    let required = required.and_then(|at| {
                        self.context.mapped(&at);
                        self.context.flag(&at)
                    });
                    if let Some(at) = fields.take(self.context, "format") {
                        self.context.left_out(
                            &at,
                            "env_file.format",
                            "values are read as in `.env`: put a raw one into single quotes",
                        );
                    }
                    fields.leave_unknown(self.context, "env_file.");
                    (path, required)
                }
                _ => (Some(at.clone()), None),
            };
            self.context.mapped(&at);
            let Some(path) = path else { continue };
            let Some(source) = self.host_path(&path) else { continue };
            self.context.mapped(&path);
            let properties = match required {
                Some(false) => vec![("required", "required", Value::Flag(false))],
                _ => Vec::new(),
            };
            let comments = self.context.take_notes();
            elements.push(Element {
                comments,
                argument: source,
                source: "path",
                properties,
                words: None,
                short: None,
            });
        }
        if !elements.is_empty() {
            self.push("env-file", "env_file", Body::Each { elements, is_map: false });
        }
    }

    /// Returns a path of the host as the Sandboxfile writes it; `None` after reporting that there is none.
    pub(super) fn host_path(&mut self, at: &At<'n>) -> Option<Value> {
        let text = self.context.text(at)?;
        self.host_path_of(at, &text.raw)
    }

    /// Returns a part of a value as a path of the host.
    pub(super) fn host_path_of(&mut self, at: &At<'n>, raw: &str) -> Option<Value> {
        let value = variables::expand(raw, self.context.variables);
        let folder = self.context.folder_of(at.node.span).to_owned();
        if let Some(rest) = value.strip_prefix('~') {
            self.context.mapped_as(at, "`~` is ${HOME} here");
            return Some(Value::Text(format!("${{HOME}}{}", rest.replace('$', "$$"))));
        }
        let is_same_folder = folder == self.context.folder;
        if variables::is_template(raw) && (is_same_folder || value.starts_with('/') || value.is_empty()) {
            let is_written_so = value.is_empty() || is_local(&value);
            return Some(Value::Text(if is_written_so { raw.to_owned() } else { format!("./{raw}") }));
        }
        if variables::is_template(raw) {
            self.context.changed(
                at,
                "the variables in this path have the values that they had when it was converted",
            );
        }
        let path = paths::absolute(&folder, &value);
        let shown = if value.starts_with('/') { path } else { paths::relative(self.context.folder, &path) };
        Some(Value::literal(&shown))
    }

    /// `command`, `entrypoint`, `working_dir`, `user` and `hostname`.
    pub(super) fn process(&mut self) {
        if let Some((at, text)) = self.taken_text("working_dir") {
            match paths::in_guest(&text.value) {
                _ if text.is_template() => self.push_text("workdir", "workdir", Value::of(&text)),
                Some(path) => self.push_text("workdir", "workdir", Value::literal(&path)),
                None if text.value == "/" => self.push_text("workdir", "workdir", Value::literal("/")),
                None => self.context.left_out(
                    &at,
                    "working_dir",
                    "it is relative to that of the image: write the whole path as `workdir`",
                ),
            }
        }
        if let Some((at, text)) = self.taken_text("user") {
            if text.is_template() || text.value.parse::<rules::user::GuestUser>().is_ok() {
                self.push_text("user", "user", Value::of(&text));
            } else {
                self.context.left_out(&at, "user", "it is not `user[:group]`: write names or numbers");
            }
        }
        self.hostname();
        self.command();
    }

    /// Takes a text and marks it as mapped.
    pub(super) fn taken_text(&mut self, key: &str) -> Option<(At<'n>, Text)> {
        let at = self.take(key)?;
        let text = self.context.text(&at)?;
        self.context.mapped(&at);
        Some((at, text))
    }

    fn hostname(&mut self) {
        let domain = self.take("domainname");
        let Some((at, mut text)) = self.taken_text("hostname") else {
            if let Some(at) = domain {
                self.context.left_out(&at, "domainname", "write the whole name as `hostname`");
            }
            return;
        };
        if let Some((at, domain)) = domain.and_then(|at| Some((at.clone(), self.context.text(&at)?))) {
            self.context.mapped_as(&at, "a part of `hostname`");
            text.raw = format!("{}.{}", text.raw, domain.raw);
            text.value = format!("{}.{}", text.value, domain.value);
        }
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() < 64
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        };
        if text.is_template() || text.value.len() <= 64 && text.value.split('.').all(is_label) {
            self.push_text("hostname", "hostname", Value::of(&text));
        } else {
            self.context.left_out(
                &at,
                "hostname",
                "it is not a host name: letters, digits and `-` between dots",
            );
        }
    }

    fn command(&mut self) {
        let entrypoint = self.take("entrypoint");
        let command = self.take("command");
        let arguments = command.as_ref().and_then(|at| self.words(at));
        let program = entrypoint.as_ref().and_then(|at| self.words(at));
        match (entrypoint.and_then(|at| Some((at, program?))), command.and_then(|at| Some((at, arguments?))))
        {
            (None, None) => {}
            (None, Some((at, words))) if words.is_empty() => {
                let reason =
                    "the image's own command cannot be taken away alone: write `start` with its entrypoint";
                self.context.left_out(&at, "command", reason);
            }
            (None, Some((_, words))) => self.push("args", "args", Body::Words(words)),
            (Some((at, mut words)), command) => {
                words.extend(command.map(|(_, words)| words).unwrap_or_default());
                if words.is_empty() {
                    let reason =
                        "the image's own entrypoint cannot be taken away without a command: write `start`";
                    return self.context.left_out(&at, "entrypoint", reason);
                }
                if let [Value::Text(only)] = words.as_slice()
                    && only.contains(char::is_whitespace)
                {
                    let reason = "a program whose name has blanks: write `start` with `sh`, `-c` and it";
                    return self.context.left_out(&at, "entrypoint", reason);
                }
                self.push("start", "start", Body::Words(words));
            }
        }
    }

    /// Returns the words of a command, which compose splits if it is a text.
    pub(super) fn words(&mut self, at: &At<'n>) -> Option<Vec<Value>> {
        self.context.mapped(at);
        if let NodeValue::List(_) = &at.node.value {
            let mut words = Vec::new();
            for at in self.context.elements(at) {
                let NodeValue::Scalar { text, .. } = &at.node.value else {
                    return self.context.refuse_type(&at, "a text");
                };
                let text = self.context.lenient(&at, text);
                words.push(Value::of(&text));
            }
            return Some(words);
        }
        let NodeValue::Scalar { text, .. } = &at.node.value else {
            return self.context.refuse_type(at, "a text or a list");
        };
        let line = self.context.lenient(at, text);
        let Some(words) = variables::words(&line.raw) else {
            let message = format!("a quote of `{}` is not closed", shown(text));
            return self.context.refuse(
                Code::WrongType,
                at.node.span,
                message,
                "close it, or write a list of words",
            );
        };
        let has_blanks = |piece: &Piece<'_>| match piece {
            Piece::Variable { written, .. } => {
                variables::expand(written, self.context.variables).contains([' ', '"', '\''])
            }
            _ => false,
        };
        if variables::pieces(&line.raw).iter().any(has_blanks) {
            let note =
                "compose splits the values of variables into words, msb does not: write the words one by one";
            self.context.changed(at, note);
        }
        Some(words.into_iter().map(Value::Text).collect())
    }
}

/// Returns whether a Sandboxfile takes a text for a path of the host.
fn is_local(text: &str) -> bool {
    matches!(text, "." | "..") || ["/", "./", "../"].iter().any(|start| text.starts_with(start))
}
