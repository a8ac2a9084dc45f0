//! The memory of processes, and what a core dump has of it.

use crate::process::Process;
use memchr::memmem::Finder;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

const PART_BYTES: usize = 4 * 1024 * 1024;

/// Whether a process's memory contains a text. That of a virtual machine monitor includes its guest's.
pub fn contains(process: Process, text: &str) -> bool {
    let file = |name: &str| format!("/proc/{}/{name}", process.pid);
    let memory = File::open(file("mem")).expect("a process of this user");
    let maps = fs::read_to_string(file("maps")).expect("a process of this user");
    let finder = Finder::new(text);
    let mut part = vec![0; PART_BYTES];
    maps.lines().filter_map(range).any(|(start, end)| {
        let mut at = start;
        while at < end {
            let length = usize::try_from(end - at).unwrap_or(PART_BYTES).min(PART_BYTES);
            // Some mappings of devices cannot be read.
            let Ok(read) = memory.read_at(&mut part[..length], at) else { break };
            if finder.find(&part[..read]).is_some() {
                return true;
            }
            let next = at + u64::try_from(read).expect("64 bits");
            if read <= text.len() || next >= end {
                break;
            }
            // The text may begin at the end of this part.
            at = next - u64::try_from(text.len()).expect("64 bits");
        }
        false
    })
}

/// Returns the addresses of a readable mapping.
fn range(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.split_once(' ')?;
    if !rest.starts_with('r') {
        return None;
    }
    let (start, end) = range.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

/// Returns the kinds of memory that a core dump of a process has, as bits: see core(5).
pub fn dumped(process: Process) -> u64 {
    let path = format!("/proc/{}/coredump_filter", process.pid);
    let text = fs::read_to_string(path).expect("a process of this user");
    u64::from_str_radix(text.trim(), 16).expect("a number")
}

/// The memory that a core dump has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// What the kernel would dump.
    Dumped,
    /// All kinds of memory, without what is excluded from dumps by itself (`MADV_DONTDUMP`).
    WithoutExcluded,
    /// Everything.
    Everything,
}

/// Returns a core dump of a process, which goes on.
pub fn core(process: Process, core: Core) -> Vec<u8> {
    let on = |on| if on { "on" } else { "off" };
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().join("core");
    let commands = [
        format!("set use-coredump-filter {}", on(core == Core::Dumped)),
        format!("set dump-excluded-mappings {}", on(core == Core::Everything)),
        format!("generate-core-file {}", path.display()),
    ];
    let mut gdb = Command::new("gdb");
    gdb.args(["--batch", "--nx", "-iex", "set debuginfod enabled off", "-iex", "set auto-load off"]);
    gdb.args(["-p", &process.pid.to_string()]);
    commands.iter().for_each(|command| _ = gdb.args(["-ex", command]));
    let output = gdb.output().expect("gdb is installed");
    fs::read(&path).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}
