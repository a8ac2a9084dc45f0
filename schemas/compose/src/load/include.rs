//! `include`: the files that it names, each with a folder and with default values of variables of its own.

use super::{DEPTH_MAX, Loader};
use crate::context::{At, Scope, Text, shown};
use crate::merge::{is_kept, merge, settle};
use crate::paths;
use sandboxfile::Code;
use sandboxfile::yaml::{Node, NodeValue};

/// The files of one element of `include`, the first one overridden by the others.
struct Include {
    paths: Vec<String>,
    scope: Scope,
}

impl Loader<'_, '_> {
    /// Merges a file over the ones that it includes.
    pub(super) fn included(&mut self, node: Node) -> Option<Node> {
        let NodeValue::Map(entries) = &node.value else { return Some(node) };
        let Some((key, includes)) =
            entries.iter().find(|(key, node)| key.value == "include" && is_kept(node))
        else {
            return Some(node);
        };
        let mut includes = includes.clone();
        settle(&mut includes, "", &mut |_, _| {});
        let at = At { path: "include".to_owned(), span: key.span, node: &includes };
        if self.including.len() > DEPTH_MAX {
            return self.context.refuse(Code::TooDeep, key.span, "files include each other too deep", "");
        }
        let mut base: Option<Node> = None;
        for element in self.context.elements(&at) {
            let span = element.node.span;
            let Some(Include { paths, scope }) = self.include(&element) else { continue };
            for path in paths {
                if self.including.contains(&path) {
                    let message =
                        format!("`{}` includes itself", shown(&paths::relative(self.context.folder, &path)));
                    return self.context.refuse(
                        Code::IncludeCycle,
                        span,
                        message,
                        "remove one of these includes",
                    );
                }
                let file = self.open(&path, &scope, span)?;
                self.including.push(path);
                let file = self.included(file);
                self.including.pop();
                base = match (base, file?) {
                    (Some(base), file) => Some(merge(self.context, base, file, "")),
                    (None, file) => Some(file),
                };
            }
        }
        match base {
            Some(base) => Some(merge(self.context, base, node, "")),
            None => Some(node),
        }
    }

    /// Returns the files of an element of `include`; `None` after reporting an error.
    fn include(&mut self, at: &At<'_>) -> Option<Include> {
        let outer = self.context.scope_of(at.node.span).clone();
        let (path, project_directory, env_file) = match &at.node.value {
            NodeValue::Map(_) => {
                // The conversion of the project accounts for these keys, as only then their final paths are known.
                let fields = self.context.entries(at);
                let field = |name: &str| {
                    let found = fields.iter().find(|(key, at)| *key == name && !at.node.is_null());
                    found.map(|(_, at)| at.clone())
                };
                (field("path"), field("project_directory"), field("env_file"))
            }
            _ => (Some(at.clone()), None, None),
        };
        let mut paths = Vec::new();
        for at in path.map(|path| self.context.elements(&path)).unwrap_or_default() {
            let text = self.text(&at)?;
            if ["://", "git@"].iter().any(|mark| text.value.contains(mark)) || text.value.starts_with("oci:")
            {
                let help = "download it, and include the file";
                return self.context.refuse(
                    Code::IncludeNotFound,
                    at.node.span,
                    "only files of this host are included",
                    help,
                );
            }
            paths.push(paths::absolute(&outer.folder, &text.value));
        }
        let Some(first) = paths.first() else {
            let message = "this include names no file";
            return self.context.refuse(Code::MissingProperty, at.node.span, message, "write `path: FILE`");
        };
        let folder = match project_directory {
            Some(at) => paths::absolute(&outer.folder, &self.text(&at)?.value),
            // The paths in the other files are relative to the same folder.
            None => paths::parent(first).to_owned(),
        };
        let defaults = self.defaults(&outer, &folder, env_file.as_ref(), at.node.span)?;
        Some(Include { paths, scope: Scope { folder, defaults } })
    }

    /// Returns the text of a scalar; `None` after reporting anything else.
    pub(super) fn text(&mut self, at: &At<'_>) -> Option<Text> {
        if at.node.is_null() {
            return self.context.refuse_type(at, "a text");
        }
        self.context.text(at)
    }
}
