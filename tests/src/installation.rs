//! Where the things under test are: the `msb` binary, the guest, the examples.

use std::path::{Path, PathBuf};

/// Names the `msb` binary to test, where it does not stand beside the test.
const PROGRAM_VARIABLE: &str = "E2E_MSB";
/// Names the folder of `examples/`, where it is not the one that the tests were compiled in.
const ROOT_VARIABLE: &str = "E2E_ROOT";

/// The `msb` binary: the one of the same build.
pub fn program() -> PathBuf {
    let path = match std::env::var_os(PROGRAM_VARIABLE) {
        Some(path) => path.into(),
        None => profile_folder().join("msb"),
    };
    assert!(path.is_file(), "{} is missing: make build", path.display());
    path
}

/// The folder of finished programs that this one was built in, such as `target/checked`.
fn profile_folder() -> PathBuf {
    let me = std::env::current_exe().expect("a test knows its own path");
    // A test lies in its folder `deps`, the benchmark right in it.
    let folder = me.parent().expect("a file lies in a folder");
    if folder.ends_with("deps") { folder.with_file_name("") } else { folder.to_owned() }
}

/// The tree with `examples/` in it.
pub fn root() -> PathBuf {
    match std::env::var_os(ROOT_VARIABLE) {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the tree").to_owned(),
    }
}

/// The folder of one example.
pub fn example(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

/// The names of all examples, sorted: every folder that holds a Sandboxfile.
pub fn examples() -> Vec<String> {
    let entries = std::fs::read_dir(root().join("examples")).expect("there are examples");
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| folder.join("Sandboxfile").is_file())
        .map(|folder| folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert!(!names.is_empty(), "no example found below {}", root().display());
    names
}

/// A root file system to boot from.
pub fn image() -> PathBuf {
    let image = example("one").join("image");
    assert!(image.is_dir(), "{} is missing: make examples", image.display());
    image
}

/// The guest kernel and the initramfs, as the variables that name them.
pub fn guest() -> [(&'static str, PathBuf); 2] {
    [("MSB_KERNEL", "vmlinux"), ("MSB_INITRAMFS", "initramfs.cpio")].map(|(variable, file)| {
        let path = match std::env::var_os(variable) {
            Some(path) => PathBuf::from(path),
            None => profile_folder().join("../boot").join(file),
        };
        assert!(path.is_file(), "{variable} is not set and {} is missing: make guest", path.display());
        (variable, path)
    })
}
