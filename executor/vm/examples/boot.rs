//! Boots a kernel and an initramfs with either driver, shows the console, and says how long it took.
//!
//!   boot [--driver krun|qemu] [--vcpus N] [--memory MIB] [--disk ID=FILE[:ro]]... [--port] [--net]
//!        [--until TEXT] [--kill] KERNEL INITRAMFS [-- KERNEL WORDS...]
//!
//! `--until` also reports when the console first shows a text, `--kill` ends the VM then. `--port` adds a
//! console port `msb.agent` that echoes, `--net` a network card whose frames are counted.

use executor_vm::{ConsolePort, Disk, DriverKind, MacAddress, NetworkLink, VmSpec, VmmCommand};
use std::error::Error;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::Instant;

/// The word that makes this program the VM.
const VMM: &str = "vmm";

#[derive(Default)]
struct Options {
    driver: Option<DriverKind>,
    vcpus: Option<u8>,
    memory_mib: Option<u32>,
    disks: Vec<Disk>,
    port: bool,
    network: bool,
    until: Option<String>,
    kill: bool,
    positional: Vec<String>,
    words: Vec<String>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.peek().is_some_and(|word| word == VMM) {
        let descriptor = arguments.nth(1).ok_or("no descriptor")?.parse()?;
        executor_vm::run_vmm(descriptor)?;
    }
    boot(parse(arguments)?)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let mut options = Options::default();
    while let Some(word) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{word} needs a value"));
        match word.as_str() {
            "--driver" => options.driver = Some(value()?.parse()?),
            "--vcpus" => options.vcpus = Some(value()?.parse()?),
            "--memory" => options.memory_mib = Some(value()?.parse()?),
            "--disk" => options.disks.push(open_disk(&value()?)?),
            "--port" => options.port = true,
            "--net" => options.network = true,
            "--until" => options.until = Some(value()?),
            "--kill" => options.kill = true,
            "--" => options.words.extend(arguments.by_ref()),
            _ => options.positional.push(word),
        }
    }
    Ok(options)
}

fn open_disk(text: &str) -> Result<Disk, Box<dyn Error>> {
    let (id, path) = text.split_once('=').ok_or("--disk ID=FILE")?;
    let (path, read_only) = path.strip_suffix(":ro").map_or((path, false), |path| (path, true));
    let file = std::fs::OpenOptions::new().read(true).write(!read_only).open(path)?;
    Ok(Disk { id: id.to_owned(), file: file.into(), read_only, format: Default::default() })
}

fn boot(options: Options) -> Result<(), Box<dyn Error>> {
    let [kernel, initramfs] = options.positional.as_slice() else {
        return Err("boot [OPTIONS] KERNEL INITRAMFS".into());
    };
    let facts = executor_vm::host::observe(std::env::var_os("PATH").as_deref());
    let choice = executor_vm::choose(&facts, options.driver)
        .map_err(|refusal| format!("{refusal}; next step: {}", refusal.help()))?;
    eprintln!("boot: {} because {}", choice.backend.kind(), choice.reason);
    let (mut console, console_inside) = std::io::pipe()?;
    let mut ports = Vec::new();
    if options.port {
        let (outside, inside) = UnixStream::pair()?;
        std::thread::spawn(move || echo(outside));
        ports.push(ConsolePort { name: "msb.agent".to_owned(), socket: inside.into() });
    }
    let network = options.network.then(link).transpose()?;
    let spec = VmSpec {
        kernel: kernel.into(),
        initramfs: initramfs.into(),
        extra_cmdline: options.words,
        vcpus: options.vcpus.unwrap_or(1),
        memory_mib: options.memory_mib.unwrap_or(256),
        disks: options.disks,
        ports,
        network,
        mounts: None,
        console: OwnedFd::from(console_inside),
    };
    let command = VmmCommand {
        executable: std::env::current_exe()?,
        arguments: vec![VMM.into()],
        log: rustix::io::dup(std::io::stderr())?,
        cgroup: None,
    };
    let started = Instant::now();
    let mut vm = executor_vm::launch(command, &choice.backend, spec)?.process;
    let mut seen = String::new();
    let mut until = options.until;
    let mut buffer = [0; 4096];
    loop {
        let length = console.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        std::io::stdout().write_all(&buffer[..length])?;
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
        if until.as_ref().is_some_and(|text| seen.contains(text)) {
            eprintln!("boot: {:?} after {:.3} s", until.take(), started.elapsed().as_secs_f64());
            if options.kill {
                vm.kill()?;
            }
        }
    }
    let exit = vm.wait()?;
    eprintln!("boot: {exit:?} after {:.3} s", started.elapsed().as_secs_f64());
    match until {
        None => Ok(()),
        Some(text) => Err(format!("the console never showed '{text}'").into()),
    }
}

/// Sends back what comes in.
fn echo(mut socket: UnixStream) {
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = socket.read(&mut buffer) {
        eprintln!("boot: {length} bytes on the port");
        if socket.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
}

/// A network card on a link whose other end only reads.
fn link() -> Result<NetworkLink, Box<dyn Error>> {
    let (mut outside, inside) = UnixStream::pair()?;
    std::thread::spawn(move || {
        let mut header = [0; 4];
        while outside.read_exact(&mut header).is_ok() {
            let mut frame = vec![0; u32::from_be_bytes(header) as usize];
            if outside.read_exact(&mut frame).is_err() {
                break;
            }
            eprintln!("boot: a frame of {} bytes", frame.len());
        }
    });
    Ok(NetworkLink { socket: inside.into(), mac: MacAddress([0x52, 0x54, 0, 1, 2, 3]) })
}
