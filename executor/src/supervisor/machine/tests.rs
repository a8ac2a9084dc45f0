//! Lives of one machine over a fake driver and a fake guest.

use super::*;
use crate::supervisor::fake_vm::{Boot as GuestBoot, FakeDriver, Guest, Main};
use crate::supervisor::testing::{Sandbox, on_event_loop};
use executor_host::state::{Phase, State, read_state};
use protocol::latest::{DiskAt, FEATURE_CLOCK};
use schemas::spec::{HostPerms, Mount, MountSource, StatVirt};

fn with_main(guest: Guest) -> (Sandbox, FakeDriver) {
    let sandbox = Sandbox::new(|definition| definition.start = Some(vec!["/serve".to_owned()]));
    (sandbox, FakeDriver::new(guest))
}

fn failure_of(ended: &ExitCause) -> &str {
    match ended {
        ExitCause::Exited(Exit::Failure { message, .. }) => message,
        _ => panic!("no failure"),
    }
}

/// Waits for a state, with the test's own time limit.
async fn wait_for(sandbox: &Sandbox, is_reached: impl FnMut(&State) -> bool) -> State {
    sandbox.store.states().wait_for(is_reached).await.unwrap().clone()
}

fn is_running(state: &State) -> bool {
    state.phase == Phase::Running
}

#[test]
fn a_main_process_that_exits_ends_the_machine_in_order() {
    on_event_loop(async || {
        let (sandbox, driver) = with_main(Guest { main: Main::Exits(3), ..Guest::default() });
        let mut states = sandbox.store.states();
        let seen = tokio::task::spawn_local(async move {
            let state = states.wait_for(|state| state.main_ended).await.unwrap();
            (state.phase.clone(), state.vmm.unwrap(), state.boot_ms.is_some())
        });
        let ended = sandbox.machine(&driver).run().await;
        assert!(matches!(ended, ExitCause::Exited(Exit::Code { code: 3 })));
        let (phase, vmm, has_boot_ms) = seen.await.unwrap();
        assert_eq!((phase, has_boot_ms), (Phase::Running, true));
        assert!(!vmm.is_alive());
        assert_eq!(*driver.received.shutdowns.borrow(), [Some(10_000)]);
        assert!(!sandbox.has_guest());
        let document = driver.received.documents.borrow()[0].clone();
        // The driver of the test's backend keeps the order of disks and no serial numbers.
        assert_eq!((document.base.at, document.writable.at), (DiskAt::Index(0), DiskAt::Index(1)));
        assert_eq!((document.hostname.as_str(), document.sandboxfile.as_deref()), ("web", Some("sandbox")));
    });
}

#[test]
fn a_stop_shuts_the_guest_down_within_the_time_that_is_left() {
    on_event_loop(async || {
        let (sandbox, driver) = with_main(Guest::default());
        let machine = sandbox.machine(&driver);
        let stop = async {
            wait_for(&sandbox, is_running).await;
            assert!(sandbox.has_guest());
            sandbox.store.request_stop(Duration::from_secs(7));
        };
        let (ended, ()) = tokio::join!(machine.run(), stop);
        assert!(matches!(ended, ExitCause::Stopped));
        assert_eq!(*driver.received.shutdowns.borrow(), [Some(7000)]);
    });
}

#[test]
fn a_guest_that_does_not_shut_down_is_killed_at_the_timeout() {
    on_event_loop(async || {
        let (sandbox, driver) = with_main(Guest { ignores_shutdown: true, ..Guest::default() });
        let machine = sandbox.machine(&driver);
        let stop = async {
            let vmm = wait_for(&sandbox, is_running).await.vmm.unwrap();
            sandbox.store.request_stop(Duration::from_secs(30));
            while driver.received.shutdowns.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            assert!(vmm.is_alive());
            tokio::time::pause();
            (vmm, tokio::time::Instant::now())
        };
        let (ended, (vmm, asked)) = tokio::join!(machine.run(), stop);
        assert!(matches!(ended, ExitCause::Stopped));
        assert!(!vmm.is_alive());
        // By the paused clock: the timeout, the margin, and the logs' drains, which may meet a dying process.
        let waited = asked.elapsed();
        let least = Duration::from_secs(30) + SHUTDOWN_MARGIN;
        assert!(waited >= least && waited < least + SHUTDOWN_MARGIN, "{waited:?}");
    });
}

#[test]
fn a_kill_ends_a_guest_that_answers_nothing() {
    on_event_loop(async || {
        for guest in [
            Guest { boot: GuestBoot::Hangs, ..Guest::default() },
            Guest { ignores_shutdown: true, ..Guest::default() },
        ] {
            let hangs = matches!(guest.boot, GuestBoot::Hangs);
            let (sandbox, driver) = with_main(guest);
            let machine = sandbox.machine(&driver);
            let kill = async {
                let vmm =
                    wait_for(&sandbox, |state| if hangs { state.vmm.is_some() } else { is_running(state) })
                        .await
                        .vmm;
                sandbox.store.request_kill();
                vmm.unwrap()
            };
            let (ended, vmm) = tokio::join!(machine.run(), kill);
            assert!(matches!(ended, ExitCause::Stopped));
            assert!(!vmm.is_alive());
            assert!(driver.received.shutdowns.borrow().is_empty());
        }
    });
}

#[test]
fn a_stop_while_the_guest_boots_ends_it() {
    on_event_loop(async || {
        let (sandbox, driver) = with_main(Guest { boot: GuestBoot::Hangs, ..Guest::default() });
        let machine = sandbox.machine(&driver);
        let stop = async {
            wait_for(&sandbox, |state| state.vmm.is_some()).await;
            sandbox.store.request_stop(Duration::from_secs(7));
        };
        let (ended, ()) = tokio::join!(machine.run(), stop);
        assert!(matches!(ended, ExitCause::Stopped));
        assert_eq!(driver.received.mains.get(), 0);
    });
}

#[test]
fn failed_boots_say_why() {
    for (guest, message) in [
        (
            Guest { boot: GuestBoot::Fails("no \x1bdisk"), ..Guest::default() },
            "the guest could not come up: no \\u{1b}disk",
        ),
        (
            Guest { boot: GuestBoot::Reboots, ..Guest::default() },
            "the virtual machine ended unexpectedly (the guest rebooted, or its kernel panicked)",
        ),
        (
            Guest { boot: GuestBoot::Hangs, monitor_exits: Some(3), ..Guest::default() },
            "the virtual machine ended unexpectedly (its monitor exited with code 3, runtime.log says more)",
        ),
    ] {
        on_event_loop(async || {
            let (sandbox, driver) = with_main(guest);
            let ended = sandbox.machine(&driver).run().await;
            assert_eq!(failure_of(&ended), message);
            assert_eq!(driver.received.mains.get(), 0);
            // A monitor may have ended before it was identified.
            assert!(sandbox.store.state().vmm.is_none_or(|vmm| !vmm.is_alive()));
        });
    }
}

#[test]
fn a_guest_that_does_not_come_up_is_given_up() {
    on_event_loop(async || {
        let (sandbox, driver) = with_main(Guest { boot: GuestBoot::Hangs, ..Guest::default() });
        let machine = sandbox.machine(&driver);
        let pause = async {
            while driver.received.documents.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            tokio::time::pause();
        };
        let (ended, ()) = tokio::join!(machine.run(), pause);
        assert_eq!(
            failure_of(&ended),
            "the guest did not come up within 120s; its kernel last said: nothing"
        );
        assert!(!sandbox.store.state().vmm.unwrap().is_alive());
    });
}

#[test]
fn a_monitor_that_dies_ends_the_sandbox() {
    on_event_loop(async || {
        let (sandbox, driver) = with_main(Guest::default());
        let machine = sandbox.machine(&driver);
        let mut guests = sandbox.guest.subscribe();
        let die = async {
            let vmm = wait_for(&sandbox, is_running).await.vmm.unwrap();
            vmm.kill();
            guests.wait_for(Option::is_none).await.unwrap();
            // Whoever learns that the guest has ended finds it recorded.
            read_state(&sandbox.folder).unwrap()
        };
        let (ended, recorded) = tokio::join!(machine.run(), die);
        assert!(recorded.main_ended);
        assert_eq!(
            failure_of(&ended),
            "the virtual machine ended unexpectedly (its monitor was ended by signal 9)"
        );
        assert!(!sandbox.has_guest());
    });
}

#[test]
fn a_program_that_is_not_there_is_no_failure_of_the_machine() {
    on_event_loop(async || {
        let (sandbox, driver) = with_main(Guest { main: Main::NotFound, ..Guest::default() });
        match sandbox.machine(&driver).run().await {
            ExitCause::Exited(Exit::NotStarted { code, message }) => {
                assert_eq!((code, message.as_str()), (127, "no such file"));
            }
            _ => panic!("it was started"),
        }
        assert_eq!(driver.received.shutdowns.borrow().len(), 1);
    });
}

#[test]
fn a_machine_without_a_main_process_runs_until_it_is_stopped() {
    on_event_loop(async || {
        let (sandbox, driver) = (Sandbox::new(|_| {}), FakeDriver::default());
        let machine = sandbox.machine(&driver);
        let stop = async {
            wait_for(&sandbox, is_running).await;
            sandbox.store.request_stop(Duration::from_secs(7));
        };
        let (ended, ()) = tokio::join!(machine.run(), stop);
        assert!(matches!(ended, ExitCause::Stopped));
        assert_eq!(driver.received.mains.get(), 0);
    });
}

#[test]
fn a_disk_that_another_machine_has_and_missing_files_are_failures() {
    on_event_loop(async || {
        let (mut sandbox, driver) = with_main(Guest::default());
        let held = executor_host::disk::take(&sandbox.folder.disk()).unwrap();
        let ended = sandbox.machine(&driver).run().await;
        assert!(failure_of(&ended).contains("is in use by another virtual machine"));
        drop(held);
        sandbox.launch.boot.kernel = "/nowhere/vmlinux".into();
        let ended = sandbox.machine(&driver).run().await;
        assert!(failure_of(&ended).contains("cannot open the guest kernel /nowhere/vmlinux"));
        assert_eq!((driver.launches.get(), sandbox.store.state().vmm), (0, None));
        assert_eq!(read_state(&sandbox.folder), Some(sandbox.store.state()));
    });
}

/// Returns the letter of a process's state; `T` is a stopped one.
fn process_state(pid: i32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    status.rsplit(") ").next().unwrap()[..1].to_owned()
}

#[test]
fn a_machine_without_a_monitor_is_frozen_until_it_is_resumed_or_stopped() {
    on_event_loop(async || {
        let (sandbox, driver) = with_main(Guest { features: &[FEATURE_CLOCK], ..Guest::default() });
        let machine = sandbox.machine(&driver);
        let pause = async {
            let vmm = wait_for(&sandbox, is_running).await.vmm.unwrap();
            for resume in [true, false] {
                sandbox.store.request_pause(true);
                sandbox.store.until_paused(true).await;
                // The kernel stops it after the signal.
                while process_state(vmm.pid) != "T" {
                    tokio::task::yield_now().await;
                }
                if resume {
                    sandbox.store.request_pause(false);
                    sandbox.store.until_paused(false).await;
                    assert_ne!(process_state(vmm.pid), "T");
                }
            }
            sandbox.store.request_stop(Duration::from_secs(7));
        };
        let (ended, ()) = tokio::join!(machine.run(), pause);
        assert!(matches!(ended, ExitCause::Stopped));
        assert_eq!(*driver.received.shutdowns.borrow(), [Some(7000)]);
        // After the boot and after each pause.
        assert_eq!(driver.received.clocks.borrow().len(), 3);
        let events = sandbox.events();
        assert_eq!(events.iter().filter(|event| *event == "resumed").count(), 2, "{events:?}");
        assert!(!sandbox.store.state().paused);
    });
}

#[test]
fn a_frozen_machine_is_killed_and_an_old_agent_is_told_of_once() {
    on_event_loop(async || {
        let (sandbox, driver) = with_main(Guest::default());
        let machine = sandbox.machine(&driver);
        let pause = async {
            let vmm = wait_for(&sandbox, is_running).await.vmm.unwrap();
            for paused in [true, false, true, false, true] {
                sandbox.store.request_pause(paused);
                sandbox.store.until_paused(paused).await;
            }
            sandbox.store.request_kill();
            vmm
        };
        let (ended, vmm) = tokio::join!(machine.run(), pause);
        assert!(matches!(ended, ExitCause::Stopped));
        assert!(!vmm.is_alive() && !sandbox.store.state().paused);
        let log = std::fs::read_to_string(sandbox.folder.logs().join(executor_log::EXEC_LOG)).unwrap();
        assert_eq!(log.matches("the clock is slow by the pause").count(), 1, "{log}");
        assert_eq!(sandbox.events().last().unwrap(), "paused");
    });
}

/// Returns a sandbox with a mount of this directory, and its driver.
fn with_mount(path: &std::path::Path, guest: Guest) -> (Sandbox, FakeDriver) {
    let path = path.to_str().unwrap().to_owned();
    let mount = Mount {
        source: MountSource::Host { path },
        readonly: true,
        noexec: false,
        nosuid: false,
        nodev: false,
        stat_virt: StatVirt::Off,
        host_perms: HostPerms::Private,
        size_mib: None,
        uid: None,
        gid: None,
    };
    let sandbox = Sandbox::new(|definition| {
        definition.mounts.insert("/app".to_owned(), mount);
    });
    (sandbox, FakeDriver::new(guest))
}

/// Returns the process of the only file server.
fn server_of(driver: &FakeDriver) -> Option<ProcessIdentity> {
    let servers = driver.received.servers.borrow();
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0].1, ["/app"]);
    ProcessIdentity::of(servers[0].0)
}

#[test]
fn a_file_server_lives_as_long_as_its_machine() {
    on_event_loop(async || {
        let scratch = tempfile::tempdir().unwrap();
        let (sandbox, driver) = with_mount(scratch.path(), Guest::default());
        let machine = sandbox.machine(&driver);
        let stop = async {
            wait_for(&sandbox, is_running).await;
            let document = driver.received.documents.borrow()[0].clone();
            let mounts: Vec<_> =
                document.mounts.iter().map(|mount| (&*mount.destination, &*mount.entry)).collect();
            assert_eq!(mounts, [("/app", "0")]);
            let server = server_of(&driver).unwrap();
            assert!(server.is_alive());
            sandbox.store.request_stop(Duration::from_secs(7));
            server
        };
        let (ended, server) = tokio::join!(machine.run(), stop);
        assert!(matches!(ended, ExitCause::Stopped));
        assert!(!server.is_alive());
    });
}

#[test]
fn a_machine_ends_with_its_file_server() {
    on_event_loop(async || {
        let scratch = tempfile::tempdir().unwrap();
        let (sandbox, driver) = with_mount(scratch.path(), Guest::default());
        let machine = sandbox.machine(&driver);
        let die = async {
            let vmm = wait_for(&sandbox, is_running).await.vmm.unwrap();
            server_of(&driver).unwrap().kill();
            vmm
        };
        let (ended, vmm) = tokio::join!(machine.run(), die);
        assert_eq!(failure_of(&ended), "the file server of the mounts was ended by signal 9");
        assert!(!vmm.is_alive());
        assert!(!sandbox.has_guest());

        let guest = Guest { boot: GuestBoot::Hangs, server_exits: Some(3), ..Guest::default() };
        let (sandbox, driver) = with_mount(scratch.path(), guest);
        let ended = sandbox.machine(&driver).run().await;
        assert_eq!(
            failure_of(&ended),
            "the file server of the mounts exited with code 3, runtime.log says more"
        );
    });
}

#[test]
fn a_machine_that_ends_is_not_blamed_on_its_file_server() {
    on_event_loop(async || {
        let scratch = tempfile::tempdir().unwrap();
        let (sandbox, driver) = with_mount(scratch.path(), Guest::default());
        let machine = sandbox.machine(&driver);
        let die = async {
            wait_for(&sandbox, is_running).await.vmm.unwrap().kill();
        };
        let (ended, ()) = tokio::join!(machine.run(), die);
        assert_eq!(
            failure_of(&ended),
            "the virtual machine ended unexpectedly (its monitor was ended by signal 9)"
        );
        // Killed and reaped.
        assert!(server_of(&driver).is_none_or(|server| !server.is_alive()));
    });
}

#[test]
fn a_source_that_is_missing_starts_nothing() {
    on_event_loop(async || {
        let scratch = tempfile::tempdir().unwrap();
        let missing = scratch.path().join("src");
        let (sandbox, driver) = with_mount(&missing, Guest::default());
        let ended = sandbox.machine(&driver).run().await;
        assert_eq!(
            failure_of(&ended),
            format!(
                "{} does not exist, so it cannot be mounted at /app: create it, or remove the mount",
                missing.display()
            )
        );
        assert_eq!((driver.launches.get(), driver.received.servers.borrow().len()), (0, 0));
    });
}
