//! The files of a compose project, merged into one: several files, `include` and `extends`.

mod defaults;
mod env;
mod include;

use crate::Input;
use crate::context::{At, Context, Fields, Scope, shown};
use crate::ledger::{Outcome, for_each, key_path};
use crate::merge::{is_kept, merge, settle};
use crate::paths;
use defaults::Defaults;
use sandboxfile::yaml::{Node, NodeValue};
use sandboxfile::{Code, Span, Spanned};
use schemas::spec::limits::SANDBOXFILE_BYTES_MAX;
use std::collections::HashMap;

/// The most files that include and extend each other.
const FILES_MAX: usize = 64;
/// The longest chain of files, or of services that extend each other.
const DEPTH_MAX: usize = 16;
/// The most keys and elements of all files, what is repeated counted each time.
const NODES_MAX: usize = 1_000_000;

/// How many bytes of a text count as much as a key.
const BYTES_OF_A_NODE: usize = 64;
/// The most bytes that the values of env files add, what is repeated counted each time.
const DEFAULTS_BYTES_MAX: usize = SANDBOXFILE_BYTES_MAX;

/// Reads and merges all files; `None` after reporting an error.
pub(crate) fn load(context: &mut Context<'_>, input: &Input<'_>) -> Option<Node> {
    let folder = input.files.first().map_or("/", |file| file.folder).to_owned();
    let mut loader = Loader {
        context,
        read: HashMap::new(),
        including: Vec::new(),
        nodes: 0,
        own_env_file: paths::absolute(&folder, ".env"),
        defaults: vec![Defaults::default()],
        env_files: 0,
        bytes: 0,
    };
    let scope = Scope { folder, defaults: 0 };
    let mut root: Option<Node> = None;
    for file in &input.files {
        let node = loader.context.read(file.name, file.bytes, &scope);
        let Some(node) = node else { continue };
        let path = paths::absolute(file.folder, file.name.rsplit('/').next().unwrap_or(file.name));
        loader.including.push(path);
        let node = loader.included(node);
        loader.including.pop();
        root = match (root, node) {
            (Some(base), Some(over)) => Some(merge(loader.context, base, over, "")),
            (root, node) => node.or(root),
        };
    }
    let root = root.filter(|_| loader.context.files.is_clean())?;
    let mut root = loader.extended(root)?;
    settle(&mut root, "", &mut |path, node| context.ledger.applied_reset(path, node));
    Some(root)
}

struct Loader<'c, 'a> {
    context: &'c mut Context<'a>,
    /// The files that were read, by their paths and scopes.
    read: HashMap<(String, Scope), Node>,
    /// The files that are being included.
    including: Vec<String>,
    /// The number of nodes that were copied.
    nodes: usize,
    /// The path of the env file that the variables of the project come from.
    own_env_file: String,
    /// The default values of variables, which a [`Scope`] has the number of. The first has none.
    defaults: Vec<Defaults>,
    /// The number of env files that were read.
    env_files: usize,
    /// The number of bytes that the values of env files have added.
    bytes: usize,
}

impl Loader<'_, '_> {
    /// Charges the copy of a node; `None` after reporting that there are too many.
    fn charge(&mut self, node: &Node, span: Span) -> Option<()> {
        for_each(node, "", &mut |_, _, node| {
            self.nodes += 1;
            if let NodeValue::Scalar { text, .. } = &node.value {
                self.nodes += text.len() / BYTES_OF_A_NODE;
            }
        });
        if self.nodes <= NODES_MAX {
            return Some(());
        }
        let message =
            "these files contain more than any project needs, all that they repeat counted each time";
        self.context.refuse(Code::TooComplex, span, message, "extend and include less")
    }

    /// Charges the bytes that values of env files add; `None` after reporting that there are too many.
    fn charge_bytes(&mut self, bytes: usize, span: Span) -> Option<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes <= DEFAULTS_BYTES_MAX {
            return Some(());
        }
        let message = "the values of env files make these files longer than any project needs";
        self.context.refuse(Code::TooComplex, span, message, "shorten the values, or use them less often")
    }

    /// Reads another file by its path; `None` after reporting an error.
    fn open(&mut self, path: &str, scope: &Scope, span: Span) -> Option<Node> {
        let key = (path.to_owned(), scope.clone());
        if let Some(node) = self.read.get(&key) {
            let node = node.clone();
            self.charge(&node, span)?;
            return Some(node);
        }
        if self.read.len() >= FILES_MAX {
            let message = format!("more than {FILES_MAX} files include or extend each other");
            return self.context.refuse(Code::TooComplex, span, message, "write fewer files");
        }
        let shown_path = paths::relative(self.context.folder, path);
        let bytes = match self.context.host.read(path, SANDBOXFILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(reason) => {
                let message = format!("`{}` cannot be read: {reason}", shown(&shown_path));
                return self.context.refuse(
                    Code::IncludeNotFound,
                    span,
                    message,
                    format!("looked for {}", shown(path)),
                );
            }
        };
        let name = shown_path.strip_prefix("./").unwrap_or(&shown_path);
        let mut node = self.context.read(name, &bytes, scope)?;
        if scope.defaults > 0 {
            let rest = DEFAULTS_BYTES_MAX.saturating_sub(self.bytes);
            let mut writer = self.defaults[scope.defaults].writer(self.context.variables, rest);
            let done = writer.file(&mut node);
            let (written, fixed, unwritable) = (writer.written, writer.fixed, writer.unwritable);
            self.context.fixed.extend(fixed);
            for name in unwritable {
                let message = format!(
                    "the value of `{}` contains `}}`, as the default of a variable may not",
                    shown(&name)
                );
                let help = "set it in the environment, or in the `.env` of the project";
                self.context.refuse::<()>(Code::InvalidVariable, span, message, help);
            }
            self.charge_bytes(written, span)?;
            done?;
        }
        self.read.insert(key, node.clone());
        Some(node)
    }

    /// Merges each service over the one that it extends.
    fn extended(mut self, root: Node) -> Option<Node> {
        let NodeValue::Map(mut entries) = root.value else { return None };
        let services = entries.iter_mut().find(|(key, node)| key.value == "services" && is_kept(node));
        if let Some((_, Node { value: NodeValue::Map(services), .. })) = services {
            let all = services.clone();
            for (name, service) in services.iter_mut().filter(|(_, service)| is_kept(service)) {
                let chain = vec![(String::new(), name.value.clone())];
                *service = self.service(service.clone(), &all, &name.value, chain)?;
            }
        }
        Some(Node { value: NodeValue::Map(entries), span: root.span, tag: None })
    }

    /// Returns a service merged over the one that it extends. `among` are the services of its own file, and `chain` are
    /// the file and the name of each service that led here.
    fn service(
        &mut self,
        mut service: Node,
        among: &[(Spanned<String>, Node)],
        name: &str,
        mut chain: Vec<(String, String)>,
    ) -> Option<Node> {
        // `!override` is about the service of another file, not about the one that this one extends.
        service.tag = None;
        let NodeValue::Map(entries) = &service.value else { return Some(service) };
        let is_extends = |(key, node): &&(Spanned<String>, Node)| {
            key.value == "extends" && !node.is_null() && is_kept(node)
        };
        let Some((key, extends)) = entries.iter().find(is_extends) else {
            return Some(service);
        };
        let mut extends = extends.clone();
        settle(&mut extends, "", &mut |_, _| {});
        let span = key.span;
        let path = key_path("services", name);
        let at = At { path: key_path(&path, "extends"), span, node: &extends };
        let (file, base_name) = self.target_of_extends(&at)?;
        let (base, among_base) = match &file {
            None => (find(among, &base_name), None),
            Some(file) => {
                let defaults = self.context.scope_of(span).defaults;
                let scope = Scope { folder: paths::parent(file).to_owned(), defaults };
                let node = self.open(file, &scope, span)?;
                let services = services_of(node);
                (find(&services, &base_name), Some(services))
            }
        };
        let own_file = chain.last().map(|(file, _)| file.clone()).unwrap_or_default();
        let place = (file.unwrap_or(own_file), base_name.clone());
        let Some(base) = base else {
            let message = format!("there is no service `{}` to extend", shown(&base_name));
            return self.context.refuse(Code::UnknownSandbox, span, message, "name a service of that file");
        };
        if chain.contains(&place) || chain.len() >= DEPTH_MAX {
            let message = format!("`{}` extends itself, or the chain of services is too long", shown(name));
            return self.context.refuse(Code::LikeCycle, span, message, "remove one `extends` of this chain");
        }
        self.charge(&base, span)?;
        self.context.ledger.mark(&at.path, Outcome::Mapped, Some("merged into this service".to_owned()));
        chain.push(place);
        let mut base = self.service(base, among_base.as_deref().unwrap_or(among), name, chain)?;
        if let NodeValue::Map(entries) = &mut base.value {
            entries.retain(|(key, _)| key.value != "extends");
        }
        Some(merge(self.context, base, service, &path))
    }

    /// Returns the path of the other file, if it is in another one, and the name of the service.
    fn target_of_extends(&mut self, at: &At<'_>) -> Option<(Option<String>, String)> {
        let context = &mut *self.context;
        if !matches!(at.node.value, NodeValue::Map(_)) {
            return context.text(at).map(|text| (None, text.value));
        }
        let mut fields = Fields::of(context, at);
        let file = fields.take(context, "file").and_then(|at| {
            let folder = context.folder_of(at.node.span).to_owned();
            context.text(&at).map(|text| paths::absolute(&folder, &text.value))
        });
        match fields.take(context, "service").and_then(|at| context.text(&at)) {
            Some(service) => Some((file, service.value)),
            None => context.refuse(
                Code::MissingProperty,
                at.span,
                "`extends` names no service",
                "write `service: NAME`",
            ),
        }
    }
}

fn services_of(root: Node) -> Vec<(Spanned<String>, Node)> {
    let NodeValue::Map(entries) = root.value else { return Vec::new() };
    match entries.into_iter().find(|(key, node)| key.value == "services" && is_kept(node)) {
        Some((_, Node { value: NodeValue::Map(services), .. })) => services,
        _ => Vec::new(),
    }
}

fn find(services: &[(Spanned<String>, Node)], name: &str) -> Option<Node> {
    let found = services.iter().find(|(key, node)| key.value == name && is_kept(node));
    found.map(|(_, node)| node.clone())
}
