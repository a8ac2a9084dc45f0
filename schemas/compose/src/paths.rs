//! Paths of the host, as text only.

pub(crate) use sandboxfile::absolute;

/// Returns whether a text is a path of the host, rather than the name of a volume.
pub(crate) fn is_path(text: &str) -> bool {
    text.starts_with(['/', '.', '~'])
}

/// Returns the folder of an absolute path.
pub(crate) fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(at) => &path[..at],
    }
}

/// Returns an absolute path as it is written in a file of a folder: `./x`, `../x`, or `.`.
pub(crate) fn relative(folder: &str, path: &str) -> String {
    let parts =
        |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (from, to) = (parts(folder), parts(path));
    let common = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let up = from.len() - common;
    let rest = to[common..].join("/");
    match (up, rest.is_empty()) {
        (0, true) => ".".to_owned(),
        (0, false) => format!("./{rest}"),
        (up, true) => vec![".."; up].join("/"),
        (up, false) => format!("{}/{rest}", vec![".."; up].join("/")),
    }
}

/// Returns an absolute path in the sandbox in its shortest form; `None` if it is not absolute, or `/`.
pub(crate) fn in_guest(path: &str) -> Option<String> {
    let normal = absolute("/", path);
    (path.starts_with('/') && normal != "/").then_some(normal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, shown) in [
            ("/p/a/b", "./b"),
            ("/p/a", "."),
            ("/p/b", "../b"),
            ("/p", ".."),
            ("/q/x", "../../q/x"),
            ("/", "../.."),
        ] {
            assert_eq!(relative("/p/a", path), shown);
            assert_eq!(absolute("/p/a", shown), path);
        }
        assert_eq!((parent("/a/b"), parent("/a"), parent("a")), ("/a", "/", "/"));
        assert_eq!(in_guest("/a//b/"), Some("/a/b".to_owned()));
        assert_eq!(in_guest("a"), None);
    }
}
