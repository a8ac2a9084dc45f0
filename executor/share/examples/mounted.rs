//! Boots a kernel and an initramfs with folders of the host, and shows the console.
//!
//!   mounted [--driver krun|qemu] [--vcpus N] [--memory MIB] [--read-only] [--disk FILE] [--append WORD]...
//!           [--without-jail] KERNEL INITRAMFS FOLDER...
//!
//! The guest finds the folders as `0`, `1` and so on in the virtio-fs with the tag `msb-mounts`, and the disk, if there is
//! one, as its first. Words are appended to the kernel's command line. Without its jail, the VM's process finds a QEMU that
//! is a script, and connects to sockets.

use executor_share::{Limits, ServerSpec, Share, SharePolicy, Transport};
use executor_vm::{Disk, DriverKind, MountsLink, MountsTransport, VmSpec, VmmCommand};
use rustix::fs::{Mode, OFlags};
use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// The word for a VM's process without a jail.
const WITHOUT_JAIL: &str = "vmm-without-jail";

#[derive(Default)]
struct Options {
    driver: Option<DriverKind>,
    vcpus: Option<u8>,
    memory_mib: Option<u32>,
    read_only: bool,
    without_jail: bool,
    disk: Option<String>,
    words: Vec<String>,
    positional: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut options = Options::default();
    while let Some(word) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            // The words that make this program one of the processes that it starts.
            "vmm" => {
                executor_vm::run_vmm(value()?.parse()?)?;
            }
            WITHOUT_JAIL => {
                executor_vm::run_vmm_without_jail(value()?.parse()?)?;
            }
            "share" => return Ok(executor_share::run_share_server(value()?.parse()?)?),
            "--driver" => options.driver = Some(value()?.parse()?),
            "--vcpus" => options.vcpus = Some(value()?.parse()?),
            "--memory" => options.memory_mib = Some(value()?.parse()?),
            "--without-jail" => options.without_jail = true,
            "--read-only" => options.read_only = true,
            "--disk" => options.disk = Some(value()?),
            "--append" => options.words.push(value()?),
            _ => options.positional.push(word),
        }
    }
    boot(&options)
}

fn boot(options: &Options) -> Result<(), Box<dyn Error>> {
    let [kernel, initramfs, folders @ ..] = options.positional.as_slice() else {
        return Err("mounted [OPTIONS] KERNEL INITRAMFS FOLDER...".into());
    };
    let facts = executor_vm::host::observe(std::env::var_os("PATH").as_deref());
    let choice = executor_vm::choose(&facts, options.driver)?;
    let policy = SharePolicy { read_only: options.read_only, ..SharePolicy::default() };
    let mut shares = Vec::new();
    for folder in folders {
        let source = rustix::fs::open(folder.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        shares.push(Share { name: folder.clone(), source, policy });
    }
    let transport = match choice.backend.features().mounts {
        MountsTransport::VhostUser => Transport::VhostUser,
        MountsTransport::Fuse => Transport::Fuse,
    };
    let command = |word: &str| -> Result<VmmCommand, Box<dyn Error>> {
        let log = rustix::io::dup(std::io::stderr())?;
        Ok(VmmCommand {
            executable: std::env::current_exe()?,
            arguments: vec![word.into()],
            log,
            cgroup: None,
        })
    };
    let (socket, of_vm) = UnixStream::pair()?;
    // The guest of this example is told of no changes.
    let reports = std::os::unix::net::UnixDatagram::unbound()?.into();
    let server = ServerSpec { transport, socket: socket.into(), reports, shares, limits: Limits::default() };
    let mut server = executor_share::launch(command("share")?, server)?;
    let mut disks = Vec::new();
    if let Some(path) = &options.disk {
        let file = rustix::fs::open(path.as_str(), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
        disks.push(Disk { id: "disk".to_owned(), file, read_only: false, format: Default::default() });
    }
    let (mut console, console_inside) = std::io::pipe()?;
    let spec = VmSpec {
        kernel: kernel.into(),
        initramfs: initramfs.into(),
        extra_cmdline: options.words.clone(),
        vcpus: options.vcpus.unwrap_or(1),
        memory_mib: options.memory_mib.unwrap_or(256),
        disks,
        ports: Vec::new(),
        network: None,
        mounts: Some(MountsLink { socket: of_vm.into() }),
        console: OwnedFd::from(console_inside),
    };
    let started = Instant::now();
    let word = if options.without_jail { WITHOUT_JAIL } else { "vmm" };
    let mut vm = executor_vm::launch(command(word)?, &choice.backend, spec)?.process;
    let mut buffer = [0; 4096];
    while let length @ 1.. = console.read(&mut buffer)? {
        std::io::stdout().write_all(&buffer[..length])?;
    }
    let exit = vm.wait()?;
    eprintln!("mounted: {exit:?} after {:.3} s", started.elapsed().as_secs_f64());
    let served = server.wait()?;
    eprintln!("mounted: the file server ended with {served}");
    Ok(())
}
