//! A driver whose monitor is a small process, and the guest agent that answers for it.
//!
//! The monitor's process is real: it has a pid, ends with a code or by a signal, and takes the disks' descriptors. Only
//! the agent's port is served here, as a guest would until its monitor has ended.

use crate::supervisor::machine::Launcher;
use executor_jail::{Cgroup, InternalCommand};
use executor_share::{ServerSpec, ShareProcess};
use executor_vm::{Backend, ConsolePort, LaunchError, Launched, VmSpec, VmmCommand};
use protocol::frame::{Flags, Frame, FrameDecoder, LINK_ID};
use protocol::latest::{
    BootAssembler, BootDocument, BootFailed, BootProgress, ExecExited, ExecFailed, ExecStarted, FailureKind,
    Message, Pong, Ready, Shutdown,
};
use std::cell::{Cell, RefCell};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;

/// The result of a guest's boot.
#[derive(Clone, Debug, Default)]
pub enum Boot {
    /// It comes up.
    #[default]
    Ready,
    /// Its agent reports this failure.
    Fails(&'static str),
    /// It takes the boot document and sends nothing.
    Hangs,
    /// It reboots, as after a kernel panic: its monitor exits with code 0.
    Reboots,
}

/// The behaviour of a guest's main process.
#[derive(Clone, Debug, Default)]
pub enum Main {
    /// It runs until the guest shuts down.
    #[default]
    Runs,
    /// It exits with this code at once.
    Exits(i32),
    /// There is no such program.
    NotFound,
}

/// The behaviour of one virtual machine.
#[derive(Clone, Debug, Default)]
pub struct Guest {
    pub boot: Boot,
    pub main: Main,
    /// Whether it ignores the request to shut down.
    pub ignores_shutdown: bool,
    /// The features of its agent.
    pub features: &'static [&'static str],
    /// Whether it ignores pings.
    pub ignores_pings: bool,
    /// The exit code of its monitor, if that ends right after its start.
    pub monitor_exits: Option<i32>,
    /// The exit code of its file server, if that ends right after its start.
    pub server_exits: Option<i32>,
}

/// The messages that the guests of a [`FakeDriver`] have received.
#[derive(Debug, Default)]
pub struct Received {
    /// One per started machine.
    pub documents: RefCell<Vec<BootDocument>>,
    /// Main processes that were started.
    pub mains: Cell<usize>,
    /// Timeouts of the requests to shut down, in milliseconds.
    pub shutdowns: RefCell<Vec<Option<u64>>>,
    /// Times to set the clock to, in nanoseconds since 1970.
    pub clocks: RefCell<Vec<u64>>,
    /// The pids of file servers with the names of their shares.
    pub servers: RefCell<Vec<(i32, Vec<String>)>>,
}

/// Starts machines that all behave alike.
#[derive(Debug, Default)]
pub struct FakeDriver {
    pub guest: Guest,
    pub launches: Cell<usize>,
    pub received: Rc<Received>,
}

impl FakeDriver {
    pub fn new(guest: Guest) -> Self {
        Self { guest, ..Self::default() }
    }
}

impl Launcher for FakeDriver {
    fn launch(
        &self,
        backend: &Backend,
        mut spec: VmSpec,
        log: OwnedFd,
        _cgroup: Arc<Cgroup>,
    ) -> Result<Launched, LaunchError> {
        let agent = spec.ports.pop().unwrap().socket;
        let agent = UnixStream::from_std(agent.into()).unwrap();
        // The monitor ends when the one pipe is closed here; the other one is closed here when the monitor has ended.
        let (power, power_off) = std::io::pipe().unwrap();
        let (ended, alive) = std::io::pipe().unwrap();
        let script = match self.guest.monitor_exits {
            Some(code) => format!("exit {code}"),
            None => format!("exec cat /proc/self/fd/{}", power.as_raw_fd()),
        };
        for (name, end) in [("power", OwnedFd::from(power)), ("alive", alive.into())] {
            spec.ports.push(ConsolePort { name: name.to_owned(), socket: end });
        }
        let command = VmmCommand {
            executable: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            log,
            cgroup: None,
        };
        let launched = executor_vm::launch(command, backend, spec)?;
        self.launches.set(self.launches.get() + 1);
        let mut ended = pipe::Receiver::from_owned_fd(ended.into()).unwrap();
        let (guest, received) = (self.guest.clone(), self.received.clone());
        tokio::task::spawn_local(async move {
            tokio::select! {
                () = serve(agent, power_off.into(), &guest, &received) => {}
                _ = ended.read_u8() => {}
            }
        });
        Ok(launched)
    }

    fn serve(
        &self,
        spec: ServerSpec,
        log: OwnedFd,
        _cgroup: Arc<Cgroup>,
    ) -> Result<ShareProcess, executor_jail::SpawnError> {
        let shares = spec.shares.iter().map(|share| share.name.clone()).collect();
        let script = match self.guest.server_exits {
            Some(code) => format!("exit {code}"),
            None => "exec sleep 1000000".to_owned(),
        };
        let arguments = vec!["-c".into(), script.into()];
        let server = executor_share::launch(
            InternalCommand { executable: "/bin/sh".into(), arguments, log, cgroup: None },
            spec,
        )?;
        self.received.servers.borrow_mut().push((server.pid(), shares));
        Ok(server)
    }
}

/// Answers as the guest's agent. Dropping `power` ends the machine.
async fn serve(mut agent: UnixStream, power: OwnedFd, guest: &Guest, received: &Received) {
    let (mut decoder, mut boot) = (FrameDecoder::new(), BootAssembler::new());
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = agent.read(&mut buffer).await {
        decoder.feed(&buffer[..count]);
        while let Some(frame) = decoder.next_frame().unwrap() {
            let answers = match Message::decode(&frame).unwrap() {
                Message::Boot(chunk) => match boot.push(&chunk).unwrap() {
                    None => Vec::new(),
                    Some(document) => {
                        received.documents.borrow_mut().push(document);
                        match guest.boot {
                            Boot::Ready => {
                                vec![link_frame(BootProgress { copied_bytes: 1 }), ready(guest.features)]
                            }
                            Boot::Fails(message) => {
                                vec![link_frame(BootFailed { message: message.to_owned() })]
                            }
                            Boot::Hangs => Vec::new(),
                            Boot::Reboots => return,
                        }
                    }
                },
                Message::ExecRequest(_) => {
                    received.mains.set(received.mains.get() + 1);
                    main_process(frame.id(), &guest.main)
                }
                Message::Clock(clock) => {
                    received.clocks.borrow_mut().push(clock.unix_ns);
                    Vec::new()
                }
                Message::Ping(_) if !guest.ignores_pings => {
                    vec![Message::from(Pong {}).encode(frame.id()).unwrap()]
                }
                Message::Shutdown(Shutdown { timeout_ms }) => {
                    received.shutdowns.borrow_mut().push(timeout_ms);
                    if guest.ignores_shutdown {
                        Vec::new()
                    } else {
                        let answer = link_frame(Shutdown { timeout_ms: None });
                        agent.write_all(answer.as_bytes()).await.unwrap();
                        return;
                    }
                }
                _ => Vec::new(),
            };
            for answer in answers {
                agent.write_all(answer.as_bytes()).await.unwrap();
            }
        }
    }
    drop(power);
}

fn ready(features: &[&str]) -> Frame {
    link_frame(Ready {
        boot_time_ns: 1,
        init_time_ns: 2,
        ready_time_ns: 3,
        agent_version: None,
        features: features.iter().map(ToString::to_string).collect(),
    })
}

fn main_process(id: u32, main: &Main) -> Vec<Frame> {
    let started = Message::from(ExecStarted { pid: 7 }).encode(id).unwrap();
    match *main {
        Main::Runs => vec![started],
        Main::Exits(code) => {
            let exited = Message::from(ExecExited::with_code(code));
            vec![started, exited.encode_with(id, Flags::TERMINAL).unwrap()]
        }
        Main::NotFound => {
            let failed = ExecFailed {
                kind: FailureKind::NotFound,
                errno: None,
                errno_name: None,
                message: "no such file".to_owned(),
                stage: None,
            };
            vec![Message::from(failed).encode_with(id, Flags::TERMINAL).unwrap()]
        }
    }
}

fn link_frame(message: impl Into<Message>) -> Frame {
    message.into().encode(LINK_ID).unwrap()
}
