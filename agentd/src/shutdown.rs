//! Shutdown: no processes, no unwritten data, machine off.

use std::os::fd::AsRawFd;

use rustix::fs::sync;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};
use rustix::system::{RebootCommand, reboot};

use crate::root::Root;

/// Unmounts every file system with data, or makes it read-only. No process may be left.
pub fn release(root: Root) {
    sync();
    unmount_what_commands_mounted();
    // The overlay is busy, as it is the root. Its disk can be made read-only below it, which writes back the journal
    // and marks the file system clean.
    let _ = mount_remount("/", MountFlags::RDONLY, c"");
    let disk = format!("/proc/self/fd/{}", root.writable.as_raw_fd());
    let writable = mount_remount(disk.as_str(), MountFlags::RDONLY | MountFlags::NOATIME, c"");
    if !root.mounts.release() || writable.is_err() {
        crate::log(format_args!("a file system stays busy; forcing all disks read-only"));
        // A file system on a loop device, for example. The kernel's emergency remount does not check for users.
        let _ = std::fs::write("/proc/sysrq-trigger", "u");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    sync();
}

fn unmount_what_commands_mounted() {
    let Ok(mounts) = std::fs::read("/proc/self/mounts") else { return };
    // A name that is not UTF-8 must not prevent the others.
    for line in String::from_utf8_lossy(&mounts).lines().rev() {
        match line.split(' ').nth(1) {
            // The kernel's own file systems have no data, /proc is still needed, and / is busy.
            None | Some("/" | "/proc" | "/sys" | "/dev" | "/dev/pts" | "/dev/shm" | "/.msb") => {}
            Some(target) => {
                let _ = unmount(unescape(target).as_str(), UnmountFlags::empty());
            }
        }
    }
}

/// Decodes the octal escapes of /proc/self/mounts (proc_mounts(5)).
fn unescape(field: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(field.to_owned(), |text, (octal, character)| text.replace(octal, character))
}

/// Restarts the machine, which ends the VM with either driver: QEMU exits instead of rebooting, libkrun cannot reboot.
/// The kernel command line selects the method (`reboot=t`, `reboot=k`); powering off would need ACPI, which the VM does
/// not have.
pub fn restart_machine() -> ! {
    loop {
        if let Err(error) = reboot(RebootCommand::Restart) {
            crate::log(format_args!("the restart was refused: {error}"));
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn mount_points_are_unescaped() {
        assert_eq!(unescape("/mnt/a\\040b"), "/mnt/a b");
        assert_eq!(unescape("/plain"), "/plain");
    }
}
