//! A pull in a child process: this test program, configured by environment variables.

use crate::support::{Store, limits, message, pull_with};
use executor_image::Blobs;
use executor_registry::{HostSettings, Settings};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

const REGISTRY: &str = "MSB_TEST_PULL_REGISTRY";
const STORE: &str = "MSB_TEST_PULL_STORE";
pub const DOCKER_CONFIG: &str = "MSB_TEST_PULL_DOCKER_CONFIG";
pub const INSECURE: &str = "MSB_TEST_PULL_INSECURE";

/// A process that pulls `app:1` from a registry into a store and prints the result.
pub fn command(registry: &str, store: &Store) -> Command {
    command_into(registry, store.folder.path())
}

pub fn command_into(registry: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child::pulls_if_configured", "--nocapture", "--test-threads=1"]);
    command.env(REGISTRY, registry).env(STORE, folder);
    command.stdin(Stdio::null()).stderr(Stdio::null());
    command
}

/// Does nothing among the other tests.
#[test]
fn pulls_if_configured() {
    let (Ok(registry), Ok(folder)) = (std::env::var(REGISTRY), std::env::var(STORE)) else { return };
    let docker_config = std::env::var_os(DOCKER_CONFIG).map(Into::into);
    let insecure = std::env::var_os(INSECURE).is_some();
    let host = HostSettings { insecure, ..HostSettings::default() };
    let hosts = BTreeMap::from([(registry.clone(), host)]);
    let settings = Settings { hosts, docker_config, limits: limits(), ..Settings::default() };
    let result = Blobs::open(Path::new(&folder)).map_err(|error| error.to_string()).and_then(|blobs| {
        let result = pull_with(settings, &blobs, &format!("{registry}/app:1"), &|progress| {
            println!("{}/{} {:?} {}", progress.number, progress.of, progress.state, progress.bytes);
        });
        result.map_err(|error| message(&error))
    });
    match result {
        Ok(_) => println!("pulled"),
        Err(text) => {
            println!("failed: {text}");
            std::process::exit(1);
        }
    }
}
