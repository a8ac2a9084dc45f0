//! Image references in a form that is the same on every machine.

use crate::spec::ImageReference;

/// Returns a reference as the lock file has it: that of a registry in its complete form, and a path relative to the
/// project's folder, such as `./image`, unless they share no folder below the root.
///
/// `folder` is an absolute path without `.` or `..`.
pub fn portable(reference: &ImageReference, folder: &str) -> String {
    match reference {
        ImageReference::Registry { .. } | ImageReference::Snapshot { .. } => reference.to_string(),
        ImageReference::Local { path } => relative(path, folder),
    }
}

fn relative(path: &str, folder: &str) -> String {
    let parts = |path| -> Vec<&str> { str::split(path, '/').filter(|part| !part.is_empty()).collect() };
    let (to, from) = (parts(path), parts(folder));
    let shared = to.iter().zip(&from).take_while(|(a, b)| a == b).count();
    // Paths that share the root only are unrelated.
    if shared == 0 && !from.is_empty() {
        return path.to_owned();
    }
    let up = from.len() - shared;
    let mut steps = if up == 0 { vec!["."] } else { vec![".."; up] };
    steps.extend_from_slice(&to[shared..]);
    steps.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_images_are_named_from_the_projects_folder() {
        for (path, folder, expected) in [
            ("/home/ann/shop/image", "/home/ann/shop", "./image"),
            ("/home/ann/shop/images/db.tar", "/home/ann/shop", "./images/db.tar"),
            ("/home/ann/shop", "/home/ann/shop", "."),
            ("/home/ann/shared/image", "/home/ann/shop", "../shared/image"),
            ("/home/ann", "/home/ann/shop/deep", "../.."),
            ("/srv/image", "/home/ann/shop", "/srv/image"),
            ("/srv/image", "/", "./srv/image"),
            ("/shop2/image", "/shop", "/shop2/image"),
        ] {
            let reference = ImageReference::Local { path: path.to_owned() };
            assert_eq!(portable(&reference, folder), expected, "{path} from {folder}");
        }
        let snapshot = ImageReference::snapshot("snapshot:seeded").unwrap().unwrap();
        assert_eq!(portable(&snapshot, "/x"), "snapshot:seeded");
        let name = "docker.io/library/alpine:3.20";
        assert_eq!(portable(&ImageReference::Registry { name: name.parse().unwrap() }, "/x"), name);
    }
}
