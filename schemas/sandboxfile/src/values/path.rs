//! Host paths, resolved as text only.

/// Returns whether a reference is a path: `.`, `..`, or starting with `/`, `./` or `../`.
pub(crate) fn is_local(reference: &str) -> bool {
    matches!(reference, "." | "..") || ["/", "./", "../"].iter().any(|start| reference.starts_with(start))
}

/// Resolves a path against a folder, and removes `.` and `..`.
pub fn absolute(folder: &str, path: &str) -> String {
    let folder = if path.starts_with('/') { "" } else { folder };
    let mut absolute = String::with_capacity(folder.len() + path.len() + 1);
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => absolute.truncate(absolute.rfind('/').unwrap_or(0)),
            part => {
                absolute.push('/');
                absolute.push_str(part);
            }
        }
    }
    if absolute.is_empty() { "/".to_owned() } else { absolute }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (path, expected) in [
            (".", "/home/p"),
            ("..", "/home"),
            ("./a//b/", "/home/p/a/b"),
            ("../x.tar", "/home/x.tar"),
            ("../../../../x", "/x"),
            ("/a/./b/../c", "/a/c"),
            ("/", "/"),
        ] {
            assert!(is_local(path));
            assert_eq!(absolute("/home/p", path), expected, "{path}");
        }
        for reference in ["alpine", "sub/dir", ".hidden", "...", "", "~/x"] {
            assert!(!is_local(reference), "{reference}");
        }
    }
}
