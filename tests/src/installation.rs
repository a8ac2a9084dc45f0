//! Paths of what is under test: the `msb` binary, the guest, the examples.

use std::path::{Path, PathBuf};

/// Names the `msb` binary to test, if it is not the one of the same build.
const PROGRAM_VARIABLE: &str = "E2E_MSB";
/// Names the repository's root, if it is not the one that the tests were compiled in.
const ROOT_VARIABLE: &str = "E2E_ROOT";

/// Names the program that tests run in guests, if it is not the one of this repository.
const EXERCISER_VARIABLE: &str = "E2E_EXERCISER";

/// Returns the path of the `msb` binary.
pub fn program() -> PathBuf {
    let path = match std::env::var_os(PROGRAM_VARIABLE) {
        Some(path) => path.into(),
        None => profile_folder().join("msb"),
    };
    assert!(path.is_file(), "{} is missing: make build", path.display());
    path
}

/// Returns the target directory of this program's profile, such as `target/checked`.
fn profile_folder() -> PathBuf {
    let me = std::env::current_exe().expect("a test knows its own path");
    // Tests are in its directory `deps`, the benchmark in itself.
    let folder = me.parent().expect("a file lies in a folder");
    if folder.ends_with("deps") { folder.with_file_name("") } else { folder.to_owned() }
}

/// Returns the repository's root.
pub fn root() -> PathBuf {
    match std::env::var_os(ROOT_VARIABLE) {
        Some(path) => path.into(),
        None => {
            Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in the repository").to_owned()
        }
    }
}

/// Returns the directory of one example.
pub fn example(name: &str) -> PathBuf {
    root().join("examples").join(name)
}

/// Returns the sorted names of all examples: of the directories with a Sandboxfile.
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

/// Returns the path of a root file system to boot from.
pub fn image() -> PathBuf {
    let image = example("one").join("image");
    assert!(image.is_dir(), "{} is missing: make examples", image.display());
    image
}

/// Returns the paths of the guest kernel and the initramfs with the variables that name them.
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

/// Returns the path of the program that tests run in guests.
pub fn exerciser() -> PathBuf {
    let path = match std::env::var_os(EXERCISER_VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => profile_folder().join("../boot/exerciser"),
    };
    assert!(path.is_file(), "{} is missing: make exerciser", path.display());
    path
}
