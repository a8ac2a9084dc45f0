//! The env files of `include`, whose values are the defaults of the variables in the included files.

use super::Loader;
use super::defaults::Defaults;
use crate::context::{At, Scope, shown};
use crate::paths;
use sandboxfile::{Code, ENV_FILE_BYTES_MAX, EnvFile, FileKind, Span, read_env_file};
use std::collections::BTreeMap;

/// The most env files of all includes.
const ENV_FILES_MAX: usize = 64;

impl Loader<'_, '_> {
    /// Returns the number of the default values for the files of an include: those of its env files, after those of
    /// the file with the include. Without `env_file`, `.env` of the folder is read if it exists. `None` after
    /// reporting an error.
    pub(super) fn defaults(
        &mut self,
        outer: &Scope,
        folder: &str,
        env_file: Option<&At<'_>>,
        span: Span,
    ) -> Option<usize> {
        let mut files = Vec::new();
        match env_file {
            Some(at) => {
                for at in self.context.elements(at) {
                    let text = self.text(&at)?;
                    // How compose turns the default off.
                    if text.value != "/dev/null" {
                        files.push((paths::absolute(&outer.folder, &text.value), at.node.span));
                    }
                }
            }
            None => {
                let path = paths::absolute(folder, ".env");
                if self.context.host.kind(&path) == Some(FileKind::File) {
                    files.push((path, span));
                }
            }
        }
        // The variables of the project include its own `.env`; its values stay there.
        files.retain(|(path, _)| *path != self.own_env_file);
        if files.is_empty() {
            return Some(outer.defaults);
        }
        let mut own = BTreeMap::new();
        for (path, span) in files {
            let mut known = self.context.variables.clone();
            let inherited = self.defaults[outer.defaults].values();
            for (name, value) in inherited.iter().chain(&own) {
                known.entry(name.clone()).or_insert_with(|| value.clone());
            }
            own.extend(self.env_file(&path, &known, span)?);
        }
        let inherited = self.defaults[outer.defaults].values();
        if own.keys().all(|name| inherited.contains_key(name)) {
            return Some(outer.defaults);
        }
        let mut values = inherited.clone();
        for (name, value) in own {
            values.entry(name).or_insert(value);
        }
        self.charge_bytes(values.iter().map(|(name, value)| name.len() + value.len()).sum(), span)?;
        self.defaults.push(Defaults::new(values));
        Some(self.defaults.len() - 1)
    }

    /// Reads an env file; `None` after reporting an error.
    fn env_file(
        &mut self,
        path: &str,
        known: &BTreeMap<String, String>,
        span: Span,
    ) -> Option<BTreeMap<String, String>> {
        self.env_files += 1;
        if self.env_files > ENV_FILES_MAX {
            let message = format!("includes have more than {ENV_FILES_MAX} env files");
            return self.context.refuse(Code::TooComplex, span, message, "write fewer files");
        }
        let name = paths::relative(self.context.folder, path);
        let bytes = match self.context.host.read(path, ENV_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(reason) => {
                let message = format!("the env file `{}` cannot be read: {reason}", shown(&name));
                let help = format!("looked for {}", shown(path));
                return self.context.refuse(Code::IncludeNotFound, span, message, help);
            }
        };
        let report = match read_env_file(&EnvFile { name: &name, bytes: &bytes }, known) {
            Ok(values) => return Some(values),
            Err(report) => report,
        };
        // The file is not among those of the conversion: the message names the line, and the place is the include.
        for found in report.diagnostics() {
            let line = report.place(found.span()).line;
            let message = format!("{}:{line}: {}", shown(&name), found.message);
            let help = found.help.clone().unwrap_or_default();
            self.context.refuse::<()>(found.code, span, message, help);
        }
        None
    }
}
