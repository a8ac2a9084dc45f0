//! `volumes` and `tmpfs`.

use super::{Builder, quantity};
use crate::context::{At, Fields, shown};
use crate::out::{Body, Element, Value};
use crate::{paths, variables};
use sandboxfile::Code;
use sandboxfile::yaml::NodeValue;
use schemas::name::suggest_name;

/// Folders of a sandbox that nothing can be mounted over.
const RESERVED: [&str; 4] = ["/.msb", "/proc", "/sys", "/dev"];

/// A mount, from the short or the long form.
#[derive(Default)]
struct Mount<'t> {
    /// As written; empty for a volume without a name.
    source: &'t str,
    target: &'t str,
    readonly: bool,
    noexec: bool,
    nosuid: bool,
    nodev: bool,
}

impl<'n> Builder<'_, '_, 'n> {
    /// `volumes`, `tmpfs` and `volumes_from`.
    pub(super) fn storage(&mut self) {
        let mut mounts = Vec::new();
        let mut tmpfs = Vec::new();
        if let Some(at) = self.take("volumes") {
            self.context.mapped(&at);
            for at in self.context.elements(&at) {
                match &at.node.value {
                    NodeValue::Map(_) => self.long_mount(&at, &mut mounts, &mut tmpfs),
                    _ => mounts.extend(self.short_mount(&at)),
                }
            }
        }
        if !mounts.is_empty() {
            self.push("mount", "mounts", Body::Each { elements: mounts, is_map: false });
        }
        if let Some(at) = self.take("tmpfs") {
            self.context.mapped(&at);
            for at in self.context.elements(&at) {
                tmpfs.extend(self.short_tmpfs(&at));
            }
        }
        if !tmpfs.is_empty() {
            self.push("tmpfs", "tmpfs", Body::Each { elements: tmpfs, is_map: false });
        }
        if let Some(at) = self.take("volumes_from") {
            self.context.left_out(
                &at,
                "volumes_from",
                "list each mount of the other service here, and declare its volume as `shared`",
            );
        }
    }

    fn short_mount(&mut self, at: &At<'n>) -> Option<Element> {
        let text = self.context.text(at)?;
        let mut raw = text.raw.as_str();
        // A variable may stand for all of it.
        if variables::split(raw, ':').len() == 1 && text.value.contains(':') {
            self.context.changed(
                at,
                "the variables in this mount have the values that they had when it was converted",
            );
            raw = text.value.as_str();
        }
        let parts = variables::split(raw, ':');
        let mut mount = Mount::default();
        let options = match parts.as_slice() {
            [target] => {
                mount.target = target;
                ""
            }
            [source, target] => {
                (mount.source, mount.target) = (source, target);
                ""
            }
            [source, target, options] => {
                (mount.source, mount.target) = (source, target);
                options
            }
            _ => {
                let message = format!("`{}` is not a mount", shown(raw));
                return self.context.refuse(
                    Code::InvalidMount,
                    at.node.span,
                    message,
                    "write `SOURCE:TARGET` or `SOURCE:TARGET:ro`",
                );
            }
        };
        self.context.mapped(at);
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option {
                "ro" | "readonly" => mount.readonly = true,
                "noexec" => mount.noexec = true,
                "nosuid" => mount.nosuid = true,
                "nodev" => mount.nodev = true,
                "rw" | "exec" | "suid" | "dev" | "cached" | "delegated" | "consistent" => {}
                "z" | "Z" => self.context.mapped_as(at, "SELinux labels of the host are not needed"),
                "nocopy" => {
                    self.context.changed(at, "an empty volume gets a copy of the image's files in any case")
                }
                other => {
                    let note = format!(
                        "the option `{}` has no counterpart: a mount is private to its sandbox",
                        shown(other)
                    );
                    self.context.changed(at, note);
                }
            }
        }
        self.mount(at, &mount)
    }

    fn long_mount(&mut self, at: &At<'n>, mounts: &mut Vec<Element>, tmpfs: &mut Vec<Element>) {
        self.context.mapped(at);
        let mut fields = Fields::of(self.context, at);
        let mut text = |builder: &mut Self, key: &str| {
            let at = fields.take(builder.context, key)?;
            builder.context.mapped(&at);
            builder.context.text(&at)
        };
        let kind = text(self, "type").map_or_else(|| "volume".to_owned(), |text| text.value);
        let source = text(self, "source").or_else(|| text(self, "src"));
        let target = text(self, "target").or_else(|| text(self, "dst")).or_else(|| text(self, "destination"));
        let readonly = text(self, "read_only").is_some_and(|text| text.value == "true");
        if let Some(at) = fields.take(self.context, "consistency") {
            self.context.mapped_as(&at, "compose ignores it too");
        }
        let mut size = None;
        let mut mode = None;
        for block in ["bind", "volume", "tmpfs", "image"] {
            let Some(at) = fields.take(self.context, block) else { continue };
            self.context.mapped(&at);
            for (key, at) in self.context.entries(&at) {
                match (block, key) {
                    ("bind", "create_host_path" | "selinux") => {
                        self.context.mapped_as(&at, "nothing is needed for it")
                    }
                    ("volume", "nocopy") => {
                        self.context
                            .changed(&at, "an empty volume gets a copy of the image's files in any case");
                    }
                    ("tmpfs", "size") => {
                        self.context.mapped(&at);
                        size = self.context.text(&at).and_then(|text| quantity::bytes(&text.value));
                    }
                    ("tmpfs", "mode") => {
                        self.context.mapped(&at);
                        mode = self.context.text(&at).map(|text| octal_of(&text.value));
                    }
                    ("bind", "propagation" | "recursive") => {
                        self.context.left_out(
                            &at,
                            &format!("volumes.{block}.{key}"),
                            "a mount is private to its sandbox: remove it",
                        );
                    }
                    _ => self.context.left_out(
                        &at,
                        &format!("volumes.{block}.{key}"),
                        "mounts have no such option: remove it",
                    ),
                }
            }
        }
        fields.leave_unknown(self.context, "volumes.");
        let Some(target) = target else {
            _ = self.context.refuse::<()>(
                Code::MissingProperty,
                at.node.span,
                "this mount has no `target`",
                "write where it is mounted",
            );
            return;
        };
        match kind.as_str() {
            "tmpfs" => {
                let size = size.map(|bytes| format!("size={}", quantity::size_of(bytes)));
                let options: Vec<String> =
                    size.into_iter().chain(mode.map(|mode| format!("mode={mode}"))).collect();
                tmpfs.extend(self.tmpfs(at, &target.raw, &options));
            }
            "volume" | "bind" => {
                let source = source.map(|text| text.raw).unwrap_or_default();
                let is_relative = kind == "bind" && !paths::is_path(&source) && !source.starts_with('$');
                let source = if is_relative { format!("./{source}") } else { source };
                let mount = Mount { source: &source, target: &target.raw, readonly, ..Mount::default() };
                mounts.extend(self.mount(at, &mount));
            }
            other => {
                let reason = format!(
                    "a mount of the type `{}` has no counterpart: use a folder of the host or a volume",
                    shown(other)
                );
                self.context.left_out(at, "volumes", reason);
            }
        }
    }

    /// Returns a mount, unless its source or its target cannot be mounted.
    fn mount(&mut self, at: &At<'n>, mount: &Mount<'_>) -> Option<Element> {
        let Mount { source, target, readonly, noexec, nosuid, nodev } = *mount;
        let target = self.target(at, target, "volumes")?;
        let value = variables::expand(source, self.context.variables);
        let bind = self.facts.binds.get(&value).cloned();
        let is_path = paths::is_path(&value) || value.is_empty() && source.starts_with('$');
        let argument = match bind.as_deref().or(is_path.then_some(source)) {
            Some(path) => self.host_source(at, path)?,
            None => {
                if variables::is_template(source) {
                    let note = "the name of this volume has the value that it had when it was converted";
                    self.context.changed(at, note);
                }
                Value::literal(&self.volume(at, &value, &target, readonly)?)
            }
        };
        let mut properties = Vec::new();
        properties.push(("to", "to", target.clone()));
        for (name, is_set) in
            [("readonly", readonly), ("noexec", noexec), ("nosuid", nosuid), ("nodev", nodev)]
        {
            if is_set {
                properties.push((name, name, Value::Flag(true)));
            }
        }
        let plain = [&argument, &target].map(|value| match value {
            Value::Text(text) if !text.contains([':', '$', ' ']) => Some(text.as_str()),
            _ => None,
        });
        let options: Vec<&str> = [("ro", readonly), ("noexec", noexec), ("nosuid", nosuid), ("nodev", nodev)]
            .into_iter()
            .filter_map(|(name, is_set)| is_set.then_some(name))
            .collect();
        let short = match plain {
            [Some(source), Some(target)] if options.is_empty() => Some(format!("{source}:{target}")),
            [Some(source), Some(target)] => Some(format!("{source}:{target}:{}", options.join(","))),
            _ => None,
        };
        let comments = self.context.take_notes();
        Some(Element { comments, argument, source: "source", properties, words: None, short })
    }

    /// Returns a path in the sandbox at which nothing else is mounted.
    pub(super) fn target(&mut self, at: &At<'n>, raw: &str, key: &str) -> Option<Value> {
        let value = variables::expand(raw, self.context.variables);
        let Some(path) = paths::in_guest(&value) else {
            let reason =
                format!("{} is not a path in the sandbox below `/`: write the whole path", shown(&value));
            self.context.left_out(at, key, reason);
            return None;
        };
        if let Some(reserved) =
            RESERVED.iter().find(|reserved| path == **reserved || path.starts_with(&format!("{reserved}/")))
        {
            let reason = match path.as_str() {
                "/dev/shm" => "nothing can lie over `/dev`: `shm-size` sets the size of /dev/shm".to_owned(),
                _ => format!("nothing can lie over `{reserved}`: choose another path than {}", shown(&path)),
            };
            self.context.left_out(at, key, reason);
            return None;
        }
        if !self.taken.insert(path.clone()) {
            let reason =
                format!("something else is mounted at {} already: remove one of the two", shown(&path));
            self.context.left_out(at, key, reason);
            return None;
        }
        Some(if variables::is_template(raw) { Value::Text(raw.to_owned()) } else { Value::literal(&path) })
    }

    /// Returns a path of the host that is mounted, unless a sandbox cannot use it.
    fn host_source(&mut self, at: &At<'n>, raw: &str) -> Option<Value> {
        let value = variables::expand(raw, self.context.variables);
        let path = paths::absolute(self.context.folder_of(at.node.span), &value);
        let is_below = |folder: &str| path == folder || path.starts_with(&format!("{folder}/"));
        let reason = if path.ends_with(".sock") || is_below("/run/docker.sock") {
            Some(format!(
                "{} is a socket of the host, which no mount passes on: run what needs it on the host",
                shown(&path)
            ))
        } else if is_below("/proc") || is_below("/sys") || is_below("/dev") {
            Some(format!(
                "{} shows the host's kernel and devices, which a sandbox has its own of: run what needs it on the host",
                shown(&path)
            ))
        } else {
            None
        };
        if let Some(reason) = reason {
            self.context.left_out(at, "volumes", reason);
            return None;
        }
        if !value.is_empty() && !value.starts_with('~') && self.context.host.kind(&path).is_none() {
            let shown_path = shown(&paths::relative(self.context.folder, &path));
            self.context.changed(at, format!("compose makes a folder that is missing, msb does not: `mkdir -p {shown_path}`, unless it is to be a file"));
        }
        let root = self.context.folder;
        if path != root && !path.starts_with(&format!("{}/", root.trim_end_matches('/'))) {
            self.context.changed(at, "outside of this folder, which needs `msb trust`");
        }
        self.host_path_of(at, raw)
    }

    /// Returns the name of a volume, a new one if it has none.
    fn volume(&mut self, at: &At<'n>, value: &str, target: &Value, readonly: bool) -> Option<String> {
        let name = if value.is_empty() {
            let Value::Text(path) = target else { return None };
            let wanted = format!("{}-{}", self.facts.names[self.service], path.trim_start_matches('/'));
            let name = suggest_name(&wanted)?.replace("--", "-");
            if !self.facts.anonymous.contains_key(&name) {
                let comment = format!("{path} of {} is a volume without a name in compose.", self.service);
                self.facts.anonymous.insert(name.clone(), comment);
            }
            self.context.changed(
                at,
                format!("a volume without a name is called {name} here, and `msb down -v` removes it"),
            );
            name
        } else if let Some(name) = self.facts.volumes.get(value) {
            name.clone()
        } else {
            let message = format!(
                "the service `{}` mounts the volume `{}`, which is not declared",
                shown(self.service),
                shown(value)
            );
            let help = format!("add it: `volumes: {{ {}: }}`, or write `./` before a folder", shown(value));
            return self.context.refuse(Code::UnknownVolume, at.node.span, message, help);
        };
        if !readonly {
            *self.facts.writers.entry(name.clone()).or_default() += self.replicas as usize;
        }
        Some(name)
    }

    fn short_tmpfs(&mut self, at: &At<'n>) -> Option<Element> {
        let text = self.context.text(at)?;
        self.context.mapped(at);
        let parts = variables::split(&text.raw, ':');
        let (path, options) = match parts.as_slice() {
            [path] => (*path, ""),
            [path, options] => (*path, *options),
            _ => {
                let message = format!("`{}` is not a directory in memory", shown(&text.raw));
                return self.context.refuse(
                    Code::InvalidMount,
                    at.node.span,
                    message,
                    "write `PATH` or `PATH:size=64m`",
                );
            }
        };
        let mut kept = Vec::new();
        for option in options.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=') {
                Some(("size", size)) if quantity::bytes(size).is_some() => {
                    kept.extend(
                        quantity::bytes(size).map(|bytes| format!("size={}", quantity::size_of(bytes))),
                    );
                }
                Some(("mode", mode)) if rules::tmpfs_text::parse_mode(mode).is_some() => {
                    kept.push(format!("mode={mode}"))
                }
                Some(("uid" | "gid", id)) if id.parse::<u32>().is_ok_and(|id| id < u32::MAX) => {
                    kept.push(option.to_owned())
                }
                None if matches!(option, "ro" | "noexec" | "nosuid" | "nodev") => {
                    kept.push(option.to_owned())
                }
                None if matches!(option, "rw" | "exec" | "suid" | "dev") => {}
                _ => self
                    .context
                    .changed(at, format!("the option `{}` of tmpfs has no counterpart", shown(option))),
            }
        }
        self.tmpfs(at, path, &kept)
    }

    fn tmpfs(&mut self, at: &At<'n>, raw: &str, options: &[String]) -> Option<Element> {
        let Value::Text(target) = self.target(at, raw, "tmpfs")? else { return None };
        let text = if options.is_empty() { target } else { format!("{target}:{}", options.join(",")) };
        let comments = self.context.take_notes();
        let argument = Value::Text(text);
        Some(Element { comments, argument, source: "to", properties: Vec::new(), words: None, short: None })
    }
}

/// Returns a mode of the long form as octal digits: YAML has it as a number such as `0o1777` or `1777`.
pub(super) fn octal_of(text: &str) -> String {
    text.strip_prefix("0o").unwrap_or(text).to_owned()
}
