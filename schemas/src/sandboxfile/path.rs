//! Host paths, resolved as text only.

/// Whether a reference is a path: `.`, `..`, or starting with `/`, `./` or `../`.
pub(crate) fn is_local(reference: &str) -> bool {
    matches!(reference, "." | "..") || ["/", "./", "../"].iter().any(|start| reference.starts_with(start))
}

/// A path made absolute against a folder, without `.` and `..`.
pub(crate) fn absolute(folder: &str, path: &str) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{folder}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
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
