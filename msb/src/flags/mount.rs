//! The flags `--volume` and `--mount`, which both mount something.

use super::text::literal;
use crate::error::CliError;
use rules::mount_text::{MountText, VolumeKind};
use rules::suggest::list;
use schemas::name::suggest_name;
use serde_json::{Map, Value, json};

/// The mounts and volumes that the flags declare, by their YAML names.
#[derive(Debug, Default, PartialEq)]
pub struct Declared {
    /// The mounts, each in the short form.
    pub mounts: Vec<Value>,
    /// The volumes, which belong to the sandbox's own project.
    pub volumes: Map<String, Value>,
}

/// Returns what the values of `--volume` and `--mount` declare.
///
/// # Errors
///
/// If two values of `--volume` declare one volume differently, or a value of `--mount` is not `TAG:HOST`.
pub fn declared<'a>(
    volumes: impl Iterator<Item = &'a String>,
    mounts: &[String],
) -> Result<Declared, CliError> {
    let mut declared = Declared::default();
    for text in volumes {
        declared.add_volume(text)?;
    }
    for text in mounts {
        declared.mounts.push(literal(&short_form(text)?));
    }
    Ok(declared)
}

impl Declared {
    /// Adds a mount; the kind and the size of a volume go to its declaration. What is invalid is left to the checks of a
    /// Sandboxfile.
    fn add_volume(&mut self, text: &str) -> Result<(), CliError> {
        let name = text.split(':').next().unwrap_or_default();
        if suggest_name(name).as_deref() != Some(name) {
            self.mounts.push(literal(text));
            return Ok(());
        }
        let (mount, declaration) = match text.parse() {
            Ok(MountText { size, kind, .. }) => (without_declaration(text), declaration(kind, size)),
            Err(_) => (text.to_owned(), json!({})),
        };
        self.mounts.push(literal(&mount));
        let is_plain = declaration == json!({});
        match self.volumes.get(name) {
            Some(before) if *before != declaration && !is_plain && *before != json!({}) => {
                return Err(CliError::usage(format!(
                    "--volume {text:?}: the volume {name} has two declarations"
                ))
                .hint("give `kind` and `size` once"));
            }
            Some(_) if is_plain => {}
            Some(_) | None => drop(self.volumes.insert(name.to_owned(), declaration)),
        }
        Ok(())
    }
}

/// Returns the declaration of a volume.
fn declaration(kind: Option<VolumeKind>, size: Option<String>) -> Value {
    let mut declaration = Map::new();
    if let Some(kind) = kind {
        declaration.insert("kind".to_owned(), kind.as_str().into());
    }
    if let Some(size) = size {
        declaration.insert("size".to_owned(), literal(&size));
    }
    declaration.into()
}

/// Removes the options that belong to a volume from a valid short form.
fn without_declaration(text: &str) -> String {
    let is_of_mount = |option: &&str| !option.starts_with("size=") && !option.starts_with("kind=");
    match text.rsplit_once(':') {
        // With a second colon, what follows the last one are options.
        Some((rest, options)) if rest.contains(':') => {
            let kept: Vec<_> = options.split(',').filter(is_of_mount).collect();
            if kept.is_empty() { rest.to_owned() } else { format!("{rest}:{}", kept.join(",")) }
        }
        _ => text.to_owned(),
    }
}

/// Converts `TAG:HOST[:ro][,OPTION…]`, which mounts a path of the host at `/TAG`, into the short form.
fn short_form(text: &str) -> Result<String, CliError> {
    let invalid = |problem: &str| {
        CliError::usage(format!("--mount {text:?}: {problem}"))
            .hint("write it as TAG:HOST[:ro][,OPTION…], such as src:./src:ro,stat-virt=off, mounted at /src")
    };
    if let Some(short) = docker_form(text) {
        let error = CliError::usage(format!("--mount {text:?}: it is not TAG:HOST"));
        return Err(error.hint(format!("write it as --volume {short}")));
    }
    let (tag, rest) = text.split_once(':').ok_or_else(|| invalid("it is not TAG:HOST"))?;
    if tag.starts_with(['.', '/', '~']) {
        let error = CliError::usage(format!("--mount {text:?}: the tag comes before the path"));
        return Err(error.hint(format!("--volume {text} mounts at any path; --mount TAG:HOST at /TAG")));
    }
    if suggest_name(tag).as_deref() != Some(tag) {
        return Err(invalid("a tag has only a-z, 0-9, '-' and '_'"));
    }
    let (host, options) = rest.split_once(',').map_or((rest, None), |(host, options)| (host, Some(options)));
    let (host, access) = match host.rsplit_once(':') {
        Some((host, access @ ("ro" | "rw"))) => (host, Some(access)),
        _ => (host, None),
    };
    if host.ends_with(":ro") || host.ends_with(":rw") {
        return Err(invalid("`ro` or `rw` is given twice"));
    }
    if !(matches!(host, "." | "..") || ["/", "./", "../"].iter().any(|start| host.starts_with(start))) {
        let starts = list(["/", "./", "../"], "or");
        return Err(invalid(&format!("a path of the host begins with {starts}")));
    }
    if host.contains(":/") {
        return Err(invalid("a path with `:/` can be mounted by a Sandboxfile only"));
    }
    let options: Vec<_> = access.into_iter().chain(options).collect();
    let short = format!("{host}:/{tag}");
    Ok(if options.is_empty() { short } else { format!("{short}:{}", options.join(",")) })
}

/// Returns the short form of docker's `type=bind,source=./src,target=/app,readonly`; `None` for other texts.
fn docker_form(text: &str) -> Option<String> {
    let value = |names: &[&str]| {
        let mut options = text.split(',').filter_map(|option| option.split_once('='));
        options.find(|(name, _)| names.contains(name)).map(|(_, value)| value)
    };
    let source = value(&["source", "src"])?;
    let target = value(&["target", "destination", "dst"])?;
    let is_readonly = text.split(',').any(|option| matches!(option, "readonly" | "ro" | "readonly=true"));
    Some(format!("{source}:{target}{}", if is_readonly { ":ro" } else { "" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volumes(texts: &[&str]) -> Result<Declared, String> {
        let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
        declared(texts.iter(), &[]).map_err(|error| error.message)
    }

    #[test]
    fn kind_and_size_of_a_volume_go_to_its_declaration() {
        for (text, mount, declaration) in [
            ("data:/data", "data:/data", json!({})),
            ("data:/data:ro", "data:/data:ro", json!({})),
            ("data:/data:size=2G", "data:/data", json!({ "size": "2G" })),
            ("data:/data:kind=dir,ro,size=1G", "data:/data:ro", json!({ "kind": "directory", "size": "1G" })),
            ("data:/data:kind=disk,noexec", "data:/data:noexec", json!({ "kind": "disk" })),
            // The checks of a Sandboxfile report it.
            ("data:/data:kind=tape", "data:/data:kind=tape", json!({})),
        ] {
            let found = volumes(&[text]).unwrap();
            assert_eq!(found.mounts, [json!(mount)], "{text}");
            assert_eq!(Value::from(found.volumes), json!({ "data": declaration }), "{text}");
        }
        let host = volumes(&["./src:/app:size=1G"]).unwrap();
        assert_eq!((host.mounts, host.volumes.len()), (vec![json!("./src:/app:size=1G")], 0));
    }

    #[test]
    fn one_volume_has_one_declaration() {
        let twice = volumes(&["data:/a:size=1G", "data:/b:ro", "data:/c:size=1G"]).unwrap();
        assert_eq!(Value::from(twice.volumes), json!({ "data": { "size": "1G" } }));
        let late = volumes(&["data:/a", "data:/b:size=1G"]).unwrap();
        assert_eq!(Value::from(late.volumes), json!({ "data": { "size": "1G" } }));
        let error = volumes(&["data:/a:size=1G", "data:/b:size=2G"]).unwrap_err();
        assert!(error.contains("the volume data has two declarations"), "{error}");
    }

    #[test]
    fn a_tag_is_the_path_in_the_sandbox() {
        for (text, short) in [
            ("src:./src", "./src:/src"),
            ("src:/srv/src:ro", "/srv/src:/src:ro"),
            ("src:..:rw,stat-virt=off", "..:/src:rw,stat-virt=off"),
            (
                "src:/a:b:ro,host-perms=mirror,stat-virt=relaxed",
                "/a:b:/src:ro,host-perms=mirror,stat-virt=relaxed",
            ),
            ("src:.,stat-virt=off", ".:/src:stat-virt=off"),
        ] {
            assert_eq!(short_form(text).map_err(|error| error.message), Ok(short.to_owned()), "{text}");
        }
        for (text, hint) in [
            ("src", "write it as TAG:HOST"),
            ("Src:/a", "write it as TAG:HOST"),
            (":/a", "write it as TAG:HOST"),
            ("src:data", "write it as TAG:HOST"),
            ("src:", "write it as TAG:HOST"),
            ("src:/a:/b", "write it as TAG:HOST"),
            ("src:/a:rw:ro", "write it as TAG:HOST"),
            ("/src:/a", "--volume /src:/a mounts at any path"),
            ("./src:/a:ro", "--volume ./src:/a:ro mounts at any path"),
            ("type=bind,source=./src,target=/app", "write it as --volume ./src:/app"),
            ("type=volume,src=data,dst=/data,readonly", "write it as --volume data:/data:ro"),
        ] {
            let error = short_form(text).unwrap_err();
            let found = error.hint.unwrap_or_default();
            assert!(found.starts_with(hint), "{text}: {found}");
        }
    }
}
