//! Where the things under test are: the `msb` binary, the guest, the examples.

use std::path::{Path, PathBuf};

/// Names the `msb` binary to test, where it does not stand beside the test.
const PROGRAM_VARIABLE: &str = "E2E_MSB";
/// Names the folder of `examples/`, where it is not the one that the tests were compiled in.
const ROOT_VARIABLE: &str = "E2E_ROOT";

/// The `msb` binary: the one of the same build.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os(PROGRAM_VARIABLE) {
        return path.into();
    }
    let me = std::env::current_exe().expect("a test knows its own path");
    // A test is target/<profile>/deps/e2e-<hash>, the benchmark is target/<profile>/bench.
    let folders = me.ancestors().skip(1).take(2).map(|folder| folder.join("msb"));
    folders.into_iter().find(|path| path.is_file()).expect("msb is built: cargo build --release -p msb")
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
            None => installed_home().join("guest").join(file),
        };
        assert!(path.is_file(), "{variable} is not set and {} is missing: make guest", path.display());
        (variable, path)
    })
}

/// The home that `make up` installs the guest into.
fn installed_home() -> PathBuf {
    let named = std::env::var_os("MSB_HOME").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".microsandbox"))
}
