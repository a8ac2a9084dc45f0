//! What the launcher hands to the server's process, seen from inside one: a shell stands in for `msb share`.

use executor_jail::InternalCommand;
use executor_share::server::ServerConfig;
use executor_share::{Limits, ServerSpec, Share, SharePolicy, ShareProcess, Transport};
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

pub fn share(name: &str, path: &Path) -> Share {
    Share { name: name.to_owned(), source: File::open(path).unwrap().into(), policy: SharePolicy::default() }
}

/// Returns an end of a socket for reports, which nobody reads.
fn reports() -> std::os::unix::net::UnixDatagram {
    std::os::unix::net::UnixDatagram::unbound().unwrap()
}

/// Runs a script as the server's process; its last argument is `$0`.
fn start(script: &str, shares: Vec<Share>) -> (ShareProcess, std::io::PipeReader, UnixStream) {
    let (reader, log) = std::io::pipe().unwrap();
    let command = InternalCommand {
        executable: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        log: log.into(),
        cgroup: None,
    };
    let (ours, theirs) = UnixStream::pair().unwrap();
    let spec = ServerSpec {
        transport: Transport::VhostUser,
        socket: ours.into(),
        reports: reports().into(),
        shares,
        limits: Limits::default(),
    };
    (executor_share::launch(command, spec).unwrap(), reader, theirs)
}

#[test]
fn the_configuration_names_descriptors_that_are_open() {
    let folder = tempfile::tempdir().unwrap();
    // Inherited, as if msb had been started with it.
    let stray = File::open("/dev/zero").unwrap();
    rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
    assert!(stray.as_raw_fd() > 2);
    let script =
        "cat /proc/self/fd/\"$0\" >&2; echo >&2; for f in /proc/self/fd/*; do readlink $f; done >&2; env >&2";
    let (mut server, mut log, _socket) = start(script, vec![share("src", folder.path())]);
    let mut said = String::new();
    log.read_to_string(&mut said).unwrap();
    assert!(server.wait().unwrap().success());
    let (config, files) = said.split_once('\n').unwrap();
    let handed: serde_json::Value = serde_json::from_str(config).unwrap();
    let config: ServerConfig = serde_json::from_value(handed["config"].clone()).unwrap();
    assert_eq!(config.transport, Transport::VhostUser);
    let [share] = config.shares.try_into().unwrap();
    assert_eq!(share.name, "src");
    assert!(files.contains(folder.path().to_str().unwrap()), "{files}");
    assert!(files.contains("msb-share-config") && files.contains("socket:"), "{files}");
    assert!(!files.contains("/dev/zero") && !files.contains("HOME="), "{files}");
}

#[test]
fn it_dies_with_its_handle() {
    let (server, mut log, _socket) = start("exec sleep 100", Vec::new());
    drop(server);
    // The log's other end closes when the process is gone.
    log.read_to_string(&mut String::new()).unwrap();
}
