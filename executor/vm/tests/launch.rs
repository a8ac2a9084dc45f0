//! What the launcher hands to the VM's process, seen from inside one: a shell stands in for `msb vmm`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use executor_vm::{Backend, Disk, LaunchError, VmExit, VmProcess, VmSpec, VmmCommand};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

fn spec() -> VmSpec {
    let null = || std::fs::File::open("/dev/null").unwrap().into();
    VmSpec {
        kernel: "/dev/null".into(),
        initramfs: "/dev/null".into(),
        extra_cmdline: vec!["a=b".into()],
        vcpus: 1,
        memory_mib: 128,
        disks: vec![Disk { id: "base".into(), file: null(), read_only: true, format: Default::default() }],
        ports: vec![],
        network: None,
        mounts: None,
        console: null(),
    }
}

/// Runs a script as the VM's process; its last argument is `$0`. Gives back what it said on stderr.
fn start(script: &str, spec: VmSpec) -> (VmProcess, std::io::PipeReader) {
    let (reader, log) = std::io::pipe().unwrap();
    let command = VmmCommand {
        executable: "/bin/sh".into(),
        arguments: vec!["-c".into(), script.into()],
        log: log.into(),
        cgroup: None,
    };
    (executor_vm::launch(command, &Backend::Krun, spec).unwrap().process, reader)
}

fn run(script: &str) -> (VmExit, String) {
    let (mut vm, mut reader) = start(script, spec());
    let mut said = String::new();
    reader.read_to_string(&mut said).unwrap();
    (vm.wait().unwrap(), said)
}

#[test]
fn the_configuration_names_descriptors_that_are_open() {
    // By its path: not every shell's redirections know descriptors of two digits.
    let (exit, said) = run("cat /proc/self/fd/\"$0\" >&2");
    assert_eq!(exit, VmExit::Guest);
    let handed: serde_json::Value = serde_json::from_str(&said).unwrap();
    let config: executor_vm::config::VmConfig = serde_json::from_value(handed["config"].clone()).unwrap();
    assert_eq!(config.backend, Backend::Krun);
    assert!(config.cmdline.ends_with(" a=b"), "{}", config.cmdline);
    assert_eq!(config.disks.len(), 1);
}

#[test]
fn nothing_else_comes_along() {
    // Inherited, as if msb had been started with it.
    let stray = std::fs::File::open("/dev/zero").unwrap();
    rustix::io::fcntl_setfd(&stray, rustix::io::FdFlags::empty()).unwrap();
    assert!(stray.as_raw_fd() > 2);
    let (exit, said) =
        run("for f in /proc/self/fd/*; do readlink $f; done >&2; env >&2; pwd >&2; ulimit -c >&2");
    assert_eq!(exit, VmExit::Guest);
    assert!(!said.contains("/dev/zero"), "{said}");
    // Kernel, initramfs, disk, console and stdin; the configuration; the launcher; the log.
    assert_eq!(said.lines().filter(|line| *line == "/dev/null").count(), 5, "{said}");
    assert!(said.contains("[pidfd]"), "{said}");
    assert!(said.contains("msb-vm-config"), "{said}");
    assert!(!said.contains("PATH=/") && !said.contains("HOME="), "{said}");
    assert!(said.ends_with("/\n0\n"), "{said}");
}

#[test]
fn its_end_is_distinguished() {
    assert_eq!(run("exit 3").0, VmExit::Failed { code: 3 });
    let (mut vm, _log) = start("sleep 100", spec());
    assert_eq!(vm.try_wait().unwrap(), None);
    vm.kill().unwrap();
    assert_eq!(vm.wait().unwrap(), VmExit::Signalled { signal: 9 });
}

#[test]
fn it_dies_with_its_handle_and_with_its_launcher() {
    let (vm, mut log) = start("exec sleep 100", spec());
    drop(vm);
    let mut said = String::new();
    // The log's other end closes when the process is gone.
    log.read_to_string(&mut said).unwrap();

    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (vm, log) = start("exec sleep 100", spec());
        sender.send(log).unwrap();
        // The thread ends without a word to the process, as a launcher that was killed does.
        std::mem::forget(vm);
    });
    let started = Instant::now();
    receiver.recv().unwrap().read_to_string(&mut said).unwrap();
    assert!(started.elapsed() < Duration::from_secs(50));
}

#[test]
fn a_missing_file_is_named() {
    let mut spec = spec();
    spec.kernel = "/nowhere/vmlinux".into();
    let log = std::fs::File::open("/dev/null").unwrap().into();
    let command = VmmCommand { executable: "/bin/true".into(), arguments: vec![], log, cgroup: None };
    match executor_vm::launch(command, &Backend::Krun, spec) {
        Err(error @ LaunchError::Open { .. }) => {
            assert_eq!(error.to_string(), "cannot open the guest kernel /nowhere/vmlinux");
        }
        other => panic!("{other:?}"),
    }
}
